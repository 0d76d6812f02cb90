//! Every subscriber sees the same events, in the order of the task's one log.

use crate::support::{
    World, ann, artifact, asks, bytes, done, finish, label, labels, parse, rest, says, soon, text,
};
use dormouse_services::TaskError;
use dormouse_services::model::{Artifact, StreamResponse, Task, TaskStatus};
use dormouse_services::{TaskEvent, TaskLimits};
use futures_util::FutureExt;
use proptest::prelude::*;

#[tokio::test]
async fn early_and_late_subscribers_see_the_same_bytes() {
    let world = World::new().await;
    let call = world.begin("go");
    let mut readers = vec![call.follow().await.unwrap().2];
    for step in 0..4 {
        call.update(says(&format!("step {step}"))).await.unwrap();
        call.artifact(artifact("x", "chunk"), step > 0, step == 3)
            .await
            .unwrap();
        readers.push(world.subscribe(&call.task_id()).await);
    }
    finish(&call, done()).await;
    let all = rest(&mut readers[0]).await;
    assert_eq!(all.len(), 9);
    assert!(all.is_sorted_by(|before, after| before.seq < after.seq));
    for (joined, reader) in readers.iter_mut().enumerate().skip(1) {
        let seen = rest(reader).await;
        assert_eq!(
            bytes(&seen),
            bytes(&all)[2 * joined..],
            "joined at {joined}"
        );
    }
}

#[tokio::test]
async fn a_slow_subscriber_misses_nothing() {
    // Around what the engine keeps in memory, and more than some pages of the store.
    for updates in (250..260).chain([700]) {
        let world = World::new().await;
        let call = world.running().await;
        let mut slow = world.subscribe(&call.task_id()).await;
        let mut close = world.subscribe(&call.task_id()).await;
        let mut seen = Vec::new();
        for step in 0..updates {
            call.update(says(&step.to_string())).await.unwrap();
            let event = soon(close.next()).await.unwrap().unwrap();
            assert_eq!(label(&event), format!("working: {step}"));
            seen.push(event);
        }
        finish(&call, done()).await;
        seen.extend(rest(&mut close).await);
        assert_eq!(seen.len(), updates + 1);
        assert_eq!(bytes(&rest(&mut slow).await), bytes(&seen));
        let end = soon(slow.next()).await.unwrap();
        assert!(end.is_none(), "the end stays the end");
    }
}

#[tokio::test]
async fn a_subscriber_that_leaves_disturbs_nobody() {
    let world = World::new().await;
    let call = world.running().await;
    let mut stays = world.subscribe(&call.task_id()).await;
    let mut leaves = world.subscribe(&call.task_id()).await;
    call.update(says("one")).await.unwrap();
    assert_eq!(
        label(&soon(leaves.next()).await.unwrap().unwrap()),
        "working: one"
    );
    call.update(says("two")).await.unwrap();
    drop(leaves);
    finish(&call, done()).await;
    let expected = ["working: one", "working: two", "completed: done"];
    assert_eq!(labels(&mut stays).await, expected);
}

#[tokio::test]
async fn a_wait_that_is_dropped_loses_no_event() {
    let world = World::new().await;
    let call = world.running().await;
    let mut reader = world.subscribe(&call.task_id()).await;
    assert!(reader.next().now_or_never().is_none());
    world.gate.hold();
    call.update(says("one")).await.unwrap();
    assert!(reader.next().now_or_never().is_none());
    world.gate.open();
    call.update(says("two")).await.unwrap();
    finish(&call, done()).await;
    let expected = ["working: one", "working: two", "completed: done"];
    assert_eq!(labels(&mut reader).await, expected);
}

