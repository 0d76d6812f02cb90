//! Language models behind HTTP, with providers on real sockets that answer as they are told.

use crate::support::{World, ann, new_task, user};
use dormouse_services::llm::{
    Budgets, Llm, LlmMetrics, Model, Remote, Request, Response, Said, Secret, Stop, Style, Tool,
    ToolCall, ToolResult, Turn,
};
use dormouse_services::net::{AllowList, HttpClient, Lookup, Trust};
use dormouse_services::{Desk, Grants, Service, ServiceError, Services, TaskEngine, TaskLimits};
use dormouse_store::Store;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long a provider that hangs is waited for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// How to answer a request; one that is not told hangs.
type Script = Vec<(u16, String)>;

/// What a provider was sent: its head in lower case, and its body.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Starts a provider; returns a desk whose model it is.
async fn provider(style: Style, script: Script) -> (Desk, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut script = script.into_iter();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read(&mut stream).await;
            record.lock().unwrap().push(request);
            let Some((status, body)) = script.next() else {
                let _hung = stream.read_u8().await;
                continue;
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let (desk, _) = desk(style, &address, Budgets::default(), SHORT).await;
    (desk, seen)
}

/// A desk whose model is behind this address.
pub(crate) async fn desk(
    style: Style,
    address: &str,
    budgets: Budgets,
    patience: Duration,
) -> (Desk, LlmMetrics) {
    let allow: AllowList = [address.parse().unwrap()].into_iter().collect();
    let nowhere: Lookup = Arc::new(|_, _| Box::pin(async { panic!("nobody looks up") }));
    let client = HttpClient::with(allow, nowhere, Trust::only([]));
    let client = client.answer_timeout(patience);
    let remote = Remote {
        style,
        target: client
            .target(&format!("http://{address}{}", style.path()))
            .unwrap(),
        client,
        model: "big-1".to_owned(),
        key: Some(Secret::new("sesame")),
        retries: 1,
        max_tokens: Some(100),
    };
    let models = [("m".to_owned(), Model::Remote(remote))].into();
    let llm = Llm::new(models, "m".to_owned(), budgets);
    let metrics = llm.metrics();
    let services = Services {
        llm: Some(llm),
        ..Services::default()
    };
    let store = Store::in_memory().tasks;
    let opened = TaskEngine::open_with(store, TaskLimits::default(), services).await;
    let call = opened.unwrap().0.begin(new_task(&ann(), user("go")));
    let grants: Grants = [Service::Llm].into_iter().collect();
    (Desk::new(Arc::new(call), grants), metrics)
}

pub(crate) async fn read(stream: &mut TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        let line = line.to_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// A request with everything in it.
pub(crate) fn request() -> Request {
    Request {
        model: Some("m".to_owned()),
        system: "Be brief.".to_owned(),
        turns: vec![
            Turn::User("Oslo?".to_owned()),
            Turn::Assistant(Said {
                text: String::new(),
                tool_calls: vec![call()],
            }),
            Turn::ToolResults(vec![ToolResult {
                call_id: "c1".to_owned(),
                content: "rain".to_owned(),
                is_error: false,
            }]),
        ],
        tools: vec![Tool {
            name: "forecast".to_owned(),
            description: "Forecasts.".to_owned(),
            parameters: json!({"type": "object"}),
        }],
        schema: Some(json!({"type": "object", "title": "answer"})),
        max_tokens: Some(1_000_000),
        temperature: Some(0.5),
    }
}

pub(crate) fn call() -> ToolCall {
    ToolCall {
        id: "c1".to_owned(),
        name: "forecast".to_owned(),
        arguments: json!({"city": "Oslo"}),
    }
}

pub(crate) fn simple() -> Request {
    Request {
        turns: vec![Turn::User("hi".to_owned())],
        ..Request::default()
    }
}

fn openai(text: &str) -> (u16, String) {
    let choice = json!({"message": {"content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3});
    (
        200,
        json!({"choices": [choice], "usage": usage}).to_string(),
    )
}

pub(crate) fn answer(text: &str, tool_calls: Vec<ToolCall>, stop: Stop) -> Response {
    Response {
        said: Said {
            text: text.to_owned(),
            tool_calls,
        },
        stop,
        model: "m".to_owned(),
        input_tokens: 7,
        output_tokens: 3,
    }
}

#[tokio::test]
async fn openai_compatible_providers_are_spoken_to_in_their_form() {
    let function = json!({"name": "forecast", "arguments": "{\"city\": \"Oslo\"}"});
    let calls = json!([{"id": "c1", "type": "function", "function": function}]);
    let choice =
        json!({"message": {"content": null, "tool_calls": calls}, "finish_reason": "tool_calls"});
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3});
    let asks = json!({"choices": [choice], "usage": usage}).to_string();
    let (desk, seen) = provider(Style::OpenAi, vec![(200, asks), openai("{}")]).await;
    let first = desk.generate(request()).await.unwrap();
    assert_eq!(first, answer("", vec![call()], Stop::Tools));
    assert_eq!(
        desk.generate(simple()).await.unwrap(),
        answer("{}", vec![], Stop::End)
    );
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert!(
        head.starts_with("post /chat/completions ")
            && head.contains("authorization: bearer sesame"),
        "{head}"
    );
    assert_eq!(body["model"], "big-1");
    assert_eq!(body["max_tokens"], 100, "the operator's limit");
    assert_eq!(
        body["messages"][0],
        json!({"role": "system", "content": "Be brief."})
    );
    let asked = &body["messages"][2]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(*asked, "{\"city\":\"Oslo\"}");
    let result = json!({"role": "tool", "tool_call_id": "c1", "content": "rain"});
    assert_eq!(body["messages"][3], result);
    assert_eq!(body["tools"][0]["function"]["name"], "forecast");
    let schema = &body["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["title"], "answer");
    assert!(!body.to_string().contains("sesame"));
}

#[tokio::test]
async fn anthropic_style_providers_are_spoken_to_in_their_form() {
    let usage = json!({"input_tokens": 7, "output_tokens": 3});
    let said = |content: Value| {
        (
            200,
            json!({"content": content, "stop_reason": "tool_use", "usage": usage}).to_string(),
        )
    };
    let input = json!({"city": "Oslo"});
    let script = vec![
        said(json!([{"type": "tool_use", "id": "c1", "name": "forecast", "input": input}])),
        said(json!([{"type": "tool_use", "id": "c2", "name": "answer", "input": {"a": 1}}])),
    ];
    let (desk, seen) = provider(Style::Anthropic, script).await;
    let first = desk.generate(request()).await.unwrap();
    assert_eq!(first, answer("", vec![call()], Stop::Tools));
    let second = desk.generate(request()).await.unwrap();
    assert_eq!(
        second,
        answer("{\"a\":1}", vec![], Stop::End),
        "the answer with its schema"
    );
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert!(
        head.starts_with("post /v1/messages ") && head.contains("x-api-key: sesame"),
        "{head}"
    );
    assert!(head.contains("anthropic-version: 2023-06-01"), "{head}");
    assert_eq!(body["system"], "Be brief.");
    assert_eq!(body["messages"][1]["content"][0]["type"], "tool_use");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "c1");
    assert_eq!(body["tools"][1]["input_schema"]["title"], "answer");
    assert_eq!(body["tool_choice"], json!({"type": "any"}));
}

#[tokio::test]
async fn a_provider_that_fails_for_a_moment_is_asked_again() {
    let script = vec![(503, "busy".to_owned()), openai("hello")];
    let (desk, seen) = provider(Style::OpenAi, script).await;
    assert_eq!(desk.generate(simple()).await.unwrap().said.text, "hello");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_provider_that_hangs_refuses_or_talks_nonsense_is_an_error_with_a_sentence() {
    let bad = |status: u16, said: &str| (status, json!({"error": {"message": said}}).to_string());
    for (script, asked, word) in [
        (vec![], 1, "in time"),
        (vec![bad(500, "x"), bad(500, "x")], 2, "status 500"),
        (vec![bad(401, "who are you")], 1, "platform's key"),
        (vec![bad(400, "too many cats")], 1, "too many cats"),
        (
            vec![(200, "{\"choices\": [".to_owned())],
            1,
            "cannot be read",
        ),
        (
            vec![(200, json!({"choices": [{}]}).to_string())],
            1,
            "cannot be read",
        ),
        (vec![(307, String::new())], 1, "status 307"),
        (vec![(200, "x".repeat(5 << 20))], 1, "more than"),
    ] {
        let (desk, seen) = provider(Style::OpenAi, script).await;
        let told = desk.generate(simple()).await.unwrap_err().to_string();
        assert!(told.contains(word), "{word}: {told}");
        assert!(!told.contains("sesame"));
        assert_eq!(seen.lock().unwrap().len(), asked, "{word}");
    }
}

#[tokio::test]
async fn one_call_has_so_many_requests_at_a_time_and_no_more() {
    let (desk, _) = provider(Style::OpenAi, vec![]).await;
    let ended = join_all((0..17).map(|_| desk.generate(simple()))).await;
    let refused = ended
        .iter()
        .filter(|ended| matches!(ended, Err(ServiceError::Limit(_))));
    assert_eq!(refused.count(), 1, "{ended:?}");
    assert!(matches!(ended[16], Err(ServiceError::Limit(_))));
    let again = desk.generate(simple()).await;
    assert!(
        matches!(again, Err(ServiceError::Unavailable(_))),
        "{again:?}"
    );
}

#[tokio::test]
async fn requests_that_make_no_sense_do_not_leave_the_machine() {
    let (desk, seen) = provider(Style::OpenAi, vec![]).await;
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        description: String::new(),
        parameters,
    };
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = simple();
        change(&mut request);
        request
    };
    for wrong in [
        Request::default(),
        with(&|r| r.model = Some("other".to_owned())),
        with(&|r| r.turns.push(Turn::Assistant(Said::default()))),
        with(&|r| r.tools = vec![tool("a b", json!({}))]),
        with(&|r| r.tools = vec![tool("ab", json!([]))]),
        with(&|r| r.schema = Some(json!("text"))),
        with(&|r| r.temperature = Some(f32::NAN)),
    ] {
        let refused = desk.generate(wrong).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{refused:?}"
        );
    }
    let long = with(&|r| r.system = "x".repeat(5 << 20));
    let refused = desk.generate(long).await;
    assert!(
        matches!(refused, Err(ServiceError::Limit(_))),
        "{refused:?}"
    );
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_platform_without_a_model_says_so() {
    let world = World::new().await;
    let call = Arc::new(world.begin("go"));
    let granted: Grants = [Service::Llm].into_iter().collect();
    let told = Desk::new(Arc::clone(&call), granted)
        .generate(simple())
        .await;
    assert!(
        matches!(told, Err(ServiceError::Unavailable(_))),
        "{told:?}"
    );
    let told = Desk::new(call, Grants::default()).generate(simple()).await;
    assert!(matches!(told, Err(ServiceError::Denied(_))), "{told:?}");
}
