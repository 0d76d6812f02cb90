//! The demo: the platform with the three examples, answering.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::guests;
use crate::metrics::Starts;
use crate::server::Server;
use crate::setup;
use crate::step::{self, cargo, root};

const EXAMPLES: [&str; 3] = ["csv-stats", "trip-planner", "report-writer"];

const CITIES: &str = "city,people,founded\nOslo,709000,1040\nBergen,291000,1070\nTromsø,78000,\n";

const NOTES: &str =
    "Costs: rent went up\nPeople: two joined\nCosts: power went down\nPlans: a second office";

pub(crate) fn demo(listen: SocketAddr, exit: bool) -> anyhow::Result<()> {
    setup::setup()?;
    step::run(
        "build dormouse (takes minutes the first time)",
        &mut cargo(root(), &["build", "--release", "--package", "dormouse"]),
    )?;
    guests::build("examples")?;
    let target = step::target_dir(root())?;
    let folder = target.join("demo");
    let dormouse = target.join("release").join("dormouse");
    let mut server = Server::start(&dormouse, &folder, listen)?;
    println!(
        "\nserving on http://{} (log: {})",
        server.address,
        server.log.display()
    );
    let demo = Demo {
        dormouse,
        folder,
        server: server.address,
    };
    demo.deploy()?;
    demo.talk()?;
    if exit {
        return Ok(());
    }
    demo.say_what_is_next();
    server.wait()
}

struct Demo {
    dormouse: PathBuf,
    folder: PathBuf,
    server: SocketAddr,
}

impl Demo {
    fn deploy(&self) -> anyhow::Result<()> {
        for example in EXAMPLES {
            let path = root().join("examples").join(example);
            println!("\n$ dormouse deploy examples/{example}");
            let status = self.dormouse(&["deploy"]).arg(path).status()?;
            if !status.success() {
                bail!("{example} could not be deployed");
            }
        }
        Ok(())
    }

    fn talk(&self) -> anyhow::Result<()> {
        let cities = self.folder.join("cities.csv");
        fs::write(&cities, CITIES)?;
        let cities = cities
            .to_str()
            .context("the demo's folder has a name that is not UTF-8")?;
        self.send(&["csv-stats", "Statistics, please", "--file", cities])?;
        // Two turns of one task: the second finds the instance of the first.
        let task = self.ask(&["trip-planner", "3 days for 900 EUR"])?;
        self.send(&["trip-planner", "Oslo", "--task", &task])?;
        self.send(&["report-writer", NOTES, "--stream"])
    }

    /// Sends, and shows the answer with how the agent was started.
    fn send(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.announce(arguments);
        let before = Starts::read(self.server)?;
        let status = self.dormouse(&["send"]).args(arguments).status()?;
        if !status.success() {
            bail!("{} did not answer", arguments[0]);
        }
        self.tell_starts(&before)
    }

    /// Sends, shows the question that comes back, and returns the task that waits for its answer.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.announce(arguments);
        let before = Starts::read(self.server)?;
        let output = self
            .dormouse(&["send", "--json"])
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("there is no answer")?;
        let task = &answer["task"];
        let (Some(id), Some(question)) = (
            task["id"].as_str(),
            task["status"]["message"]["parts"][0]["text"].as_str(),
        ) else {
            bail!(
                "{} should have asked back, but answered {answer}",
                arguments[0]
            );
        };
        println!("task {id} waits: {question}");
        self.tell_starts(&before)?;
        Ok(id.to_owned())
    }

    fn announce(&self, arguments: &[&str]) {
        let quote = |argument: &&str| {
            if argument.contains('\n') {
                format!("$'{}'", argument.replace('\n', "\\n"))
            } else if argument.contains(' ') {
                format!("{argument:?}")
            } else {
                (*argument).to_owned()
            }
        };
        let line: Vec<String> = arguments.iter().map(quote).collect();
        println!("\n$ dormouse send {}", line.join(" "));
    }

    fn tell_starts(&self, before: &Starts) -> anyhow::Result<()> {
        for start in Starts::read(self.server)?.since(before) {
            println!("    [{start}]");
        }
        Ok(())
    }

    fn dormouse(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.dormouse);
        command
            .args(arguments)
            .env("DORMOUSE_SERVER", format!("http://{}", self.server));
        command
    }

    fn say_what_is_next(&self) {
        let server = self.server;
        let dormouse = self.dormouse.display();
        println!(
            "\n\
             The platform goes on serving; Ctrl-C ends it. In another terminal:\n\n  \
             alias dormouse={dormouse}\n  \
             export DORMOUSE_SERVER=http://{server}\n  \
             dormouse agents\n  \
             dormouse send trip-planner \"I want to go to Lisbon\"\n  \
             dormouse new greeter && dormouse deploy greeter && dormouse send greeter Hello\n  \
             curl http://{server}/agents/csv-stats/.well-known/agent-card.json\n  \
             curl -s http://{server}/metrics | grep dormouse_start"
        );
    }
}
