//! Many agents: deploying them, and calling them wherever the server is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use hyper::Uri;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use crate::{
    a2a::{Call, Expected, deploy},
    connection::Connection,
    module::{Label, Template},
    targets::Targets,
};

/// The skills of the test guest `load`.
pub const ECHO: &str = "echo";
pub const WAIT: &str = "wait";
pub const SPIN: &str = "spin";

/// Uploads at a time: one is written to disk while another is compiled.
const UPLOADERS: u32 = 2;

/// How often a long deployment says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Agents by path: a server that is started again has another port.
#[derive(Debug, Clone)]
pub struct Fleet {
    paths: Vec<Uri>,
}

impl Fleet {
    /// Deploys `agents` agents in modules of `per_module`, whose names begin with `kind`.
    pub async fn deploy(
        authority: &str,
        template: &Arc<Template>,
        kind: char,
        agents: u32,
        per_module: u8,
    ) -> anyhow::Result<Self> {
        let modules = agents.div_ceil(u32::from(per_module));
        let label = move |number: u32| Label {
            agents: u8::try_from(agents - number * u32::from(per_module))
                .map_or(per_module, |left| left.min(per_module)),
            kind,
            number,
            revision: 0,
        };
        let done = Arc::new(AtomicU32::new(0));
        let mut uploaders = JoinSet::new();
        for first in 0..UPLOADERS.min(modules) {
            let (template, done) = (Arc::clone(template), Arc::clone(&done));
            let authority = authority.to_owned();
            uploaders.spawn(async move {
                let mut connection = Connection::open(&authority).await?;
                let mut paths = Vec::new();
                for number in (first..modules).step_by(UPLOADERS as usize) {
                    let module = template.module(&label(number));
                    let agents = deploy(&mut connection, &authority, module).await?;
                    for agent in agents {
                        paths.push((number, agent.path()?));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(paths)
            });
        }
        let mut paths = Vec::with_capacity(agents as usize);
        let begun = Instant::now();
        let mut progress = interval(PROGRESS);
        progress.tick().await;
        while !uploaders.is_empty() {
            tokio::select! {
                Some(joined) = uploaders.join_next() => paths.extend(joined??),
                _ = progress.tick() => {
                    let done = done.load(Ordering::Relaxed);
                    let seconds = begun.elapsed().as_secs();
                    eprintln!("  {done} of {modules} modules deployed in {seconds} s");
                }
            }
        }
        ensure!(
            paths.len() == agents as usize,
            "{} agents were deployed instead of {agents}",
            paths.len()
        );
        // In the order of the labels, so that the same agents are popular in every run.
        paths.sort_by(|a, b| (a.0, a.1.path()).cmp(&(b.0, b.1.path())));
        let paths = paths.into_iter().map(|(_, path)| path).collect();
        Ok(Fleet { paths })
    }

    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The agents' paths.
    pub fn paths(&self) -> Vec<Uri> {
        self.paths.clone()
    }

    /// Every `step`-th agent, so that neighbours in a module are apart.
    pub fn sample(&self, step: usize) -> Vec<Uri> {
        self.paths.iter().step_by(step.max(1)).cloned().collect()
    }
}

/// Calls to the skill `echo`, which answers with a message.
pub fn echo(authority: &str, targets: Targets) -> anyhow::Result<Arc<Call>> {
    Call::spread(authority, targets, Some(ECHO), Expected::Answer).map(Arc::new)
}
