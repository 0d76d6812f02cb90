//! Filters of messages, on the way in. What agents say in return is looked at in the whole binary's tests.

use crate::filters::{policy, with_rules};
use crate::grpc_client::{Client, reason};
use crate::support::{Server, call, message, start};
use serde_json::{Value, json};
use tonic::Code;

async fn guarded(settings: Value) -> Server {
    let server = with_rules(|rules| rules.open_after = u32::MAX).await;
    let component = policy("hostile-messages");
    let entry = server.filter("guard", &component, settings).await;
    assert_eq!(entry["component"]["world"], "dormouse:filter@1.0.0");
    assert_eq!(entry["component"]["events"], json!(["message", "result"]));
    server
}

/// The `ErrorInfo.reason` and the sentence of a refusal over JSON-RPC; `None` of what got in.
async fn rpc(server: &Server, text: &str) -> Option<(String, String)> {
    let sent = call("SendMessage", &message(text));
    let (status, answer) = server.rpc("echo", &sent).await;
    assert_eq!(status, 200, "{answer}");
    let error = answer.get("error")?;
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    Some((word(&error["data"][0]["reason"]), word(&error["message"])))
}

#[tokio::test]
async fn a_block_is_the_same_over_every_binding() {
    let server = guarded(json!({})).await;
    let expected = ("BLOCKED_BY_FILTER".to_owned(), "as asked".to_owned());
    assert_eq!(rpc(&server, "do: block").await, Some(expected.clone()));
    assert_eq!(rpc(&server, "hello").await, None);

    let send = "POST /agents/echo/message:send";
    let (status, answer) = server.rest(send, &message("do: block")).await;
    assert_eq!(status, 403);
    let error = &answer["error"];
    assert_eq!(
        (&error["status"], &error["message"]),
        (&json!("PERMISSION_DENIED"), &json!("as asked"))
    );
    assert_eq!(server.rest(send, &message("hello")).await.0, 200);

    let client = Client::new(&server).await;
    let grpc = async |text: &str| {
        let mut params = message(text);
        params["tenant"] = "echo".into();
        client.call("SendMessage", &params).await
    };
    let refused = grpc("do: block").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!((reason(&refused), refused.message().to_owned()), expected);
    assert!(grpc("hello").await.is_ok());

    let stream = call("SendStreamingMessage", &message("do: block"));
    let (status, answer) = server.rpc("echo", &stream).await;
    assert_eq!(
        (status, &answer["error"]["message"]),
        (200, &json!("as asked"))
    );

    // A refused message has left nothing behind.
    let list = call("ListTasks", &json!({}));
    let (_, tasks) = server.rpc("echo", &list).await;
    assert_eq!(tasks["result"]["totalSize"], 3);
    let labels = ["phase=\"message\"", "decision=\"block\""];
    let blocked = server.metric("dormouse_filter_decisions_total", &labels);
    assert_eq!(blocked.await, 4.0);
}

#[tokio::test]
async fn what_goes_wrong_fails_closed_or_open_as_configured() {
    let wrong = [
        ("trap", "FILTER_FAILED"),
        ("loop", "FILTER_TIMEOUT"),
        ("sleep", "FILTER_TIMEOUT"),
        ("flood", "FILTER_OVER_LIMIT"),
        ("no such part", "FILTER_FAILED"),
        ("a file", "FILTER_FAILED"),
        ("no json", "FILTER_FAILED"),
        ("no name", "FILTER_FAILED"),
        ("no value", "FILTER_FAILED"),
    ];
    let server = guarded(json!({"fail": "closed"})).await;
    for (what, expected) in wrong {
        let refused = rpc(&server, &format!("do: {what}")).await;
        assert_eq!(refused.unwrap().0, expected, "{what}");
    }
    let server = guarded(json!({"fail": "open"})).await;
    for (what, _) in wrong {
        let refused = rpc(&server, &format!("do: {what}")).await;
        assert_eq!(refused, None, "{what}");
    }
}

#[tokio::test]
async fn more_than_it_looks_at_follows_its_failure_mode() {
    let server = guarded(json!({"max_body_bytes": 5})).await;
    assert_eq!(rpc(&server, "12345").await, None);
    let refused = rpc(&server, "123456").await.unwrap();
    assert_eq!(refused.0, "TOO_LARGE_TO_INSPECT");
    let server = guarded(json!({"max_body_bytes": 5, "fail": "open"})).await;
    assert_eq!(rpc(&server, "do: block").await, None);
}

