//! Lists: newest status first, in pages, filtered.

use crate::support::{World, ann, asks, done, finish, new_task, says, user, user_in};
use dormouse_services::model::{Outcome, PartContent, Task, TaskState};
use dormouse_services::{Listing, TaskError, TaskFilter};
use serde_json::json;
use std::cmp::Reverse;

/// Eleven tasks in three contexts and four states, in the order a list must have.
async fn eleven(world: &World) -> Vec<Task> {
    let mut tasks = Vec::new();
    for number in 0..11 {
        let context = ["tea", "coffee", "juice"][number % 3];
        let call = world.engine.begin(new_task(&ann(), user_in(context)));
        let outcome = match number % 4 {
            0 => done(),
            1 => asks("which?"),
            2 => Outcome::Rejected(says("no")),
            _ => Outcome::Failed(says("no")),
        };
        tasks.push(finish(&call, outcome).await);
    }
    // The first one speaks again and so becomes the newest.
    let turn = user("this");
    let turn = world.engine.resume(&ann(), &tasks[1].id, turn).await;
    tasks[1] = finish(&turn.unwrap().call, done()).await;
    tasks.sort_by_key(|task| Reverse((task.status.timestamp, task.id.clone())));
    tasks
}

fn all() -> TaskFilter {
    TaskFilter {
        page_size: 100,
        ..TaskFilter::default()
    }
}

async fn list(world: &World, filter: TaskFilter) -> Listing {
    world.engine.list(&ann(), filter).await.unwrap()
}

#[tokio::test]
async fn pages_together_are_the_list_newest_first() {
    let world = World::new().await;
    let expected = eleven(&world).await;
    for page_size in [1, 2, 3, 10, 11, 12, 100] {
        let mut listed = Vec::new();
        let mut filter = TaskFilter { page_size, ..all() };
        loop {
            let page = list(&world, filter.clone()).await;
            assert_eq!(page.total, 11);
            assert!(page.tasks.len() <= page_size && !page.tasks.is_empty());
            listed.extend(page.tasks);
            if page.next_page_token.is_empty() {
                break;
            }
            filter.page_token = Some(page.next_page_token);
        }
        assert_eq!(listed, expected, "pages of {page_size}");
    }
}

#[tokio::test]
async fn a_page_ends_when_it_has_become_large() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        let mut message = user("many");
        message.parts[0].content = PartContent::Data(json!(vec![json!({"a": 0}); 38_000]));
        let call = world.engine.begin(new_task(&ann(), message));
        made.push(finish(&call, done()).await.id);
    }
    made.reverse();
    let first = list(&world, all()).await;
    assert_eq!((first.tasks.len(), first.total), (3, 5));
    let second = TaskFilter {
        page_token: Some(first.next_page_token),
        ..all()
    };
    let second = list(&world, second).await;
    assert_eq!(second.next_page_token, "");
    let listed = first.tasks.iter().chain(&second.tasks);
    assert_eq!(listed.map(|task| task.id.clone()).collect::<Vec<_>>(), made);
}

#[tokio::test]
async fn filters_keep_what_they_say() {
    let world = World::new().await;
    let tasks = eleven(&world).await;
    let states = [
        TaskState::Completed,
        TaskState::InputRequired,
        TaskState::Rejected,
        TaskState::Failed,
        TaskState::Working,
    ];
    let contexts = ["tea", "coffee", "juice", "te"];
    let times = tasks.iter().map(|task| task.status.timestamp);
    let mut cases = Vec::new();
    for state in [None].into_iter().chain(states.map(Some)) {
        for context in [None].into_iter().chain(contexts.map(Some)) {
            for after in [None].into_iter().chain(times.clone()) {
                cases.push((state.clone(), context, after));
            }
        }
    }
    for (state, context, after) in cases {
        let filter = TaskFilter {
            state: state.clone(),
            context_id: context.map(str::to_owned),
            status_after: after,
            ..all()
        };
        let page = list(&world, filter).await;
        let expected: Vec<_> = tasks
            .iter()
            .filter(|task| {
                state
                    .as_ref()
                    .is_none_or(|state| task.status.state == *state)
            })
            .filter(|task| context.is_none_or(|context| task.context_id == context))
            // At that time or later (A2A 1.0 §3.1.4).
            .filter(|task| after.is_none_or(|after| task.status.timestamp >= Some(after)))
            .cloned()
            .collect();
        assert_eq!(page.total, expected.len() as u64);
        assert_eq!(page.tasks, expected, "{state:?} {context:?} {after:?}");
    }
}

#[tokio::test]
async fn a_task_is_listed_by_its_last_durable_state() {
    let world = World::new().await;
    let call = world.running().await;
    let working = TaskFilter {
        state: Some(TaskState::Working),
        ..all()
    };
    assert_eq!(list(&world, working.clone()).await.total, 1);
    finish(&call, done()).await;
    assert_eq!(list(&world, working).await.total, 0);
    assert_eq!(list(&world, all()).await.total, 1);
}

#[tokio::test]
async fn a_made_up_page_token_is_refused() {
    let world = World::new().await;
    let id = world.waiting().await;
    for token in [
        "",
        ".",
        "1",
        "x.y",
        "zz.",
        &id,
        &format!("zz.{id}"),
        "1.two",
    ] {
        let filter = TaskFilter {
            page_token: Some(token.to_owned()),
            ..all()
        };
        let refused = world.engine.list(&ann(), filter).await.map(|_| ());
        assert!(matches!(refused, Err(TaskError::BadPageToken)), "{token:?}");
    }
}

#[tokio::test]
async fn a_token_goes_on_where_its_page_ended_though_tasks_come_and_go() {
    let world = World::new().await;
    let expected = eleven(&world).await;
    let mut filter = TaskFilter {
        page_size: 4,
        ..all()
    };
    let first = list(&world, filter.clone()).await;
    assert_eq!(first.tasks, expected[..4]);
    // A newer task, and one from a later page that moves to the front.
    world.waiting().await;
    let moved = expected[4..]
        .iter()
        .find(|task| task.status.state == TaskState::InputRequired)
        .unwrap();
    world.engine.cancel(&ann(), &moved.id).await.unwrap();
    filter.page_token = Some(first.next_page_token);
    filter.page_size = 100;
    let ids: Vec<_> = list(&world, filter)
        .await
        .tasks
        .into_iter()
        .map(|task| task.id)
        .collect();
    let rest = expected[4..].iter().map(|task| task.id.clone());
    assert_eq!(ids, rest.filter(|id| *id != moved.id).collect::<Vec<_>>());
}
