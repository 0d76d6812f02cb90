//! Idempotency keys: one message, one task.

use crate::support::{World, ann, asks, finish, new_task, scope, soon, user};
use dormouse_services::{Along, Attempt, TaskEngine, TaskError, TaskLimits};

/// Sends a message with a key; the id of the task it leads to.
async fn send(engine: &TaskEngine, key: &str, text: &str) -> Result<(String, bool), TaskError> {
    let message = user(text);
    match soon(engine.once(&ann(), key, &message, None)).await? {
        Attempt::Repeated(id) => Ok((id, false)),
        Attempt::First(once) => {
            let call = engine.begin(new_task(&ann(), message));
            call.accept_once(once).await?;
            finish(&call, asks("which?")).await;
            Ok((call.task_id(), true))
        }
    }
}

#[tokio::test]
async fn the_same_message_leads_to_the_same_task() {
    let world = World::new().await;
    let (id, first) = send(&world.engine, "k", "go").await.unwrap();
    assert!(first);
    assert_eq!(send(&world.engine, "k", "go").await.unwrap(), (id, false));
    assert!(send(&world.engine, "other", "go").await.unwrap().1);
}

#[tokio::test]
async fn of_many_at_once_one_is_the_first() {
    let world = World::new().await;
    let sends = (0..50).map(|_| send(&world.engine, "k", "go"));
    let sent = futures_util::future::join_all(sends).await;
    let sent: Vec<_> = sent.into_iter().map(Result::unwrap).collect();
    assert_eq!(sent.iter().filter(|(_, first)| *first).count(), 1);
    assert!(sent.iter().all(|(id, _)| *id == sent[0].0));
}

#[tokio::test]
async fn a_key_stands_for_one_message() {
    let world = World::new().await;
    send(&world.engine, "k", "go").await.unwrap();
    let refused = send(&world.engine, "k", "stay").await;
    assert!(matches!(refused, Err(TaskError::KeyReused)));
}

#[tokio::test]
async fn a_key_means_nothing_in_another_scope() {
    let world = World::new().await;
    send(&world.engine, "k", "go").await.unwrap();
    for other in [scope("calc", "bob"), scope("other", "ann")] {
        let attempt = world
            .engine
            .once(&other, "k", &user("go"), None)
            .await
            .unwrap();
        assert!(matches!(attempt, Attempt::First(_)));
    }
}

#[tokio::test]
async fn an_attempt_that_led_nowhere_can_be_made_again() {
    let world = World::new().await;
    let attempt = world
        .engine
        .once(&ann(), "k", &user("go"), None)
        .await
        .unwrap();
    drop(attempt);
    assert!(send(&world.engine, "k", "go").await.unwrap().1);
}

#[tokio::test]
async fn an_answer_with_a_key_is_taken_once() {
    let world = World::new().await;
    let id = world.waiting().await;
    let mut answer = user("this");
    answer.task_id = Some(id.clone());
    let attempt = world.engine.once(&ann(), "k", &answer, None).await.unwrap();
    let Attempt::First(once) = attempt else {
        panic!("nobody has sent it before")
    };
    let along = Along {
        once: Some(once),
        ..Along::default()
    };
    let turn = (world.engine.resume_with(&ann(), &id, answer.clone(), along))
        .await
        .unwrap();
    let again = soon(world.engine.once(&ann(), "k", &answer, None))
        .await
        .unwrap();
    assert!(matches!(again, Attempt::Repeated(task) if task == id));
    drop(turn);
}

#[tokio::test]
async fn a_key_is_kept_by_the_store() {
    let world = World::new().await;
    let (id, _) = send(&world.engine, "k", "go").await.unwrap();
    let (reopened, _) = TaskEngine::open(world.gate.clone(), TaskLimits::default())
        .await
        .unwrap();
    assert_eq!(send(&reopened, "k", "go").await.unwrap(), (id, false));
}

#[tokio::test]
async fn a_repeated_message_may_name_no_other_context_and_no_other_skill() {
    let world = World::new().await;
    let (id, _) = send(&world.engine, "k", "go").await.unwrap();
    let task = world.engine.get(&ann(), &id).await.unwrap();
    let asked = async |context: Option<&str>, skill: Option<&str>| {
        let mut message = user("go");
        message.context_id = context.map(str::to_owned);
        let skill = skill.map(serde_json::Value::from);
        let scope = ann();
        let again = world.engine.once(&scope, "k", &message, skill.as_ref());
        match again.await {
            Ok(Attempt::Repeated(found)) => found == id,
            Err(TaskError::KeyReused) => false,
            _ => panic!("neither the first task nor a refusal"),
        }
    };
    let context = Some(&*task.context_id);
    assert!(asked(None, None).await && asked(context, None).await);
    assert!(!asked(Some("zz"), None).await);
    let skill = new_task(&ann(), user("go")).skill;
    assert!(asked(context, Some(&skill)).await);
    assert!(!asked(None, Some("other")).await);
}
