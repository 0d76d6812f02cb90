//! Configurations as their owner sees them.

use super::receiver::{Receiver, Reply, said};
use super::{Pusher, config, followed, quick, to};
use crate::support::{World, ann, done, finish, says, scope};
use dormouse_services::push::PushConfig;
use dormouse_services::{Along, TaskError};

fn plain(id: &str, url: &str) -> PushConfig {
    PushConfig::new(Some(id.to_owned()), url.to_owned(), None, None).unwrap()
}

async fn ids(world: &World, task: &str) -> Vec<String> {
    let page = world.engine.list_push(&ann(), task, None, 100).await;
    let configs = page.unwrap().configs;
    configs.into_iter().map(|config| config.id).collect()
}

/// A configuration in one step with a turn.
fn along(push: Option<PushConfig>) -> Along {
    Along {
        push,
        ..Along::default()
    }
}

#[tokio::test]
async fn configurations_are_kept_replaced_listed_and_deleted() {
    let world = World::new().await;
    let engine = &world.engine;
    let call = world.running().await;
    let id = call.task_id();
    assert_eq!(ids(&world, &id).await, [""; 0]);
    for name in ["c", "a", "b"] {
        let config = plain(name, "https://one.test/");
        engine.create_push(&ann(), &id, config).await.unwrap();
    }
    let replaced = plain("b", "https://two.test/");
    engine
        .create_push(&ann(), &id, replaced.clone())
        .await
        .unwrap();
    assert_eq!(ids(&world, &id).await, ["a", "b", "c"]);
    assert_eq!(engine.get_push(&ann(), &id, "b").await.unwrap(), replaced);

    let first = engine.list_push(&ann(), &id, None, 2).await.unwrap();
    assert_eq!(first.configs.len(), 2);
    let next = first.next.as_deref();
    let second = engine.list_push(&ann(), &id, next, 2).await.unwrap();
    assert_eq!((second.configs[0].id.as_str(), second.next), ("c", None));

    for _ in 0..2 {
        engine.delete_push(&ann(), &id, "b").await.unwrap();
        assert_eq!(ids(&world, &id).await, ["a", "c"]);
    }
    let gone = engine.get_push(&ann(), &id, "b").await.unwrap_err();
    assert!(matches!(gone, TaskError::PushConfigNotFound(_)), "{gone}");
}

#[tokio::test]
async fn a_task_has_so_many_and_no_more() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    let create = async |name: &str| {
        let config = plain(name, "https://one.test/");
        world.engine.create_push(&ann(), &id, config).await
    };
    for number in 0..10 {
        create(&number.to_string()).await.unwrap();
    }
    let refused = create("one more").await.unwrap_err();
    assert!(matches!(refused, TaskError::Limit { .. }), "{refused}");
    create("3").await.unwrap();
    world.engine.delete_push(&ann(), &id, "0").await.unwrap();
    create("one more").await.unwrap();
    assert_eq!(ids(&world, &id).await.len(), 10);
}

#[tokio::test]
async fn others_are_told_that_there_is_no_such_task() {
    let world = World::new().await;
    let call = world.running().await;
    let id = call.task_id();
    let engine = &world.engine;
    let mine = plain("mine", "https://one.test/");
    engine.create_push(&ann(), &id, mine.clone()).await.unwrap();
    for other in [scope("calc", "bob"), scope("echo", "ann")] {
        let answers = [
            engine.create_push(&other, &id, mine.clone()).await,
            engine.get_push(&other, &id, "mine").await.map(drop),
            engine.list_push(&other, &id, None, 1).await.map(drop),
            engine.delete_push(&other, &id, "mine").await,
        ];
        for answer in answers {
            assert!(matches!(answer, Err(TaskError::NotFound(_))), "{answer:?}");
        }
    }
    assert_eq!(engine.get_push(&ann(), &id, "mine").await.unwrap(), mine);
}

