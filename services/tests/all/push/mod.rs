//! Push notifications, with receivers on real sockets.

mod configs;
mod guard;
mod receiver;
mod retries;
mod secrets;
mod tls;

use crate::support::{World, ann, done, finish, label, new_task, rest, says, soon, user};
use dormouse_services::net::{AllowList, HttpClient, Lookup, Trust};
use dormouse_services::push::{Deliveries, PushConfig, RetryPolicy};
use dormouse_services::{Call, TaskEngine, TaskLimits};
use dormouse_store::{OpenOptions, Store};
use receiver::{Receiver, Reply, said};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A policy that fails fast, and never by time.
fn quick(attempts: u32) -> RetryPolicy {
    RetryPolicy {
        attempts,
        total: Duration::from_secs(3600),
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        given_up_events: 3,
    }
}

fn nowhere() -> Lookup {
    Arc::new(|name, _| Box::pin(async move { panic!("nobody looks up {name}") }))
}

/// Lets in what is named, looks nothing up, and trusts nobody.
fn client(allow: &[&str]) -> HttpClient {
    let allow: AllowList = allow.iter().map(|rule| rule.parse().unwrap()).collect();
    HttpClient::with(allow, nowhere(), Trust::only([]))
}

fn to(receiver: &Receiver) -> HttpClient {
    client(&[&receiver.address.to_string()])
}

fn config(id: &str, receiver: &Receiver) -> PushConfig {
    PushConfig::new(Some(id.to_owned()), receiver.url("/hook?x=1"), None, None).unwrap()
}

/// Running deliveries.
struct Pusher {
    deliveries: Deliveries,
    running: JoinHandle<()>,
}

impl Pusher {
    fn start(engine: &TaskEngine, client: HttpClient, policy: RetryPolicy) -> Self {
        Self::run(Deliveries::new(engine, client, policy))
    }

    fn run(deliveries: Deliveries) -> Self {
        let running = tokio::spawn({
            let deliveries = deliveries.clone();
            async move { deliveries.run().await }
        });
        Self {
            deliveries,
            running,
        }
    }

    fn count(&self, outcome: &str) -> u64 {
        let deliveries = &self.deliveries.metrics().deliveries;
        deliveries.with_label_values(&[outcome]).get()
    }

    async fn until_counted(&self, outcome: &str, count: u64) {
        until(|| self.count(outcome) >= count).await;
    }

    /// Until nothing is on its way.
    async fn until_idle(&self) {
        until(|| self.deliveries.metrics().queued.get() == 0).await;
    }

    async fn stop(self) {
        self.deliveries.stop();
        soon(self.running).await.unwrap();
        assert_eq!(self.deliveries.metrics().queued.get(), 0);
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A new task whose receiver is told everything.
fn followed(engine: &TaskEngine, config: PushConfig) -> Call {
    let call = engine.begin(new_task(&ann(), user("go")));
    call.notify(config).unwrap();
    call
}

#[tokio::test]
async fn a_receiver_is_told_what_subscribers_are_in_the_same_bytes() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let secret = PushConfig::new(
        Some("one".to_owned()),
        receiver.url("/hook?x=1#not-sent"),
        Some("t0ken".to_owned()),
        Some(("Bearer".to_owned(), Some("a.b.c".to_owned()))),
    );
    let call = followed(&world.engine, secret.unwrap());
    let mut reader = call.follow().await.unwrap().2;
    for step in 0..20 {
        call.update(says(&format!("step {step}"))).await.unwrap();
        call.artifact(crate::support::artifact("x", "chunk"), step > 0, step == 19)
            .await
            .unwrap();
    }
    finish(&call, done()).await;
    let events = rest(&mut reader).await;
    let posts = receiver.posts(events.len()).await;
    for (post, event) in posts.iter().zip(&events) {
        assert_eq!(post.body, event.json, "{}", label(event));
        assert_eq!(post.line, "POST /hook?x=1 HTTP/1.1");
        assert_eq!(post.field("content-type"), "application/a2a+json");
        assert_eq!(post.field("authorization"), "Bearer a.b.c");
        assert_eq!(post.field("x-a2a-notification-token"), "t0ken");
        assert_eq!(post.field("x-dormouse-event"), event.seq.to_string());
        assert_eq!(post.field("host"), receiver.address.to_string());
        let json: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
    }
    pusher.until_idle().await;
    assert_eq!(pusher.count("delivered"), events.len() as u64);
    assert!(receiver.connections() < 5, "connections are kept");
    receiver.expect_no_more().await;
    pusher.stop().await;
}

#[tokio::test]
async fn a_task_that_waits_is_followed_into_its_next_turn() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let call = followed(&world.engine, config("one", &receiver));
    finish(&call, crate::support::asks("which?")).await;
    assert_eq!(said(&receiver.posts(1).await), ["input_required: which?"]);
    pusher.until_idle().await;
    let id = call.task_id();
    drop(call);
    let turn = world.resume(&id, "this").await.unwrap();
    finish(&turn.call, done()).await;
    let posts = receiver.posts(3).await;
    assert_eq!(said(&posts[1..]), ["working", "completed: done"]);
    pusher.stop().await;
}

