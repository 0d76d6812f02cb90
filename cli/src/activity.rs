//! `dormouse tasks`, `task`, `cancel` and `logs`: what happened.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::args::{CancelArgs, LogsArgs, TaskArgs, TasksArgs};
use crate::client::Client;
use crate::registry::{list, shown, table};
use crate::render::{self, Continue, printable};

/// Seconds that the server holds a request for log records that are still to come.
const WAIT: &str = "20";

pub(crate) fn tasks(args: &TasksArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let agents = match &args.agent {
        Some(agent) => vec![agent.clone()],
        None => {
            let answer = client.get(&["v1", "agents"])?;
            list(&answer, "agents")
                .iter()
                .map(|agent| shown(&agent["name"]))
                .collect()
        }
    };
    let mut found = Vec::new();
    for agent in agents {
        let page = client.call(
            &agent,
            "ListTasks",
            json!({"pageSize": args.limit.min(100)}),
        )?;
        for task in list(&page, "tasks") {
            found.push((
                shown(&task["status"]["timestamp"]),
                agent.clone(),
                task.clone(),
            ));
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0));
    found.truncate(args.limit);
    let out = &mut io::stdout().lock();
    if args.json {
        let tasks = found
            .iter()
            .map(|(_, agent, task)| json!({"agent": agent, "task": task}));
        let tasks: Vec<Value> = tasks.collect();
        return Ok(writeln!(out, "{:#}", json!({"tasks": tasks}))?);
    }
    if found.is_empty() {
        return Ok(writeln!(out, "no tasks yet; `dormouse send` begins one")?);
    }
    let rows = found.into_iter().map(|(updated, agent, task)| {
        [
            shown(&task["id"]),
            agent,
            render::state_name(&task["status"]),
            updated,
        ]
    });
    Ok(table(out, ["TASK", "AGENT", "STATE", "UPDATED"], rows)?)
}

pub(crate) fn task(args: &TaskArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let found = client.get(&["v1", "tasks", &args.task])?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{found:#}")?);
    }
    let agent = shown(&found["agent"]);
    let task = &found["task"];
    writeln!(out, "agent {agent}, context {}", shown(&task["contextId"]))?;
    for message in list(task, "history") {
        let who = if message["role"] == "ROLE_USER" {
            "you"
        } else {
            &*agent
        };
        writeln!(out, "\n{who}:")?;
        render::parts(out, &message["parts"])?;
    }
    writeln!(out)?;
    let retell = Continue {
        agent: &agent,
        server: &args.server,
    };
    render::answer(out, &json!({"task": task}), &retell)?;
    Ok(())
}

pub(crate) fn cancel(args: &CancelArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let found = client.get(&["v1", "tasks", &args.task])?;
    let agent = shown(&found["agent"]);
    let task = client.call(&agent, "CancelTask", json!({"id": args.task}))?;
    let out = &mut io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{task:#}")?);
    }
    let state = render::state_name(&task["status"]);
    Ok(writeln!(
        out,
        "task {} of {agent} is {state}",
        printable(&args.task)
    )?)
}

pub(crate) fn logs(args: &LogsArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let out = &mut io::stdout().lock();
    let limit = args.lines.clamp(1, 1_000).to_string();
    let mut page = read(&client, &args.agent, &[("limit", &limit)])?;
    loop {
        for record in list(&page, "records") {
            if args.json {
                writeln!(out, "{record}")?;
            } else {
                writeln!(out, "{}", line(record))?;
            }
        }
        out.flush()?;
        if !args.follow {
            return Ok(());
        }
        page = after(&client, &args.agent, &page)?;
    }
}

/// The records after a page, when there are some or the server has waited long enough.
pub(crate) fn after(client: &Client, agent: &str, page: &Value) -> anyhow::Result<Value> {
    let next = page["next"].as_u64().unwrap_or_default().to_string();
    read(
        client,
        agent,
        &[("after", &next), ("wait", WAIT), ("limit", "1000")],
    )
}

fn read(client: &Client, agent: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
    client.get_with(&["v1", "agents", agent, "logs"], query)
}

/// A record in one line: time, level, version, task and what was said.
pub(crate) fn line(record: &Value) -> String {
    let mut line = format!(
        "{} {:5} v{}",
        shown(&record["time"]),
        shown(&record["level"]),
        shown(&record["version"])
    );
    let task = shown(&record["task"]);
    if !task.is_empty() {
        line.push_str(" task ");
        line.push_str(&task);
    }
    line.push_str(": ");
    line.push_str(&shown(&record["message"]));
    for (name, value) in record["fields"].as_object().into_iter().flatten() {
        line.push_str(&format!(" {}={}", printable(name), shown(value)));
    }
    line
}
