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
    a2a::{Call, Expected, deploy, deploy_as},
    connection::Connection,
    module::{Label, Template},
    targets::Targets,
};

/// The skills of the test guest `load`.
pub const ECHO: &str = "echo";
pub const WAIT: &str = "wait";
pub const SPIN: &str = "spin";

/// Uploads at a time: one is written to disk while another is compiled.
const UPLOADERS: usize = 2;

/// How often a long deployment says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// How agents share modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Modules that declare so many agents each.
    PerModule(u8),
    /// One module that declares one agent, and as many names of it.
    Names,
}

impl Layout {
    /// How many modules so many agents take.
    pub fn modules(self, agents: u32) -> u32 {
        match self {
            Layout::PerModule(size) => agents.div_ceil(u32::from(size)),
            Layout::Names => agents.min(1),
        }
    }
}

impl From<u8> for Layout {
    fn from(per_module: u8) -> Self {
        Layout::PerModule(per_module)
    }
}

/// What one uploader has to do, after the other.
enum Task {
    Upload(Label),
    /// Gives the agent of the module with this digest another name.
    Name {
        digest: String,
        name: String,
    },
}

/// Agents by path: a server that is started again has another port.
#[derive(Debug, Clone)]
pub struct Fleet {
    paths: Vec<Uri>,
}

impl Fleet {
    /// Deploys `agents` agents, whose names begin with `kind`.
    pub async fn deploy(
        authority: &str,
        template: &Arc<Template>,
        kind: char,
        agents: u32,
        layout: Layout,
    ) -> anyhow::Result<Self> {
        let mut tasks: Vec<Task> = match layout {
            Layout::PerModule(size) => {
                let labels = labels(kind, agents, size).into_iter();
                labels.map(Task::Upload).collect()
            }
            Layout::Names => names(authority, template, kind, agents).await?,
        };
        let all = tasks.len();
        let done = Arc::new(AtomicUsize::new(0));
        let mut uploaders = JoinSet::new();
        for uploader in (1..=UPLOADERS).rev() {
            let share = tasks.split_off(tasks.len() - tasks.len() / uploader);
            uploaders.spawn(upload(
                authority.to_owned(),
                Arc::clone(template),
                share,
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
                    let done = done.load(Ordering::Relaxed);
                    eprintln!("  {done} of {all} deployments made in {} s", begun.elapsed().as_secs());
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

/// Uploads a module with one agent; what is left to do is to give it so many names.
async fn names(
    authority: &str,
    template: &Template,
    kind: char,
    agents: u32,
) -> anyhow::Result<Vec<Task>> {
    let label = Label {
        agents: 1,
        kind,
        number: 0,
        revision: 0,
    };
    let mut connection = Connection::open(authority).await?;
    let module = deploy(&mut connection, authority, template.module(&label)).await?;
    let task = |number| Task::Name {
        digest: module.digest.clone(),
        name: format!("{kind}-name-{number:07}"),
    };
    Ok((0..agents).map(task).collect())
}

/// Does one task after the other, and answers where the agents are.
async fn upload(
    authority: String,
    template: Arc<Template>,
    tasks: Vec<Task>,
    done: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Uri>> {
    let mut connection = Connection::open(&authority).await?;
    let mut paths = Vec::new();
    for task in tasks {
        let deployed = match task {
            Task::Upload(label) => {
                deploy(&mut connection, &authority, template.module(&label)).await?
            }
            Task::Name { digest, name } => {
                deploy_as(&mut connection, &authority, &digest, &name).await?
            }
        };
        for agent in deployed.agents {
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
