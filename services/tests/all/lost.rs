//! A call whose last handle is dropped before it has ended: its task must not run for ever.

use crate::support::{
    World, ann, asks, done, failure, finish, labels, new_task, says, soon, user, user_in,
};
use dormouse_services::call::StateScope;
use dormouse_services::model::{Outcome, TaskState};
use futures_util::FutureExt;
use std::sync::Arc;

#[tokio::test]
async fn a_lost_call_fails_its_task() {
    let world = World::new().await;
    let call = Arc::new(world.running().await);
    let id = call.task_id();
    let mut reader = world.subscribe(&id).await;
    call.update(says("one")).await.unwrap();
    drop(Arc::clone(&call));
    assert_eq!(
        world.state_of(&id).await,
        TaskState::Working,
        "one handle is left"
    );
    drop(call);
    let task = world.get(&id).await.unwrap();
    let (class, sentence) = failure(&task);
    assert_eq!(class, "platform");
    assert!(
        sentence.starts_with("The platform lost the call."),
        "{sentence}"
    );
    let last = format!("failed: {sentence}");
    assert_eq!(labels(&mut reader).await, ["working: one", &last]);
    drop(reader);
    assert_eq!(
        world.get(&id).await.unwrap(),
        task,
        "and so it is in the store"
    );
}

#[tokio::test]
async fn a_lost_call_that_nobody_knew_of_leaves_nothing() {
    let world = World::new().await;
    let call = world.begin("go");
    let (_, _, mut reader) = call.follow().await.unwrap();
    drop(call);
    assert!(
        labels(&mut reader).await.is_empty(),
        "and keeps nobody waiting"
    );
    assert!(world.is_empty().await);
}

#[tokio::test]
async fn a_call_that_has_ended_is_not_lost() {
    let world = World::new().await;
    let (asked, answered) = (world.begin("go"), world.begin("go"));
    let (completed, canceled) = (world.begin("go"), world.running().await);
    let (asked_id, completed_id) = (asked.task_id(), completed.task_id());
    let canceled_id = canceled.task_id();
    finish(&asked, asks("which?")).await;
    answered.finish(Outcome::Message(says("hi"))).await.unwrap();
    finish(&completed, done()).await;
    world.engine.cancel(&ann(), &canceled_id).await.unwrap();
    let writes = world.gate.writes();
    drop((asked, answered, completed, canceled));
    assert_eq!(world.gate.writes(), writes);
    assert_eq!(world.state_of(&asked_id).await, TaskState::InputRequired);
    assert_eq!(world.state_of(&completed_id).await, TaskState::Completed);
    assert_eq!(world.state_of(&canceled_id).await, TaskState::Canceled);
}

#[tokio::test]
async fn a_host_that_panics_loses_its_call() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    let host = tokio::spawn(async move {
        call.update(says("one")).await.unwrap();
        panic!("as intended by this test");
    });
    assert!(soon(host).await.unwrap_err().is_panic());
    assert_eq!(failure(&world.get(&id).await.unwrap()).0, "platform");
}

#[tokio::test]
async fn a_call_can_be_lost_outside_a_runtime() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    std::thread::spawn(move || drop(call)).join().unwrap();
    assert_eq!(failure(&world.get(&id).await.unwrap()).0, "platform");
}

#[tokio::test]
async fn a_call_lost_in_the_drain_was_interrupted() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    world.engine.interrupt_all();
    drop(call);
    assert_eq!(failure(&world.get(&id).await.unwrap()).0, "interrupted");
}

#[tokio::test]
async fn a_lost_call_leaves_no_state() {
    let world = World::new().await;
    let call = world.engine.begin(new_task(&ann(), user_in("tea")));
    call.accept().await.unwrap();
    call.state_set(StateScope::Context, "k", Some("1".into()))
        .unwrap();
    let id = call.task_id();
    drop(call);
    assert_eq!(world.state_of(&id).await, TaskState::Failed);
    let next = world.engine.begin(new_task(&ann(), user_in("tea")));
    assert_eq!(next.state_get(StateScope::Context, "k").unwrap(), None);
}

/// Every await of a call is a place where its future may be dropped.
#[tokio::test]
async fn what_is_dropped_half_way_is_done_or_lost() {
    let world = World::new().await;
    let (accepting, finishing) = (world.begin("go"), world.begin("go"));
    let ids = [accepting.task_id(), finishing.task_id()];
    world.gate.hold();
    assert!(accepting.accept().now_or_never().is_none());
    assert!(finishing.finish(done()).now_or_never().is_none());
    drop((accepting, finishing));
    world.gate.open();
    assert_eq!(failure(&world.get(&ids[0]).await.unwrap()).0, "platform");
    assert_eq!(world.state_of(&ids[1]).await, TaskState::Completed);
}

#[tokio::test]
async fn an_answer_dropped_half_way_leaves_no_task_running() {
    let world = World::new().await;
    let id = world.waiting().await;
    let writes = world.gate.writes();
    world.gate.hold();
    {
        let scope = ann();
        let mut resuming = Box::pin(world.engine.resume(&scope, &id, user("this")));
        while world.gate.writes() == writes {
            assert!(resuming.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
    }
    world.gate.open();
    assert_eq!(failure(&world.get(&id).await.unwrap()).0, "platform");
}
