//! The servers under test, as child processes.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    options::Plan,
    procfs::{self, Resident},
};

/// With a hundred thousand agents a start takes a while.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const READY: &str = "listening on http://";

/// A running server; if it is dropped without `stop`, it is killed.
pub struct Server {
    child: Child,
    pid: u32,
    /// Kept so that the server can go on printing.
    _stdout: BufReader<ChildStdout>,
    log: PathBuf,
    authority: String,
}

impl Server {
    /// Starts the platform with its data in `folder/name`, and waits until it listens.
    pub async fn start(
        plan: &Plan,
        name: &str,
        flags: &[&str],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(&plan.dormouse);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join(name))
            .args(flags)
            // Tokio reads this where a program does not set the number itself: both servers get the same.
            .env("TOKIO_WORKER_THREADS", plan.server_threads.to_string());
        Server::spawn(command, folder.join(format!("{name}.log"))).await
    }

    /// Starts the bare echo.
    pub async fn start_baseline(plan: &Plan, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["baseline", "--worker-threads"]);
        command.arg(plan.server_threads.to_string());
        Server::spawn(command, folder.join("baseline.log")).await
    }

    async fn spawn(mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let program = PathBuf::from(command.as_std().get_program());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("the server ended at once")?;
        let mut stdout = BufReader::new(child.stdout.take().context("the server has no stdout")?);
        let mut line = String::new();
        let mut bounded = (&mut stdout).take(1024);
        timeout(START_LIMIT, bounded.read_line(&mut line))
            .await
            .with_context(|| {
                format!(
                    "{} was not ready in {START_LIMIT:?}{}",
                    program.display(),
                    last_words(&log)
                )
            })??;
        let Some(authority) = line.trim_end().strip_prefix(READY) else {
            bail!(
                "{} should print `{READY}ADDR:PORT`, but printed {line:?}{}",
                program.display(),
                last_words(&log)
            );
        };
        Ok(Server {
            authority: authority.trim_end_matches('/').to_owned(),
            child,
            pid,
            _stdout: stdout,
            log,
        })
    }

    /// `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        procfs::cpu_time(self.pid)
            .with_context(|| format!("the server is gone{}", last_words(&self.log)))
    }

    pub fn resident(&self) -> anyhow::Result<Resident> {
        procfs::resident(self.pid)
            .with_context(|| format!("the server is gone{}", last_words(&self.log)))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks the server to drain and end, and kills it when it does not.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // The child is not yet waited for, so its id cannot belong to another process.
        if self.child.id().is_some()
            && let Some(pid) = Pid::from_raw(i32::try_from(self.pid)?)
        {
            kill_process(pid, Signal::TERM)?;
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            eprintln!("the server did not end within {STOP_LIMIT:?} of SIGTERM; it is killed");
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// The end of a server's log, to be put behind an error.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(10)..];
    if last.is_empty() {
        return String::new();
    }
    format!("; its log ends with:\n  {}", last.join("\n  "))
}
