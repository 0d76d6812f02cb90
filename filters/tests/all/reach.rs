//! What a filter can reach of the world.

use crate::harness::{hostile, told, word};
use dormouse_filters::WasmAgentConfig;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn it_has_no_network_no_files_no_input_and_no_environment() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    for what in ["network", "udp", "lookup", "files"] {
        assert_eq!(word(&agent, what), "refused", "{what}");
    }
    // Bytes of stdin, and variables.
    for what in ["stdin", "environment"] {
        assert_eq!(word(&agent, what), "0", "{what}");
    }
    assert_eq!(word(&agent, "count"), "7", "it is the same instance");
}

#[test]
fn it_has_the_time_of_the_host() {
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_millis()
    };
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let before = now();
    let seen: u128 = word(&agent, "clock").parse().unwrap();
    assert!((before..=now()).contains(&seen), "{seen}");
    assert_eq!(word(&agent, "time"), "passes");
}

#[test]
fn it_has_random_numbers_and_each_instance_others() {
    let (_runtime, agent) = hostile(WasmAgentConfig::default());
    let first = word(&agent, "random");
    told(&agent, "trap").unwrap_err();
    assert_ne!(word(&agent, "random"), first);
}
