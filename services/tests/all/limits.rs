//! Every bound on what one task may keep, at it and one past it.

use crate::support::{World, ann, artifact, asks, done, failure, finish, labels, says, user};
use dormouse_services::call::StateScope;
use dormouse_services::model::{AgentArtifact, FailureClass, Outcome, PartContent, TaskState};
use dormouse_services::{Call, TaskError, TaskFilter, TaskLimits};
use serde_json::json;

fn past(result: Result<impl Sized, TaskError>, what: &str, limit: u64) {
    let Err(refused) = result else {
        panic!("{what}: not refused");
    };
    let TaskError::Limit { limit: named, .. } = refused else {
        panic!("{what}: {refused:?}");
    };
    assert_eq!(named, limit, "{what}");
    assert!(refused.to_string().contains(what), "{refused}");
}

fn of_size(bytes: usize) -> AgentArtifact {
    artifact("x", &"x".repeat(bytes))
}

async fn add(call: &Call, bytes: usize) -> Result<(), TaskError> {
    call.artifact(of_size(bytes), true, false).await
}

fn completed_with(artifact: AgentArtifact) -> Outcome {
    Outcome::Completed {
        message: None,
        artifacts: vec![artifact],
    }
}

/// What is in an event beside its text is below this.
const AROUND: usize = 1_000;

#[tokio::test]
async fn what_all_events_take_in_memory() {
    let limit = 1 << 20;
    let world = World::with(TaskLimits {
        task_weight: limit,
        ..TaskLimits::default()
    })
    .await;
    let call = world.running().await;
    let add = async |objects| call.artifact(heavy(objects), true, false).await;
    add(700).await.unwrap();
    let what = "the JSON of one task in memory (bytes)";
    past(add(700).await, what, limit);
    add(300).await.unwrap();
    let id = call.task_id();
    drop(call);
    // It is weighed again when it is read from the store.
    assert_eq!(world.state_of(&id).await, TaskState::Failed);
}

fn heavy(objects: usize) -> AgentArtifact {
    let mut artifact = of_size(0);
    artifact.parts[0].content = PartContent::Data(json!(vec![json!({"a": 0}); objects]));
    artifact
}

#[tokio::test]
async fn large_tasks_are_read_when_there_is_room_for_them() {
    let room_bytes = 4 << 20;
    let world = World::with(TaskLimits {
        room_bytes,
        ..TaskLimits::default()
    })
    .await;
    let (scope, mut ids) = (ann(), Vec::new());
    let filter = TaskFilter {
        page_size: 10,
        ..TaskFilter::default()
    };
    // Each takes about 0.8 MiB.
    for _ in 0..3 {
        let call = world.running().await;
        call.artifact(heavy(1_000), false, true).await.unwrap();
        finish(&call, done()).await;
        ids.push(call.task_id());
    }
    // Two copies of it.
    let request = world.engine.room(1 << 20).await.unwrap();
    for id in &ids {
        world.get(id).await.unwrap();
    }
    let more = world.engine.room(3 << 18).await.unwrap();
    // Only here: the store's thread has no part in this clock.
    tokio::time::pause();
    let crowded = world.get(&ids[0]).await;
    tokio::time::resume();
    assert!(matches!(crowded, Err(TaskError::Crowded)), "{crowded:?}");
    drop(more);
    // A page ends where there is no room for more; who waits gets what others give back.
    let page = || world.engine.list(&scope, filter.clone());
    let short = page().await.unwrap();
    assert!((1..3).contains(&short.tasks.len()), "{short:?}");
    assert!(!short.next_page_token.is_empty());
    drop(request);
    assert_eq!(page().await.unwrap().tasks.len(), 3);
}

