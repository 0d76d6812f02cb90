//! The same call over every binding has the same result, and the same reason if it is refused.

use crate::grpc_client::{Asked, Client, asked, protobuf, reason};
use crate::support::{Server, call, start, waiting_task};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

/// The answer without what is new in each, or the reason.
type Outcome = Result<Value, String>;

/// What is true of a task: its own, another's, none.
const IDS: [&str; 4] = [
    "WAITING",
    "DONE",
    "00000000-0000-0000-0000-000000000000",
    "x",
];

fn get() -> impl Strategy<Value = (&'static str, Value)> {
    (
        select(&IDS[..]),
        select(&[None, Some(-1), Some(0), Some(1), Some(7)][..]),
    )
        .prop_map(|(id, length)| {
            (
                "GetTask",
                present(json!({"id": id, "historyLength": length})),
            )
        })
}

fn list() -> impl Strategy<Value = (&'static str, Value)> {
    let states = [
        "",
        "TASK_STATE_INPUT_REQUIRED",
        "TASK_STATE_FAILED",
        "TASK_STATE_UNSPECIFIED",
    ];
    (
        select(&[None, Some(-1), Some(0), Some(1), Some(100), Some(101)][..]),
        select(states.to_vec()),
        select(&["", "x"][..]),
        select(&["", "x"][..]),
        any::<Option<bool>>(),
        select(
            &[
                None,
                Some("2026-01-02T03:04:05.678Z"),
                Some("9999-12-31T23:59:59Z"),
            ][..],
        ),
    )
        .prop_map(|(size, status, context, token, artifacts, after)| {
            let params = json!({
                "pageSize": size,
                "status": (!status.is_empty()).then_some(status),
                "contextId": (!context.is_empty()).then_some(context),
                "pageToken": (!token.is_empty()).then_some(token),
                "includeArtifacts": artifacts,
                "statusTimestampAfter": after,
            });
            ("ListTasks", present(params))
        })
}

fn change() -> impl Strategy<Value = (&'static str, Value)> {
    // What waits stays as it is: each binding is to meet the same.
    let call = (
        select(&["CancelTask", "SubscribeToTask"][..]),
        select(&IDS[1..]),
    );
    call.prop_map(|(method, id)| (method, json!({"id": id})))
}

/// Configurations of a task that all bindings see: creating and deleting one twice is the same as once.
fn push() -> impl Strategy<Value = (&'static str, Value)> {
    let ids = select(&["a", "b", "none", ""][..]);
    let urls = select(&["https://example.com/x", "http://127.0.0.1/", "ftp://x", ""][..]);
    let create = (select(&IDS[..]), ids, urls, any::<Option<bool>>()).prop_map(
        |(task, id, url, authentication)| {
            let authentication = authentication.map(|with| {
                present(json!({"scheme": "Bearer", "credentials": with.then_some("secret")}))
            });
            let config = json!({
                "taskId": task,
                // One that the server makes up would be another for each binding.
                "id": if id.is_empty() { "c" } else { id },
                "url": url,
                "token": "t",
                "authentication": authentication,
            });
            ("CreateTaskPushNotificationConfig", present(config))
        },
    );
    let methods = [
        "GetTaskPushNotificationConfig",
        "DeleteTaskPushNotificationConfig",
    ];
    // An empty id is no path: over HTTP it would be the list.
    let known = select(&["a", "b", "none"][..]);
    let one = (select(methods.to_vec()), select(&IDS[..]), known)
        .prop_map(|(method, task, id)| (method, json!({"taskId": task, "id": id})));
    let sizes = select(&[None, Some(-1), Some(1), Some(2), Some(101)][..]);
    let list = (select(&IDS[..]), sizes).prop_map(|(task, size)| {
        let params = json!({"taskId": task, "pageSize": size});
        ("ListTaskPushNotificationConfigs", present(params))
    });
    prop_oneof![3 => create, 2 => one, 1 => list]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f32>().prop_map(|number| json!(f64::from(number))),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn part() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        "\\PC{0,8}".prop_map(|text| json!({"text": text})),
        Just(json!({"raw": "AAEC_w"})),
        Just(json!({"url": "https://example.com/x"})),
        value().prop_map(|data| json!({"data": data})),
        "\\PC{1,8}".prop_map(|text| json!({"text": text})),
        "\\PC{1,8}".prop_map(|text| json!({"text": text})),
        prop_oneof![Just(json!({})), Just(json!({"text": "a", "url": "b"}))],
    ];
    let plain = Some("text/plain");
    let media_types = [None, None, None, plain, plain, Some(""), Some("image/png")];
    (
        content,
        select(media_types.to_vec()),
        proptest::option::of(value()),
    )
        .prop_map(|(mut part, media_type, extra)| {
            if let Some(media_type) = media_type {
                part["mediaType"] = json!(media_type);
            }
            if let Some(extra) = extra {
                part["metadata"] = json!({"extra": extra});
            }
            part
        })
}

