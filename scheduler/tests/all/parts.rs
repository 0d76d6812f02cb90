//! Components of many parts: whatever one agent has of memories, tables and core instances, others do not miss it. Places
//! are the only thing that a call waits for.

use crate::harness::{Deployed, Platform, answer, data, guest_wasm, text};
use dormouse_filters::WasmAgentRuntime;
use dormouse_filters::metrics::{MetricSink, Reading};
use futures_util::future::join_all;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

const PLACES: usize = 12;

/// The guest `hostile` as a component that also instantiates a core module, which nobody uses, so many times.
fn with_parts(module: &str, count: u8) -> Vec<u8> {
    let encoder = ComponentEncoder::default().module(&guest_wasm("hostile"));
    let component = encoder
        .unwrap()
        .adapter(
            WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        )
        .unwrap()
        .encode()
        .unwrap();
    and_parts(component, module, count)
}

/// A component that does so.
fn and_parts(mut component: Vec<u8>, module: &str, count: u8) -> Vec<u8> {
    let number = modules(&component);
    let module = wat::parse_str(module).unwrap();
    section(&mut component, CORE_MODULE, &module);
    let mut instances = vec![count];
    for _ in 0..count {
        // instantiate, of this module, with nothing.
        instances.extend([0, number, 0]);
    }
    section(&mut component, CORE_INSTANCE, &instances);
    component
}

/// Sections of a component (component model, Binary.md).
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;

fn section(component: &mut Vec<u8>, id: u8, content: &[u8]) {
    component.push(id);
    let mut length = content.len();
    while length >= 0x80 {
        component.push(length as u8 | 0x80);
        length >>= 7;
    }
    component.push(length as u8);
    component.extend(content);
}

/// How many core modules it has by itself.
fn modules(component: &[u8]) -> u8 {
    let (mut at, mut count) = (8, 0);
    while at < component.len() {
        count += u8::from(component[at] == CORE_MODULE);
        at += 1;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = component[at];
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        at += length;
    }
    count
}

async fn platform() -> Platform {
    Platform::new(|config| config.max_instances = PLACES).await
}

/// As large as one may be: with two memories, as components from JavaScript have, with sixteen tables, or with many core
/// instances.
fn greedy() -> [Vec<u8>; 3] {
    [
        with_parts("(module (memory 1))", 1),
        with_parts("(module (table 1 funcref))", 13),
        with_parts("(module)", 20),
    ]
}

/// Calls for all places, and some that wait for one.
async fn storm(platform: &Platform, agent: &Deployed, calls: usize) {
    let slow = data(json!({"ms": 500}));
    let calls = (0..calls).map(|_| platform.call(agent, "slow", slow.clone()));
    for (report, said) in join_all(calls).await {
        assert!(report.start.is_some(), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_places_may_be_taken_by_instances_of_many_parts() {
    for greedy in greedy() {
        let platform = platform().await;
        let many = platform.deploy_wasm(greedy).await;
        storm(&platform, &many, PLACES + 4).await;
        assert_eq!(platform.metric("dormouse_instances", &[]), PLACES as f64);
    }
}

/// With every place parked but by another agent: its calls, calls that share an instance, and an upload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_miss_no_part_of_what_is_parked() {
    for greedy in greedy() {
        let platform = platform().await;
        let greedy = platform.deploy_wasm(greedy).await;
        let echo = platform.deploy("echo").await;
        storm(&platform, &greedy, PLACES).await;
        let crowd = platform.deploy("crowd").await;
        let (report, said) = platform.call(&crowd, "meet", text("1")).await;
        assert!(report.start.is_some(), "{said:?}");
        let (report, said) = platform.call(&echo, "echo", text("still here")).await;
        assert!(report.start.is_some(), "{said:?}");
        assert_eq!(answer(&said), "still here");
    }
}

/// The same while it is busy everywhere: the upload does not wait, and the calls do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_miss_no_part_of_what_is_busy() {
    let platform = platform().await;
    let [greedy, ..] = greedy();
    let greedy = platform.deploy_wasm(greedy).await;
    let echo = platform.deploy("echo").await;
    let others = async {
        while platform.metric("dormouse_instances", &[]) < PLACES as f64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let crowd = platform.deploy("crowd").await;
        let shared = platform.call(&crowd, "meet", text("1"));
        let own = platform.call(&echo, "echo", text("after them"));
        for (report, said) in <[_; 2]>::from(tokio::join!(shared, own)) {
            assert!(report.start.is_some(), "{said:?}");
        }
    };
    tokio::join!(storm(&platform, &greedy, PLACES), others);
}

#[tokio::test]
async fn what_no_slot_is_large_enough_for_is_refused() {
    let platform = platform().await;
    let memories = with_parts("(module (memory 1))", 3);
    let error = platform.prepare(memories).await.unwrap_err();
    assert!(error.is_caller_fault(), "{error}");
    assert_eq!(error.code(), "instantiation_failed", "{error}");
}

struct Nobody;

impl MetricSink for Nobody {
    fn report(&self, _agent: &str, _name: &str, _reading: Reading) {}
}

/// The filter `allow-list` with more parts.
fn filter_with(module: &str, count: u8) -> Vec<u8> {
    let file = "../policies/target/wasm32-wasip2/release/allow_list.wasm";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    and_parts(std::fs::read(path).unwrap(), module, count)
}

/// Places for six instances of filters, and two for what takes the place of others.
async fn filters() -> (Platform, WasmAgentRuntime) {
    let platform = Platform::new(|config| config.max_instances = 64).await;
    let runtime = platform.scheduler.filters(Arc::new(Nobody)).unwrap();
    (platform, runtime)
}

#[tokio::test]
async fn a_filter_of_more_parts_than_are_counted_for_it_is_refused() {
    let (_platform, runtime) = filters().await;
    for (module, count, fits) in [
        ("(module)", 5, true),
        ("(module)", 6, false),
        ("(module (table 1 funcref))", 2, true),
        ("(module (table 1 funcref))", 3, false),
        ("(module (memory 1))", 1, false),
    ] {
        let compiled = runtime.compile_component("a", &filter_with(module, count));
        let loaded = match compiled {
            Ok(()) => runtime.load("a", "a", "{}").await.map(drop),
            Err(refused) => Err(refused),
        };
        assert_eq!(loaded.is_ok(), fits, "{count} of {module}: {loaded:?}");
    }
}

#[tokio::test]
async fn filters_of_as_many_parts_as_may_be_leave_others_their_places() {
    let (_platform, runtime) = filters().await;
    let limits = runtime.config().limits.clone();
    for (name, module) in [("a", "(module)"), ("b", "(module (table 1 funcref))")] {
        let count = if name == "a" { 5 } else { 2 };
        let component = filter_with(module, count);
        runtime.compile_component(name, &component).unwrap();
        for number in 0..6 {
            let id = format!("{name}{number}");
            runtime
                .load_within(&limits, usize::MAX, &id, name, "{}")
                .await
                .unwrap();
        }
        runtime
            .compile_component("plain", &filter_with("(module)", 1))
            .unwrap();
        for id in ["x", "y"] {
            runtime
                .load_within(&limits, usize::MAX, id, "plain", "{}")
                .await
                .unwrap();
        }
        for agent in runtime.list_agents() {
            assert!(runtime.unload(&agent.0).await);
        }
    }
}