#[tokio::test]
async fn a_new_configuration_hears_what_comes_and_not_what_was() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let call = world.running().await;
    let id = call.task_id();
    call.update(says("before")).await.unwrap();
    let one = config("one", &receiver);
    world.engine.create_push(&ann(), &id, one).await.unwrap();
    call.update(says("after")).await.unwrap();
    finish(&call, done()).await;
    let posts = receiver.posts(2).await;
    assert_eq!(said(&posts), ["working: after", "completed: done"]);
    let late = config("late", &receiver);
    world.engine.create_push(&ann(), &id, late).await.unwrap();
    receiver.expect_no_more().await;
    assert_eq!(ids(&world, &id).await, ["late", "one"]);
    pusher.stop().await;
}

#[tokio::test]
async fn a_new_address_gets_what_the_old_one_did_not_take() {
    let world = World::new().await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    old.script([Reply::Status(200), Reply::Hang]);
    let both = [old.address.to_string(), new.address.to_string()];
    let client = super::client(&[&both[0], &both[1]]);
    let pusher = Pusher::start(&world.engine, client, quick(1));
    let call = followed(&world.engine, config("one", &old));
    for step in 0..3 {
        call.update(says(&step.to_string())).await.unwrap();
    }
    old.posts(2).await;
    let moved = config("one", &new);
    let id = call.task_id();
    world.engine.create_push(&ann(), &id, moved).await.unwrap();
    finish(&call, done()).await;
    let posts = new.posts(3).await;
    assert_eq!(
        said(&posts),
        ["working: 1", "working: 2", "completed: done"]
    );
    assert_eq!(old.posts(2).await.len(), 2);
    pusher.stop().await;
}

#[tokio::test]
async fn a_deleted_configuration_gets_nothing_more() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.script([Reply::Status(500), Reply::Status(500), Reply::Hang]);
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1_000_000));
    let call = followed(&world.engine, config("one", &receiver));
    call.accept().await.unwrap();
    receiver.posts(3).await;
    let id = call.task_id();
    let ann = ann();
    let deleting = world.engine.delete_push(&ann, &id, "one");
    crate::support::soon(deleting).await.unwrap();
    finish(&call, done()).await;
    receiver.expect_no_more().await;
    assert_eq!(receiver.posts(3).await.len(), 3);
    pusher.stop().await;
}

#[tokio::test]
async fn a_turn_can_bring_a_configuration() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let id = world.waiting().await;
    let push = Some(config("one", &receiver));
    let message = crate::support::user("this");
    let ann = ann();
    let turn = world.engine.resume_with(&ann, &id, message, along(push));
    let turn = turn.await.unwrap();
    assert_eq!(turn.slot, 7);
    finish(&turn.call, done()).await;
    let posts = receiver.posts(2).await;
    assert_eq!(said(&posts), ["working", "completed: done"]);

    // A refused turn leaves no configuration.
    let push = Some(config("two", &receiver));
    let message = crate::support::user("more");
    let refused = world
        .engine
        .resume_with(&ann, &id, message, along(push))
        .await;
    assert!(refused.is_err());
    assert_eq!(ids(&world, &id).await, ["one"]);
    pusher.stop().await;
}

#[tokio::test]
async fn a_configuration_leaves_the_slot_of_a_waiting_task_alone() {
    let world = World::new().await;
    let id = world.waiting().await;
    let one = plain("one", "https://one.test/");
    world.engine.create_push(&ann(), &id, one).await.unwrap();
    assert_eq!(world.resume(&id, "this").await.unwrap().slot, 7);
}

#[tokio::test]
async fn an_answer_without_a_task_leaves_no_configuration() {
    let world = World::new().await;
    let call = world.begin("hello");
    call.notify(plain("one", "https://one.test/")).unwrap();
    let outcome = dormouse_services::model::Outcome::Message(says("hi"));
    call.finish(outcome).await.unwrap();
    assert!(world.is_empty().await);
    assert_eq!(world.gate.writes(), 0);
}
