//! An agent that turns loose notes into a report. Each line of the message is a note, with a topic
//! before a colon ("Costs: rent went up"); the agent groups them and writes one Markdown section
//! per topic. It shows streaming: a progress update before each section, and the report as one
//! artifact that grows chunk by chunk, so a client can read along. `cargo run` serves it on this
//! machine; `dormouse deploy` from this folder puts it on the platform.

use std::fmt::Write;

use dormouse_sdk::prelude::*;

#[entrypoint]
pub fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("report-writer")
            .with_version("1.0.0")
            .with_description("Turns notes into a report, section by section")
            .with_concurrency(16)
            .with_skill(WriteReport)
            .build(),
    ]
}

/// The agent's only skill.
#[skill(
    id = "write-report",
    name = "Write a report",
    description = "Takes notes, one per line, each with a topic before a colon, and streams a Markdown report with a section per topic.",
    tags = ["writing", "report", "markdown"],
    examples = ["Costs: rent went up\nPeople: two joined\nCosts: power went down"],
    output_modes = ["text/markdown", "text/plain"],
)]
pub struct WriteReport;

/// Chunks of one artifact share an id.
const REPORT: &str = "report";

impl SkillHandler for WriteReport {
    async fn on_request(
        &self,
        _state: &mut State,
        progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let text = content.text();
        let sections = group(&text);
        if sections.is_empty() {
            let reason = "Send me notes, one per line".into();
            return Ok(OnRequestResult::Rejected { reason });
        }
        let count = sections.len();
        progress
            .send_update(format!("Found {count} topics"))
            .await?;
        send_chunk(progress, contents(&sections), Place::First).await?;
        for (index, section) in sections.iter().enumerate() {
            let number = index + 1;
            let update = format!("Writing section {number} of {count}: {}", section.topic);
            progress.send_update(update).await?;
            let place = if number == count {
                Place::Last
            } else {
                Place::Middle
            };
            send_chunk(progress, section.write(), place).await?;
        }
        Ok(OnRequestResult::completed(format!(
            "The report has {count} sections"
        )))
    }
}

/// Where a chunk stands in the report.
#[derive(PartialEq)]
enum Place {
    First,
    Middle,
    Last,
}

async fn send_chunk(
    progress: &ProgressSender,
    text: String,
    place: Place,
) -> Result<(), AgentError> {
    let chunk = Artifact::from_text("report.md", text).with_id(REPORT);
    progress
        .send_artifact_chunk(chunk, place != Place::First, place == Place::Last)
        .await
}

struct Section<'a> {
    topic: &'a str,
    notes: Vec<&'a str>,
}

impl Section<'_> {
    fn write(&self) -> String {
        let mut text = format!("\n## {}\n\n", self.topic);
        for note in &self.notes {
            writeln!(text, "- {note}").expect("a String takes everything");
        }
        text
    }
}

/// Topics in order of first appearance; notes without one come under "Other".
fn group(notes: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in notes.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (topic, note) = line.split_once(':').unwrap_or(("Other", line));
        let (topic, note) = (topic.trim(), note.trim());
        match sections.iter_mut().find(|section| section.topic == topic) {
            Some(section) => section.notes.push(note),
            None => sections.push(Section {
                topic,
                notes: vec![note],
            }),
        }
    }
    sections
}

fn contents(sections: &[Section<'_>]) -> String {
    let mut text = String::from("# Report\n\n");
    for (index, section) in sections.iter().enumerate() {
        writeln!(text, "{}. {}", index + 1, section.topic).expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use dormouse_sdk::testing::{Conversation, Event};

    use super::*;

    #[test]
    fn the_report_grows_section_by_section() {
        let notes = "Costs: rent went up\nPeople: two joined\nCosts: power went down\n";
        let answer = Conversation::new(WriteReport).send(notes);
        assert_eq!(
            answer.updates(),
            [
                "Found 2 topics",
                "Writing section 1 of 2: Costs",
                "Writing section 2 of 2: People"
            ]
        );
        let report = "# Report\n\n1. Costs\n2. People\n\n## Costs\n\n- rent went up\n- power went down\n\n## People\n\n- two joined\n";
        assert_eq!(answer.artifacts()[0].text(), report);
        let chunks: Vec<(bool, bool)> = answer
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Artifact { append, last, .. } => Some((*append, *last)),
                _ => None,
            })
            .collect();
        assert_eq!(chunks, [(false, false), (true, false), (true, true)]);
    }
}
