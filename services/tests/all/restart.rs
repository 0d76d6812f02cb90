//! What a new process makes of the tasks that an earlier one left in its data folder.

use crate::support::{ann, asks, done, failure, finish, history, new_task, says, user, user_in};
use dormouse_services::call::StateScope;
use dormouse_services::model::TaskState;
use dormouse_services::{Call, TaskEngine, TaskFilter, TaskLimits};
use dormouse_store::{OpenOptions, Store};
use std::path::Path;
use tempfile::tempdir;

async fn start(folder: &Path) -> (Store, TaskEngine, u64) {
    let store = Store::open(folder, &OpenOptions::default()).unwrap();
    let opened = TaskEngine::open(store.tasks.clone(), TaskLimits::default()).await;
    let (engine, interrupted) = opened.unwrap();
    (store, engine, interrupted)
}

/// The store goes first, so that nothing its tasks still want to say is kept.
fn kill(store: Store, engine: TaskEngine, running: Vec<Call>) {
    store.close().unwrap();
    drop((running, engine));
}

#[tokio::test]
async fn running_tasks_are_failed_and_the_others_stay_as_they_are() {
    let folder = tempdir().unwrap();
    let (store, engine, interrupted) = start(folder.path()).await;
    assert_eq!(interrupted, 0);
    let begin = || engine.begin(new_task(&ann(), user_in("tea")));
    let (accepted, talking, resumed) = (begin(), begin(), begin());
    let (unknown, waiting, completed) = (begin(), begin(), begin());
    accepted.accept().await.unwrap();
    talking.update(says("one")).await.unwrap();
    talking
        .state_set(StateScope::Context, "k", Some("lost".into()))
        .unwrap();
    talking.accept().await.unwrap();
    finish(&resumed, asks("which?")).await;
    let asked = resumed.task_id();
    drop(resumed);
    let turn = engine.resume(&ann(), &asked, user("this")).await.unwrap();
    let resumed = turn.call;
    waiting
        .state_set(StateScope::Task, "k", Some("kept".into()))
        .unwrap();
    let question = finish(&waiting, asks("which?")).await;
    let answer = finish(&completed, done()).await;
    let lost = [accepted.task_id(), talking.task_id(), resumed.task_id()];
    let expected: [&[&str]; 3] = [&["go"], &["go", "one"], &["go", "which?", "this"]];
    let unknown_id = unknown.task_id();
    kill(
        store,
        engine,
        vec![accepted, talking, resumed, unknown, waiting, completed],
    );

    let (store, engine, interrupted) = start(folder.path()).await;
    assert_eq!(interrupted, 3);
    for (id, said) in lost.iter().zip(expected) {
        let task = engine.get(&ann(), id).await.unwrap();
        let (class, sentence) = failure(&task);
        assert_eq!(class, "interrupted");
        assert!(sentence.contains("server stopped"), "{sentence}");
        assert_eq!(history(&task), said);
    }
    assert!(engine.get(&ann(), &unknown_id).await.is_err());
    assert_eq!(engine.get(&ann(), &question.id).await.unwrap(), question);
    assert_eq!(engine.get(&ann(), &answer.id).await.unwrap(), answer);
    let turn = engine
        .resume(&ann(), &question.id, user("this"))
        .await
        .unwrap();
    assert_eq!(
        (turn.version, &*turn.skill, &turn.slot),
        (3, "add", &7.into())
    );
    let kept = turn.call.state_get(StateScope::Task, "k").unwrap();
    assert_eq!(kept.as_deref(), Some("kept"));
    assert_eq!(turn.call.state_get(StateScope::Context, "k").unwrap(), None);
    let task = finish(&turn.call, done()).await;
    assert_eq!(history(&task), ["go", "which?", "this"]);
    kill(store, engine, vec![turn.call]);

    let (_store, engine, interrupted) = start(folder.path()).await;
    assert_eq!(interrupted, 0, "what was failed once is not failed again");
    assert_eq!(engine.get(&ann(), &task.id).await.unwrap(), task);
}

#[tokio::test]
async fn lists_and_their_pages_outlive_the_process() {
    let folder = tempdir().unwrap();
    let (store, engine, _) = start(folder.path()).await;
    for _ in 0..3 {
        let call = engine.begin(new_task(&ann(), user("go")));
        finish(&call, done()).await;
    }
    let filter = TaskFilter {
        state: Some(TaskState::Completed),
        page_size: 2,
        ..TaskFilter::default()
    };
    let first = engine.list(&ann(), filter.clone()).await.unwrap();
    let filter = TaskFilter {
        page_token: Some(first.next_page_token),
        ..filter
    };
    let second = engine.list(&ann(), filter.clone()).await.unwrap();
    kill(store, engine, Vec::new());
    let (_store, engine, _) = start(folder.path()).await;
    let again = engine.list(&ann(), filter).await.unwrap();
    assert_eq!((second.tasks.len(), second.total), (1, 3));
    assert_eq!((again.tasks, again.total), (second.tasks, 3));
}