fn send() -> impl Strategy<Value = (&'static str, Value)> {
    // Mostly what is let in.
    let mut roles = vec!["ROLE_USER"; 14];
    roles.extend(["ROLE_AGENT", "ROLE_UNSPECIFIED"]);
    let mut ids = vec!["m"; 15];
    ids.push("");
    let mut tasks = vec![None; 12];
    tasks.extend([
        Some("00000000-0000-0000-0000-000000000000"),
        Some("DONE"),
        Some(""),
    ]);
    let mut skills = vec![None; 8];
    skills.extend([
        Some(json!("say")),
        Some(json!("say")),
        Some(json!("no")),
        Some(json!(5)),
    ]);
    (
        select(ids),
        select(roles),
        prop_oneof![
            1 => Just(Vec::new()),
            15 => proptest::collection::vec(part(), 1..3),
        ],
        select(tasks),
        select(vec![None, None, Some(1), Some(1), Some(256), Some(257)]),
        select(skills),
        select(vec![None, None, None, Some(0), Some(1), Some(-1)]),
        proptest::option::of(any::<bool>()),
    )
        .prop_map(|(id, role, parts, task, context, skill, length, at_once)| {
            let message = json!({
                "messageId": id,
                "role": role,
                "parts": parts,
                "taskId": task,
                "contextId": context.map(|length| "c".repeat(length)),
                "metadata": skill.map(|skill| json!({"skillId": skill})),
            });
            let configuration = json!({"historyLength": length, "returnImmediately": at_once});
            let params = json!({
                "message": present(message),
                "configuration": present(configuration),
            });
            ("SendMessage", params)
        })
}

/// Without the members that are null.
fn present(mut object: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    members.retain(|_, member| !member.is_null());
    object
}

struct Bindings {
    server: Server,
    client: Client,
    waiting: String,
    done: String,
}

impl Bindings {
    async fn new() -> Self {
        let server = start(|_| {}).await;
        let client = Client::new(&server).await;
        let waiting = waiting_task(&server).await;
        let done = waiting_task(&server).await;
        let cancel = call("CancelTask", &json!({"id": done}));
        server.rpc("echo", &cancel).await;
        Self {
            server,
            client,
            waiting,
            done,
        }
    }

    /// Puts the ids of this run into a call.
    fn with_ids(&self, params: &Value) -> Value {
        let text = params.to_string();
        let text = text.replace("\"WAITING\"", &format!("{:?}", self.waiting));
        let text = text.replace("\"DONE\"", &format!("{:?}", self.done));
        serde_json::from_str(&text).unwrap()
    }

    async fn json_rpc(&self, agent: &str, method: &str, params: &Value) -> Outcome {
        let (_, mut answer) = self.server.rpc(agent, &call(method, params)).await;
        match answer["error"]["data"][0]["reason"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(comparable(answer["result"].take())),
        }
    }

    async fn rest(&self, agent: &str, method: &str, params: &Value) -> Outcome {
        let base = format!("/agents/{agent}");
        let id = params["id"].as_str().unwrap_or_default();
        let (request, body) = match method {
            "SendMessage" => (format!("POST {base}/message:send"), params.clone()),
            "GetTask" => (
                format!("GET {base}/tasks/{id}?{}", query(params)),
                Value::Null,
            ),
            "ListTasks" => (format!("GET {base}/tasks?{}", query(params)), Value::Null),
            "CancelTask" => (format!("POST {base}/tasks/{id}:cancel"), Value::Null),
            method if method.contains("Push") => push_request(&base, method, params),
            _ => (format!("GET {base}/tasks/{id}:subscribe"), Value::Null),
        };
        let (_, answer) = self.server.rest(&request, &body).await;
        match answer["error"]["details"][0]["reason"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(comparable(answer)),
        }
    }

