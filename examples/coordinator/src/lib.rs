//! An agent that lets others work: send it notes, an empty line and a CSV table. It has `report-writer` make a report of
//! the notes and `csv-stats` describe the table, both at once, and merges what they made into one report with figures.
//! When one of them does not answer, the report says so. It shows calls of other agents: deploy all three, this one with
//! `dormouse deploy --grant agent:csv-stats --grant agent:report-writer`.

use dormouse_sdk::prelude::*;
use dormouse_sdk::{AgentReply, Service, join_all};

#[entrypoint]
pub fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("coordinator")
            .with_version("1.0.0")
            .with_description("Has notes and a table made into one report with figures")
            .with_concurrency(16)
            .with_grant(Service::agent(WRITER))
            .with_grant(Service::agent(STATISTICIAN))
            .with_skill(ReportWithFigures)
            .build(),
    ]
}

const WRITER: &str = "report-writer";
const STATISTICIAN: &str = "csv-stats";

/// The agent's only skill.
#[skill(
    id = "report-with-figures",
    name = "Report with figures",
    description = "Takes notes, one per line, an empty line and a CSV table, and returns a report with statistics of the table.",
    tags = ["report", "csv"],
    examples = ["Sales: better than last year\n\ncity,people\nOslo,709000\n"],
    input_modes = ["text/plain"],
    output_modes = ["text/markdown", "application/json"],
)]
pub struct ReportWithFigures;

impl SkillHandler for ReportWithFigures {
    async fn on_request(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let text = content.text().replace("\r\n", "\n");
        let Some((notes, table)) = text.split_once("\n\n") else {
            let reason = "Send me notes, an empty line and a CSV table".into();
            return Ok(OnRequestResult::Rejected { reason });
        };
        progress
            .send_update(format!("Asking {WRITER} and {STATISTICIAN}"))
            .await?;
        let agents = runtime.agents();
        let calls = [(WRITER, notes), (STATISTICIAN, table)].map(|(agent, text)| {
            let agents = &agents;
            async move { agents.call(agent, text).await?.completed() }
        });
        let replies = join_all(calls).await;
        let [report, figures] = replies.as_slice() else {
            return Err(AgentError::failed("two agents were asked"));
        };
        if let (Err(error), Err(_)) = (report, figures) {
            return Err(AgentError::failed(format!("Nobody could help: {error}")));
        }
        Ok(OnRequestResult::Completed {
            message: Some(told(report, figures).into()),
            artifacts: merged(report, figures),
        })
    }
}

type Answered = Result<AgentReply, AgentError>;

/// One document of both, and what else they made.
fn merged(report: &Answered, figures: &Answered) -> Vec<Artifact> {
    let mut text = match report {
        Ok(reply) => reply.artifacts().iter().map(Artifact::text).collect(),
        Err(error) => format!("# Report\n\nThe notes could not be written up: {error}\n"),
    };
    text.push_str("\n## Figures\n\n");
    match figures {
        Ok(reply) => text.push_str(&format!("{}.\n", reply.text())),
        Err(error) => text.push_str(&format!("The table could not be described: {error}\n")),
    }
    let mut artifacts = vec![Artifact::from_text("report.md", text)];
    let made = figures.as_ref().map(AgentReply::artifacts);
    artifacts.extend(made.unwrap_or_default().iter().cloned());
    artifacts
}

fn told(report: &Answered, figures: &Answered) -> String {
    match (report, figures) {
        (Ok(report), Ok(_)) => report.text(),
        _ => "The report has gaps: one of the agents did not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use dormouse_sdk::testing::Conversation;
    use dormouse_sdk::{AgentRequest, Outcome};

    use super::*;

    const TASK: &str = "Costs: rent went up\n\ncity,people\nOslo,709000\n";

    fn helper(request: &AgentRequest) -> Result<AgentReply, AgentError> {
        let artifact = match &*request.agent {
            WRITER => {
                assert_eq!(request.message.text(), "Costs: rent went up");
                Artifact::from_text("report.md", "# Report\n")
            }
            STATISTICIAN => {
                assert_eq!(request.message.text(), "city,people\nOslo,709000\n");
                Artifact::from_json("figures.json", &[1])?
            }
            other => panic!("{other} was not granted"),
        };
        Ok(AgentReply::artifacts_of([artifact]))
    }

    #[test]
    fn what_both_made_is_one_report() {
        let mut conversation = Conversation::new(ReportWithFigures).with_agents(helper);
        let answer = conversation.send(TASK);
        let names: Vec<_> = answer
            .artifacts()
            .iter()
            .map(|made| made.name.clone())
            .collect();
        assert_eq!(
            names,
            [
                Some("report.md".to_owned()),
                Some("figures.json".to_owned())
            ]
        );
        let report = answer.artifacts()[0].text();
        assert!(report.starts_with("# Report\n\n## Figures\n"), "{report}");
        assert_eq!(answer.updates(), ["Asking report-writer and csv-stats"]);
    }

    #[test]
    fn a_missing_helper_leaves_a_gap_and_two_fail_the_task() {
        let denied = |_: &AgentRequest| Err(AgentError::Denied("no grant".to_owned()));
        let mut conversation = Conversation::new(ReportWithFigures).with_agents(move |request| {
            if request.agent == WRITER {
                helper(request)
            } else {
                denied(request)
            }
        });
        let answer = conversation.send(TASK);
        let report = answer.artifacts()[0].text();
        assert!(
            report.contains("could not be described: not allowed: no grant"),
            "{report}"
        );
        let answer = Conversation::new(ReportWithFigures)
            .with_agents(denied)
            .send(TASK);
        assert!(matches!(answer.outcome, Outcome::Failed(_)), "{answer:?}");
    }

    #[test]
    fn a_message_without_a_table_is_rejected() {
        let answer = Conversation::new(ReportWithFigures).send("only notes");
        assert!(matches!(answer.outcome, Outcome::Rejected(_)), "{answer:?}");
    }
}
