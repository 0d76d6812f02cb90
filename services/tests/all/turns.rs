//! A task that asks, is answered, and goes on.

use crate::support::{
    World, ann, artifact, asks, done, failure, finish, history, labels, new_task, says, soon, text,
    user_in,
};
use dormouse_services::TaskError;
use dormouse_services::call::StateScope;
use dormouse_services::model::{FailureClass, Outcome, Role, TaskState};
use futures_util::FutureExt;
use serde_json::json;

#[tokio::test]
async fn an_answered_task_goes_on_where_it_asked() {
    let world = World::new().await;
    let call = world.engine.begin(new_task(&ann(), user_in("tea")));
    let id = call.task_id();
    let (_, _, mut reader) = call.follow().await.unwrap();
    let slot = json!({"asked": ["milk", 1]});
    let outcome = Outcome::InputRequired {
        message: says("milk?"),
        slot: slot.clone(),
    };
    let task = finish(&call, outcome).await;
    assert_eq!(task.status.state, TaskState::InputRequired);
    assert_eq!(text(task.status.message.as_ref().unwrap()), "milk?");
    drop(call);
    assert_eq!(world.state_of(&id).await, TaskState::InputRequired);

    let turn = world.resume(&id, "yes").await.unwrap();
    assert_eq!((turn.version, &*turn.skill, &turn.slot), (3, "add", &slot));
    assert_eq!(turn.message.task_id.as_ref(), Some(&id));
    assert_eq!(turn.message.context_id.as_deref(), Some("tea"));
    assert_eq!(turn.call.task_id(), id);
    assert_eq!(world.state_of(&id).await, TaskState::Working);
    turn.call.update(says("brewing")).await.unwrap();
    let task = finish(&turn.call, done()).await;
    assert_eq!(history(&task), ["go", "milk?", "yes", "brewing"]);
    // What users said is in the history, not among the events.
    let expected = [
        "inputrequired: milk?",
        "working",
        "working: brewing",
        "completed: done",
    ];
    assert_eq!(labels(&mut reader).await, expected);
}

#[tokio::test]
async fn every_way_of_asking_can_be_answered_and_asked_again() {
    let world = World::new().await;
    let id = world.waiting().await;
    for round in 0..3 {
        let turn = world.resume(&id, "so").await.unwrap();
        let (message, slot) = (says("and?"), json!(round));
        let outcome = Outcome::AuthRequired { message, slot };
        let task = finish(&turn.call, outcome).await;
        assert_eq!(task.status.state, TaskState::AuthRequired);
    }
    let turn = world.resume(&id, "so").await.unwrap();
    assert_eq!(turn.slot, json!(2));
    finish(&turn.call, done()).await;
}

#[tokio::test]
async fn only_a_waiting_task_takes_a_message() {
    let world = World::new().await;
    let working = world.running().await;
    let mut cases = vec![(working.task_id(), "is working and")];
    let ends = [
        ("(completed)", done()),
        ("(failed)", Outcome::Failed(says("no"))),
        ("(rejected)", Outcome::Rejected(says("no"))),
    ];
    for (word, outcome) in ends {
        let call = world.begin("go");
        finish(&call, outcome).await;
        cases.push((call.task_id(), word));
    }
    let trapped = world.running().await;
    trapped
        .fail(FailureClass::Trap, "It trapped.")
        .await
        .unwrap();
    cases.push((trapped.task_id(), "(failed)"));
    let canceled = world.waiting().await;
    world.engine.cancel(&ann(), &canceled).await.unwrap();
    cases.push((canceled, "(canceled)"));
    for unknown in [uuid::Uuid::now_v7().to_string(), "not an id".to_owned()] {
        cases.push((unknown, "not found"));
    }
    for (id, word) in cases {
        let before = world.get(&id).await.ok();
        let refused = world.resume(&id, "more").await.map(|_| ()).unwrap_err();
        let expected = match word {
            "not found" => matches!(refused, TaskError::NotFound(_)),
            "is working and" => matches!(refused, TaskError::NotWaiting { .. }),
            _ => matches!(refused, TaskError::Terminal { .. }),
        };
        assert!(expected && refused.to_string().contains(word), "{refused}");
        assert_eq!(world.get(&id).await.ok(), before, "{word}");
    }
}

#[tokio::test]
async fn an_answer_must_name_the_right_context_or_none() {
    let world = World::new().await;
    let call = world.engine.begin(new_task(&ann(), user_in("tea")));
    finish(&call, asks("which?")).await;
    let id = call.task_id();
    let refused = world.engine.resume(&ann(), &id, user_in("coffee")).await;
    let refused = refused.map(|_| ()).unwrap_err();
    assert!(
        matches!(refused, TaskError::ContextMismatch { .. }),
        "{refused}"
    );
    assert_eq!(world.state_of(&id).await, TaskState::InputRequired);
    let turn = world.engine.resume(&ann(), &id, user_in("tea")).await;
    assert_eq!(turn.unwrap().message.context_id.as_deref(), Some("tea"));
}

