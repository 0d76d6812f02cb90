//! A task engine over a store that can be told to wait or to refuse.

use dormouse_services::model::{
    AgentArtifact, AgentMessage, Message, Outcome, Part, Role, StreamResponse, Task, TaskState,
};
use dormouse_services::{
    Call, Continuation, NewTask, Settled, TaskEngine, TaskError, TaskEvent, TaskFilter, TaskLimits,
    TaskReader, TaskScope,
};
use dormouse_store::{
    Done, KeptRecord, Record, Store, StoreError, TaskId, TaskPage, TaskQuery, TaskStore, TaskWrite,
};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// More than any of these tests needs; a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine in memory, and the gate before its store.
pub(crate) struct World {
    pub(crate) engine: TaskEngine,
    pub(crate) gate: Arc<Gate>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(TaskLimits::default()).await
    }

    pub(crate) async fn with(limits: TaskLimits) -> Self {
        let gate = Gate::before(Store::in_memory().tasks);
        let (engine, _) = TaskEngine::open(gate.clone(), limits).await.unwrap();
        Self { engine, gate }
    }

    pub(crate) fn begin(&self, text: &str) -> Call {
        self.engine.begin(new_task(&ann(), user(text)))
    }

    /// A call whose task is known.
    pub(crate) async fn running(&self) -> Call {
        let call = self.begin("go");
        call.accept().await.unwrap();
        call
    }

    /// A task that waits for input; its id.
    pub(crate) async fn waiting(&self) -> String {
        let call = self.begin("go");
        finish(&call, asks("which?")).await;
        call.task_id()
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Task, TaskError> {
        soon(self.engine.get(&ann(), id)).await
    }

    pub(crate) async fn state_of(&self, id: &str) -> TaskState {
        self.get(id).await.unwrap().status.state
    }

    /// Gives a waiting task its input.
    pub(crate) async fn resume(&self, id: &str, text: &str) -> Result<Continuation, TaskError> {
        soon(self.engine.resume(&ann(), id, user(text))).await
    }

    pub(crate) async fn subscribe(&self, id: &str) -> TaskReader {
        soon(self.engine.subscribe(&ann(), id)).await.unwrap().2
    }

    /// Whether the scope has no task, and the store none of anybody.
    pub(crate) async fn is_empty(&self) -> bool {
        let filter = TaskFilter {
            page_size: 100,
            ..TaskFilter::default()
        };
        let page = self.engine.list(&ann(), filter).await.unwrap();
        page.total == 0 && page.tasks.is_empty() && self.gate.counts().is_empty()
    }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("what is awaited happens")
}

pub(crate) fn ann() -> TaskScope {
    scope("calc", "ann")
}

pub(crate) fn scope(agent: &str, principal: &str) -> TaskScope {
    TaskScope {
        agent: agent.to_owned(),
        principal: principal.to_owned(),
    }
}

pub(crate) fn new_task(scope: &TaskScope, message: Message) -> NewTask {
    NewTask {
        scope: scope.clone(),
        version: 3,
        skill: "add".to_owned(),
        message,
    }
}

pub(crate) fn user(text: &str) -> Message {
    Message::new(Role::User, vec![Part::text(text)])
}

pub(crate) fn user_in(context: &str) -> Message {
    Message {
        context_id: Some(context.to_owned()),
        ..user("go")
    }
}

pub(crate) fn says(text: &str) -> AgentMessage {
    AgentMessage::text(text)
}

pub(crate) fn artifact(id: &str, text: &str) -> AgentArtifact {
    AgentArtifact {
        id: Some(id.to_owned()),
        name: None,
        description: None,
        parts: vec![Part::text(text)],
        metadata: None,
    }
}

pub(crate) fn done() -> Outcome {
    Outcome::Completed {
        message: Some(says("done")),
        artifacts: Vec::new(),
    }
}

pub(crate) fn asks(text: &str) -> Outcome {
    Outcome::InputRequired {
        message: says(text),
        slot: Value::from(7),
    }
}

/// Finishes with an outcome that leaves a task.
pub(crate) async fn finish(call: &Call, outcome: Outcome) -> Task {
    match soon(call.finish(outcome)).await.unwrap() {
        Settled::Task(task) => task,
        Settled::Message(message) => panic!("an answer without a task: {message:?}"),
    }
}

/// The texts of a message.
pub(crate) fn text(message: &Message) -> String {
    message.parts.iter().filter_map(Part::as_text).collect()
}

/// The texts of a task's history, oldest first.
pub(crate) fn history(task: &Task) -> Vec<String> {
    task.history.iter().flatten().map(text).collect()
}

/// The class in a failed status, and its sentence.
pub(crate) fn failure(task: &Task) -> (String, String) {
    assert_eq!(task.status.state, TaskState::Failed);
    let message = task.status.message.as_ref().unwrap();
    let class = &message.metadata.as_ref().unwrap()["errorClass"];
    (class.as_str().unwrap().to_owned(), text(message))
}