/// The first turn of the only task that there is.
async fn kept(server: &Server) -> Value {
    let list = call("ListTasks", &json!({"historyLength": 10}));
    let (_, tasks) = server.rpc("echo", &list).await;
    tasks["result"]["tasks"][0]["history"][0].clone()
}

#[tokio::test]
async fn what_is_redacted_or_annotated_is_what_is_kept() {
    let server = guarded(json!({})).await;
    assert_eq!(rpc(&server, "do: data").await, None);
    assert_eq!(
        kept(&server).await["parts"],
        json!([{"data": {"was": "text"}}])
    );

    let server = guarded(json!({})).await;
    let mut sent = message("do: annotate");
    sent["message"]["metadata"] = json!({"dormouse.filters": {"liar": 1}, "mine": 2});
    let (_, answer) = server.rpc("echo", &call("SendMessage", &sent)).await;
    assert!(answer.get("error").is_none(), "{answer}");
    let seen = json!({"agent": "echo", "skill": "say", "principal": "anonymous"});
    assert_eq!(
        kept(&server).await["metadata"],
        json!({"dormouse.filters": {"guard": {"seen": seen}}, "mine": 2})
    );
}

#[tokio::test]
async fn filters_of_messages_are_asked_in_order_and_only_for_their_agents() {
    let server = start(|_| {}).await;
    let hostile = policy("hostile-messages");
    let settings = |order, config| json!({"order": order, "config": config});
    server
        .filter("first", &hostile, settings(1, "message=redact"))
        .await;
    // It sees what the first has left, which is nothing to block.
    server.filter("second", &hostile, settings(2, "")).await;
    assert_eq!(rpc(&server, "hello").await, None);
    assert_eq!(
        kept(&server).await["parts"],
        json!([{"text": "[redacted]"}])
    );
    server
        .filter("first", &hostile, json!({"agents": ["calc"]}))
        .await;
    server
        .filter("second", &hostile, json!({"agents": ["calc"]}))
        .await;
    assert_eq!(rpc(&server, "do: block").await, None);
    let refused = server.put_filter("first", &hostile, json!({"config": "refuse"}));
    let refused = refused.await;
    assert_eq!(refused.json()["error"]["code"], "configuration_refused");
}

/// What the guard was shown of the metadata, which is what it is told to look for there.
async fn with_guard_of(phrase: &str) -> Server {
    let server = start(|_| {}).await;
    let config = json!({"config": {"phrases": [phrase]}});
    server
        .filter("guard", &policy("prompt-guard"), config)
        .await;
    server
}

#[tokio::test]
async fn all_that_reaches_the_agent_is_looked_at() {
    let server = with_guard_of("open sesame").await;
    let send = async |params: Value| {
        let (_, answer) = server.rpc("echo", &call("SendMessage", &params)).await;
        answer["error"]["data"][0]["reason"].clone()
    };
    let hide: [fn(&mut Value); 6] = [
        |sent| sent["message"]["parts"][0]["filename"] = "open sesame".into(),
        |sent| sent["message"]["parts"][0]["mediaType"] = "text/plain; x=open sesame".into(),
        |sent| sent["metadata"] = json!({"note": "open sesame"}),
        |sent| sent["message"]["metadata"] = json!({"note": ["open sesame"]}),
        |sent| sent["message"]["referenceTaskIds"] = json!(["open sesame"]),
        // The names under which it is shown hide nothing.
        |sent| {
            sent["metadata"] = json!({"note": "open sesame", "dormouse.request": {}});
            sent["message"]["metadata"] = json!({"dormouse.request": {}});
        },
    ];
    for hide in hide {
        let mut sent = message("hello");
        hide(&mut sent);
        assert_eq!(send(sent.clone()).await, "BLOCKED_BY_FILTER", "{sent}");
    }
    let mut sent = message("hello");
    sent["metadata"] = json!({"note": "open the door"});
    assert_eq!(send(sent).await, Value::Null);
    // What is not looked at does not get there.
    let mut sent = message("hello");
    sent["message"]["metadata"] = json!({"dormouse.request": "open sesame", "mine": 2});
    assert_eq!(send(sent).await, Value::Null);
    assert_eq!(kept(&server).await["metadata"], json!({"mine": 2}));
}

