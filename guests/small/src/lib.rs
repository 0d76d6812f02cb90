//! The smallest agent: the contract alone, without the SDK, the standard library or WASI, and its functions wait for
//! nothing. The load generator makes as many different modules of it as a machine has room for
//! (`loadtest/src/module.rs`), so its code is what a module costs at least.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod arena;

mod bindings {
    wit_bindgen::generate!({
        async: false,
        path: "../../wit",
        inline: "
            package test:small;

            world small {
                export dormouse:agent/entrypoint@0.1.0;
                export dormouse:agent/skills@0.1.0;
            }
        ",
        world: "test:small/small",
        generate_all,
    });
}

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bindings::dormouse::agent::tasks::Call;
use bindings::dormouse::agent::types::{
    AgentDefinition, CallContext, Isolation, Message, Outcome, SkillDefinition,
};
use bindings::exports::dormouse::agent::{entrypoint, skills};
use core::hint::black_box;

/// What the load generator rewrites, as in the guest `load`. There is one agent, whatever it says of their count.
static LABEL: [u8; 40] = *b"dormouse-load-label:01:load-0000:0000000";

const PREFIX: core::ops::Range<usize> = 23..32;

struct Small;

impl entrypoint::Guest for Small {
    fn definitions() -> Vec<AgentDefinition> {
        // Without the black box the compiler would build the name in, and no label could change it.
        let prefix = &black_box(&LABEL)[PREFIX];
        let mut name: String = prefix.iter().map(|byte| char::from(*byte)).collect();
        name.push_str("-00");
        let text = || vec!["text/plain".to_owned()];
        vec![AgentDefinition {
            name,
            version: "1".to_owned(),
            description: "One of many, for measuring".to_owned(),
            default_input_modes: text(),
            default_output_modes: text(),
            isolation: Isolation::Shared,
            concurrency: 1,
            skills: vec![SkillDefinition {
                id: "echo".to_owned(),
                name: "echo".to_owned(),
                description: "Answers with the message.".to_owned(),
                tags: Vec::new(),
                examples: Vec::new(),
                input_modes: Vec::new(),
                output_modes: Vec::new(),
            }],
            provider: None,
            documentation_url: None,
            icon_url: None,
            extensions: Vec::new(),
            streaming: true,
            push_notifications: true,
        }]
    }
}

impl skills::Guest for Small {
    fn on_request(_call: Call, _context: CallContext, _skill: String, message: Message) -> Outcome {
        Outcome::Message(message)
    }

    fn on_input(
        _call: Call,
        _context: CallContext,
        _skill: String,
        _slot: String,
        message: Message,
    ) -> Outcome {
        Outcome::Message(message)
    }
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

bindings::export!(Small with_types_in bindings);
