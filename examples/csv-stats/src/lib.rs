//! An agent that describes CSV tables: send one as text or as a `text/csv` file, and get a JSON
//! artifact with statistics of each column (count, missing, type, min, max, mean, standard
//! deviation, distinct and most frequent values) and a summary in one sentence. It shows the
//! simplest kind of agent: one message in, one result out. `cargo run` serves it on this machine;
//! `dormouse deploy` from this folder puts it on the platform.

mod stats;

use dormouse_sdk::FileSource;
use dormouse_sdk::prelude::*;

use stats::Table;

#[entrypoint]
pub fn configure_agents() -> Vec<AgentDefinition> {
    vec![
        Agent::builder()
            .with_name("csv-stats")
            .with_version("1.0.0")
            .with_description("Describes the columns of CSV tables")
            .with_skill(ColumnStatistics)
            .build(),
    ]
}

/// The agent's only skill.
#[skill(
    id = "column-statistics",
    name = "Column statistics",
    description = "Takes a CSV table with a header row, as text or as a file, and returns statistics of each column as JSON.",
    tags = ["csv", "data", "statistics"],
    examples = ["city,people\nOslo,709000\nBergen,291000\n"],
    input_modes = ["text/plain", "text/csv"],
    output_modes = ["application/json", "text/plain"],
)]
pub struct ColumnStatistics;

impl SkillHandler for ColumnStatistics {
    async fn on_request(
        &self,
        _state: &mut State,
        _progress: &ProgressSender,
        _runtime: &Runtime,
        content: Content,
    ) -> Result<OnRequestResult, AgentError> {
        let text = content.text();
        let csv = match content.files().next().map(|file| file.source) {
            Some(FileSource::Bytes(bytes)) => bytes,
            Some(FileSource::Url(_)) => {
                let reason = "I cannot fetch files; send the CSV itself".into();
                return Ok(OnRequestResult::Rejected { reason });
            }
            None => text.as_bytes(),
        };
        match stats::describe(csv) {
            Ok(table) => Ok(OnRequestResult::Completed {
                message: Some(table.summary().into()),
                artifacts: vec![statistics_of(&table)?],
            }),
            Err(error) => Ok(OnRequestResult::Rejected {
                reason: format!("This is not a CSV table I can read: {error}").into(),
            }),
        }
    }
}

fn statistics_of(table: &Table) -> Result<Artifact, AgentError> {
    let artifact = Artifact::from_json("column-statistics.json", table)?;
    Ok(artifact.with_description("Statistics of each column"))
}

#[cfg(test)]
mod tests {
    use dormouse_sdk::testing::Conversation;
    use dormouse_sdk::{Outcome, PartContent};

    use super::*;

    const CITIES: &str = "city,people\nOslo,709000\nBergen,291000\nMoss,\n";

    #[test]
    fn text_and_file_give_the_same_statistics() {
        let as_text = Conversation::new(ColumnStatistics).send(CITIES);
        let file = Content::from_file("cities.csv", "text/csv", CITIES.as_bytes());
        let as_file = Conversation::new(ColumnStatistics).send(file);
        assert_eq!(as_text, as_file);
        assert_eq!(
            as_text.text(),
            "3 rows, 2 columns: city (text), people (number, 1 missing)"
        );
        let artifacts = as_text.artifacts();
        let PartContent::Data(json) = &artifacts[0].parts[0].content else {
            panic!("the artifact is data");
        };
        assert!(
            json.as_str().contains("\"mean\":500000.0"),
            "{}",
            json.as_str()
        );
    }

    #[test]
    fn what_is_no_table_is_rejected() {
        for content in ["", "a,b\n1\n"] {
            let answer = Conversation::new(ColumnStatistics).send(content);
            assert!(
                matches!(answer.outcome, Outcome::Rejected(_)),
                "{content:?}: {answer:?}"
            );
        }
    }
}
