//! The fake's agents of many modules: who is awake, and what is counted of it.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// One more takes the place of the oldest.
const ROOM: usize = 10;
const IDLE_TIMEOUT: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_millis(150);
const LABEL: &[u8] = b"dormouse-load-label:";

#[derive(Default)]
pub(crate) struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    awake: Vec<(String, Instant)>,
    calls: u64,
    hot: u64,
    warm: u64,
    evicted: u64,
    busy: u64,
}

impl Pool {
    /// A call wakes its agent, unless it is awake.
    pub(crate) fn enter(&self, name: &str, counted: bool) {
        let mut state = self.0.lock().unwrap();
        state.evict_idle();
        state.calls += 1;
        state.busy += 1;
        let found = state.awake.iter().position(|(awake, _)| awake == name);
        if let Some(place) = found {
            state.awake.remove(place);
            state.hot += u64::from(counted);
        } else {
            state.warm += u64::from(counted);
        }
        state.awake.push((name.to_owned(), Instant::now()));
        if state.awake.len() > ROOM {
            state.awake.remove(0);
            state.evicted += 1;
        }
    }

    pub(crate) fn leave(&self) {
        self.0.lock().unwrap().busy -= 1;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// If they may be misread, they miss an instance that has gone soon after the last call.
    pub(crate) fn metrics(&self, may_misread: bool) -> String {
        let mut state = self.0.lock().unwrap();
        state.evict_idle();
        let State {
            hot,
            warm,
            evicted,
            busy,
            ..
        } = *state;
        let parked = state.awake.len();
        let last = state.awake.last();
        let misread = may_misread && last.is_some_and(|(_, at)| at.elapsed() < SOON);
        let started = evicted + parked as u64 + busy + u64::from(misread);
        format!(
            "dormouse_starts_total{{agent=\"other\",temperature=\"hot\"}} {hot}\n\
             dormouse_starts_total{{agent=\"other\",temperature=\"warm\"}} {warm}\n\
             dormouse_instances_started_total {started}\n\
             dormouse_evictions_total{{reason=\"idle\"}} {evicted}\n\
             dormouse_instances{{state=\"parked\"}} {parked}\n\
             dormouse_instances{{state=\"busy\"}} {busy}\n"
        )
    }
}

impl State {
    fn evict_idle(&mut self) {
        let before = self.awake.len();
        self.awake.retain(|(_, used)| used.elapsed() < IDLE_TIMEOUT);
        self.evicted += (before - self.awake.len()) as u64;
    }
}

/// The agents that a labelled module declares.
pub(crate) fn labelled(module: &[u8]) -> Option<Vec<String>> {
    let mut windows = module.windows(LABEL.len());
    let at = windows.position(|window| window == LABEL)?;
    let label = std::str::from_utf8(&module[at..at + 40]).unwrap();
    let count: usize = label[20..22].parse().unwrap();
    let name = |place| format!("{}-{place:02}", &label[23..32]);
    Some((0..count).map(name).collect())
}
