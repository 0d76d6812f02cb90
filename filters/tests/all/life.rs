//! From load to shutdown.

use crate::harness::{hostile, policy, runtime, told, word};
use dormouse_filters::{RuntimeStats, WasmAgentConfig, WasmAgentRuntime, WasmRuntimeError};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What is logged on this thread meanwhile.
fn logged(work: impl FnOnce()) -> String {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn stdout_goes_to_the_log_with_the_agents_name() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let log = logged(|| drop(told(&agent, "print 3").unwrap()));
    assert!(log.contains("xxx") && log.contains("filter=\"a\""), "{log}");
}

#[test]
fn a_line_belongs_to_the_call_that_has_printed_it() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let log = logged(|| {
        told(&agent, "half").unwrap();
        told(&agent, "print 3").unwrap();
        // Also of one that does not end well.
        told(&agent, "trap").unwrap_err();
    });
    let half = log.lines().find(|line| line.contains("half a line"));
    let half = half.unwrap_or_else(|| panic!("{log}"));
    assert!(half.contains("correlation_id=\"c-1\"") && !half.contains("xxx"));
    assert!(half.contains("WARN filter: "), "{half}");
    let panicked = log.lines().find(|line| line.contains("as asked"));
    assert!(panicked.is_some_and(|line| line.contains("c-1")), "{log}");
}

#[test]
fn a_call_logs_so_many_lines_and_counts_the_others() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let lines = |count: usize| logged(|| drop(told(&agent, &format!("lines {count}")).unwrap()));
    let is_line = |line: &&str| line.contains("INFO filter: ");
    for (printed, logged, surplus) in [
        (100, 100, None),
        (101, 100, Some(1)),
        (60_000, 100, Some(59_900)),
    ] {
        let log = lines(printed);
        assert_eq!(log.lines().filter(is_line).count(), logged, "{printed}");
        let said = log.lines().find(|line| line.contains("further lines"));
        let expected = surplus.map(|more: usize| format!("{more} further lines are not shown"));
        match expected {
            Some(expected) => assert!(said.unwrap().contains(&expected), "{log}"),
            None => assert_eq!(said, None),
        }
    }
}

#[test]
fn shutdown_is_called_once_for_each_instance() {
    let goodbyes = |log: &str| log.matches("shut down after").count();
    let log = logged(|| {
        let runtime = runtime(WasmAgentConfig::default());
        for id in ["a", "b", "c"] {
            runtime.load_agent(id, "hostile", "{}").unwrap();
        }
        // Replaced, unloaded, and those that are left.
        runtime.load_agent("a", "hostile", "{}").unwrap();
        assert!(runtime.unload_agent("b"));
        assert!(!runtime.unload_agent("b"));
        let trapped = runtime.get_agent("c").unwrap();
        told(&trapped, "trap").unwrap_err();
        runtime.shutdown();
        runtime.shutdown();
        assert!(matches!(
            told(&trapped, ""),
            Err(WasmRuntimeError::Shutdown)
        ));
        assert!(matches!(
            runtime.load_agent("d", "hostile", "{}"),
            Err(WasmRuntimeError::Shutdown)
        ));
    });
    // The instance of c was gone.
    assert_eq!(goodbyes(&log), 3, "{log}");
}

#[test]
fn what_is_loaded_is_listed_and_counted() {
    let runtime = runtime(WasmAgentConfig::default());
    runtime.load_agent("b", "hostile", "{}").unwrap();
    runtime.load_agent("a", "hostile", "{}").unwrap();
    let ids: Vec<String> = runtime
        .list_agents()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, ["a", "b"]);
    let stats = RuntimeStats {
        compiled_modules: 1,
        active_agents: 2,
        max_instances: 4,
    };
    assert_eq!(runtime.stats(), stats);
    assert!(runtime.unload_component("hostile"));
    assert!(matches!(
        runtime.load_agent("c", "hostile", "{}"),
        Err(WasmRuntimeError::Unknown { .. })
    ));
    assert_eq!(word(&runtime.get_agent("a").unwrap(), "count"), "1");
}

