//! Skills through the test harness.

use dormouse_sdk::testing::{Conversation, Event};
use dormouse_sdk::{Level, Outcome, PartContent, RegisteredSkill, SkillMetadata};

use crate::agents::{Broken, Greet, Order};

#[test]
fn metadata_is_what_the_attribute_says() {
    let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = SkillMetadata {
        id: "greet".to_owned(),
        name: "Greeting".to_owned(),
        description: "Greets.".to_owned(),
        tags: list(&["greet"]),
        examples: list(&["Ada"]),
        input_modes: list(&["text/plain"]),
        output_modes: list(&[]),
    };
    assert_eq!(Greet::metadata(), expected);
    assert_eq!(Order::metadata().tags, ["shop", "order"]);
}

#[test]
fn a_message_needs_no_task() {
    let answer = Conversation::new(Greet).send("Ada");
    assert_eq!(answer.outcome, Outcome::Message("Hello, Ada!".into()));
    assert_eq!(answer.events, []);
}

#[test]
fn a_task_goes_on_over_several_turns() {
    let mut conversation = Conversation::new(Order);
    let question = conversation.send("tulips");
    let log = Event::Log {
        level: Level::Info,
        message: "ordered".to_owned(),
        fields: vec![("what".to_owned(), "tulips".to_owned())],
    };
    let update = Event::Update("Looking into the shelf".into());
    assert_eq!(question.events, [log, update]);
    assert_eq!(conversation.send("many").text(), "A number, please");

    let bill = conversation.send("12");
    assert_eq!(bill.text(), "12 tulips, 12 in all, 3 messages");
    let artifacts = bill.artifacts();
    assert_eq!(artifacts[0].text(), "one bill");
    let PartContent::Data(total) = &artifacts[1].parts[0].content else {
        panic!("the total is data");
    };
    assert_eq!(total.as_str(), "12");
}

#[test]
fn the_session_outlives_a_task() {
    let mut conversation = Conversation::new(Order);
    for (what, expected) in [
        ("tulips", "2 tulips, 2 in all"),
        ("roses", "2 roses, 4 in all"),
    ] {
        conversation.send(what);
        let bill = conversation.send("2");
        assert!(bill.text().starts_with(expected), "{}", bill.text());
    }
}

#[test]
fn an_error_is_a_failed_outcome() {
    let mut conversation = Conversation::new(Broken);
    assert_eq!(
        conversation.send("").outcome,
        Outcome::Failed("never seen".into())
    );
    assert_eq!(
        conversation.send("").outcome,
        Outcome::Failed("seen before".into())
    );
}

#[test]
fn a_skill_of_one_turn_says_so() {
    use dormouse_sdk::prelude::*;

    #[skill(id = "asks", name = "Asks", description = "Asks, but cannot listen.")]
    struct Asks;

    impl SkillHandler for Asks {
        async fn on_request(
            &self,
            _state: &mut State,
            _progress: &ProgressSender,
            _runtime: &Runtime,
            _content: Content,
        ) -> Result<OnRequestResult, AgentError> {
            Ok(OnRequestResult::AuthRequired {
                message: "Log in".into(),
                slot: SkillSlot::new(1),
            })
        }
    }

    let mut conversation = Conversation::new(Asks);
    conversation.send("hello");
    let answer = conversation.send("done");
    let sentence = "This skill does not support multi-turn input";
    assert_eq!(answer.outcome, Outcome::Failed(sentence.into()));
}
