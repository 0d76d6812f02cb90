//! The limits that `dormouse deploy` sets for the agents of a module, and `dormouse limits` for one.

use clap::{Args, ValueEnum};
use dormouse_services::Service;
use serde_json::{Map, Value, json};

use crate::config::LimitsPreset;
use crate::units::{Size, Span};

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// What calls of its agents may use, in place of what the server says
    #[arg(long, visible_alias = "preset", value_name = "PRESET")]
    limits: Option<LimitsPreset>,

    /// A call may take this long, its waits included
    #[arg(long, value_name = "DURATION")]
    call_timeout: Option<Span>,

    /// A call may use a processor for this long
    #[arg(long, value_name = "DURATION")]
    cpu_limit: Option<Span>,

    /// Linear memory of an instance
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Size>,

    /// Elements of one table of an instance
    #[arg(long, value_name = "N")]
    table_limit: Option<u64>,

    /// Bytes that an agent may pass to its host at once
    #[arg(long, value_name = "SIZE")]
    host_call_limit: Option<Size>,

    /// Resources and waits that an instance may hold at a time
    #[arg(long, value_name = "N")]
    handle_limit: Option<u64>,

    /// Records that a call may log; ten times as many end it
    #[arg(long, value_name = "N")]
    log_record_limit: Option<u64>,

    /// Bytes that a call may log; ten times as many end it
    #[arg(long, value_name = "SIZE")]
    log_limit: Option<Size>,

    /// Bytes that may be kept of one task: its messages, updates and artifacts
    #[arg(long, value_name = "SIZE")]
    task_limit: Option<Size>,

    /// Instances of one agent that may live at a time
    #[arg(long, value_name = "N")]
    max_instances: Option<u64>,

    /// Calls in one instance at a time, in place of what the agent says
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,

    /// Whose memory a call may meet, in place of what the agent says
    #[arg(long, value_name = "ISOLATION")]
    isolation: Option<Isolation>,

    /// Let its agents use this service, if they say that they need it: llm, a destination of HTTP requests such as
    /// https://api.example.com, or another agent as agent:NAME; may be repeated
    #[arg(long, value_name = "SERVICE")]
    grant: Option<Vec<Service>>,
}

/// Who may meet the memory of an instance that has served a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Isolation {
    /// Any caller
    Shared,
    /// The principal that it served before
    Principal,
    /// The same principal in the same context
    Context,
    /// Nobody: every call has a fresh instance
    Call,
}

impl LimitArgs {
    /// What the server takes; `None` if nothing is set.
    pub(crate) fn json(&self) -> Option<Value> {
        let seconds = |span: &Option<Span>| span.map(|span| json!(span.0.as_secs_f64()));
        let bytes = |size: &Option<Size>| size.map(|size| json!(size.0));
        let number = |number: &Option<u64>| number.map(|number| json!(number));
        let members = [
            ("preset", self.limits.map(word)),
            ("call_seconds", seconds(&self.call_timeout)),
            ("processor_seconds", seconds(&self.cpu_limit)),
            ("memory_bytes", bytes(&self.memory_limit)),
            ("table_elements", number(&self.table_limit)),
            ("host_call_bytes", bytes(&self.host_call_limit)),
            ("handles", number(&self.handle_limit)),
            ("log_records", number(&self.log_record_limit)),
            ("log_bytes", bytes(&self.log_limit)),
            ("task_bytes", bytes(&self.task_limit)),
            ("max_instances", number(&self.max_instances)),
            ("concurrency", number(&self.concurrency)),
            ("isolation", self.isolation.map(word)),
            ("grants", self.grant.as_ref().map(|grants| json!(grants))),
        ];
        let set: Map<String, Value> = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        (!set.is_empty()).then_some(Value::Object(set))
    }
}

/// The word that stands for it on the command line, which is the server's, too.
fn word(value: impl ValueEnum) -> Value {
    let known = value.to_possible_value();
    known.map_or(Value::Null, |known| json!(known.get_name()))
}
