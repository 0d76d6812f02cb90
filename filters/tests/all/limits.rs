//! Every limit of a running filter, exceeded by one where it can be counted.

use crate::harness::{hostile, policy, runtime, told, word};
use dormouse_filters::config::{Limits, PRESETS};
use dormouse_filters::{WasmAgentConfig, WasmAgentRuntime, WasmRuntimeError};
use std::time::{Duration, Instant};

fn with(change: impl FnOnce(&mut Limits)) -> WasmAgentConfig {
    let mut config = WasmAgentConfig::default();
    change(&mut config.limits);
    config
}

fn is_over<T>(result: Result<T, WasmRuntimeError>, word: &str) -> bool {
    matches!(result, Err(WasmRuntimeError::ResourceLimit(what)) if what.contains(word))
}

#[test]
fn instructions_are_counted_and_one_more_is_too_many() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    told(&agent, "spin 10000").unwrap();
    let needed = agent.last_fuel_consumed();
    assert!(needed > 10_000, "{needed}");
    told(&agent, "spin 10000").unwrap();
    assert_eq!(agent.last_fuel_consumed(), needed);

    let allowed = |max_fuel| {
        let (_runtime, agent) = hostile(with(|limits| limits.max_fuel = max_fuel));
        told(&agent, "spin 10000")
    };
    allowed(needed).unwrap();
    assert!(is_over(allowed(needed - 1), "instructions"));
}

#[test]
fn a_loop_ends_at_its_wall_time() {
    for fuel_enabled in [false, true] {
        let mut config = with(|limits| limits.max_fuel = u64::MAX / 2);
        config.fuel_enabled = fuel_enabled;
        let (_runtime, agent) = hostile(config);
        let started = Instant::now();
        assert!(matches!(
            told(&agent, "loop"),
            Err(WasmRuntimeError::Timeout(_))
        ));
        assert!(started.elapsed() >= Duration::from_millis(100));
        assert_eq!(word(&agent, "count"), "1");
    }
}

#[test]
fn a_loop_ends_without_epochs_too() {
    let mut config = with(|limits| limits.max_fuel = u64::MAX / 2);
    config.epoch_enabled = false;
    let (_runtime, agent) = hostile(config);
    assert!(matches!(
        told(&agent, "loop"),
        Err(WasmRuntimeError::Timeout(_))
    ));
}

#[test]
fn waits_in_the_host_are_wall_time() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    assert!(matches!(
        told(&agent, "sleep 60000"),
        Err(WasmRuntimeError::Timeout(_))
    ));
    told(&agent, "sleep 1").unwrap();
}

/// What others do beside it, and what it waits for, is not its own.
#[test]
fn processor_time_is_bounded_by_itself() {
    let (_runtime, agent) = hostile(with(|limits| {
        limits.max_execution_time = Duration::from_secs(60);
        limits.max_processor_time = Duration::from_millis(20);
        limits.max_fuel = u64::MAX / 2;
    }));
    told(&agent, "sleep 200").unwrap();
    told(&agent, "spin 1000").unwrap();
    match told(&agent, "loop") {
        Err(WasmRuntimeError::Timeout(limit)) => assert_eq!(limit, Duration::from_millis(20)),
        other => panic!("{other:?}"),
    }
    told(&agent, "sleep 200").unwrap();
}

#[test]
fn memory_grows_to_its_limit_and_not_a_page_further() {
    let limit: usize = 4 << 20;
    let (_runtime, agent) = hostile(with(|limits| limits.max_memory = limit));
    let pages: usize = word(&agent, "pages").parse().unwrap();
    let left = limit / (64 << 10) - pages;
    assert_eq!(word(&agent, &format!("grow {}", left + 1)), "refused");
    assert_eq!(word(&agent, &format!("grow {left}")), "grown");
    assert_eq!(word(&agent, "grow 1"), "refused");
    // What does not stop asking traps, and starts again with what it had.
    assert!(matches!(
        told(&agent, "allocate"),
        Err(WasmRuntimeError::FunctionCall { .. })
    ));
    assert_eq!(word(&agent, "pages"), pages.to_string());
}

#[test]
fn output_has_a_bound() {
    let (_runtime, agent) = hostile(with(|limits| {
        limits.max_output = 16 << 10;
        limits.max_fuel = 1 << 40;
        // Time is not what this is about, on a busy machine either.
        limits.max_execution_time = Duration::from_secs(60);
        limits.max_processor_time = Duration::from_secs(60);
    }));
    // A line has its end besides.
    told(&agent, &format!("print {}", (16 << 10) - 1)).unwrap();
    assert!(is_over(
        told(&agent, &format!("print {}", 16 << 10)),
        "output"
    ));
    told(&agent, "flood 8000").unwrap();
    assert!(is_over(told(&agent, "flood 17000"), "output"));
    assert_eq!(word(&agent, "count"), "1");
}

