//! Memory that is searched by what texts mean, with a provider of embeddings on a real socket.

use crate::llm::read;
use crate::support::{ann, new_task, user};
use dormouse_services::llm::{Budgets, Embedder, Llm, LlmMetrics, Secret};
use dormouse_services::memory::{Entry, Memory, MemoryScope, Query};
use dormouse_services::net::{AllowList, HttpClient, Lookup, Trust};
use dormouse_services::{Desk, Grants, Service, Services, TaskEngine, TaskLimits};
use dormouse_store::Store;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const HERE: MemoryScope = MemoryScope::Principal;

/// What a provider was sent: its head in lower case, and its body.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// What a provider answers to a text.
type Says = fn(&str) -> (u16, Value);

/// A provider whose answer to a text is what this says.
async fn provider(answers: Says) -> (Embedder, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read(&mut stream).await;
            let (status, body) = answers(request.1["input"].as_str().unwrap());
            record.lock().unwrap().push(request);
            let body = body.to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let allow: AllowList = [address.parse().unwrap()].into_iter().collect();
    let nowhere: Lookup = Arc::new(|_, _| Box::pin(async { panic!("nobody looks up") }));
    let client = HttpClient::with(allow, nowhere, Trust::only([]));
    let embedder = Embedder::Remote {
        target: client
            .target(&format!("http://{address}/embeddings"))
            .unwrap(),
        client: client.answer_timeout(Duration::from_secs(20)),
        model: "near-1".to_owned(),
        key: Some(Secret::new("sesame")),
        dimensions: Some(2),
    };
    (embedder, seen)
}

/// Drinks lie in one direction, animals in the other.
fn meaning(text: &str) -> (u16, Value) {
    let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let vector = match (is(&["tea", "beverage"]), is(&["cat", "pet"])) {
        (true, false) => json!([3.0, 0.0]),
        (false, true) => json!([0.0, 0.5]),
        _ => json!([-1.0, -1.0]),
    };
    (
        200,
        json!({"data": [{"embedding": vector}], "usage": {"prompt_tokens": 5}}),
    )
}

struct World {
    engine: TaskEngine,
    metrics: LlmMetrics,
}

impl World {
    async fn new(store: &Store, embedder: Embedder, agent: Option<u64>) -> Self {
        let budgets = Budgets {
            agent,
            principal: None,
        };
        let llm = Llm::new([].into(), String::new(), budgets).with_embedder(Some(embedder));
        let metrics = llm.metrics();
        let services = Services {
            llm: Some(llm),
            ..Services::default()
        };
        let tasks = Arc::clone(&store.tasks);
        let opened = TaskEngine::open_with(tasks, TaskLimits::default(), services).await;
        Self {
            engine: opened.unwrap().0,
            metrics,
        }
    }

    fn memory(&self, grants: &[Service]) -> Memory {
        let call = self.engine.begin(new_task(&ann(), user("go")));
        Desk::new(Arc::new(call), grants.iter().cloned().collect::<Grants>()).memory()
    }

    fn requests(&self, outcome: &str) -> u64 {
        let requests = &self.metrics.requests;
        requests.with_label_values(&["embeddings", outcome]).get()
    }
}

fn entry(key: &str, value: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        value: serde_json::to_string(value).unwrap(),
        vector: Vec::new(),
    }
}

async fn found(memory: &Memory, text: &str) -> Vec<String> {
    let query = Query {
        text: text.to_owned(),
        limit: 10,
        ..Query::default()
    };
    let hits = memory.search(HERE, query).await.unwrap();
    hits.into_iter().map(|hit| hit.entry.key).collect()
}

async fn fill(memory: &Memory) {
    for (key, value) in [
        ("drink", "Ann likes green tea"),
        ("home", "a cat lives there"),
    ] {
        memory.save(HERE, entry(key, value)).await.unwrap();
    }
}

#[tokio::test]
async fn a_search_finds_what_means_the_same_in_other_words() {
    let (embedder, seen) = provider(meaning).await;
    let world = World::new(&Store::in_memory(), embedder, None).await;
    let memory = world.memory(&[Service::Llm]);
    fill(&memory).await;
    assert_eq!(
        found(&memory, "a beverage?").await,
        ["drink", "home"],
        "`a` is a word, too"
    );
    assert_eq!(found(&memory, "beverage").await, ["drink"]);
    assert_eq!(found(&memory, "pet").await, ["home"]);
    let loaded = memory.load(HERE, "drink").await.unwrap().unwrap();
    assert_eq!(
        loaded,
        entry("drink", "Ann likes green tea"),
        "its vector is the host's"
    );
    assert_eq!(world.requests("ok"), 5);
    let tokens = world
        .metrics
        .tokens
        .with_label_values(&["embeddings", "input"]);
    assert_eq!(tokens.get(), 25);
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert!(
        head.starts_with("post /embeddings ") && head.contains("authorization: bearer sesame"),
        "{head}"
    );
    let expected = json!({"model": "near-1", "input": "Ann likes green tea", "encoding_format": "float", "dimensions": 2});
    assert_eq!(*body, expected);
}