#[tokio::test]
async fn nobody_sees_what_is_not_durable() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    let mut reader = world.subscribe(&id).await;
    world.gate.hold();
    call.update(says("one")).await.unwrap();
    call.update(says("two")).await.unwrap();
    let mut getting = Box::pin(world.get(&id));
    for _ in 0..100 {
        assert!(reader.next().now_or_never().is_none());
        assert!(getting.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    world.gate.let_one_go();
    assert_eq!(
        label(&soon(reader.next()).await.unwrap().unwrap()),
        "working: one"
    );
    assert!(reader.next().now_or_never().is_none());
    world.gate.let_one_go();
    let task = getting.await.unwrap();
    assert_eq!(text(task.status.message.as_ref().unwrap()), "two");
}

#[tokio::test]
async fn a_guest_that_floods_waits_for_the_disk() {
    let world = World::new().await;
    let call = world.running().await;
    world.gate.hold();
    let mut taken = 0;
    let mut waiting = loop {
        assert!(taken < 1_000, "nothing holds the guest back");
        let mut saying = Box::pin(call.update(says("more")));
        match saying.as_mut().now_or_never() {
            Some(said) => said.unwrap(),
            None => break saying,
        }
        taken += 1;
        // Or the runtime is what holds it back.
        tokio::task::yield_now().await;
    };
    assert_eq!(taken, 257, "256 on their way, and the one that fills up");
    world.gate.let_one_go();
    soon(&mut waiting).await.unwrap();
    drop(waiting);
    world.gate.open();
    finish(&call, done()).await;
}

#[tokio::test]
async fn an_ended_task_has_no_subscribers() {
    let world = World::new().await;
    let call = world.running().await;
    finish(&call, done()).await;
    let refused = world.engine.subscribe(&ann(), &call.task_id()).await;
    let refused = refused.map(|_| ()).unwrap_err();
    let TaskError::Terminal { state, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(state, "completed");
}

/// What an agent does next.
#[derive(Clone, Debug)]
enum Step {
    Update(String),
    Artifact {
        id: u8,
        append: bool,
    },
    /// Asks its user, who answers.
    Ask(String),
    /// Somebody subscribes.
    Join,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        "[a-z]{0,9}".prop_map(Step::Update),
        (0..3_u8, any::<bool>()).prop_map(|(id, append)| Step::Artifact { id, append }),
        "[a-z]{0,9}".prop_map(Step::Ask),
        Just(Step::Join),
    ]
}

/// What a client knows of a task, from the snapshot and the events that followed it.
#[derive(Debug, PartialEq)]
struct Known {
    status: TaskStatus,
    artifacts: Vec<Artifact>,
}

impl Known {
    fn of(task: &Task) -> Self {
        Self {
            status: task.status.clone(),
            artifacts: task.artifacts.clone().unwrap_or_default(),
        }
    }

    fn hear(&mut self, event: &TaskEvent) {
        match parse(event) {
            StreamResponse::StatusUpdate(event) => self.status = event.status,
            StreamResponse::ArtifactUpdate(event) => {
                let new = event.artifact;
                let known = self
                    .artifacts
                    .iter_mut()
                    .find(|known| known.artifact_id == new.artifact_id);
                match known {
                    Some(known) if event.append == Some(true) => known.parts.extend(new.parts),
                    Some(known) => *known = new,
                    None => self.artifacts.push(new),
                }
            }
            other => panic!("not an event: {other:?}"),
        }
    }
}

/// Runs the steps; returns what every subscriber knows at the end, and the task as it is then.
async fn live(steps: Vec<Step>) -> (Vec<Known>, Known) {
    let world = World::with(TaskLimits::default()).await;
    let mut call = world.running().await;
    let id = call.task_id();
    let mut following = Vec::new();
    for step in steps {
        match step {
            Step::Update(said) => call.update(says(&said)).await.unwrap(),
            Step::Artifact { id, append } => {
                let chunk = artifact(&id.to_string(), "chunk");
                call.artifact(chunk, append, false).await.unwrap();
            }
            Step::Ask(question) => {
                finish(&call, asks(&question)).await;
                call = world.resume(&id, "so").await.unwrap().call;
            }
            Step::Join => {
                let joined = world.engine.subscribe(&ann(), &id).await;
                let (task, _, reader) = joined.unwrap();
                following.push((Known::of(&task), reader));
            }
        }
    }
    let task = finish(&call, done()).await;
    drop(call);
    let mut known = Vec::new();
    for (mut knows, mut reader) in following {
        for event in rest(&mut reader).await {
            knows.hear(&event);
        }
        known.push(knows);
    }
    // With nobody left who holds it, the task comes from the store.
    assert_eq!(world.get(&id).await.unwrap(), task);
    (known, Known::of(&task))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_what_follows_it_make_the_task(steps in prop::collection::vec(step(), 0..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (known, task) = runtime.block_on(live(steps));
        for knows in known {
            prop_assert_eq!(&knows, &task);
        }
    }
}
