//! A scheduler over an in-memory store, and agents in it.

use dormouse_scheduler::{
    CallLimits, CallReport, CallRequest, DeployError, Entry, Prepared, Scheduler, SchedulerConfig,
    VersionRef,
};
use dormouse_services::egress::Egress;
use dormouse_services::model::{AgentDefinition, Isolation, Message, Part, Role, Task};
use dormouse_services::{NewTask, Services, Settled, TaskEngine, TaskLimits, TaskScope};
use dormouse_store::Store;
use prometheus::{IntCounterVec, Registry};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Platform {
    pub(crate) scheduler: Scheduler,
    pub(crate) tasks: TaskEngine,
    pub(crate) store: Store,
    pub(crate) metrics: Registry,
    denied: IntCounterVec,
    egress: IntCounterVec,
    pub(crate) dir: tempfile::TempDir,
}

/// One deployed agent.
pub(crate) struct Deployed {
    pub(crate) definition: AgentDefinition,
    pub(crate) version: Arc<VersionRef>,
}

impl Platform {
    pub(crate) async fn new(change: impl FnOnce(&mut SchedulerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(dir, change).await
    }

    pub(crate) async fn at(
        dir: tempfile::TempDir,
        change: impl FnOnce(&mut SchedulerConfig),
    ) -> Self {
        Self::with(dir, change, Services::default()).await
    }

    pub(crate) async fn with_services(services: Services) -> Self {
        Self::with(tempfile::tempdir().unwrap(), |_| {}, services).await
    }

    pub(crate) async fn with_egress(egress: Egress, services: Services) -> Self {
        let egress = Arc::new(egress);
        let dir = tempfile::tempdir().unwrap();
        Self::with(dir, |config| config.egress = egress, services).await
    }

    async fn with(
        dir: tempfile::TempDir,
        change: impl FnOnce(&mut SchedulerConfig),
        services: Services,
    ) -> Self {
        let denied = services.denied.clone();
        let store = Store::in_memory();
        let mut config = SchedulerConfig::new(dir.path().join("code"));
        config.max_instances = 32;
        config.limits.deadline = Duration::from_secs(20);
        change(&mut config);
        let egress = config.egress.outcomes();
        let metrics = Registry::new();
        let scheduler = Scheduler::new(config, store.modules.clone(), &metrics).unwrap();
        let (tasks, _) =
            TaskEngine::open_with(store.tasks.clone(), TaskLimits::default(), services)
                .await
                .unwrap();
        Self {
            scheduler,
            tasks,
            store,
            metrics,
            denied,
            egress,
            dir,
        }
    }

    pub(crate) async fn prepare(&self, wasm: Vec<u8>) -> Result<Prepared, DeployError> {
        self.scheduler.prepare(wasm.into()).await
    }

    /// Deploys a guest that declares one agent.
    pub(crate) async fn deploy(&self, guest: &str) -> Deployed {
        self.deploy_wasm(guest_wasm(guest)).await
    }

    pub(crate) async fn deploy_wasm(&self, wasm: Vec<u8>) -> Deployed {
        self.store.modules.put(&wasm).unwrap();
        let prepared = self.prepare(wasm).await.unwrap();
        let definition = prepared.definitions[0].clone();
        let version = Arc::new(VersionRef {
            agent: definition.name.clone(),
            declared: definition.name.clone(),
            number: 1,
            digest: prepared.digest,
            isolation: definition.isolation,
            concurrency: definition.concurrency,
            grants: definition.needs.iter().cloned().collect(),
            limits: Arc::clone(self.scheduler.limits()),
            config: Arc::default(),
            usage: self.scheduler.usage(&definition.name),
        });
        Deployed {
            definition,
            version,
        }
    }

    pub(crate) async fn call(
        &self,
        agent: &Deployed,
        skill: &str,
        parts: Vec<Part>,
    ) -> (CallReport, Settled) {
        self.call_as(agent, skill, parts, "anonymous").await
    }

    pub(crate) async fn call_as(
        &self,
        agent: &Deployed,
        skill: &str,
        parts: Vec<Part>,
        principal: &str,
    ) -> (CallReport, Settled) {
        let message = Message::new(Role::User, parts);
        self.send(agent, skill, message, principal).await
    }

    /// Runs a whole task: begin, call, finish or fail.
    pub(crate) async fn send(
        &self,
        agent: &Deployed,
        skill: &str,
        message: Message,
        principal: &str,
    ) -> (CallReport, Settled) {
        let task = Arc::new(self.tasks.begin(NewTask {
            scope: TaskScope {
                agent: agent.version.agent.clone(),
                principal: principal.to_owned(),
            },
            version: 1,
            skill: skill.to_owned(),
            message: message.clone(),
        }));
        let request = CallRequest {
            version: Arc::clone(&agent.version),
            entry: Entry::Request,
            skill: skill.to_owned(),
            message,
            metadata: None,
            principal: principal.to_owned(),
            extensions: Vec::new(),
            task: Arc::clone(&task),
        };
        let mut report = self.scheduler.call(request).await;
        let result = std::mem::replace(
            &mut report.result,
            Ok(dormouse_services::model::Outcome::Message(
                dormouse_services::model::AgentMessage::text("taken"),
            )),
        );
        let settled = match result {
            Ok(outcome) => task.finish(outcome).await.unwrap(),
            Err(failure) => {
                Settled::Task(task.fail(failure.class, &failure.sentence).await.unwrap())
            }
        };
        (report, settled)
    }

    /// How often a service was denied.
    pub(crate) fn services_denied(&self, service: &str) -> u64 {
        self.denied.with_label_values(&[service]).get()
    }

    /// How many HTTP requests of agents came to this.
    pub(crate) fn egress_outcome(&self, outcome: &str) -> f64 {
        self.egress.with_label_values(&[outcome]).get() as f64
    }

    /// The value of a metric with exactly these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.metrics.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        family
            .get_metric()
            .iter()
            .filter(|metric| {
                labels.iter().all(|(key, value)| {
                    metric
                        .get_label()
                        .iter()
                        .any(|l| l.name() == *key && l.value() == *value)
                })
            })
            .map(|metric| {
                metric.get_counter().get_value()
                    + metric.get_gauge().get_value()
                    + metric.get_histogram().get_sample_count() as f64
            })
            .sum()
    }

