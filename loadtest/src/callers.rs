//! Clients that call or upload over and over, in a program of their own: what they do with the answers must not hold up
//! those that measure, as it would on threads that they share.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use hyper::Uri;
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    task::JoinSet,
};

use crate::{
    a2a::{Call, Expected, deploy},
    connection::{Connection, Fault},
    targets::Targets,
};

/// What they do.
#[derive(Debug, Clone, Args)]
pub struct Callers {
    /// Host and port of the server
    #[arg(long)]
    pub authority: String,
    #[arg(long)]
    pub clients: usize,
    /// Of the agent that they call
    #[arg(long, requires = "skill", required_unless_present = "module")]
    pub path: Option<String>,
    #[arg(long)]
    pub skill: Option<String>,
    /// What they upload instead
    #[arg(long)]
    pub module: Option<PathBuf>,
}

impl Callers {
    /// Calls of an agent's skill.
    pub fn of_skill(authority: &str, clients: usize, path: &Uri, skill: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            clients,
            path: Some(path.to_string()),
            skill: Some(skill.to_owned()),
            module: None,
        }
    }

    /// Uploads of a module, which is refused every time.
    pub fn of_uploads(authority: &str, clients: usize, module: &Path) -> Self {
        Self {
            authority: authority.to_owned(),
            clients,
            path: None,
            skill: None,
            module: Some(module.to_owned()),
        }
    }

    /// Starts them; they end when the child is dropped.
    ///
    /// # Errors
    /// When this program cannot be started a second time.
    pub fn start(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["callers", "--authority", &self.authority, "--clients"]);
        command.arg(self.clients.to_string());
        if let (Some(path), Some(skill)) = (&self.path, &self.skill) {
            command.args(["--path", path, "--skill", skill]);
        }
        if let Some(module) = &self.module {
            command.arg("--module").arg(module);
        }
        let child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn();
        child.context("cannot start the program that calls over and over")
    }

    /// Does so, and ends when stdin does: so they never outlive the program that started them.
    ///
    /// # Errors
    /// When there is nothing that can be called, or the module cannot be read.
    pub fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let _calling = match &self.module {
                Some(module) => self.upload(module)?,
                None => self.call()?,
            };
            // Whether stdin ends or fails, nobody is left to call for.
            let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
            Ok(())
        })
    }

    /// That a call fails, or is never answered, may be what it is for.
    fn call(&self) -> anyhow::Result<JoinSet<()>> {
        let path = self.path.as_deref().context("there is no path to call")?;
        let only = Targets::in_turn(vec![path.parse()?]);
        let skill = self.skill.as_deref();
        let call = Call::spread(&self.authority, only, skill, Expected::Answer)?;
        let call = Arc::new(call);
        let mut calling = JoinSet::new();
        for _ in 0..self.clients {
            let call = Arc::clone(&call);
            calling.spawn(async move {
                while let Ok(mut connection) = call.connect().await {
                    let mut is_good = true;
                    while is_good {
                        let made = call.make(&mut connection).await;
                        is_good = matches!(made, Ok(()) | Err(Fault::Answer(_)));
                    }
                }
            });
        }
        Ok(calling)
    }

    fn upload(&self, module: &Path) -> anyhow::Result<JoinSet<()>> {
        let bytes = std::fs::read(module);
        let bytes = bytes.with_context(|| format!("cannot read {}", module.display()))?;
        let bytes = Bytes::from(bytes);
        let mut uploading = JoinSet::new();
        for _ in 0..self.clients {
            let (authority, bytes) = (self.authority.clone(), bytes.clone());
            uploading.spawn(async move {
                while let Ok(mut connection) = Connection::open(&authority).await {
                    while deploy(&mut connection, &authority, bytes.clone())
                        .await
                        .is_ok()
                    {}
                }
            });
        }
        Ok(uploading)
    }
}
