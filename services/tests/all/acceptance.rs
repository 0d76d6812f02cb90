//! A task is known to nobody before its first commit, and that commit is durable.

use crate::support::{
    World, ann, artifact, done, finish, history, labels, new_task, says, soon, text, user, user_in,
};
use dormouse_services::call::StateScope;
use dormouse_services::model::{Outcome, Role, TaskState};
use dormouse_services::{Settled, TaskError};
use futures_util::FutureExt;

#[tokio::test]
async fn nothing_is_kept_before_the_first_commit() {
    let world = World::new().await;
    let call = world.begin("go");
    let id = call.task_id();
    call.state_set(StateScope::Task, "k", Some("1".into()))
        .unwrap();
    let reader = call.follow().await.unwrap();
    assert_eq!((reader.0.status.state, reader.1), (TaskState::Submitted, 0));
    assert!(world.is_empty().await);
    let missing = world.get(&id).await.unwrap_err();
    assert!(matches!(missing, TaskError::NotFound(_)), "{missing:?}");
    drop(call);
    assert!(world.is_empty().await);
    assert_eq!(world.gate.writes(), 0);
}

#[tokio::test]
async fn an_answer_without_a_task_leaves_nothing() {
    let world = World::new().await;
    let call = world.engine.begin(new_task(&ann(), user_in("tea")));
    let answer = call.finish(Outcome::Message(says("hello"))).await.unwrap();
    let Settled::Message(message) = answer else {
        panic!("a task: {answer:?}");
    };
    assert_eq!(
        (&message.role, text(&message)),
        (&Role::Agent, "hello".into())
    );
    assert_eq!(message.context_id.as_deref(), Some("tea"));
    assert_eq!(message.task_id, None);
    assert!(world.is_empty().await);
    assert_eq!(world.gate.writes(), 0);
}

#[tokio::test]
async fn whoever_has_shown_a_task_ends_it() {
    for shown in ["accepted", "updated", "state"] {
        let world = World::new().await;
        let call = world.begin("go");
        match shown {
            "accepted" => call.accept().await.unwrap(),
            "updated" => call.update(says("so far")).await.unwrap(),
            _ => call
                .state_set(StateScope::Task, "k", Some("1".into()))
                .unwrap(),
        }
        let task = finish(&call, Outcome::Message(says("hello"))).await;
        assert_eq!(task.status.state, TaskState::Completed, "{shown}");
        assert_eq!(text(task.status.message.as_ref().unwrap()), "hello");
        assert_eq!(world.get(&call.task_id()).await.unwrap(), task);
    }
}

#[tokio::test]
async fn acceptance_is_the_first_event_and_written_once() {
    let world = World::new().await;
    let call = world.engine.begin(new_task(&ann(), user_in("tea")));
    let (_, _, mut reader) = call.follow().await.unwrap();
    call.accept().await.unwrap();
    call.accept().await.unwrap();
    assert_eq!(world.gate.writes(), 1);
    let task = world.get(&call.task_id()).await.unwrap();
    assert_eq!(task.status.state, TaskState::Working);
    let first = &task.history.as_ref().unwrap()[0];
    assert_eq!((&first.role, text(first)), (&Role::User, "go".into()));
    assert_eq!(first.task_id.as_deref(), Some(&*task.id));
    assert_eq!(first.context_id.as_deref(), Some("tea"));
    finish(&call, done()).await;
    assert_eq!(labels(&mut reader).await, ["working", "completed: done"]);
}

#[tokio::test]
async fn what_a_call_says_first_accepts_it() {
    let world = World::new().await;
    let (updates, makes, ends) = (world.begin("a"), world.begin("b"), world.begin("c"));
    let mut readers = Vec::new();
    for call in [&updates, &makes, &ends] {
        readers.push(call.follow().await.unwrap().2);
    }
    updates.update(says("so far")).await.unwrap();
    makes
        .artifact(artifact("x", "1"), false, true)
        .await
        .unwrap();
    finish(&updates, done()).await;
    finish(&makes, done()).await;
    let before = world.gate.writes();
    let outcome = Outcome::Completed {
        message: None,
        artifacts: vec![artifact("y", "2")],
    };
    let task = finish(&ends, outcome).await;
    assert_eq!(
        world.gate.writes() - before,
        1,
        "a quick call costs one commit"
    );
    assert_eq!(history(&task), ["c"]);
    let expected: [&[&str]; 3] = [
        &["working: so far", "completed: done"],
        &["working", "artifact x: 1", "completed: done"],
        &["artifact y: 2", "completed"],
    ];
    for (reader, expected) in readers.iter_mut().zip(expected) {
        assert_eq!(labels(reader).await, expected);
    }
}

#[tokio::test]
async fn acceptance_is_acknowledged_when_it_is_durable() {
    let world = World::new().await;
    let call = world.begin("go");
    let (_, _, mut reader) = call.follow().await.unwrap();
    world.gate.hold();
    let mut accepting = Box::pin(call.accept());
    assert!(accepting.as_mut().now_or_never().is_none());
    assert!(reader.next().now_or_never().is_none());
    world.gate.open();
    soon(accepting).await.unwrap();
    assert!(soon(reader.next()).await.unwrap().is_some());
}

#[tokio::test]
async fn the_platform_chooses_the_ids_that_are_not_given() {
    let world = World::new().await;
    let (one, two) = (world.begin("go"), world.begin("go"));
    assert_ne!(one.context_id(), two.context_id());
    assert_ne!(one.task_id(), two.task_id());
    let call = world.engine.begin(new_task(&ann(), user("go")));
    let task = call.fail(dormouse_services::model::FailureClass::Trap, "It trapped.");
    let task = task.await.unwrap();
    assert_eq!(
        (task.id, task.context_id),
        (call.task_id(), call.context_id())
    );
}
