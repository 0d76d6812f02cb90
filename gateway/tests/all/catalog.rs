//! Finding agents.

use crate::support::{Server, call, definition, start, start_empty};
use dormouse_store::Digest;
use serde_json::{Value, json};

const CATALOG: &str = "GET /.well-known/ai-catalog.json";

fn names(answer: &Value) -> Vec<&str> {
    let agents = answer["agents"].as_array().unwrap();
    agents
        .iter()
        .map(|agent| agent["name"].as_str().unwrap())
        .collect()
}

/// Three agents with skills and tags of their own.
async fn shop() -> Server {
    let server = start_empty(|_| {}).await;
    for (name, description, skill, tag) in [
        ("planner", "Plans trips to Oslo", "plan-trip", "Travel"),
        ("stats", "Counts things", "csv", "data"),
        ("writer", "Writes about travel", "report", "text"),
    ] {
        let mut agent = definition(name, &[skill]);
        agent.description = description.to_owned();
        agent.skills[0].tags = vec![tag.to_owned()];
        let json = serde_json::to_vec(&agent).unwrap();
        let deployed = [(name.to_owned(), json)];
        let registry = &server.store.registry;
        registry
            .deploy(Digest::of(name.as_bytes()), &deployed, 784_111_777_000)
            .unwrap();
    }
    server
}

#[tokio::test]
async fn agents_are_found_by_word_skill_and_tag() {
    let server = shop().await;
    let all = ["planner", "stats", "writer"];
    for (query, found) in [
        ("", &all[..]),
        ("?q=", &all),
        ("?q=plan", &["planner"]),
        ("?q=TRAVEL", &["planner", "writer"]),
        ("?q=travel+writes", &["writer"]),
        ("?q=oslo&tag=data", &[]),
        ("?q=nothing", &[]),
        ("?tag=travel", &["planner"]),
        ("?tag=trav", &[]),
        ("?skill=CSV", &["stats"]),
        ("?skill=cs", &[]),
        ("?skill=report&tag=text&q=writer", &["writer"]),
        ("?q=travel&after=planner", &["writer"]),
    ] {
        let (status, answer) = server
            .rest(&format!("GET /v1/agents{query}"), &json!(null))
            .await;
        assert_eq!((status, names(&answer)), (200, found.to_vec()), "{query}");
        assert_eq!(answer["next"], json!(null), "{query}");
    }
    let (_, first) = server
        .rest("GET /v1/agents?q=travel&limit=1", &json!(null))
        .await;
    assert_eq!(
        (names(&first), &first["next"]),
        (vec!["planner"], &json!("planner"))
    );
    let (_, rest) = server
        .rest(
            "GET /v1/agents?q=travel&limit=1&after=planner",
            &json!(null),
        )
        .await;
    assert_eq!(
        (names(&rest), &rest["next"]),
        (vec!["writer"], &json!(null))
    );
    let long = format!("GET /v1/agents?q={}", "x".repeat(300));
    let (status, error) = server.rest(&long, &json!(null)).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("query_too_long"))
    );
}

#[tokio::test]
async fn a_search_looks_at_so_many_agents_and_goes_on() {
    let server = start_empty(|_| {}).await;
    let json = serde_json::to_vec(&definition("x", &["s"])).unwrap();
    let many: Vec<_> = (0..5_001)
        .map(|number| (format!("a{number:04}"), json.clone()))
        .collect();
    server
        .store
        .registry
        .deploy(Digest::of(b"many"), &many, 0)
        .unwrap();
    let (_, first) = server.rest("GET /v1/agents?q=nowhere", &json!(null)).await;
    assert_eq!((names(&first).len(), &first["next"]), (0, &json!("a4999")));
    let (_, rest) = server
        .rest("GET /v1/agents?q=nowhere&after=a4999", &json!(null))
        .await;
    assert_eq!((names(&rest).len(), &rest["next"]), (0, &json!(null)));
}

#[tokio::test]
async fn the_catalogue_lists_every_agent_by_its_card() {
    let server = shop().await;
    let answer = server.ask(CATALOG, b"").await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/ai-catalog+json")
    );
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    let catalog = answer.json();
    assert_eq!(catalog["specVersion"], json!("1.0"));
    let url = "https://agents.example.com/agents/planner";
    assert_eq!(
        catalog["entries"][0],
        json!({
            "identifier": url,
            "type": "application/a2a-agent-card+json",
            "url": format!("{url}/.well-known/agent-card.json"),
            "tags": ["Travel"],
            "updatedAt": "1994-11-06T08:49:37Z",
        })
    );
    assert_eq!(catalog["entries"].as_array().unwrap().len(), 3);
    let tag = answer.header("etag").unwrap();
    let again = server
        .ask(&format!("{CATALOG}\nif-none-match: {tag}"), b"")
        .await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    server.add("another", &["s"]);
    let changed = server
        .ask(&format!("{CATALOG}\nif-none-match: {tag}"), b"")
        .await;
    assert_eq!(
        (
            changed.status,
            changed.json()["entries"].as_array().unwrap().len()
        ),
        (200, 4)
    );
}

#[tokio::test]
async fn a_long_catalogue_ends_with_the_next_one() {
    let server = shop().await;
    let first = server.ask(&format!("{CATALOG}?limit=2"), b"").await.json();
    let entries = first["entries"].as_array().unwrap();
    assert_eq!(
        (entries.len(), &entries[2]["type"]),
        (3, &json!("application/ai-catalog+json"))
    );
    let next = entries[2]["url"].as_str().unwrap();
    let next = next.strip_prefix("https://agents.example.com").unwrap();
    let rest = server.ask(&format!("GET {next}"), b"").await.json();
    let entries = rest["entries"].as_array().unwrap();
    assert_eq!(
        (entries.len(), &entries[0]["identifier"]),
        (1, &json!("https://agents.example.com/agents/writer"))
    );
}

#[tokio::test]
async fn strangers_do_not_see_the_catalogue_of_a_locked_server() {
    let server = start(|_| {}).await;
    let admin = json!({"name": "ann", "scopes": ["admin"]}).to_string();
    let made = server.ask("POST /v1/tokens", admin.as_bytes()).await.json();
    assert_eq!(server.ask(CATALOG, b"").await.status, 401);
    let token = made["token"].as_str().unwrap();
    let known = server
        .ask(&format!("{CATALOG}\nauthorization: Bearer {token}"), b"")
        .await;
    assert_eq!(
        (known.status, known.header("cache-control")),
        (200, Some("private, max-age=60"))
    );
    let rpc = server.rpc("calc", &call("ListTasks", &json!({}))).await;
    assert_eq!(rpc.0, 401);
}