    /// `None` if protobuf cannot say it.
    async fn grpc(&self, agent: &str, method: &str, params: &Value) -> Option<Outcome> {
        let mut params = params.clone();
        params["tenant"] = json!(agent);
        protobuf(method, &params).ok()?;
        let answer = if method == "SubscribeToTask" {
            let asked: Asked<'_> = asked(method, &params);
            match self.client.stream(asked).await {
                Ok(_) => panic!("none of these tasks has a stream"),
                Err(status) => Err(status),
            }
        } else {
            self.client.call(method, &params).await
        };
        Some(answer.map(comparable).map_err(|status| reason(&status)))
    }
}

fn push_request(base: &str, method: &str, params: &Value) -> (String, Value) {
    let text = |name: &str| params[name].as_str().unwrap_or_default();
    let all = format!("{base}/tasks/{}/pushNotificationConfigs", text("taskId"));
    let one = format!("{all}/{}", text("id"));
    match method {
        "CreateTaskPushNotificationConfig" => (format!("POST {all}"), params.clone()),
        "GetTaskPushNotificationConfig" => (format!("GET {one}"), Value::Null),
        "DeleteTaskPushNotificationConfig" => (format!("DELETE {one}"), Value::Null),
        _ => (format!("GET {all}?{}", query(params)), Value::Null),
    }
}

fn query(params: &Value) -> String {
    let members = params.as_object().unwrap().iter();
    let pairs = members
        .filter(|(name, _)| !["id", "taskId"].contains(&name.as_str()))
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            value => format!("{name}={value}"),
        });
    pairs.collect::<Vec<_>>().join("&")
}

/// What protobuf cannot tell from its absence is absent, numbers are doubles, and what the server makes
/// up for each task is left out.
fn comparable(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(name, _)| {
                !["id", "contextId", "messageId", "taskId", "timestamp"].contains(&name.as_str())
            });
            let members = members.map(|(name, member)| (name, comparable(member)));
            let is_said = |member: &Value| match member {
                Value::Null | Value::Bool(false) => false,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                Value::Object(members) => !members.is_empty(),
                Value::Bool(true) => true,
            };
            Value::Object(
                members
                    .filter(|(_, member)| is_said(member))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => values.into_iter().map(comparable).collect(),
        Value::Number(number) => json!(number.as_f64()),
        value => value,
    }
}

#[test]
fn all_bindings_agree() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bindings = runtime.block_on(Bindings::new());
    let calls = prop_oneof![
        2 => get(),
        2 => list(),
        1 => change(),
        3 => push(),
        8 => send(),
    ];
    let agents = select(vec![
        "echo",
        "echo",
        "echo",
        "echo",
        "echo/versions/1",
        "calc",
        "none",
    ]);
    let mut runner = TestRunner::default();
    let compared = std::cell::Cell::new((0, 0));
    let check = |((method, params), agent): ((&'static str, Value), &'static str)| {
        runtime.block_on(async {
            let params = bindings.with_ids(&params);
            let ask = async || {
                let rpc = bindings.json_rpc(agent, method, &params).await;
                let rest = bindings.rest(agent, method, &params).await;
                (rpc, rest, bindings.grpc(agent, method, &params).await)
            };
            let mut said = ask().await;
            // A task that nobody waits for may end between two looks at it: then they are looked again.
            let is_read = ["GetTask", "ListTasks"].contains(&method);
            for _ in 0..200 {
                let (rpc, rest, grpc) = &said;
                if !is_read || (rpc == rest && grpc.as_ref().is_none_or(|grpc| grpc == rpc)) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                said = ask().await;
            }
            let (rpc, rest, grpc) = said;
            prop_assert_eq!(&rpc, &rest, "REST: {} {} {}", agent, method, params);
            if let Some(grpc) = grpc {
                let (good, bad) = compared.get();
                compared.set(if grpc.is_ok() {
                    (good + 1, bad)
                } else {
                    (good, bad + 1)
                });
                prop_assert_eq!(&rpc, &grpc, "gRPC: {} {} {}", agent, method, params);
            }
            Ok(())
        })
    };
    if let Err(failure) = runner.run(&(calls, agents), check) {
        panic!("{failure}");
    }
    // A property of nothing would hold, too.
    let (good, bad) = compared.get();
    assert!(
        good >= 20 && bad >= 20,
        "{good} answers and {bad} refusals were compared"
    );
}