/// Both are made of one component.
#[test]
fn the_limits_of_one_agent_are_not_those_of_another() {
    const MUCH: Duration = Duration::from_secs(60);
    let runtime = runtime(with(|limits| {
        limits.max_fuel = 1 << 40;
        limits.max_execution_time = MUCH;
        limits.max_processor_time = MUCH;
    }));
    let usual = runtime.load_agent("usual", "hostile", "{}").unwrap();
    let load = |change: &dyn Fn(&mut Limits)| {
        let mut limits = runtime.config().limits.clone();
        change(&mut limits);
        let agent = runtime.load_agent_within(&limits, "tight", "hostile", "{}");
        let agent = agent.unwrap();
        assert_eq!(agent.limits(), &limits);
        agent
    };
    let tight = load(&|limits| limits.max_memory = 4 << 20);
    let pages: usize = word(&tight, "pages").parse().unwrap();
    let one_more = format!("grow {}", (4 << 20) / (64 << 10) - pages + 1);
    assert_eq!(word(&tight, &one_more), "refused");
    assert_eq!(word(&usual, &one_more), "grown");

    let tight = load(&|limits| limits.max_output = 16 << 10);
    let one_more = format!("print {}", 16 << 10);
    assert!(is_over(told(&tight, &one_more), "output"));
    told(&usual, &one_more).unwrap();

    // What the memory of the one is like costs it some more than the other.
    told(&usual, "spin 100000").unwrap();
    let needed = usual.last_fuel_consumed();
    let tight = load(&|limits| limits.max_fuel = needed / 2);
    assert!(is_over(told(&tight, "spin 100000"), "instructions"));
    told(&usual, "spin 100000").unwrap();

    let tight = load(&|limits| limits.max_processor_time = Duration::from_millis(20));
    let limit = match told(&tight, "loop") {
        Err(WasmRuntimeError::Timeout(limit)) => limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit, Duration::from_millis(20));
    let tight = load(&|limits| limits.max_execution_time = Duration::from_millis(200));
    assert!(matches!(
        told(&tight, "sleep 60000"),
        Err(WasmRuntimeError::Timeout(_))
    ));
    told(&usual, "sleep 300").unwrap();
    // What is made anew after a failure has the same.
    assert_eq!(
        tight.limits().max_execution_time,
        Duration::from_millis(200)
    );
    told(&tight, "sleep 300").unwrap_err();
}

#[test]
fn a_component_is_held_to_the_limits_that_it_is_to_have() {
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    let bytes = policy("hostile");
    let within = |max_component_size| {
        let limits = Limits {
            max_component_size,
            ..Limits::default()
        };
        runtime.compile_component_within(&limits, "hostile", &bytes)
    };
    assert!(is_over(within(bytes.len() - 1), "component bytes"));
    within(bytes.len()).unwrap();
}

#[test]
fn one_agent_more_than_fits_is_refused() {
    let runtime = runtime(with(|limits| limits.max_instances = 2));
    for id in ["a", "b", "b"] {
        runtime.load_agent(id, "hostile", "{}").unwrap();
    }
    assert!(is_over(
        runtime.load_agent("c", "hostile", "{}"),
        "max_instances"
    ));
    assert!(runtime.unload_agent("a"));
    runtime.load_agent("c", "hostile", "{}").unwrap();
}

#[test]
fn the_presets_have_the_values_of_the_original() {
    let presets = [
        (WasmAgentConfig::minimal(), 1, 16, 50, 1_000_000, 1_000),
        (WasmAgentConfig::default(), 4, 64, 100, 10_000_000, 10_000),
        (
            WasmAgentConfig::high_performance(),
            8,
            256,
            500,
            100_000_000,
            100_000,
        ),
        (WasmAgentConfig::strict(), 4, 8, 10, 100_000, 100),
    ];
    for (config, instances, mebibytes, milliseconds, fuel, elements) in presets {
        let limits = &config.limits;
        assert_eq!(limits.max_instances, instances);
        assert_eq!(limits.max_memory, mebibytes << 20);
        let time = Duration::from_millis(milliseconds);
        assert_eq!((limits.max_execution_time, limits.max_fuel), (time, fuel));
        assert_eq!(limits.max_table_elements, elements);
        assert!(config.fuel_enabled);
        assert_eq!(limits.max_component_size, 10 * limits.max_function_size);
        let runtime = WasmAgentRuntime::new(config).unwrap();
        assert_eq!(runtime.stats().max_instances, instances);
    }
}

#[test]
fn presets_differ_in_ticks_tables_and_sizes_as_those_of_the_original() {
    for (name, epochs, tick, tables, kibibytes) in [
        ("minimal", false, 10_000, 1, 256),
        ("default", true, 1_000, 1, 1_024),
        ("high-performance", true, 100, 4, 4_096),
        ("strict", true, 1_000, 1, 64),
    ] {
        let config = WasmAgentConfig::preset(name).unwrap();
        assert_eq!(config.epoch_enabled, epochs, "{name}");
        assert_eq!(config.epoch_tick_interval, Duration::from_micros(tick));
        let limits = config.limits;
        assert_eq!((limits.max_tables, limits.max_memories), (tables, 1));
        assert_eq!(limits.max_function_size, kibibytes << 10, "{name}");
    }
}

#[test]
fn presets_are_found_by_name_and_none_is_above_a_ceiling() {
    let ceiling = Limits {
        max_table_elements: 500,
        ..Limits::default()
    };
    for (name, preset) in PRESETS.into_iter().zip([
        WasmAgentConfig::strict(),
        WasmAgentConfig::minimal(),
        WasmAgentConfig::default(),
        WasmAgentConfig::high_performance(),
    ]) {
        assert_eq!(WasmAgentConfig::preset(name).as_ref(), Some(&preset));
        let limits = preset.limits.among_others();
        assert_eq!(limits.max_execution_time, limits.max_processor_time * 5);
        let limits = limits.at_most(&ceiling);
        assert_eq!(limits.clone().at_most(&ceiling), limits);
        assert!(limits.max_table_elements <= 500 && limits.max_memory <= ceiling.max_memory);
    }
    assert_eq!(WasmAgentConfig::preset("generous"), None);
}

#[test]
fn something_must_stop_a_loop() {
    let config = WasmAgentConfig {
        fuel_enabled: false,
        epoch_enabled: false,
        ..WasmAgentConfig::default()
    };
    assert!(matches!(
        WasmAgentRuntime::new(config),
        Err(WasmRuntimeError::EngineCreation(_))
    ));
}
