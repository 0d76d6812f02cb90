//! What an agent's card asks of its clients, and what it does not offer.

use super::{Server, answer, data_dir, guest, text};
use serde_json::{Value, json};

fn server(dir: &tempfile::TempDir) -> Server {
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("conformance"));
    server
}

fn card(server: &Server, agent: &str) -> Value {
    server
        .get(&format!("/agents/{agent}/.well-known/agent-card.json"))
        .json()
}

#[test]
fn a_required_extension_must_be_named() {
    let dir = data_dir();
    let server = server(&dir);
    let agent = "conformance-extension";
    let uri = "urn:a2a:tck:required-extension";
    let declared = &card(&server, agent)["capabilities"]["extensions"];
    assert_eq!(
        (&declared[0]["uri"], &declared[0]["required"]),
        (&json!(uri), &json!(true))
    );
    let refused = server.rpc(agent, "SendMessage", &text("x").params());
    assert_eq!(refused.rpc_error().0, -32008, "{refused:?}");
    let refused = server.rpc(agent, "ListTasks", &json!({}));
    assert_eq!(refused.rpc_error().0, -32008, "{refused:?}");
    let rest = server
        .request("POST", "/agents/conformance-extension/message:send")
        .header("content-type", "application/json");
    let refused = answer(rest.body(text("x").params().to_string()));
    assert_eq!(
        refused.json()["error"]["details"][0]["reason"],
        "EXTENSION_SUPPORT_REQUIRED"
    );
    let named = server
        .rpc_request(agent, "SendMessage", &text("x").params())
        .header("A2A-Extensions", format!("urn:other, {uri}"));
    let taken = answer(named);
    assert!(taken.json()["result"]["task"].is_object(), "{taken:?}");
    assert_eq!(taken.headers["a2a-extensions"], uri);
}

#[test]
fn an_agent_without_streaming_says_so() {
    let dir = data_dir();
    let server = server(&dir);
    let capabilities = card(&server, "conformance-plain")["capabilities"].clone();
    assert_eq!(capabilities["streaming"], false);
    for (method, params) in [
        ("SendStreamingMessage", text("x").params()),
        ("SubscribeToTask", json!({"id": "x"})),
    ] {
        let refused = server.rpc("conformance-plain", method, &params);
        assert_eq!(refused.rpc_error().0, -32004, "{method}: {refused:?}");
    }
    assert_eq!(
        card(&server, "conformance")["provider"]["organization"],
        "Dormouse"
    );
}
