//! Whose turn it is, without threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use super::*;

fn digests(count: u32) -> Vec<Digest> {
    (0..count).map(|n| Digest::of(&n.to_be_bytes())).collect()
}

fn order(state: &mut State, lane: Lane) -> Vec<Digest> {
    std::iter::from_fn(|| state.next(lane).map(|(digest, _)| digest)).collect()
}

#[test]
fn what_is_awaited_leaves_the_slow_lane() {
    let mut state = State::default();
    let all = digests(4);
    let told: Vec<_> = all.iter().map(|digest| state.later(*digest)).collect();
    let waits = state.soon(all[2], Source::Store(u64::MAX));
    assert_eq!(order(&mut state, Lane::Awaited), [all[2]]);
    assert_eq!(order(&mut state, Lane::Missing), [all[0], all[1], all[3]]);
    assert_eq!(state.jobs[&all[2]].tell.len(), 2, "both are told");
    drop((told, waits));
}

#[test]
fn what_is_being_compiled_slowly_is_compiled_for_who_waits_too() {
    let mut state = State::default();
    let all = digests(2);
    let _told: Vec<_> = all.iter().map(|digest| state.later(*digest)).collect();
    assert_eq!(state.next(Lane::Missing).unwrap().0, all[0]);
    let _waits = state.soon(all[0], Source::Store(u64::MAX));
    assert_eq!(order(&mut state, Lane::Awaited), [all[0]]);
    // The slow lane was first after all: nobody is left to do it for.
    let _waits = state.soon(all[1], Source::Store(u64::MAX));
    state.jobs.remove(&all[1]);
    assert_eq!(order(&mut state, Lane::Awaited), []);
    assert_eq!(order(&mut state, Lane::Missing), []);
}

#[test]
fn what_is_small_goes_past_what_is_large() {
    let mut state = State::default();
    let all = digests(5);
    let of = |bytes: usize| Source::Upload(Bytes::from(vec![0; bytes]));
    let _told = [
        state.soon(all[0], of(SMALL + 1)),
        state.soon(all[1], Source::Store(u64::MAX)),
        state.soon(all[2], of(SMALL)),
        state.soon(all[3], of(1)),
        state.soon(all[4], Source::Store(SMALL as u64)),
    ];
    let small = [all[2], all[3], all[4]];
    assert_eq!(order(&mut state, Lane::Small), small);
    assert_eq!(order(&mut state, Lane::Awaited), [all[0], all[1]]);
}

#[test]
fn one_module_is_one_job_for_all_who_wait() {
    let mut state = State::default();
    let digest = digests(1)[0];
    let mut waits: Vec<_> = (0..3)
        .map(|_| state.soon(digest, Source::Store(u64::MAX)))
        .collect();
    waits.push(state.soon(digest, Source::Upload(Bytes::from_static(b"module"))));
    waits.push(state.later(digest));
    let (found, bytes) = state.next(Lane::Awaited).unwrap();
    assert_eq!((found, bytes.as_deref()), (digest, Some(&b"module"[..])));
    assert_eq!(state.next(Lane::Awaited), None);
    state.jobs.remove(&digest).unwrap().tell_all(&Ok(true));
    for mut told in waits {
        assert!(matches!(told.try_recv(), Ok(Ok(true))));
    }
}

#[test]
fn nothing_is_promised_after_the_end() {
    let mut state = State {
        stopped: true,
        ..State::default()
    };
    let digest = digests(1)[0];
    assert!(
        state
            .soon(digest, Source::Store(u64::MAX))
            .try_recv()
            .is_err()
    );
    assert!(state.later(digest).try_recv().is_err());
    assert!(state.jobs.is_empty());
}
