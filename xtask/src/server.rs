//! A running platform, as a child process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

const READY: &str = "listening on http://";
/// Lines of the log that are shown when the server does not start.
const LAST_LINES: usize = 10;

/// Drains and ends when dropped.
pub(crate) struct Server {
    child: Child,
    /// Kept so that the server can go on printing.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    pub(crate) log: PathBuf,
}

impl Server {
    /// Starts `dormouse serve` with its data and log in `folder`, and waits until it listens.
    pub(crate) fn start(
        dormouse: &Path,
        folder: &Path,
        listen: SocketAddr,
    ) -> anyhow::Result<Self> {
        Self::start_with(dormouse, folder, listen, &[])
    }

    /// The same with more flags for `serve`.
    pub(crate) fn start_with(
        dormouse: &Path,
        folder: &Path,
        listen: SocketAddr,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join("server.log");
        let mut child = Command::new(dormouse)
            .args(["serve", "--listen", &listen.to_string(), "--data-dir"])
            .arg(folder.join("data"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot run {}", dormouse.display()))?;
        let mut stdout =
            BufReader::new(child.stdout.take().expect("stdout was asked to be a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        match line.trim_end().strip_prefix(READY).map(str::parse) {
            Some(Ok(address)) => Ok(Self {
                child,
                _stdout: stdout,
                address,
                log,
            }),
            _ => {
                child.kill()?;
                child.wait()?;
                bail!(
                    "the platform did not start on {listen} (if the port is in use, try --listen 127.0.0.1:0); it says:\n{}",
                    last_lines(&log)
                )
            }
        }
    }

    /// Waits until somebody ends the server.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!(
                "the platform ended with {status}; it says:\n{}",
                last_lines(&self.log)
            );
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that was not waited for yet keeps its process id, so the signal can hit nobody else.
        if let Ok(None) = self.child.try_wait() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid
                && kill_process(pid, Signal::TERM).is_ok()
            {
                let _ = self.child.wait();
            }
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
