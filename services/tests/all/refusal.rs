//! A store that refuses, loses or damages: nobody is shown what was not kept, and no task runs on
//! without a call.

use crate::support::{
    Gate, World, ann, asks, damaged, done, failure, finish, history, is_busy, label, labels,
    new_task, says, soon, user,
};
use dormouse_services::model::{Task, TaskState};
use dormouse_services::{TaskEngine, TaskError, TaskFilter, TaskLimits};
use dormouse_store::Store;

/// The task as the store has it, once nobody holds the one whose write was refused. The thread that
/// made its last write durable may do so for a moment longer than whoever waited for that.
async fn kept(world: &World, id: &str) -> Task {
    soon(async {
        loop {
            match world.get(id).await {
                Err(error) if is_busy(&error) => tokio::task::yield_now().await,
                task => return task.unwrap(),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_acceptance_leaves_nothing() {
    let world = World::new().await;
    let call = world.begin("go");
    let id = call.task_id();
    let (_, _, mut reader) = call.follow().await.unwrap();
    world.gate.refuse(true);
    let refusals = [
        call.accept().await.unwrap_err(),
        call.finish(done()).await.unwrap_err(),
        world.get(&id).await.unwrap_err(),
        soon(reader.next()).await.unwrap_err(),
    ];
    for refused in refusals {
        assert!(is_busy(&refused), "{refused:?}");
    }
    world.gate.refuse(false);
    drop((call, reader));
    assert!(world.is_empty().await);
    let missing = world.get(&id).await.unwrap_err();
    assert!(matches!(missing, TaskError::NotFound(_)), "{missing:?}");
}

#[tokio::test]
async fn a_refused_answer_can_be_given_again() {
    let world = World::new().await;
    let id = world.waiting().await;
    world.gate.refuse(true);
    let refused = world.engine.resume(&ann(), &id, user("one")).await;
    assert!(is_busy(&refused.map(|_| ()).unwrap_err()));
    world.gate.refuse(false);
    assert_eq!(
        kept(&world, &id).await.status.state,
        TaskState::InputRequired
    );
    let turn = world.engine.resume(&ann(), &id, user("two")).await.unwrap();
    let task = finish(&turn.call, done()).await;
    assert_eq!(history(&task), ["go", "which?", "two"]);
}

#[tokio::test]
async fn a_task_whose_last_word_was_refused_is_failed_as_lost() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    let mut reader = world.subscribe(&id).await;
    world.gate.refuse(true);
    assert!(is_busy(&call.finish(done()).await.unwrap_err()));
    assert!(is_busy(&soon(reader.next()).await.unwrap_err()));
    drop((call, reader));
    world.gate.refuse(false);
    let task = kept(&world, &id).await;
    assert_eq!(failure(&task).0, "platform");
    assert_eq!(world.get(&id).await.unwrap(), task);
}

#[tokio::test]
async fn a_refused_cancel_still_stops_the_call() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    world.gate.refuse(true);
    assert!(is_busy(
        &world.engine.cancel(&ann(), &id).await.unwrap_err()
    ));
    soon(call.interrupted()).await;
    drop(call);
    world.gate.refuse(false);
    assert_eq!(failure(&kept(&world, &id).await).0, "platform");
}

#[tokio::test]
async fn behind_a_lost_event_nothing_is_shown() {
    let world = World::new().await;
    let call = world.running().await;
    let mut reader = world.subscribe(&call.task_id()).await;
    world.gate.hold();
    for said in ["one", "two", "three"] {
        call.update(says(said)).await.unwrap();
    }
    world.gate.let_one_go();
    assert_eq!(
        label(&soon(reader.next()).await.unwrap().unwrap()),
        "working: one"
    );
    world.gate.lose_one();
    world.gate.open();
    let lost = |error: TaskError| matches!(error, TaskError::Store(_));
    assert!(lost(call.finish(done()).await.unwrap_err()));
    assert!(lost(world.get(&call.task_id()).await.unwrap_err()));
    // The third has reached the store by now or will; either way it is no second event.
    for _ in 0..100 {
        assert!(lost(soon(reader.next()).await.unwrap_err()));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_damaged_task_does_not_keep_the_server_from_starting() {
    let gate = Gate::before(Store::in_memory().tasks);
    let limits = TaskLimits::default();
    let (engine, _) = TaskEngine::open(gate.clone(), limits.clone())
        .await
        .unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let call = engine.begin(new_task(&ann(), user("go")));
        call.accept().await.unwrap();
        ids.push(call.task_id());
        // As a killed process does: nobody ends the call.
        std::mem::forget(call);
    }
    gate.damage(&ids[1]);
    let (engine, interrupted) = TaskEngine::open(gate, limits).await.unwrap();
    assert_eq!(interrupted, 2);
    for id in [&ids[0], &ids[2]] {
        let task = engine.get(&ann(), id).await.unwrap();
        assert_eq!(failure(&task).0, "interrupted");
    }
    let error = engine.get(&ann(), &ids[1]).await.unwrap_err();
    let TaskError::Store(cause) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(cause.to_string(), damaged().to_string());
}

#[tokio::test]
async fn one_damaged_task_is_left_out_of_the_list() {
    let gate = Gate::before(Store::in_memory().tasks);
    let limits = TaskLimits::default();
    let open = || TaskEngine::open(gate.clone(), limits.clone());
    let (engine, _) = open().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let call = engine.begin(new_task(&ann(), user("go")));
        ids.push(finish(&call, done()).await.id);
    }
    gate.damage(&ids[1]);
    // What was in memory is gone.
    let (engine, _) = open().await.unwrap();
    for _ in 0..2 {
        let filter = TaskFilter {
            page_size: 10,
            ..TaskFilter::default()
        };
        let listed = engine.list(&ann(), filter).await.unwrap();
        let listed: Vec<&str> = listed.tasks.iter().map(|task| &*task.id).collect();
        assert_eq!(listed, [&*ids[2], &*ids[0]]);
    }
    assert_eq!(gate.found(), 1, "it is told once");
    assert!(engine.get(&ann(), &ids[1]).await.is_err());
}

#[tokio::test]
async fn a_store_that_refuses_the_recovery_is_an_error() {
    let gate = Gate::before(Store::in_memory().tasks);
    let limits = TaskLimits::default();
    let (engine, _) = TaskEngine::open(gate.clone(), limits.clone())
        .await
        .unwrap();
    let call = engine.begin(new_task(&ann(), user("go")));
    call.accept().await.unwrap();
    std::mem::forget(call);
    gate.refuse(true);
    let refused = TaskEngine::open(gate.clone(), limits.clone()).await;
    assert!(is_busy(&refused.map(|_| ()).unwrap_err()));
    gate.refuse(false);
    let (_, interrupted) = TaskEngine::open(gate, limits).await.unwrap();
    assert_eq!(interrupted, 1);
}

#[tokio::test]
async fn a_refusal_concerns_one_task_only() {
    let world = World::new().await;
    let (unlucky, lucky) = (world.running().await, world.running().await);
    let mut reader = world.subscribe(&lucky.task_id()).await;
    world.gate.refuse(true);
    assert!(is_busy(&unlucky.finish(asks("which?")).await.unwrap_err()));
    world.gate.refuse(false);
    finish(&lucky, done()).await;
    assert_eq!(labels(&mut reader).await, ["completed: done"]);
}
