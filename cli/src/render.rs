//! A2A answers for people.

use std::io::{self, Write};

use serde_json::Value;

use crate::args::ServerArgs;

/// How a task stands, as far as the command line cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes on.
    Running,
    /// It waits for the client.
    Waiting,
    /// Completed.
    Done,
    /// Failed, rejected, canceled, or something this program does not know.
    Failed,
}

impl Standing {
    /// From a `TaskStatus`.
    pub(crate) fn of(status: &Value) -> Self {
        match status["state"].as_str().unwrap_or_default() {
            "TASK_STATE_SUBMITTED" | "TASK_STATE_WORKING" => Self::Running,
            "TASK_STATE_INPUT_REQUIRED" | "TASK_STATE_AUTH_REQUIRED" => Self::Waiting,
            "TASK_STATE_COMPLETED" => Self::Done,
            _ => Self::Failed,
        }
    }
}

/// `TASK_STATE_INPUT_REQUIRED` becomes `input required`.
pub(crate) fn state_name(status: &Value) -> String {
    let state = status["state"].as_str().unwrap_or("unknown");
    let name = state.strip_prefix("TASK_STATE_").unwrap_or(state);
    printable(&name.to_lowercase().replace('_', " "))
}

/// The result of SendMessage: a message or a task.
pub(crate) fn answer(
    out: &mut impl Write,
    result: &Value,
    retell: &Continue<'_>,
) -> io::Result<Standing> {
    if let Some(message) = result.get("message") {
        parts(out, &message["parts"])?;
        return Ok(Standing::Done);
    }
    let task = &result["task"];
    let status = &task["status"];
    writeln!(out, "task {} {}", text(&task["id"]), state_name(status))?;
    for artifact in task["artifacts"].as_array().into_iter().flatten() {
        writeln!(out)?;
        artifact_title(out, artifact)?;
        parts(out, &artifact["parts"])?;
    }
    if status["message"].is_object() {
        writeln!(out)?;
    }
    ending(out, &task["id"], status, retell)
}

/// The last status of a task: its message, and what to do now.
pub(crate) fn ending(
    out: &mut impl Write,
    task_id: &Value,
    status: &Value,
    retell: &Continue<'_>,
) -> io::Result<Standing> {
    let message = &status["message"];
    if let Some(class) = message["metadata"]["errorClass"].as_str() {
        write!(out, "{}: ", printable(class))?;
    }
    parts(out, &message["parts"])?;
    let standing = Standing::of(status);
    if standing == Standing::Waiting {
        writeln!(
            out,
            "\ncontinue with:\n  {}",
            retell.command(&text(task_id))
        )?;
    }
    Ok(standing)
}

/// `artifact NAME: description`.
pub(crate) fn artifact_title(out: &mut impl Write, artifact: &Value) -> io::Result<()> {
    let name = artifact["name"]
        .as_str()
        .or(artifact["artifactId"].as_str());
    write!(out, "artifact {}", printable(name.unwrap_or_default()))?;
    match artifact["description"].as_str() {
        Some(description) => writeln!(out, ": {}", printable(description)),
        None => writeln!(out),
    }
}

/// Every part on lines of its own.
pub(crate) fn parts(out: &mut impl Write, parts: &Value) -> io::Result<()> {
    for part in parts.as_array().into_iter().flatten() {
        if let Some(text) = part["text"].as_str() {
            let text = printable(text);
            write!(out, "{text}")?;
            if !text.ends_with('\n') {
                writeln!(out)?;
            }
        } else {
            other_part(out, part)?;
        }
    }
    Ok(())
}

/// A part that is not text: data as JSON, a file by name, type and size.
pub(crate) fn other_part(out: &mut impl Write, part: &Value) -> io::Result<()> {
    if let Some(data) = part.get("data") {
        return writeln!(out, "{}", printable(&format!("{data:#}")));
    }
    let name = part["filename"].as_str().unwrap_or("without a name");
    let media_type = part["mediaType"].as_str().unwrap_or("unknown type");
    write!(out, "file {} ({}, ", printable(name), printable(media_type))?;
    match (part["raw"].as_str(), part["url"].as_str()) {
        (Some(raw), _) => writeln!(out, "{} bytes)", decoded_len(raw)),
        (None, Some(url)) => writeln!(out, "at {})", printable(url)),
        (None, None) => writeln!(out, "empty)"),
    }
}

/// What an agent says must not drive the terminal: control characters other than line breaks and
/// tabs are replaced.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            '\u{FFFD}'
        } else {
            c
        }
    };
    text.chars().map(harmless).collect()
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// Bytes behind a base64 text.
fn decoded_len(base64: &str) -> usize {
    let digits = base64.trim_end_matches('=').len();
    digits * 3 / 4
}

/// How to address the same agent again.
pub(crate) struct Continue<'a> {
    pub(crate) agent: &'a str,
    pub(crate) server: &'a ServerArgs,
}

impl Continue<'_> {
    fn command(&self, task: &str) -> String {
        let server = self.server.flag();
        format!("dormouse send {} \"…\" --task {task}{server}", self.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(result: &Value) -> (String, Standing) {
        let server = ServerArgs {
            server: "http://127.0.0.1:9".to_owned(),
            token: None,
            ca: None,
        };
        let mut out = Vec::new();
        let standing = answer(
            &mut out,
            result,
            &Continue {
                agent: "planner",
                server: &server,
            },
        )
        .expect("memory");
        (String::from_utf8(out).expect("text"), standing)
    }

    #[test]
    fn a_question_shows_how_to_continue() {
        let (shown, standing) = rendered(&json!({"task": {"id": "t1", "status": {
            "state": "TASK_STATE_INPUT_REQUIRED", "message": {"parts": [{"text": "When?"}]}}}}));
        assert_eq!(
            shown,
            "task t1 input required\n\nWhen?\n\ncontinue with:\n  dormouse send planner \"…\" --task t1 --server http://127.0.0.1:9\n"
        );
        assert_eq!(standing, Standing::Waiting);
    }

    #[test]
    fn a_failure_shows_class_and_sentence() {
        let (shown, standing) = rendered(
            &json!({"task": {"id": "t1", "status": {"state": "TASK_STATE_FAILED",
            "message": {"parts": [{"text": "It ran too long."}], "metadata": {"errorClass": "deadline"}}}}}),
        );
        assert_eq!(shown, "task t1 failed\n\ndeadline: It ran too long.\n");
        assert_eq!(standing, Standing::Failed);
    }

    #[test]
    fn every_kind_of_part_is_shown() {
        let (shown, _) = rendered(&json!({"message": {"parts": [
            {"text": "a\u{1b}[2J"}, {"data": {"n": 1}},
            {"raw": "AAECAw==", "filename": "x.bin", "mediaType": "application/octet-stream"},
            {"url": "https://example.com/x", "mediaType": "text/plain"}]}}));
        assert_eq!(
            shown,
            "a\u{FFFD}[2J\n{\n  \"n\": 1\n}\nfile x.bin (application/octet-stream, 4 bytes)\n\
             file without a name (text/plain, at https://example.com/x)\n"
        );
    }
}