#[tokio::test]
async fn without_the_grant_nothing_is_sent_and_words_are_found_as_before() {
    let (embedder, seen) = provider(meaning).await;
    let world = World::new(&Store::in_memory(), embedder, None).await;
    let memory = world.memory(&[]);
    fill(&memory).await;
    assert!(found(&memory, "beverage").await.is_empty());
    assert_eq!(found(&memory, "tea").await, ["drink"]);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_vectors_of_an_agent_are_its_own() {
    let (embedder, seen) = provider(meaning).await;
    let world = World::new(&Store::in_memory(), embedder, None).await;
    let memory = world.memory(&[Service::Llm]);
    let own = Entry {
        vector: vec![1.0, 0.0],
        ..entry("own", "a cat")
    };
    memory.save(HERE, own.clone()).await.unwrap();
    assert_eq!(memory.load(HERE, "own").await.unwrap(), Some(own));
    let query = Query {
        text: "nothing".to_owned(),
        vector: vec![1.0, 0.0],
        limit: 10,
        min_score: 0.9,
    };
    assert_eq!(memory.search(HERE, query).await.unwrap().len(), 1);
    assert!(seen.lock().unwrap().is_empty(), "nobody was asked");
    assert!(
        found(&memory, "beverage").await.is_empty(),
        "not compared with the host's"
    );
}

#[tokio::test]
async fn a_provider_that_fails_leaves_it_to_the_words() {
    let answers: [Says; 6] = [
        |_| (500, json!({})),
        |_| (200, json!({"data": []})),
        |_| (200, json!({"data": [{"embedding": []}]})),
        |_| (200, json!({"data": [{"embedding": ["x", null]}]})),
        |_| (200, json!({"data": [{"embedding": vec![0.5; 5_000]}]})),
        |_| (200, json!({"data": [{"embedding": [1e300, 1.0]}]})),
    ];
    for answer in answers {
        let (embedder, _) = provider(answer).await;
        let world = World::new(&Store::in_memory(), embedder, None).await;
        let memory = world.memory(&[Service::Llm]);
        fill(&memory).await;
        assert_eq!(found(&memory, "tea").await, ["drink"]);
        assert!(found(&memory, "beverage").await.is_empty());
        assert_eq!((world.requests("failed"), world.requests("ok")), (4, 0));
    }
}

#[tokio::test]
async fn a_budget_that_is_used_up_leaves_it_to_the_words() {
    let (embedder, seen) = provider(meaning).await;
    let world = World::new(&Store::in_memory(), embedder, Some(9)).await;
    let memory = world.memory(&[Service::Llm]);
    fill(&memory).await;
    assert_eq!((world.requests("ok"), world.requests("refused")), (1, 1));
    assert_eq!(found(&memory, "cat").await, ["home"]);
    assert_eq!(
        seen.lock().unwrap().len(),
        2,
        "one for the entry, one for a short question"
    );
}

#[tokio::test]
async fn vectors_of_another_model_are_not_compared() {
    let store = Store::in_memory();
    let (embedder, _) = provider(meaning).await;
    fill(
        &World::new(&store, embedder, None)
            .await
            .memory(&[Service::Llm]),
    )
    .await;
    let world = World::new(&store, Embedder::Words, None).await;
    let memory = world.memory(&[Service::Llm]);
    assert!(found(&memory, "beverage").await.is_empty());
    assert_eq!(found(&memory, "tea").await, ["drink"]);
    fill(&memory).await;
    assert_eq!(
        found(&memory, "likes tea").await,
        ["drink"],
        "by hashed words"
    );
}

#[tokio::test]
async fn what_fits_without_a_vector_is_kept_without_one() {
    let world = World::new(&Store::in_memory(), Embedder::Words, None).await;
    let bare = world.memory(&[]);
    for number in 10..74 {
        let value = "x".repeat(65_000);
        bare.save(HERE, entry(&format!("f{number}"), &value))
            .await
            .unwrap();
    }
    let memory = world.memory(&[Service::Llm]);
    let last = entry("last", &"y".repeat(32_500));
    memory.save(HERE, last).await.unwrap();
    assert_eq!(found(&memory, &"y".repeat(32_500)).await, ["last"]);
    let more = memory.save(HERE, entry("more", &"z".repeat(1_000))).await;
    assert!(more.unwrap_err().to_string().contains("full"));
}
