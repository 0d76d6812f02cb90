//! Skills that are files.

use dormouse_sdk::testing::Conversation;
use dormouse_sdk::{
    Agent, AgentDefinition, FunctionTool, Json, LlmResponse, LlmTurn, Outcome, Service,
    include_skill,
};

fn editor() -> AgentDefinition {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Counted {
        text: String,
    }
    let count = FunctionTool::new("count", "Counts words.", async |counted: Counted| {
        Ok(counted.text.split_whitespace().count())
    });
    let skill = include_skill!("tests/skills/summarise/SKILL.md").with_tool(count);
    let agent = Agent::builder().with_name("editor").with_skill_def(skill);
    agent.build()
}

#[test]
fn the_file_says_what_the_card_says_and_what_the_agent_needs() {
    let agent = editor();
    let skill = agent.skills().next().unwrap();
    assert_eq!((&*skill.id, &*skill.name), ("summarise", "summarise"));
    assert_eq!(
        skill.description,
        "Summarises text. Use it when somebody asks for a summary or for the short of it."
    );
    assert_eq!(agent.needs, [Service::Llm]);
}

#[test]
fn the_model_follows_the_instructions_over_turns_and_uses_tools() {
    let mut talk = Conversation::with_agent(editor()).with_llm(|request| {
        let system = &request.thread.system;
        assert!(system.contains("one sentence") && system.contains("needs_input"));
        assert_eq!(request.tools[0].name, "count");
        let words = |text: &str| LlmResponse::text(text);
        Ok(match &*request.thread.turns {
            [LlmTurn::User(_)] => words(r#"{"status": "needs_input", "message": "What text?"}"#),
            [.., LlmTurn::Assistant { text, .. }, LlmTurn::User(said)] => {
                assert_eq!(text, "What text?");
                let arguments = Json::new(&std::collections::BTreeMap::from([("text", said)]))?;
                LlmResponse::tool_call("count", arguments)
            }
            [.., LlmTurn::ToolResults(results)] => words(&format!(
                r#"{{"status": "complete", "message": "{} words."}}"#,
                results[0].content
            )),
            other => panic!("{other:?}"),
        })
    });
    let question = talk.send("A summary, please");
    assert_eq!(question.text(), "What text?");
    assert!(matches!(question.outcome, Outcome::InputRequired { .. }));
    let done = talk.send("It has been raining for hours.");
    assert_eq!(done.text(), "6 words.");
    assert!(matches!(done.outcome, Outcome::Completed { .. }));
}

#[test]
fn a_model_that_gives_up_or_answers_nonsense_fails_the_task() {
    let told = |text: &'static str| {
        let talk = Conversation::with_agent(editor());
        let mut talk = talk.with_llm(move |_| Ok(LlmResponse::text(text)));
        talk.send("Summarise").outcome
    };
    let given_up = told(r#"{"status": "failed", "reason": "It is a picture."}"#);
    assert_eq!(given_up, Outcome::Failed("It is a picture.".into()));
    for nonsense in [
        "It rains.",
        r#"{"status": "perhaps", "message": "x"}"#,
        "{}",
    ] {
        let outcome = told(nonsense);
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}