#[tokio::test]
async fn of_two_answers_one_is_taken() {
    let world = World::new().await;
    let id = world.waiting().await;
    world.gate.hold();
    let both = async { tokio::join!(world.resume(&id, "one"), world.resume(&id, "two")) };
    let mut both = Box::pin(both);
    // Neither answer is on the disk when the other is judged.
    while world.gate.writes() < 2 {
        assert!(both.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    world.gate.open();
    let (one, two) = soon(both).await;
    let (taken, refused) = match (one, two) {
        (Ok(turn), Err(error)) | (Err(error), Ok(turn)) => (turn, error),
        (one, two) => panic!("{} {}", one.is_ok(), two.is_ok()),
    };
    assert!(matches!(refused, TaskError::NotWaiting { .. }), "{refused}");
    let task = finish(&taken.call, done()).await;
    assert_eq!(history(&task), ["go", "which?", &*text(&taken.message)]);
}

#[tokio::test]
async fn an_agent_cannot_blame_others_for_its_failure() {
    let world = World::new().await;
    for class in [None, Some("platform")] {
        let call = world.begin("go");
        let mut said = says("no");
        said.metadata = class.map(|class| [("errorClass".to_owned(), json!(class))].into());
        let task = finish(&call, Outcome::Failed(said)).await;
        assert_eq!(failure(&task), ("agent".into(), "no".into()));
    }
}

/// A guest may keep its handle after its call.
#[tokio::test]
async fn an_ended_call_has_nothing_more_to_say() {
    let world = World::new().await;
    let asked = world.begin("go");
    finish(&asked, asks("which?")).await;
    let answered = world.begin("go");
    answered.finish(Outcome::Message(says("hi"))).await.unwrap();
    let completed = world.begin("go");
    finish(&completed, done()).await;
    let failed = world.begin("go");
    failed
        .fail(FailureClass::Trap, "It trapped.")
        .await
        .unwrap();
    let writes = world.gate.writes();
    for call in [&asked, &answered, &completed, &failed] {
        let refusals = [
            call.update(says("more")).await,
            call.artifact(artifact("x", "1"), false, true).await,
            call.state_set(StateScope::Context, "k", Some("1".into())),
        ];
        for refused in refusals {
            assert!(matches!(refused, Err(TaskError::Ended)), "{refused:?}");
        }
    }
    assert_eq!(
        finish(&asked, done()).await.status.state,
        TaskState::InputRequired
    );
    assert_eq!(world.gate.writes(), writes);
    // Nor has it while the next call of its task runs.
    let turn = world.resume(&asked.task_id(), "this").await.unwrap();
    let refused = asked.update(says("me again")).await;
    assert!(matches!(refused, Err(TaskError::Ended)), "{refused:?}");
    drop(asked);
    assert_eq!(
        world.state_of(&turn.call.task_id()).await,
        TaskState::Working
    );
}

#[tokio::test]
async fn a_call_ends_with_what_it_said_itself() {
    let world = World::new().await;
    let call = world.running().await;
    world.gate.hold();
    let mut asking = Box::pin(finish(&call, asks("which?")));
    assert!(asking.as_mut().now_or_never().is_none());
    let id = call.task_id();
    let mut answering = Box::pin(world.resume(&id, "this"));
    while world.gate.writes() < 3 {
        assert!(answering.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    world.gate.let_one_go();
    let task = soon(asking).await;
    assert_eq!(
        task.status.state,
        TaskState::InputRequired,
        "the answer is not durable yet"
    );
    world.gate.open();
    let turn = soon(answering).await.unwrap();
    assert_eq!(
        world.state_of(&turn.call.task_id()).await,
        TaskState::Working
    );
}

#[tokio::test]
async fn a_call_reads_the_newest_turns_oldest_first() {
    let world = World::new().await;
    let call = world.begin("go");
    let texts = |limit| call.history(limit).iter().map(text).collect::<Vec<_>>();
    assert_eq!(texts(9), ["go"], "also before it is accepted");
    call.update(says("one")).await.unwrap();
    assert_eq!(texts(9), ["go", "one"]);
    finish(&call, asks("which?")).await;
    let turn = world.resume(&call.task_id(), "this").await.unwrap();
    let all = turn.call.history(9);
    let roles: Vec<_> = all.iter().map(|turn| turn.role.clone()).collect();
    assert_eq!(
        all.iter().map(text).collect::<Vec<_>>(),
        ["go", "one", "which?", "this"]
    );
    assert_eq!(roles, [Role::User, Role::Agent, Role::Agent, Role::User]);
    for (limit, expected) in [
        (0, &[][..]),
        (1, &["this"]),
        (3, &["one", "which?", "this"]),
    ] {
        let turns = turn.call.history(limit);
        assert_eq!(turns.iter().map(text).collect::<Vec<_>>(), expected);
    }
}