#[tokio::test]
async fn a_canceled_task_is_told_of() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(1));
    let id = world.waiting().await;
    let one = config("one", &receiver);
    world.engine.create_push(&ann(), &id, one).await.unwrap();
    world.engine.cancel(&ann(), &id).await.unwrap();
    assert_eq!(said(&receiver.posts(1).await), ["canceled"]);
    receiver.expect_no_more().await;
    pusher.stop().await;
}

#[tokio::test]
async fn a_slow_receiver_holds_up_only_itself() {
    let world = World::new().await;
    let (slow, fast) = (Receiver::start().await, Receiver::start().await);
    slow.script([Reply::Hang]);
    let addresses = [slow.address.to_string(), fast.address.to_string()];
    let client = client(&[&addresses[0], &addresses[1]]).answer_timeout(Duration::from_secs(1));
    let pusher = Pusher::start(&world.engine, client, quick(3));
    let call = followed(&world.engine, config("slow", &slow));
    call.accept().await.unwrap();
    slow.posts(1).await;
    let id = call.task_id();
    for receiver in [&slow, &fast] {
        let name = receiver.address.to_string();
        let config = config(&name, receiver);
        world.engine.create_push(&ann(), &id, config).await.unwrap();
    }
    for step in 0..5 {
        call.update(says(&step.to_string())).await.unwrap();
    }
    finish(&call, done()).await;
    assert_eq!(fast.posts(6).await.len(), 6);
    // The other configuration of the slow host is not held up either.
    assert_eq!(slow.posts(7).await.len(), 7);
    pusher.stop().await;
}

#[tokio::test]
async fn deliveries_go_on_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path(), &OpenOptions::default()).unwrap();
    let receiver = Receiver::start().await;
    let store = open();
    let engine = TaskEngine::open(store.tasks.clone(), TaskLimits::default());
    let (engine, _) = engine.await.unwrap();
    receiver.script([Reply::Status(200), Reply::Status(200), Reply::Hang]);
    let pusher = Pusher::start(&engine, to(&receiver), quick(3));
    let call = followed(&engine, config("one", &receiver));
    let id = call.task_id();
    for step in 0..5 {
        call.update(says(&step.to_string())).await.unwrap();
    }
    finish(&call, done()).await;
    receiver.posts(3).await;
    pusher.stop().await;
    drop((call, engine));
    store.close().unwrap();

    let store = open();
    let engine = TaskEngine::open(store.tasks.clone(), TaskLimits::default());
    let (engine, _) = engine.await.unwrap();
    let pusher = Pusher::start(&engine, to(&receiver), quick(3));
    let posts = receiver.posts(7).await;
    let steps = ["working: 0", "working: 1", "working: 2"];
    assert_eq!(said(&posts[..3]), steps);
    let steps = ["working: 2", "working: 3", "working: 4", "completed: done"];
    assert_eq!(said(&posts[3..]), steps);
    pusher.until_idle().await;
    pusher.stop().await;
    assert_eq!(engine.get_push(&ann(), &id, "one").await.unwrap().id, "one");
    drop(engine);
    store.close().unwrap();

    // Who has heard the end is not told again.
    let store = open();
    let engine = TaskEngine::open(store.tasks.clone(), TaskLimits::default());
    let (engine, _) = engine.await.unwrap();
    let pusher = Pusher::start(&engine, to(&receiver), quick(3));
    receiver.expect_no_more().await;
    pusher.stop().await;
}

#[tokio::test]
async fn more_configurations_than_posts_at_a_time_are_all_served() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let pusher = Pusher::start(&world.engine, to(&receiver), quick(3));
    let mut calls = Vec::new();
    for task in 0..40 {
        let call = followed(&world.engine, config(&task.to_string(), &receiver));
        let second = config("second", &receiver);
        call.accept().await.unwrap();
        let id = call.task_id();
        world.engine.create_push(&ann(), &id, second).await.unwrap();
        calls.push(call);
    }
    for call in &calls {
        finish(call, done()).await;
    }
    assert_eq!(receiver.posts(40 * 3).await.len(), 120);
    assert!(receiver.most_at_once() <= 4, "{}", receiver.most_at_once());
    pusher.stop().await;
}

#[tokio::test]
async fn what_finds_no_room_waits_for_it() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let deliveries = Deliveries::with_workers(&world.engine, to(&receiver), quick(3), 11);
    let pusher = Pusher::run(deliveries);
    for task in 0..20 {
        let call = followed(&world.engine, config(&task.to_string(), &receiver));
        finish(&call, done()).await;
    }
    let mut told: Vec<String> = Vec::new();
    for post in receiver.posts(20).await {
        let json: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        told.push(json["statusUpdate"]["taskId"].to_string());
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 20, "each task has been told of once");
    pusher.stop().await;
}
