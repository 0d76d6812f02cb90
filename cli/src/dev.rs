//! `dormouse dev`: a platform of its own, the crate on it, and both again after every change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::activity;
use crate::args::{DevArgs, ServerArgs};
use crate::cargo;
use crate::client::{Client, Deployment};
use crate::deploy;
use crate::registry::{list, shown};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long to wait before asking a server for logs again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn dev(args: &DevArgs) -> anyhow::Result<()> {
    if !args.path.join("Cargo.toml").is_file() {
        bail!(
            "{} has no Cargo.toml: name a crate folder, or make one with `dormouse new`",
            args.path.display()
        );
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let data = args
        .data_dir
        .clone()
        .unwrap_or_else(|| folder.path().to_owned());
    let (mut child, url) = serve(args, &data)?;
    let server = ServerArgs {
        server: url,
        token: None,
        ca: None,
    };
    let work = Work {
        args: args.clone(),
        server,
        followed: Arc::default(),
    };
    thread::spawn(move || work.go_on());
    let ended = wait(&mut child);
    // It drains; Ctrl-C in a terminal has reached it already.
    let _gone = rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    );
    child.wait().context("cannot wait for the server")?;
    ended
}

/// Starts the server and waits until it listens.
fn serve(args: &DevArgs, data: &Path) -> anyhow::Result<(Child, String)> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(["serve", "--listen", &args.listen, "--data-dir"])
        .arg(data)
        // What agents log is shown from the server's book, once.
        .env("RUST_LOG", "warn,agent=off")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    match line.trim().strip_prefix("listening on ") {
        Some(url) => Ok((child, url.to_owned())),
        None => {
            child.wait()?;
            bail!("the server did not start, see above; `--listen 127.0.0.1:0` takes a free port");
        }
    }
}

/// Until somebody ends this program, or the server ends by itself.
fn wait(child: &mut Child) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Some(status) = child.try_wait()? {
                bail!("the server has ended: {status}");
            }
        }
    })
}

struct Work {
    args: DevArgs,
    server: ServerArgs,
    /// Agents whose logs are shown.
    followed: Arc<Mutex<BTreeSet<String>>>,
}

impl Work {
    /// Builds and deploys now, and after every change.
    fn go_on(&self) {
        loop {
            let before = files(&self.args.path);
            if let Err(error) = self.deploy() {
                eprintln!("error: {error:#}");
            }
            eprintln!(
                "waiting for changes in {} (Ctrl-C ends)",
                self.args.path.display()
            );
            while files(&self.args.path) == before {
                thread::sleep(LOOK);
            }
            eprintln!("\nchanged");
        }
    }

    fn deploy(&self) -> anyhow::Result<()> {
        let module = cargo::build(&self.args.path, self.args.package.as_deref(), cargo::TARGET)?;
        let bytes =
            std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        let client = Client::new(&self.server)?;
        let size = bytes.len() as u64;
        let answer = client.upload(bytes.into(), &Deployment::default())?;
        deploy::report(&mut io::stdout().lock(), &answer, size, &self.server)?;
        for agent in list(&answer, "agents") {
            self.follow(shown(&agent["name"]));
        }
        Ok(())
    }

    /// Shows what an agent logs, from its first deploy on.
    fn follow(&self, agent: String) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if !followed.insert(agent.clone()) {
            return;
        }
        let server = self.server.clone();
        thread::spawn(move || {
            let mut page = serde_json::json!({"next": 0});
            loop {
                match Client::new(&server)
                    .and_then(|client| activity::after(&client, &agent, &page))
                {
                    Ok(next) => page = next,
                    Err(_no_server) => {
                        thread::sleep(PAUSE);
                        continue;
                    }
                }
                let mut out = io::stdout().lock();
                for record in list(&page, "records") {
                    // Whoever closed stdout does not want to see it.
                    let _closed = writeln!(out, "{agent} {}", activity::line(record));
                }
            }
        });
    }
}

/// Files of a crate and when they changed, without what is built and what is hidden.
fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                folders.push(entry.path());
            } else if let Ok(changed) = about.modified() {
                found.insert(entry.path(), changed);
            }
        }
    }
    // cargo writes it.
    found.remove(&folder.join("Cargo.lock"));
    found
}

#[cfg(test)]
mod tests {
    use super::files;
    use std::fs;

    #[test]
    fn what_is_built_is_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for inner in ["src", "target/debug", ".git"] {
            fs::create_dir_all(path.join(inner)).expect("a folder");
        }
        fs::write(path.join("src/lib.rs"), "one").expect("a file");
        let before = files(path);
        for other in ["target/debug/a", ".git/b", "Cargo.lock"] {
            fs::write(path.join(other), "two").expect("a file");
        }
        assert_eq!(files(path), before);
        fs::write(path.join("src/other.rs"), "three").expect("a file");
        assert_ne!(files(path), before);
    }
}
