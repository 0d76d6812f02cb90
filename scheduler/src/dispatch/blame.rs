//! Whose fault a failed call is, and what its user is told.

use super::Inner;
use crate::call::{CallFailure, VersionRef};
use crate::code::CodeError;
use crate::config::CallLimits;
use crate::instance::{
    DeadlinePassed, ProcessorTimeSpent, is_too_many_handles, is_too_much_for_host,
};
use crate::shortage::is_shortage;
use dormouse_services::logs::{Level, LogFlood};
use dormouse_services::model::FailureClass;
use dormouse_services::{Call, LogRecord};
use wasmtime::Trap;

impl Inner {
    /// Tells an agent's author how a call ended. What the agent itself has logged stands before it.
    pub(super) fn log(
        &self,
        version: &VersionRef,
        task: &Call,
        failure: CallFailure,
    ) -> CallFailure {
        self.engine.logs.add(LogRecord {
            number: 0,
            time_ms: 0,
            level: Level::Error,
            agent: version.agent.clone(),
            version: version.number,
            task: task.task_id(),
            message: failure.sentence.clone(),
            fields: vec![("class".to_owned(), failure.class.as_str().to_owned())],
        });
        failure
    }

    pub(super) fn no_code(&self, error: &CodeError) -> CallFailure {
        if error.is_shortage() {
            return self.shortage(error);
        }
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "an agent's code cannot be had");
        failure(
            FailureClass::Platform,
            "The platform cannot load this agent's code.",
        )
    }

    /// The machine has run out of something. Nothing is wrong with the agent or its code.
    fn shortage(&self, error: &(dyn std::error::Error + 'static)) -> CallFailure {
        tracing::error!(
            error,
            "a call failed at a limit of the machine: see `dormouse doctor`"
        );
        self.metrics
            .rejected
            .with_label_values(&["machine_limit"])
            .inc();
        failure(
            FailureClass::Unavailable,
            "The platform is at a limit of its machine and could not start the agent. Try again in a moment.",
        )
    }

    /// Whose fault a failed call is, and what to tell its user.
    pub(super) fn explain(&self, error: &wasmtime::Error, limits: &CallLimits) -> CallFailure {
        if error.is::<DeadlinePassed>() {
            return too_late(limits);
        }
        if error.is::<ProcessorTimeSpent>() {
            let seconds = limits.processor.as_secs_f32();
            let sentence = format!("The agent used up its {seconds} seconds of processor time.");
            return failure(FailureClass::Limit, &sentence);
        }
        if let Some(flood) = error.downcast_ref::<LogFlood>() {
            return failure(
                FailureClass::Limit,
                &format!("The agent was stopped: {flood}."),
            );
        }
        if is_shortage(error) {
            return self.shortage(error.as_ref());
        }
        let root = error.root_cause();
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => {
                let fuel = limits.fuel.unwrap_or_default();
                let sentence = format!("The agent used up its {fuel} units of fuel.");
                failure(FailureClass::Limit, &sentence)
            }
            Some(trap) => failure(FailureClass::Trap, &format!("The agent trapped: {trap}.")),
            None if is_too_much_for_host(error) => failure(
                FailureClass::Limit,
                &format!(
                    "The agent passed more than {} bytes to the host at once.",
                    limits.host_call_bytes
                ),
            ),
            None if is_too_many_handles(error) => failure(
                FailureClass::Limit,
                "The agent took more handles from the host than an instance may have.",
            ),
            None => failure(
                FailureClass::Trap,
                &format!("The agent was stopped: {root}."),
            ),
        }
    }
}

pub(super) fn too_late(limits: &CallLimits) -> CallFailure {
    let seconds = limits.deadline.as_secs_f32();
    let sentence = format!("The agent did not finish within {seconds} seconds.");
    failure(FailureClass::Deadline, &sentence)
}

pub(super) fn failure(class: FailureClass, sentence: &str) -> CallFailure {
    CallFailure {
        class,
        sentence: sentence.to_owned(),
    }
}
