//! What is refused before it runs: by its size, and by what it exports.

use dormouse_filters::{WasmAgentConfig, WasmAgentRuntime, WasmRuntimeError};

fn compile(config: &WasmAgentConfig, text: &str) -> WasmRuntimeError {
    let runtime = WasmAgentRuntime::new(config.clone()).unwrap();
    let bytes = wat::parse_str(text).unwrap();
    // None of these components exports what the world asks for.
    runtime.compile_component("a", &bytes).unwrap_err()
}

#[test]
fn one_more_than_a_limit_is_refused_and_the_limit_is_not() {
    let mut config = WasmAgentConfig::strict();
    config.limits.max_function_size = 100;
    let nops = |count: usize| format!("(func {})", "nop ".repeat(count));
    // A function's code has a byte for its locals and one for its end besides.
    let modules = [
        (
            "table elements",
            "(table 100 funcref)".into(),
            "(table 101 funcref)".into(),
        ),
        (
            "tables of",
            "(table 1 funcref)".into(),
            "(table 1 funcref) (table 1 funcref)".into(),
        ),
        (
            "memories of",
            "(memory 1)".into(),
            "(memory 1) (memory 1)".into(),
        ),
        (
            "bytes of memory",
            "(memory 128)".into(),
            "(memory 129)".into(),
        ),
        ("bytes of a function", nops(98), nops(99)),
    ];
    for (what, fits, is_too_much) in modules {
        let component = |inner: &str| format!("(component (core module {inner}))");
        let fit = compile(&config, &component(&fits));
        assert!(
            matches!(fit, WasmRuntimeError::FunctionNotFound(_)),
            "{fit}"
        );
        match compile(&config, &component(&is_too_much)) {
            WasmRuntimeError::ResourceLimit(words) => assert!(words.contains(what), "{words}"),
            other => panic!("{what}: {other}"),
        }
    }
}

#[test]
fn one_byte_more_than_a_component_may_have_is_refused() {
    let bytes = wat::parse_str("(component (core module (memory 1)))").unwrap();
    let compile = |max_component_size| {
        let mut config = WasmAgentConfig::default();
        config.limits.max_component_size = max_component_size;
        let runtime = WasmAgentRuntime::new(config).unwrap();
        runtime.compile_component("a", &bytes).unwrap_err()
    };
    assert!(matches!(
        compile(bytes.len()),
        WasmRuntimeError::FunctionNotFound(_)
    ));
    assert!(matches!(
        compile(bytes.len() - 1),
        WasmRuntimeError::ResourceLimit(_)
    ));
}

#[test]
fn a_table_does_not_hide_in_a_component_within() {
    let text = "(component (component (core module (table 10001 funcref))))";
    let error = compile(&WasmAgentConfig::default(), text);
    assert!(
        matches!(error, WasmRuntimeError::ResourceLimit(_)),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_the_world_is_named() {
    let none = compile(&WasmAgentConfig::default(), "(component)").to_string();
    assert!(none.contains("zentinel:agent/handler@2.0.0"), "{none}");
    let missing = r#"(component
        (instance $handler)
        (export "zentinel:agent/handler@2.0.0" (instance $handler)))"#;
    let missing = compile(&WasmAgentConfig::default(), missing).to_string();
    assert!(missing.contains("get-info"), "{missing}");
}

/// All functions are there, and none has the right type.
#[test]
fn a_wrong_signature_is_named() {
    let export = |name: &&str| format!("(export \"{name}\" (func $f))");
    let exports = |names: &[&str]| names.iter().map(export).collect::<String>();
    let handler = [
        "get-info",
        "configure",
        "on-request-headers",
        "on-request-body",
        "on-response-headers",
        "on-response-body",
    ];
    let text = format!(
        r#"(component
        (core module $m (func (export "f") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $handler {})
        (instance $lifecycle {})
        (export "zentinel:agent/handler@2.0.0" (instance $handler))
        (export "zentinel:agent/lifecycle@2.0.0" (instance $lifecycle)))"#,
        exports(&handler),
        exports(&["health-check", "shutdown"])
    );
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    let bytes = wat::parse_str(text).unwrap();
    let error = runtime.load_agent_from_bytes("a", &bytes, "{}");
    let error = error.unwrap_err().to_string();
    for name in handler {
        assert!(error.contains(&format!("{name}: ")), "{error}");
    }
}

#[test]
fn only_components_are_taken() {
    let runtime = WasmAgentRuntime::new(WasmAgentConfig::default()).unwrap();
    let module = wat::parse_str("(module)").unwrap();
    let component = wat::parse_str("(component (core module (memory 1)))").unwrap();
    for bytes in [
        &b""[..],
        b"nonsense",
        &module,
        &component[..component.len() - 1],
    ] {
        let error = runtime.compile_component("a", bytes).unwrap_err();
        assert!(
            matches!(error, WasmRuntimeError::InvalidModule(_)),
            "{error}"
        );
    }
    let missing = runtime.compile_component_file("a", "no/such/file.wasm");
    assert!(matches!(missing, Err(WasmRuntimeError::LoadFile { .. })));
}
