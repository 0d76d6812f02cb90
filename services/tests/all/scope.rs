//! A task exists for its principal and its agent only.

use crate::support::{
    World, ann, asks, done, finish, new_task, rest, says, scope, soon, user, user_in,
};
use dormouse_services::model::TaskState;
use dormouse_services::{TaskError, TaskFilter};

#[tokio::test]
async fn to_others_a_task_is_as_if_it_were_not_there() {
    let world = World::new().await;
    let working = world.running().await;
    let waiting = world.waiting().await;
    let ended = world.begin("go");
    finish(&ended, done()).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    for other in [
        scope("calc", "bob"),
        scope("echo", "ann"),
        scope("calc", ""),
    ] {
        for id in [working.task_id(), waiting.clone(), ended.task_id()] {
            let engine = &world.engine;
            let answers = |id: String| {
                let other = other.clone();
                async move {
                    [
                        engine.get(&other, &id).await.map(|_| ()),
                        engine.cancel(&other, &id).await.map(|_| ()),
                        engine.subscribe(&other, &id).await.map(|_| ()),
                        engine.resume(&other, &id, user("me")).await.map(|_| ()),
                    ]
                }
            };
            let theirs = answers(id.clone()).await;
            let nobodys = answers(unknown.clone()).await;
            for (theirs, nobodys) in theirs.into_iter().zip(nobodys) {
                let (theirs, nobodys) = (theirs.unwrap_err(), nobodys.unwrap_err());
                assert!(matches!(theirs, TaskError::NotFound(_)), "{theirs:?}");
                let nobodys = nobodys.to_string().replace(&unknown, &id);
                assert_eq!(theirs.to_string(), nobodys);
            }
        }
        let filter = TaskFilter {
            page_size: 100,
            ..TaskFilter::default()
        };
        let page = world.engine.list(&other, filter).await.unwrap();
        assert_eq!((page.tasks.len(), page.total), (0, 0));
    }
    working.update(says("still here")).await.unwrap();
    assert_eq!(world.state_of(&waiting).await, TaskState::InputRequired);
}

#[tokio::test]
async fn principals_do_not_meet_in_a_shared_context() {
    let world = World::new().await;
    let bob = scope("calc", "bob");
    let hers = world.engine.begin(new_task(&ann(), user_in("tea")));
    let his = world.engine.begin(new_task(&bob, user_in("tea")));
    finish(&hers, asks("which?")).await;
    finish(&his, done()).await;
    for (scope, call) in [(ann(), &hers), (bob, &his)] {
        let filter = TaskFilter {
            context_id: Some("tea".to_owned()),
            page_size: 100,
            ..TaskFilter::default()
        };
        let page = world.engine.list(&scope, filter).await.unwrap();
        let ids: Vec<_> = page.tasks.iter().map(|task| &task.id).collect();
        assert_eq!(ids, [&call.task_id()]);
    }
}

#[tokio::test]
async fn tasks_do_not_meet_in_each_others_events() {
    let world = World::new().await;
    let (one, two) = (world.running().await, world.running().await);
    let mut reader = world.subscribe(&one.task_id()).await;
    two.update(says("two")).await.unwrap();
    one.update(says("one")).await.unwrap();
    finish(&two, done()).await;
    finish(&one, done()).await;
    for event in rest(&mut reader).await {
        let json = String::from_utf8(event.json.to_vec()).unwrap();
        assert!(json.contains(&one.task_id()) && !json.contains(&two.task_id()));
    }
    soon(world.get(&two.task_id())).await.unwrap();
}
