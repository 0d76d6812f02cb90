//! When the calls of an open loop are due, and how to wait for that moment.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// Due times of a Poisson process, as offsets from the start: independent callers who do not know of each other.
///
/// The same seed gives the same times. The times depend on nothing that the server does; that is what makes the
/// loop open.
#[derive(Debug)]
pub struct Schedule {
    mean_gap_secs: f64,
    length: Duration,
    last: Duration,
    seed: u64,
    count: u64,
    stop: Option<Arc<AtomicBool>>,
}

impl Schedule {
    /// `rate` calls per second on average, over `length`.
    pub fn new(rate: f64, length: Duration, seed: u64) -> Self {
        Schedule {
            mean_gap_secs: 1.0 / rate,
            length,
            last: Duration::ZERO,
            seed: seed << 32,
            count: 0,
            stop: None,
        }
    }

    /// Ends it early, once `stop` is true.
    pub fn until(self, stop: Arc<AtomicBool>) -> Self {
        Schedule {
            stop: Some(stop),
            ..self
        }
    }

    /// The time within which all calls are due.
    pub fn length(&self) -> Duration {
        self.length
    }
}

/// A number in (0, 1] for each seed, as if drawn at random: SplitMix64 (Steele, Lea, Flood 2014), its upper 53 bits.
pub fn uniform(seed: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11).wrapping_add(1) as f64 / (1u64 << 53) as f64
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if (self.stop.as_ref()).is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return None;
        }
        self.count += 1;
        let gap_secs = -uniform(self.seed + self.count).ln() * self.mean_gap_secs;
        self.last += Duration::from_secs_f64(gap_secs);
        (self.last < self.length).then_some(self.last)
    }
}

/// A kernel timer. Tokio's own has a resolution of 1 ms, which would be most of what is measured here.
#[derive(Debug)]
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "deprecated because a type of one's own may lie about its descriptor, which an OwnedFd cannot; the successor is unsafe"
        )]
        let registered = AsyncFd::new(timer)?;
        Ok(Alarm(registered))
    }

    /// Waits until `due`; returns at once when that is past.
    pub async fn wait_until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(left).map_err(io::Error::other)?,
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            // Setting the timer again also takes back its readiness, so it need not be read.
            self.0.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_have_the_rate_asked_for_and_stay_in_bounds() {
        let length = Duration::from_secs(20);
        let due: Vec<Duration> = Schedule::new(1000.0, length, 1).collect();
        // 20,000 expected, standard deviation 141.
        assert!((19_300..20_700).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted() && due.iter().all(|d| *d < length));
        let short_gaps = due
            .windows(2)
            .filter(|w| w[1] - w[0] < Duration::from_millis(1))
            .count();
        let share = short_gaps as f64 / due.len() as f64;
        assert!(
            (0.61..0.66).contains(&share),
            "1 - 1/e of the gaps are below the mean, not {share}"
        );
    }

    #[test]
    fn a_seed_repeats_its_times_and_another_does_not() {
        let take = |seed| Schedule::new(50.0, Duration::from_secs(1), seed).collect::<Vec<_>>();
        assert_eq!(take(3), take(3));
        assert_ne!(take(3), take(4));
    }
}