pub(crate) fn parse(event: &TaskEvent) -> StreamResponse {
    serde_json::from_slice(&event.json).unwrap()
}

/// An event in a word or two: `working: text`, `artifact id: text`.
pub(crate) fn label(event: &TaskEvent) -> String {
    match parse(event) {
        StreamResponse::StatusUpdate(event) => {
            let word = format!("{:?}", event.status.state).to_lowercase();
            match event.status.message {
                Some(message) => format!("{word}: {}", text(&message)),
                None => word,
            }
        }
        StreamResponse::ArtifactUpdate(event) => {
            let texts: String = event
                .artifact
                .parts
                .iter()
                .filter_map(Part::as_text)
                .collect();
            format!("artifact {}: {texts}", event.artifact.artifact_id)
        }
        other => panic!("not an event of a task's log: {other:?}"),
    }
}

/// All that a reader still gets.
pub(crate) async fn rest(reader: &mut TaskReader) -> Vec<TaskEvent> {
    let mut events = Vec::new();
    while let Some(event) = soon(reader.next()).await.unwrap() {
        events.push(event);
    }
    events
}

pub(crate) async fn labels(reader: &mut TaskReader) -> Vec<String> {
    rest(reader).await.iter().map(label).collect()
}

pub(crate) fn bytes(events: &[TaskEvent]) -> Vec<(u64, &[u8])> {
    events
        .iter()
        .map(|event| (event.seq, &*event.json))
        .collect()
}

pub(crate) fn is_busy(error: &TaskError) -> bool {
    matches!(error, TaskError::Store(cause) if matches!(**cause, StoreError::Busy))
}

pub(crate) fn damaged() -> StoreError {
    StoreError::Corrupt {
        what: "a task's event".to_owned(),
    }
}

/// A store behind a gate that counts what comes, holds it back, or turns it away.
pub(crate) struct Gate {
    store: Arc<dyn TaskStore>,
    at: Mutex<Guard>,
}

#[derive(Default)]
struct Guard {
    writes: usize,
    refusing: bool,
    holding: bool,
    held: VecDeque<(TaskWrite, Done)>,
    damaged: Option<TaskId>,
    found: usize,
}

impl Gate {
    pub(crate) fn before(store: Arc<dyn TaskStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            at: Mutex::default(),
        })
    }

    /// Writes that have come so far, refused ones too.
    pub(crate) fn writes(&self) -> usize {
        self.at.lock().unwrap().writes
    }

    /// How often somebody has told of damage.
    pub(crate) fn found(&self) -> usize {
        self.at.lock().unwrap().found
    }

    /// Turns writes away as a store does whose queue is full.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.at.lock().unwrap().refusing = refusing;
    }

    /// Keeps writes on their way until they are let go.
    pub(crate) fn hold(&self) {
        self.at.lock().unwrap().holding = true;
    }

    /// Lets the oldest held write go on.
    pub(crate) fn let_one_go(&self) {
        let (write, done) = self.at.lock().unwrap().held.pop_front().unwrap();
        self.store.commit(write, done);
    }

    /// Loses the oldest held write, as a failing disk does.
    pub(crate) fn lose_one(&self) {
        let (_, done) = self.at.lock().unwrap().held.pop_front().unwrap();
        done(Err(damaged()));
    }

    /// Lets everything go on, now and later.
    pub(crate) fn open(&self) {
        let held = {
            let mut at = self.at.lock().unwrap();
            at.holding = false;
            std::mem::take(&mut at.held)
        };
        for (write, done) in held {
            self.store.commit(write, done);
        }
    }

    /// From now on the events of this task cannot be read.
    pub(crate) fn damage(&self, id: &str) {
        self.at.lock().unwrap().damaged = Some(id.parse().unwrap());
    }
}

impl TaskStore for Gate {
    fn commit(&self, write: TaskWrite, done: Done) {
        let mut at = self.at.lock().unwrap();
        at.writes += 1;
        if at.refusing {
            drop(at);
            done(Err(StoreError::Busy));
        } else if at.holding {
            at.held.push_back((write, done));
        } else {
            drop(at);
            self.store.commit(write, done);
        }
    }

    fn head(&self, task: TaskId) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.head(task)
    }

    fn events(
        &self,
        task: TaskId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        if self.at.lock().unwrap().damaged == Some(task) {
            return Err(damaged());
        }
        self.store.events(task, from, limit)
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.state(key)
    }

    fn keep(&self, records: Vec<Record>, done: Done) {
        self.store.keep(records, done);
    }

    fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeptRecord>, StoreError> {
        self.store.records(prefix, after, limit)
    }

    fn list(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        self.store.list(query)
    }

    fn found_damage(&self) {
        self.at.lock().unwrap().found += 1;
    }

    fn open_tasks(&self) -> Result<Vec<TaskId>, StoreError> {
        self.store.open_tasks()
    }

    fn counts(&self) -> BTreeMap<u8, u64> {
        self.store.counts()
    }
}