#[test]
fn a_trap_drops_the_instance_and_the_next_call_has_a_fresh_one() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    assert_eq!(word(&agent, "count"), "1");
    assert_eq!(word(&agent, "count"), "2");
    assert!(matches!(
        told(&agent, "trap"),
        Err(WasmRuntimeError::FunctionCall { .. })
    ));
    assert_eq!(word(&agent, "count"), "1");
}

#[test]
fn an_unhealthy_agent_is_replaced() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    assert_eq!(agent.health_check().unwrap(), "0");
    for _ in 0..13 {
        told(&agent, "").unwrap();
    }
    match agent.health_check() {
        Err(WasmRuntimeError::AgentError(words)) => assert_eq!(words, "thirteen is too many"),
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.health_check().unwrap(), "0");
}

#[tokio::test]
async fn one_that_is_replaced_has_gone_before_another_starts() {
    let (_runtime, agent) = on_event_loop(|| {
        let (runtime, agent) = hostile(WasmAgentConfig::default());
        for _ in 0..12 {
            told(&agent, "").unwrap();
        }
        told(&agent, "linger 50").unwrap();
        (runtime, agent)
    })
    .await;
    {
        let mut replacing = std::pin::pin!(agent.check_health());
        assert!(futures_util::poll!(&mut replacing).is_pending());
        assert!(agent.is_busy(), "its shutdown has not ended");
        assert!(replacing.await.is_err());
    }
    assert!(!agent.is_busy());
    assert_eq!(agent.check_health().await.unwrap(), "0");
}

#[tokio::test]
async fn a_place_is_free_once_its_agent_has_gone() {
    let (runtime, agent) = on_event_loop(|| hostile(WasmAgentConfig::default())).await;
    let free = runtime.free();
    let turn = agent.turn().await;
    {
        let mut unloading = std::pin::pin!(runtime.unload("a"));
        assert!(futures_util::poll!(&mut unloading).is_pending());
        assert!(runtime.get_agent("a").is_none());
        assert_eq!(runtime.free(), free);
        drop(turn);
        assert!(unloading.await);
    }
    assert_eq!(runtime.free(), free + 1);
    assert!(!runtime.unload("a").await);
}

/// What does not wait asynchronously, for a test that does.
async fn on_event_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[test]
fn what_does_not_start_is_not_there() {
    let runtime = runtime(WasmAgentConfig::default());
    assert!(matches!(
        runtime.load_agent("a", "hostile", "refuse"),
        Err(WasmRuntimeError::Configuration(words)) if words == "as asked"
    ));
    assert!(matches!(
        runtime.load_agent("a", "hostile", "trap"),
        Err(WasmRuntimeError::FunctionCall {
            function: "configure",
            ..
        })
    ));
    assert_eq!(runtime.stats().active_agents, 0);
}

#[tokio::test]
async fn a_call_that_is_dropped_in_the_middle_leaves_nothing_behind() {
    use dormouse_filters::Event;
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let metadata = crate::harness::metadata();
    let ask = |headers| Event::RequestHeaders {
        metadata: &metadata,
        method: "GET",
        uri: "/",
        headers,
    };
    let sleep = [crate::harness::header("x-do", "sleep 60000")];
    {
        let mut sleeping = std::pin::pin!(agent.on(ask(&sleep)));
        assert!(futures_util::poll!(&mut sleeping).is_pending());
    }
    let count = [crate::harness::header("x-do", "count")];
    assert_eq!(agent.on(ask(&count)).await.unwrap().audit.tags, ["1"]);
}

#[test]
fn it_may_be_called_from_an_event_loop_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
        let agent = runtime.load_agent_from_bytes("a", &policy("hostile"), "{}");
        let agent = agent.unwrap();
        assert!(matches!(
            told(&agent, "sleep 60000"),
            Err(WasmRuntimeError::Timeout(_))
        ));
    });
}