#[tokio::test]
async fn one_event() {
    let limit = 8_000;
    let world = World::with(TaskLimits {
        event_bytes: limit,
        ..TaskLimits::default()
    })
    .await;
    let what = "one event of a task (bytes)";
    let call = world.running().await;
    let (fits, large) = (limit as usize - AROUND, limit as usize);
    add(&call, fits).await.unwrap();
    past(add(&call, large).await, what, limit);
    past(call.update(says(&"x".repeat(large))).await, what, limit);
    past(
        call.finish(completed_with(of_size(large))).await,
        what,
        limit,
    );
    assert_eq!(world.state_of(&call.task_id()).await, TaskState::Working);
    let task = call.fail(FailureClass::Limit, "Too much.").await.unwrap();
    assert_eq!(failure(&task), ("limit".into(), "Too much.".into()));
    assert_eq!(task.artifacts.unwrap()[0].parts.len(), 1, "nothing by half");

    // A first message over the limit makes no task at all.
    let call = world.begin(&"x".repeat(large));
    let id = call.task_id();
    past(call.accept().await, what, limit);
    past(call.finish(done()).await, what, limit);
    past(
        call.fail(FailureClass::Limit, "Too much.").await,
        what,
        limit,
    );
    drop(call);
    assert!(matches!(world.get(&id).await, Err(TaskError::NotFound(_))));

    let id = world.waiting().await;
    let answer = user(&"x".repeat(large));
    past(world.engine.resume(&ann(), &id, answer).await, what, limit);
    assert_eq!(world.state_of(&id).await, TaskState::InputRequired);
}

#[tokio::test]
async fn all_events_of_a_task() {
    let limit = 20_000;
    let world = World::with(TaskLimits {
        task_bytes: limit,
        ..TaskLimits::default()
    })
    .await;
    let what = "the log of one task (bytes)";
    let call = world.running().await;
    for _ in 0..3 {
        add(&call, 5_000).await.unwrap();
    }
    past(add(&call, 5_000).await, what, limit);
    past(
        call.finish(completed_with(of_size(5_000))).await,
        what,
        limit,
    );
    add(&call, 10).await.unwrap();
    // The last word always fits.
    let question = "?".repeat(5_000);
    let task = finish(&call, asks(&question)).await;
    assert_eq!(task.status.state, TaskState::InputRequired);
    let id = call.task_id();
    drop(call);
    // What a task kept counts also when it comes back from the store.
    past(
        world.engine.resume(&ann(), &id, user("so")).await,
        what,
        limit,
    );
    let task = world.engine.cancel(&ann(), &id).await.unwrap();
    assert_eq!(task.status.state, TaskState::Canceled);
}

#[tokio::test]
async fn how_many_events() {
    let limit = 5;
    let world = World::with(TaskLimits {
        events: limit,
        ..TaskLimits::default()
    })
    .await;
    let what = "the log of one task (events)";
    let call = world.running().await;
    let mut reader = world.subscribe(&call.task_id()).await;
    // The first message and the acceptance are two of them.
    for said in ["1", "2", "3"] {
        call.update(says(said)).await.unwrap();
    }
    past(call.update(says("4")).await, what, limit);
    finish(&call, done()).await;
    let expected = ["working: 1", "working: 2", "working: 3", "completed: done"];
    assert_eq!(labels(&mut reader).await, expected);
}

#[tokio::test]
async fn state_values_and_keys() {
    let world = World::with(TaskLimits {
        state_value_bytes: 10,
        state_keys: 3,
        ..TaskLimits::default()
    })
    .await;
    let call = world.running().await;
    let set = |key: &str, value: Option<&str>| {
        let value = value.map(str::to_owned);
        call.state_set(StateScope::Task, key, value)
    };
    let what = "one value of state with its key (bytes)";
    set("key", Some("1234567")).unwrap();
    past(set("key", Some("12345678")), what, 10);
    past(set("12345678901", Some("")), what, 10);
    let kept = call.state_get(StateScope::Task, "key").unwrap();
    assert_eq!(kept.as_deref(), Some("1234567"));
    set("k2", Some("1")).unwrap();
    set("k3", None).unwrap();
    past(
        set("k4", Some("1")),
        "the state keys written by one call",
        3,
    );
    past(set("k4", None), "the state keys written by one call", 3);
    set("k3", Some("2")).unwrap();
    finish(&call, done()).await;
}

/// The store refuses longer keys, and with them the outcome: a guest must be told before.
#[tokio::test]
async fn state_keys_that_no_store_would_take() {
    let world = World::new().await;
    let longest = dormouse_store::MAX_KEY_BYTES;
    for scope in [StateScope::Task, StateScope::Context] {
        let call = world.running().await;
        for value in [None, Some("1".to_owned())] {
            let refused = call.state_set(scope, &"k".repeat(longest), value);
            past(
                refused,
                "one key of state with its owner (bytes)",
                longest as u64,
            );
        }
        let fits = "k".repeat(longest / 2);
        call.state_set(scope, &fits, Some("1".to_owned())).unwrap();
        assert_eq!(call.state_get(scope, &"k".repeat(longest)).unwrap(), None);
        finish(&call, done()).await;
    }
}
