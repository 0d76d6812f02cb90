//! Memory over its budget.

use crate::harness::{Platform, text};
use dormouse_scheduler::Temperature;
use dormouse_scheduler::pressure::{Relief, relief};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const BUDGET: u64 = 1 << 30;
static READING: AtomicU64 = AtomicU64::new(0);

fn reading() -> Option<u64> {
    Some(READING.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_instances_and_code_are_given_up_until_there_is_room() {
    let platform = Platform::new(|config| {
        config.memory_budget = Some(BUDGET);
        config.resident = reading;
    })
    .await;
    let (echo, hostile) = (
        platform.deploy("echo").await,
        platform.deploy("hostile").await,
    );
    platform.call(&echo, "echo", text("x")).await;
    platform.call(&hostile, "counter", text("x")).await;
    READING.store(BUDGET, Ordering::SeqCst);
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0, Temperature::Hot);
    READING.store(BUDGET * 2, Ordering::SeqCst);
    platform.until_empty().await;
    READING.store(0, Ordering::SeqCst);
    let pressure = [("reason", "pressure")];
    assert_eq!(platform.metric("dormouse_evictions_total", &pressure), 2.0);
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0, Temperature::Cold);
}

proptest! {
    #[test]
    fn more_pressure_gives_up_more_and_none_nothing(
        budget in 1u64..1 << 40,
        resident in 0u64..1 << 40,
        more in 0u64..1 << 40,
        parked in 0usize..20_000,
    ) {
        let given = relief(resident, budget, parked);
        prop_assert!(given.instances <= parked);
        if resident <= budget {
            prop_assert_eq!(given, Relief::default());
        } else {
            prop_assert!(given.instances > 0 || parked == 0);
            prop_assert_eq!(given.code, given.instances == parked);
        }
        prop_assert!(relief(resident + more, budget, parked).instances >= given.instances);
    }
}
