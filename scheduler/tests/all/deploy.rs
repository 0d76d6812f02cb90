//! What an upload is refused for; every refusal has a code and leaves nothing behind.

use crate::harness::{Platform, guest_wasm, text};
use dormouse_scheduler::ModuleKind;
use std::path::Path;

async fn refused(wasm: Vec<u8>) -> (&'static str, String) {
    let platform = Platform::new(|_| {}).await;
    let error = platform
        .prepare(wasm)
        .await
        .expect_err("this upload is refused");
    assert!(error.is_caller_fault(), "{error}");
    assert_eq!(files(platform.dir.path()), 0, "nothing stays behind");
    // An entrypoint that never ends is refused on time; its instance goes when the thread that it runs on may say so.
    platform.until_empty().await;
    (error.code(), error.to_string())
}

fn files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn not_wasm() {
    assert_eq!(refused(b"#!/bin/sh\necho no".to_vec()).await.0, "not_wasm");
    assert_eq!(refused(b"\0as".to_vec()).await.0, "not_wasm");
}

#[tokio::test]
async fn a_preamble_of_another_kind() {
    let (code, _) = refused(b"\0asm\x02\0\0\0".to_vec()).await;
    assert!(
        ["unknown_kind", "malformed_module"].contains(&code),
        "{code}"
    );
}

#[tokio::test]
async fn truncated() {
    let mut wasm = guest_wasm("echo");
    wasm.truncate(wasm.len() / 2);
    assert_eq!(refused(wasm).await.0, "malformed_module");
}

#[tokio::test]
async fn a_function_that_would_compile_for_minutes() {
    // With its count of locals and its end it has two bytes more.
    let body = |bytes: usize| format!("(func {})", "nop ".repeat(bytes - 2));
    let largest = body(1 << 20);
    let (code, _) = refused(module(&format!("(module {largest})"))).await;
    assert_eq!(code, "no_entrypoint");
    let larger = body((1 << 20) + 1);
    for text in [
        format!("(module {larger})"),
        format!("(component (core module {larger}))"),
    ] {
        let (code, sentence) = refused(module(&text)).await;
        assert_eq!(code, "function_too_large");
        assert!(sentence.contains("1048577 bytes"), "{sentence}");
    }
}

#[tokio::test]
async fn too_large() {
    let platform = Platform::new(|config| config.limits.module_bytes = 1000).await;
    let error = platform.prepare(guest_wasm("echo")).await.unwrap_err();
    assert_eq!(error.code(), "module_too_large");
}

#[tokio::test]
async fn unknown_imports_are_named() {
    let (code, sentence) = refused(module(r#"(module (import "env" "open_door" (func)))"#)).await;
    assert_eq!(code, "unknown_import");
    assert!(
        sentence.contains("open_door") && sentence.contains("env"),
        "{sentence}"
    );
    let component = r#"(component (import "acme:bank/vault" (instance (export "open" (func)))))"#;
    let (code, sentence) = refused(module(component)).await;
    assert_eq!(code, "unknown_import");
    assert!(sentence.contains("acme:bank/vault"), "{sentence}");
}

#[tokio::test]
async fn no_entrypoint() {
    assert_eq!(refused(module("(module)")).await.0, "no_entrypoint");
    assert_eq!(refused(module("(component)")).await.0, "no_entrypoint");
    assert_eq!(
        refused(guest_wasm("no_entrypoint")).await.0,
        "no_entrypoint"
    );
    // A command, as `cargo build` makes of a crate with only a `main`.
    let command = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    assert_eq!(refused(module(command)).await.0, "no_entrypoint");
}

#[tokio::test]
async fn lying_entrypoints() {
    assert_eq!(
        refused(guest_wasm("lying_panic")).await.0,
        "entrypoint_trapped"
    );
    assert_eq!(
        refused(guest_wasm("lying_loop")).await.0,
        "entrypoint_timeout"
    );
    assert_eq!(
        refused(guest_wasm("lying_nonsense")).await.0,
        "invalid_definition"
    );
    assert_eq!(
        refused(guest_wasm("lying_twins")).await.0,
        "invalid_definition"
    );
    assert_eq!(
        refused(guest_wasm("lying_many")).await.0,
        "invalid_definition"
    );
}

#[tokio::test]
async fn an_agent_is_found() {
    let platform = Platform::new(|_| {}).await;
    let prepared = platform.prepare(guest_wasm("echo")).await.unwrap();
    assert_eq!(prepared.kind, ModuleKind::CoreModule);
    assert_eq!(prepared.definitions.len(), 1);
    assert_eq!(prepared.definitions[0].name, "echo");
}

/// Two uploads of one module at a time, one of which is refused: the other's agents have their code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upload_leaves_others_their_code() {
    let platform = Platform::new(|_| {}).await;
    let wasm = guest_wasm("echo");
    let mut tight = (**platform.scheduler.limits()).clone();
    tight.host_call_bytes = 16;
    let refused = platform
        .scheduler
        .prepare_under(&tight, wasm.clone().into());
    let (accepted, refused) = tokio::join!(platform.prepare(wasm.clone()), refused);
    assert_eq!(refused.unwrap_err().code(), "invalid_definition");
    accepted.unwrap();
    let echo = platform.deploy_wasm(wasm).await;
    let (report, said) = platform.call(&echo, "echo", text("there")).await;
    assert!(report.start.is_some(), "{said:?}");
    assert_eq!(platform.starts("stored"), 0.0);
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
}

/// The same between the end of one's checks and its deployment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_went_with_another_upload_is_made_again_before_the_module_is_deployed() {
    let platform = Platform::new(|_| {}).await;
    let wasm = guest_wasm("echo");
    let digest = platform.prepare(wasm.clone()).await.unwrap().digest;
    let keep = || platform.scheduler.keep_code(digest, wasm.clone().into());
    keep().await.unwrap();
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
    platform.scheduler.forget(&digest);
    assert_eq!(files(platform.dir.path()), 0);
    keep().await.unwrap();
    assert_eq!(platform.metric("dormouse_compiles_total", &[]), 2.0);
    let echo = platform.deploy_wasm(wasm).await;
    platform.call(&echo, "echo", text("there")).await;
    assert_eq!(
        (platform.starts("stored"), platform.starts("cold")),
        (0.0, 1.0)
    );
}