    pub(crate) fn starts(&self, temperature: &str) -> f64 {
        self.metric("dormouse_start_seconds", &[("temperature", temperature)])
    }

    /// Waits, by looking, until nothing lives.
    pub(crate) async fn until_empty(&self) {
        tokio::time::timeout(Duration::from_secs(20), async {
            while self.metric("dormouse_instances", &[]) != 0.0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("instances are evicted");
    }
}

impl Deployed {
    /// The same version under other limits.
    pub(crate) fn limited(&self, change: impl FnOnce(&mut CallLimits)) -> Self {
        let mut limits = (*self.version.limits).clone();
        change(&mut limits);
        let version = VersionRef {
            limits: Arc::new(limits),
            ..(*self.version).clone()
        };
        Self {
            definition: self.definition.clone(),
            version: Arc::new(version),
        }
    }

    /// The same with another number of calls per instance.
    pub(crate) fn with_concurrency(&self, concurrency: u32) -> Self {
        let version = VersionRef {
            concurrency,
            ..(*self.version).clone()
        };
        Self {
            definition: self.definition.clone(),
            version: Arc::new(version),
        }
    }

    pub(crate) fn isolated(&self, isolation: Isolation) -> Self {
        let version = VersionRef {
            isolation,
            ..(*self.version).clone()
        };
        Self {
            definition: self.definition.clone(),
            version: Arc::new(version),
        }
    }
}

pub(crate) fn text(text: &str) -> Vec<Part> {
    vec![Part::text(text)]
}

pub(crate) fn data(value: serde_json::Value) -> Vec<Part> {
    vec![Part::data(value)]
}

/// The text of a plain answer or of a task's last status.
pub(crate) fn answer(settled: &Settled) -> String {
    let message = match settled {
        Settled::Message(message) => message,
        Settled::Task(task) => task.status.message.as_ref().unwrap(),
    };
    message.text().unwrap_or_default().to_owned()
}

pub(crate) fn task(settled: Settled) -> Task {
    match settled {
        Settled::Task(task) => task,
        Settled::Message(message) => panic!("a task, not a message: {message:?}"),
    }
}

/// A guest's artifact.
pub(crate) fn guest_wasm(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../guests/target/wasm32-wasip1/release")
        .join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
}
