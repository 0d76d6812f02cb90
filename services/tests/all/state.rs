//! State of tasks and contexts: kept if and only if the call's outcome is.

use crate::support::{World, ann, asks, done, finish, new_task, says, scope, user_in};
use dormouse_services::call::StateScope::{self, Context, Task};
use dormouse_services::model::{FailureClass, Outcome};
use dormouse_services::{Call, TaskScope};

fn in_context(world: &World, scope: &TaskScope, context: &str) -> Call {
    world.engine.begin(new_task(scope, user_in(context)))
}

fn set(call: &Call, scope: StateScope, key: &str, value: &str) {
    call.state_set(scope, key, Some(value.to_owned())).unwrap();
}

fn get(call: &Call, scope: StateScope, key: &str) -> Option<String> {
    call.state_get(scope, key).unwrap()
}

#[tokio::test]
async fn a_call_reads_its_own_writes_and_nobody_else_does_before_the_outcome() {
    let world = World::new().await;
    let call = in_context(&world, &ann(), "tea");
    call.accept().await.unwrap();
    assert_eq!(get(&call, Context, "k"), None);
    set(&call, Context, "k", "1");
    set(&call, Context, "k", "2");
    set(&call, Task, "k", "task");
    assert_eq!(get(&call, Context, "k").as_deref(), Some("2"));
    assert_eq!(get(&call, Task, "k").as_deref(), Some("task"));
    let other = in_context(&world, &ann(), "tea");
    call.update(says("so far")).await.unwrap();
    call.accept().await.unwrap();
    assert_eq!(get(&other, Context, "k"), None, "progress is no outcome");
    finish(&call, done()).await;
    assert_eq!(get(&other, Context, "k").as_deref(), Some("2"));
    assert_eq!(get(&other, Task, "k"), None, "another task");
    other.state_set(Context, "k", None).unwrap();
    assert_eq!(get(&other, Context, "k"), None);
    finish(&other, done()).await;
    assert_eq!(get(&in_context(&world, &ann(), "tea"), Context, "k"), None);
}

#[tokio::test]
async fn the_state_of_a_task_lasts_from_turn_to_turn() {
    let world = World::new().await;
    let call = world.begin("go");
    set(&call, Task, "k", "1");
    set(&call, Task, "gone", "1");
    finish(&call, asks("which?")).await;
    let turn = world.resume(&call.task_id(), "this").await.unwrap().call;
    assert_eq!(get(&turn, Task, "k").as_deref(), Some("1"));
    turn.state_set(Task, "gone", None).unwrap();
    finish(&turn, asks("which?")).await;
    let turn = world.resume(&call.task_id(), "this").await.unwrap().call;
    assert_eq!(get(&turn, Task, "k").as_deref(), Some("1"));
    assert_eq!(get(&turn, Task, "gone"), None);
}

#[tokio::test]
async fn every_outcome_of_the_agent_keeps_state_and_no_failed_call_does() {
    let outcomes = [
        ("completed", Some(done())),
        ("input", Some(asks("which?"))),
        ("message", Some(Outcome::Message(says("hi")))),
        ("rejected", Some(Outcome::Rejected(says("no")))),
        ("failed", Some(Outcome::Failed(says("no")))),
        ("trapped", None),
    ];
    let world = World::new().await;
    for (name, outcome) in outcomes {
        let kept = outcome.is_some();
        let call = in_context(&world, &ann(), name);
        set(&call, Context, "k", "1");
        match outcome {
            Some(outcome) => finish(&call, outcome).await,
            None => call.fail(FailureClass::Trap, "It trapped.").await.unwrap(),
        };
        let next = in_context(&world, &ann(), name);
        assert_eq!(get(&next, Context, "k").is_some(), kept, "{name}");
    }
}

#[tokio::test]
async fn contexts_do_not_meet() {
    let world = World::new().await;
    let call = in_context(&world, &ann(), "tea");
    set(&call, Context, "k", "hers");
    finish(&call, done()).await;
    let others = [
        (scope("calc", "bob"), "tea"),
        (scope("echo", "ann"), "tea"),
        (ann(), "coffee"),
        // The same letters, cut at other places.
        (scope("cal", "cann"), "tea"),
        (scope("calca", "nn"), "tea"),
        (scope("calc", "annt"), "ea"),
        (scope("calc", "an"), "ntea"),
        (scope("calc", ""), "anntea"),
    ];
    for (scope, context) in others {
        let other = in_context(&world, &scope, context);
        assert_eq!(get(&other, Context, "k"), None, "{scope:?} {context}");
        set(&other, Context, "k", "theirs");
        finish(&other, done()).await;
    }
    let shorter = in_context(&world, &ann(), "te");
    assert_eq!(get(&shorter, Context, "ak"), None);
    let again = in_context(&world, &ann(), "tea");
    assert_eq!(get(&again, Context, "k").as_deref(), Some("hers"));
}

/// Continuations of one context at once, each with a key of its own and one that all write.
#[tokio::test]
async fn calls_of_one_context_at_once_lose_no_write() {
    let world = World::new().await;
    let calls: Vec<Call> = (0..16).map(|_| in_context(&world, &ann(), "tea")).collect();
    let finishing = calls.iter().enumerate().map(|(number, call)| async move {
        set(call, Context, &format!("k{number}"), "mine");
        set(call, Context, "last", &number.to_string());
        call.update(says("so far")).await.unwrap();
        finish(call, done()).await;
    });
    futures_util::future::join_all(finishing).await;
    let after = in_context(&world, &ann(), "tea");
    for number in 0..16 {
        let kept = get(&after, Context, &format!("k{number}"));
        assert_eq!(kept.as_deref(), Some("mine"), "{number}");
    }
    let last: usize = get(&after, Context, "last").unwrap().parse().unwrap();
    assert!(last < 16);
}
