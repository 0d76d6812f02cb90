//! From a call to the skill it names, the same way on WebAssembly and natively.

use std::rc::Rc;

use crate::host::CallHost;
use crate::{
    AgentDefinition, CallContext, Content, Outcome, ProgressSender, Runtime, SkillSlot, State,
};

pub(crate) struct Call {
    pub(crate) context: CallContext,
    pub(crate) skill: String,
    /// Present if the task waited for this message.
    pub(crate) slot: Option<SkillSlot>,
    pub(crate) content: Content,
}

/// Runs a call to its end. An error of the handler is an outcome like any other.
pub(crate) async fn run(agents: &[AgentDefinition], call: Call, host: Rc<dyn CallHost>) -> Outcome {
    let Some(skill) = agents
        .iter()
        .find(|agent| agent.name == call.context.agent)
        .and_then(|agent| {
            agent
                .skills
                .iter()
                .find(|skill| skill.metadata.id == call.skill)
        })
    else {
        let sentence = format!("agent {} has no skill {}", call.context.agent, call.skill);
        return Outcome::Failed(sentence.into());
    };
    let handler = Rc::clone(&skill.handler);
    let mut state = State::new(&host, call.slot);
    let progress = ProgressSender {
        host: Rc::clone(&host),
    };
    let runtime = Runtime {
        host,
        context: call.context,
    };
    match handler
        .call(&mut state, &progress, &runtime, call.content)
        .await
    {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(error.to_string().into()),
    }
}
