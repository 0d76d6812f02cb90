//! Components of many parts: the engine's pool has so many memories, tables and core instances in all, and what one agent
//! keeps of them others must not miss.

use crate::harness::{Platform, answer, data, guest_wasm, text};
use dormouse_filters::WasmAgentRuntime;
use dormouse_filters::metrics::{MetricSink, Reading};
use futures_util::future::join_all;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_places_may_be_taken_by_instances_of_many_parts() {
    let platform = platform().await;
    let many = platform.deploy_wasm(with_parts("(module)", 20)).await;
    let calls = (0..PLACES).map(|_| platform.call(&many, "slow", data(json!({"ms": 500}))));
    for (report, said) in join_all(calls).await {
        assert!(report.start.is_some(), "{said:?}");
    }
    assert_eq!(platform.metric("dormouse_instances", &[]), PLACES as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_instances_go_when_they_have_taken_all_of_something() {
    let platform = platform().await;
    let greedy = with_parts("(module (table 1 funcref))", 13);
    let greedy = platform.deploy_wasm(greedy).await;
    let echo = platform.deploy("echo").await;
    // Sixteen tables each, of eight for each slot of the pool.
    let calls = (0..10).map(|_| platform.call(&greedy, "slow", data(json!({"ms": 500}))));
    for (report, said) in join_all(calls).await {
        assert!(report.start.is_some(), "{said:?}");
    }
    let (report, said) = platform.call(&echo, "echo", text("still here")).await;
    assert!(report.start.is_some(), "{said:?}");
    assert_eq!(answer(&said), "still here");
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
    for (name, module) in [("a", "(module)"), ("b", "(module (table 1 funcref))")] {
        let count = if name == "a" { 5 } else { 2 };
        let component = filter_with(module, count);
        runtime.compile_component(name, &component).unwrap();
        for number in 0..6 {
            let id = format!("{name}{number}");
            runtime
                .load_beside(usize::MAX, &id, name, "{}")
                .await
                .unwrap();
        }
        runtime
            .compile_component("plain", &filter_with("(module)", 1))
            .unwrap();
        for id in ["x", "y"] {
            runtime
                .load_beside(usize::MAX, id, "plain", "{}")
                .await
                .unwrap();
        }
        for agent in runtime.list_agents() {
            assert!(runtime.unload(&agent.0).await);
        }
    }
}
