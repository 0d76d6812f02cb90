//! How often each module is called, so that after an upgrade of the engine those that are needed are compiled
//! first. Calls are counted in memory, and written to a file now and then. It is a hint: losing it loses
//! an order.

use dormouse_store::Digest;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// Modules that are kept account of: those used most. A line each, 8 MB in all.
const MAX_MODULES: usize = 100_000;
/// After this long a call counts half.
const HALF_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The first line of the file, before the time of its scores in seconds since the Unix epoch.
const FORMAT: &str = "dormouse-usage-1";

pub(crate) struct Popularity {
    path: PathBuf,
    /// Calls since the file was written.
    calls: Mutex<HashMap<Digest, u32>>,
}

impl Popularity {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            calls: Mutex::default(),
        }
    }

    pub(crate) fn called(&self, digest: &Digest) {
        let mut calls = self.lock();
        if let Some(calls) = calls.get_mut(digest) {
            *calls = calls.saturating_add(1);
        } else if calls.len() < MAX_MODULES {
            calls.insert(*digest, 1);
        }
    }

    /// Adds what was counted to the file. Blocks on the disk.
    pub(crate) fn save(&self, now: SystemTime) -> io::Result<()> {
        let calls = std::mem::take(&mut *self.lock());
        if calls.is_empty() {
            return Ok(());
        }
        let mut scores: Vec<_> = self.scores(&calls, now).into_iter().collect();
        scores.sort_unstable_by(|(_, a), (_, b)| b.total_cmp(a));
        scores.truncate(MAX_MODULES);
        let mut text = format!("{FORMAT} {}\n", seconds(now));
        for (digest, score) in &scores {
            let _infallible = writeln!(text, "{digest} {score:.3}");
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, &self.path)
    }

    /// The most used first; others keep their order. Blocks on the disk.
    pub(crate) fn sort(&self, digests: &mut [Digest], now: SystemTime) {
        let calls = self.lock().clone();
        let scores = self.scores(&calls, now);
        let score = |digest: &Digest| scores.get(digest).copied().unwrap_or(0.0);
        digests.sort_by(|a, b| score(b).total_cmp(&score(a)));
    }

    /// What the file says, aged, and what was counted since.
    fn scores(&self, calls: &HashMap<Digest, u32>, now: SystemTime) -> HashMap<Digest, f64> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut scores = parse(&text, now).unwrap_or_default();
        for (digest, calls) in calls {
            *scores.entry(*digest).or_default() += f64::from(*calls);
        }
        scores
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, u32>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line that cannot be read is left out; `None` if the first is another's.
fn parse(text: &str, now: SystemTime) -> Option<HashMap<Digest, f64>> {
    let mut lines = text.lines();
    let (format, written) = lines.next()?.split_once(' ')?;
    if format != FORMAT {
        return None;
    }
    let age = seconds(now).saturating_sub(written.parse().ok()?);
    let weight = 0.5_f64.powf(age as f64 / HALF_LIFE.as_secs_f64());
    let line = |line: &str| {
        let (digest, score) = line.split_once(' ')?;
        let score = score
            .parse::<f64>()
            .ok()
            .filter(|score| score.is_finite())?;
        Some((digest.parse().ok()?, score * weight))
    };
    Some(lines.filter_map(line).collect())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn digests() -> [Digest; 3] {
        [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes))
    }

    #[test]
    fn what_is_called_often_comes_first_also_after_a_restart_and_fades() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = digests();
        let start = UNIX_EPOCH + DAY * 20_000;
        let usage = Popularity::new(dir.path().join("usage"));
        let sorted = |usage: &Popularity, now| {
            let mut all = [a, b, c];
            usage.sort(&mut all, now);
            all
        };
        assert_eq!(sorted(&usage, start), [a, b, c], "nothing is known");
        for _ in 0..4 {
            usage.called(&c);
        }
        usage.called(&b);
        assert_eq!(sorted(&usage, start), [c, b, a]);
        usage.save(start).unwrap();

        let usage = Popularity::new(dir.path().join("usage"));
        assert_eq!(sorted(&usage, start), [c, b, a]);
        // Four calls three days ago are half a call.
        usage.called(&a);
        usage.save(start + DAY * 3).unwrap();
        assert_eq!(sorted(&usage, start + DAY * 3), [a, c, b]);
    }

    #[test]
    fn a_file_of_another_kind_or_damaged_is_no_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage");
        let [a, b, c] = digests();
        for text in [
            String::new(),
            "\0\0\0".into(),
            format!("dormouse-usage-2 0\n{c} 5\n"),
            format!("dormouse-usage-1 x\n{c} 5\n"),
            format!("dormouse-usage-1 0\n{c} NaN\n{b} inf\nblake3:7 5\n"),
        ] {
            fs::write(&path, &text).unwrap();
            let usage = Popularity::new(path.clone());
            let mut all = [a, b, c];
            usage.sort(&mut all, UNIX_EPOCH);
            assert_eq!(all, [a, b, c], "{text}");
            usage.called(&c);
            usage.save(UNIX_EPOCH).unwrap();
            usage.sort(&mut all, UNIX_EPOCH);
            assert_eq!(all, [c, a, b]);
        }
    }
}