#[tokio::test]
async fn nobody_annotates_in_the_place_of_a_filter() {
    let server = start(|_| {}).await;
    let mut sent = message("hello");
    sent["message"]["metadata"] = json!({"dormouse.filters": {"liar": 1}, "mine": 2});
    let (_, answer) = server.rpc("echo", &call("SendMessage", &sent)).await;
    assert!(answer.get("error").is_none(), "{answer}");
    assert_eq!(kept(&server).await["metadata"], json!({"mine": 2}));
}

#[tokio::test]
async fn every_field_counts_against_what_a_filter_looks_at() {
    let server = guarded(json!({"max_body_bytes": 100})).await;
    let hide: [fn(&mut Value, &str); 4] = [
        |sent, text| sent["message"]["parts"][0]["text"] = text.into(),
        |sent, text| sent["message"]["parts"][0]["filename"] = text.into(),
        |sent, text| sent["message"]["metadata"] = json!({"a": text}),
        |sent, text| sent["metadata"] = json!({"a": text}),
    ];
    for (at, hide) in hide.into_iter().enumerate() {
        for (size, reason) in [(10, Value::Null), (101, "TOO_LARGE_TO_INSPECT".into())] {
            let mut sent = message("hi");
            hide(&mut sent, &"x".repeat(size));
            let (_, answer) = server.rpc("echo", &call("SendMessage", &sent)).await;
            let found = &answer["error"]["data"][0]["reason"];
            assert_eq!(*found, reason, "{at}: {size} bytes");
        }
    }
}

#[tokio::test]
async fn a_key_stands_for_what_was_said_and_not_for_what_a_filter_leaves() {
    let server = guarded(json!({"config": "message=redact"})).await;
    let send = async |text: &str| {
        let mut sent = message(text);
        sent["message"]["metadata"] = json!({"urn:dormouse:idempotency:v1/key": "k"});
        server.rpc("echo", &call("SendMessage", &sent)).await.1
    };
    let first = send("hello").await;
    let again = send("hello").await;
    let id = &first["result"]["task"]["id"];
    assert!(id.is_string(), "{first}");
    assert_eq!(*id, again["result"]["task"]["id"]);
    let other = send("something else").await;
    assert!(other["error"].is_object(), "{other}");
}

#[tokio::test]
async fn waiting_in_vain_is_said_over_the_bindings() {
    let server = with_rules(|rules| rules.patience = std::time::Duration::ZERO).await;
    let component = policy("hostile-messages");
    server.filter("guard", &component, json!({})).await;
    let in_vain = async {
        loop {
            let refused = rpc(&server, "hello").await.map(|(reason, _)| reason);
            if refused.as_deref() == Some("FILTER_BUSY") {
                return;
            }
        }
    };
    let holding = async {
        loop {
            rpc(&server, "do: sleep").await;
        }
    };
    tokio::select! {
        () = in_vain => {}
        () = holding => {}
    }
}

#[tokio::test]
async fn a_filter_that_loops_or_sleeps_holds_up_no_other_agent() {
    let server = with_rules(|rules| rules.open_after = u32::MAX).await;
    let hostile = policy("hostile-messages");
    let before = |agent: &str| json!({"agents": [agent]});
    server.filter("stuck", &hostile, before("calc")).await;
    server.filter("well", &hostile, before("echo")).await;
    for what in ["loop", "sleep"] {
        let mut stuck = message(&format!("do: {what}"));
        stuck["message"]["metadata"] = json!({"skillId": "add"});
        let stuck = call("SendMessage", &stuck);
        let others = async {
            for _ in 0..5 {
                assert_eq!(rpc(&server, "hello").await, None, "beside {what}");
            }
        };
        let ((_, stuck), ()) = tokio::join!(server.rpc("calc", &stuck), others);
        let reason = &stuck["error"]["data"][0]["reason"];
        assert_eq!(reason, "FILTER_TIMEOUT", "{what}: {stuck}");
    }
    let well = ["filter=\"well\"", "decision=\"failed_closed\""];
    let failed = server.metric("dormouse_filter_decisions_total", &well);
    assert_eq!(failed.await, 0.0);
}
