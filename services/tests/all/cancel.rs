//! A task that its user ends, and calls that the drain ends.

use crate::support::{World, ann, asks, done, failure, finish, history, labels, says, soon, user};
use dormouse_services::call::StateScope;
use dormouse_services::model::{FailureClass, Outcome, TaskState};
use dormouse_services::{Settled, TaskError};
use futures_util::FutureExt;

#[tokio::test]
async fn a_task_that_nobody_knows_of_cannot_be_canceled() {
    let world = World::new().await;
    let call = world.begin("go");
    let refused = world.engine.cancel(&ann(), &call.task_id()).await;
    assert!(
        matches!(refused, Err(TaskError::NotFound(_))),
        "{refused:?}"
    );
    assert!(call.interrupted().now_or_never().is_none());
    finish(&call, done()).await;
}

#[tokio::test]
async fn a_running_call_is_interrupted_and_its_outcome_dropped() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    let mut reader = world.subscribe(&id).await;
    call.update(says("one")).await.unwrap();
    call.state_set(StateScope::Task, "k", Some("1".into()))
        .unwrap();
    assert!(call.interrupted().now_or_never().is_none());
    let canceled = world.engine.cancel(&ann(), &id).await.unwrap();
    assert_eq!(canceled.status.state, TaskState::Canceled);
    assert_eq!(history(&canceled), ["go", "one"]);
    soon(call.interrupted()).await;
    let refused = call.update(says("two")).await;
    assert!(matches!(refused, Err(TaskError::Ended)), "{refused:?}");
    assert_eq!(finish(&call, done()).await, canceled);
    let failed = call.fail(FailureClass::Interrupted, "Stopped.").await;
    assert_eq!(failed.unwrap(), canceled);
    drop(call);
    assert_eq!(world.get(&id).await.unwrap(), canceled);
    assert_eq!(labels(&mut reader).await, ["working: one", "canceled"]);
}

#[tokio::test]
async fn a_waiting_task_can_be_canceled() {
    let world = World::new().await;
    let id = world.waiting().await;
    let mut reader = world.subscribe(&id).await;
    let canceled = world.engine.cancel(&ann(), &id).await.unwrap();
    assert_eq!(history(&canceled), ["go", "which?"]);
    assert_eq!(labels(&mut reader).await, ["canceled"]);
    let refused = world.engine.resume(&ann(), &id, user("this")).await;
    assert!(matches!(
        refused.map(|_| ()),
        Err(TaskError::Terminal { .. })
    ));
}

#[tokio::test]
async fn an_ended_task_can_no_longer_be_canceled() {
    let world = World::new().await;
    let outcomes = [
        ("completed", done()),
        ("failed", Outcome::Failed(says("no"))),
        ("rejected", Outcome::Rejected(says("no"))),
        ("canceled", asks("which?")),
    ];
    for (word, outcome) in outcomes {
        let call = world.begin("go");
        finish(&call, outcome).await;
        let id = call.task_id();
        if word == "canceled" {
            world.engine.cancel(&ann(), &id).await.unwrap();
        }
        let before = world.get(&id).await.unwrap();
        let refused = world.engine.cancel(&ann(), &id).await.unwrap_err();
        let TaskError::NotCancelable { state, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(state, word);
        assert_eq!(world.get(&id).await.unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_and_outcome_agree_on_who_was_first() {
    let world = World::new().await;
    for _ in 0..200 {
        let call = world.running().await;
        let id = call.task_id();
        let mut reader = world.subscribe(&id).await;
        let engine = world.engine.clone();
        let canceling = {
            let id = id.clone();
            tokio::spawn(async move { engine.cancel(&ann(), &id).await })
        };
        let finishing = tokio::spawn(async move { call.finish(done()).await });
        let canceled = soon(canceling).await.unwrap();
        let Settled::Task(task) = soon(finishing).await.unwrap().unwrap() else {
            panic!("an answer without a task");
        };
        match canceled {
            Ok(canceled) => assert_eq!(canceled, task),
            Err(error) => {
                assert!(matches!(error, TaskError::NotCancelable { .. }), "{error}");
                assert_eq!(task.status.state, TaskState::Completed);
            }
        }
        assert_eq!(world.get(&id).await.unwrap(), task);
        assert_eq!(labels(&mut reader).await.len(), 1, "one last word");
    }
}

#[tokio::test]
async fn a_cancel_whose_client_has_left_still_cancels() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    world.gate.hold();
    {
        let scope = ann();
        let mut canceling = Box::pin(world.engine.cancel(&scope, &id));
        while world.gate.writes() < 2 {
            assert!(canceling.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
    }
    soon(call.interrupted()).await;
    world.gate.open();
    assert_eq!(world.state_of(&id).await, TaskState::Canceled);
}

#[tokio::test]
async fn the_drain_interrupts_every_call() {
    let world = World::new().await;
    let waiting = world.waiting().await;
    let (accepted, unknown) = (world.running().await, world.begin("go"));
    for call in [&accepted, &unknown] {
        assert!(call.interrupted().now_or_never().is_none());
    }
    world.engine.interrupt_all();
    let late = world.begin("go");
    for call in [&accepted, &unknown, &late] {
        soon(call.interrupted()).await;
        let task = call.fail(FailureClass::Interrupted, "Stopped.").await;
        let (class, sentence) = failure(&task.unwrap());
        assert_eq!((&*class, &*sentence), ("interrupted", "Stopped."));
    }
    assert_eq!(world.state_of(&waiting).await, TaskState::InputRequired);
}
