use std::{sync::Arc, time::Duration};

use dormouse_loadtest::{
    a2a::{Call, Expected},
    load::{Connections, Pace, Tally},
    schedule::Schedule,
};

use crate::fake::{self, GOOD, Manners};

const STALL: Duration = Duration::from_millis(400);
const PHASE: Duration = Duration::from_secs(1);

async fn drive(manners: Manners, connections: usize, pace: Pace) -> Tally {
    let address = fake::serve(manners).await;
    let url = format!("http://{address}/agents/echo");
    let call = Arc::new(Call::new(&url, None, Expected::Message).unwrap());
    let connections = Connections::open(&call, connections).await.unwrap();
    connections.drive(pace).await.unwrap()
}

fn p99_ms(tally: &Tally) -> f64 {
    tally.latencies.quantiles().unwrap().p99_us / 1e3
}

/// The calls that a stall kept from being sent are in the numbers of the open loop. A closed loop sends none of
/// them, and so reports one slow call among many thousands: this is coordinated omission.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_shows_in_the_open_loop_and_hides_in_the_closed() {
    let manners = Manners {
        stall: Some((60, STALL)),
        ..GOOD
    };
    let open = drive(manners, 1, Pace::Due(Schedule::new(300.0, PHASE, 1))).await;
    // Long enough for many more than a hundred calls, on any machine.
    let closed = drive(manners, 1, Pace::BackToBack(5 * PHASE)).await;
    assert_eq!((open.errors, closed.errors), (0, 0), "{:?}", open.samples);
    assert!(
        p99_ms(&open) > 250.0,
        "the stall is missing: p99 {} ms",
        p99_ms(&open)
    );
    assert!(
        p99_ms(&closed) < 200.0,
        "the contrast is missing: p99 {} ms",
        p99_ms(&closed)
    );
    let p50 = open.latencies.quantiles().unwrap().p50_us / 1e3;
    assert!(p50 < 250.0, "most calls met no stall: p50 {p50} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_due_call_is_made_once_and_not_before_its_time() {
    let due = Schedule::new(500.0, PHASE, 9).count() as u64;
    let last = Schedule::new(500.0, PHASE, 9).last().unwrap();
    let tally = drive(GOOD, 8, Pace::Due(Schedule::new(500.0, PHASE, 9))).await;
    assert_eq!((tally.replies, tally.errors), (due, 0));
    assert!(
        tally.elapsed >= last,
        "{:?} is before {last:?}",
        tally.elapsed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_answers_are_counted_and_the_first_few_are_kept() {
    let manners = Manners {
        error_every: 10,
        ..GOOD
    };
    let tally = drive(manners, 2, Pace::Due(Schedule::new(400.0, PHASE, 2))).await;
    let calls = tally.replies + tally.errors;
    // The two warming calls are counted by the fake, but are not among these.
    assert!(
        tally.errors.abs_diff(calls / 10) <= 1,
        "{} of {calls}",
        tally.errors
    );
    assert_eq!(tally.samples.len(), 3);
    assert!(
        tally.samples[0].contains("broken on purpose"),
        "{}",
        tally.samples[0]
    );
}

#[tokio::test]
async fn a_first_call_that_fails_is_a_failure_with_its_reason() {
    let address = fake::serve(GOOD).await;
    let url = format!("http://{address}/nowhere");
    let call = Arc::new(Call::new(&url, None, Expected::Message).unwrap());
    let failure = Connections::open(&call, 2).await.err().unwrap();
    assert!(
        format!("{failure:#}").contains("HTTP 404: nothing here"),
        "{failure:#}"
    );
}
