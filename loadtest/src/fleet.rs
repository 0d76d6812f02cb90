//! Many agents: deploying them, and calling them wherever the server is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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
/// These two fail every call.
pub const BOMB: &str = "bomb";
pub const FLOOD: &str = "flood";

/// Uploads at a time: one is written to disk while another is compiled.
const UPLOADERS: usize = 2;

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
        let labels = labels(kind, agents, per_module);
        let done = Arc::new(AtomicUsize::new(0));
        let mut uploaders = JoinSet::new();
        for first in 0..UPLOADERS.min(labels.len()) {
            let share = labels.iter().skip(first).step_by(UPLOADERS).copied();
            uploaders.spawn(upload(
                authority.to_owned(),
                Arc::clone(template),
                share.collect(),
                Arc::clone(&done),
            ));
        }
        let mut paths = Vec::with_capacity(agents as usize);
        let begun = Instant::now();
        let mut progress = interval(PROGRESS);
        progress.tick().await;
        while !uploaders.is_empty() {
            tokio::select! {
                Some(joined) = uploaders.join_next() => paths.extend(joined??),
                _ = progress.tick() => {
                    let (done, all) = (done.load(Ordering::Relaxed), labels.len());
                    eprintln!("  {done} of {all} modules deployed in {} s", begun.elapsed().as_secs());
                }
            }
        }
        let deployed = paths.len();
        ensure!(
            deployed == agents as usize,
            "{deployed} agents were deployed instead of {agents}"
        );
        // In the order of their names, so that the same agents are popular in every run.
        paths.sort_by(|a, b| a.path().cmp(b.path()));
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

/// The labels of as many modules as it takes; the last one may have fewer agents.
fn labels(kind: char, agents: u32, per_module: u8) -> Vec<Label> {
    let size = usize::from(per_module);
    let label = |(number, left): (u32, u32)| Label {
        agents: u8::try_from(left).map_or(per_module, |left| left.min(per_module)),
        kind,
        number,
        revision: 0,
    };
    let left = (1..=agents).rev().step_by(size);
    (0..).zip(left).map(label).collect()
}

/// Uploads one module after the other, and answers where their agents are.
async fn upload(
    authority: String,
    template: Arc<Template>,
    labels: Vec<Label>,
    done: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Uri>> {
    let mut connection = Connection::open(&authority).await?;
    let mut paths = Vec::new();
    for label in labels {
        let agents = deploy(&mut connection, &authority, template.module(&label)).await?;
        for agent in agents {
            paths.push(agent.path()?);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(paths)
}

/// Calls to the skill `echo`, which answers with a message.
pub fn echo(authority: &str, targets: Targets) -> anyhow::Result<Arc<Call>> {
    Call::spread(authority, targets, Some(ECHO), Expected::Answer).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_module_has_what_is_left() {
        let sizes = |agents, per_module| -> Vec<u8> {
            labels('x', agents, per_module)
                .iter()
                .map(|label| label.agents)
                .collect()
        };
        assert_eq!(sizes(20, 8), [8, 8, 4]);
        assert_eq!(sizes(16, 8), [8, 8]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
        assert_eq!(sizes(1_000, 64).len(), 16);
    }
}
