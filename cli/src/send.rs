//! `dormouse send`: one A2A message, and its answer.

use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::args::SendArgs;
use crate::client::{self, Client};
use crate::render::{self, Continue, Standing};
use crate::sse::Events;

pub(crate) fn send(args: &SendArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let params = json!({"message": message(args)?});
    let out = &mut io::stdout().lock();
    let standing = if args.stream {
        stream(out, args, &client, params)?
    } else {
        let result = client.call(&args.agent, "SendMessage", params)?;
        if args.json {
            writeln!(out, "{result:#}")?;
            standing_of(&result)
        } else {
            render::answer(out, &result, &retell(args))?
        }
    };
    Ok(match standing {
        Standing::Failed => ExitCode::FAILURE,
        Standing::Running | Standing::Waiting | Standing::Done => ExitCode::SUCCESS,
    })
}

/// The A2A message that the arguments amount to.
fn message(args: &SendArgs) -> anyhow::Result<Value> {
    let mut parts = Vec::new();
    parts.extend(args.text.as_ref().map(|text| json!({"text": text})));
    parts.extend(
        args.data
            .as_ref()
            .map(|data| json!({"data": data, "mediaType": "application/json"})),
    );
    if let Some(path) = &args.file {
        parts.push(file_part(path)?);
    }
    let mut message = json!({
        "messageId": uuid::Uuid::now_v7().to_string(),
        "role": "ROLE_USER",
        "parts": parts,
    });
    for (member, id) in [("taskId", &args.task), ("contextId", &args.context)] {
        if let Some(id) = id {
            message[member] = json!(id);
        }
    }
    if let Some(skill) = &args.skill {
        message["metadata"] = json!({"skillId": skill});
    }
    Ok(message)
}

fn file_part(path: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(json!({"raw": STANDARD.encode(bytes), "filename": name, "mediaType": media_type(path)}))
}

fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str().unwrap_or_default() {
        "csv" => "text/csv",
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "html" => "text/html",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        _ => "application/octet-stream",
    }
}

fn retell(args: &SendArgs) -> Continue<'_> {
    Continue {
        agent: &args.agent,
        server: &args.server,
    }
}

fn standing_of(result: &Value) -> Standing {
    match result.get("task") {
        Some(task) => Standing::of(&task["status"]),
        None => Standing::Done,
    }
}

/// Shows events as they come, until the task has ended or waits for the client.
fn stream(
    out: &mut impl Write,
    args: &SendArgs,
    client: &Client,
    params: Value,
) -> anyhow::Result<Standing> {
    let response = client.stream(&args.agent, "SendStreamingMessage", params)?;
    let mut events = Events::new(BufReader::new(response));
    let mut shown = Shown::default();
    while let Some(data) = events.next_data().context("the stream broke")? {
        let event: Value =
            serde_json::from_str(&data).context("an event of the stream is not JSON")?;
        let event = client::result_of(event)?;
        let standing = if args.json {
            writeln!(out, "{event}")?;
            standing_after(&event)
        } else {
            shown.event(out, &event, &retell(args))?
        };
        out.flush()?;
        if standing != Standing::Running {
            return Ok(standing);
        }
    }
    bail!("the stream ended before the task did; the server may have been stopped")
}

fn standing_after(event: &Value) -> Standing {
    if let Some(update) = event.get("statusUpdate") {
        Standing::of(&update["status"])
    } else if event.get("artifactUpdate").is_some() {
        Standing::Running
    } else {
        standing_of(event)
    }
}

/// What a stream has shown so far: chunks of one artifact are written on without a gap.
#[derive(Default)]
struct Shown {
    /// The artifact whose chunks are being shown.
    artifact: Option<String>,
    in_line: bool,
}

impl Shown {
    fn event(
        &mut self,
        out: &mut impl Write,
        event: &Value,
        retell: &Continue<'_>,
    ) -> io::Result<Standing> {
        if let Some(update) = event.get("artifactUpdate") {
            self.chunk(out, update)?;
            return Ok(Standing::Running);
        }
        self.end_artifact(out)?;
        if let Some(update) = event.get("statusUpdate") {
            return status_update(out, update, retell);
        }
        let running = event
            .get("task")
            .filter(|task| Standing::of(&task["status"]) == Standing::Running);
        match running {
            Some(task) => {
                let id = render::printable(task["id"].as_str().unwrap_or_default());
                writeln!(out, "task {id} {}", render::state_name(&task["status"]))?;
                Ok(Standing::Running)
            }
            None => render::answer(out, event, retell),
        }
    }

    fn chunk(&mut self, out: &mut impl Write, update: &Value) -> io::Result<()> {
        let artifact = &update["artifact"];
        let id = artifact["artifactId"].as_str().unwrap_or_default();
        if self.artifact.as_deref() != Some(id) || update["append"] != true {
            self.end_artifact(out)?;
            writeln!(out)?;
            if update["append"] == true {
                write!(out, "more of ")?;
            }
            render::artifact_title(out, artifact)?;
            self.artifact = Some(id.to_owned());
        }
        for part in artifact["parts"].as_array().into_iter().flatten() {
            if let Some(text) = part["text"].as_str() {
                write!(out, "{}", render::printable(text))?;
                self.in_line = !text.ends_with('\n');
            } else {
                self.end_line(out)?;
                render::other_part(out, part)?;
            }
        }
        Ok(())
    }

    fn end_artifact(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.end_line(out)?;
        if self.artifact.take().is_some() {
            writeln!(out)?;
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        if std::mem::take(&mut self.in_line) {
            writeln!(out)?;
        }
        Ok(())
    }
}

fn status_update(
    out: &mut impl Write,
    update: &Value,
    retell: &Continue<'_>,
) -> io::Result<Standing> {
    let status = &update["status"];
    let state = render::state_name(status);
    if !status["message"].is_object() {
        writeln!(out, "{state}")?;
        return render::ending(out, &update["taskId"], status, retell);
    }
    write!(out, "{state}: ")?;
    render::ending(out, &update["taskId"], status, retell)
}
