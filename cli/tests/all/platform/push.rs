//! Push notifications by the real binary, to a receiver on this machine.

use super::filters::policy;
use super::{PATIENCE, Server, answer, data_dir, guest, state, text};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// A post: its fields, each a line in lower case, and its body.
pub(super) type Post = (Vec<String>, Value);

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Answers every post with 200, and passes it on.
pub(super) fn receive(address: SocketAddr) -> Receiver<Post> {
    receive_with(address, |_| OK.to_owned())
}

/// Passes every post on, and answers with what `answer` says to the first (0) and each further one.
fn receive_with(
    address: SocketAddr,
    answer: impl Fn(usize) -> String + Send + Sync + 'static,
) -> Receiver<Post> {
    let listener = TcpListener::bind(address).unwrap();
    let (posts, received) = mpsc::channel();
    let answer = Arc::new(Answers {
        answer,
        given: AtomicUsize::new(0),
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (posts, answer) = (posts.clone(), Arc::clone(&answer));
            thread::spawn(move || serve(stream.unwrap(), &posts, || answer.next()));
        }
    });
    received
}

struct Answers<F> {
    answer: F,
    given: AtomicUsize,
}

impl<F: Fn(usize) -> String> Answers<F> {
    fn next(&self) -> String {
        (self.answer)(self.given.fetch_add(1, Ordering::SeqCst))
    }
}

fn serve(stream: TcpStream, posts: &Sender<Post>, answer: impl Fn() -> String) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => fields.push(line.to_owned()),
            }
        }
        let length = fields.iter().find_map(|field| {
            let (name, value) = field.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        let body = serde_json::from_slice(&body).unwrap();
        let sent = posts.send((fields, body)).is_ok();
        if !sent || writer.write_all(answer().as_bytes()).is_err() {
            return;
        }
    }
}

/// An address where nobody listens yet.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn states(posts: &Receiver<Post>, count: usize) -> Vec<String> {
    let next = |_| {
        let (_, body) = posts.recv_timeout(PATIENCE).unwrap();
        let state = &body["statusUpdate"]["status"]["state"];
        state.as_str().unwrap().to_owned()
    };
    (0..count).map(next).collect()
}

fn hook(address: SocketAddr) -> Value {
    json!({
        "url": format!("http://{address}/hook"),
        "token": "t0ken",
        "authentication": {"scheme": "Bearer", "credentials": "secret"},
    })
}

#[test]
fn events_reach_a_receiver() {
    let dir = data_dir();
    let address = free_address();
    let posts = receive(address);
    let allow = address.to_string();
    let server = Server::start(dir.path(), &["--webhook-allow", &allow]);
    server.deploy(&guest("hostile"));
    let mut message = text("one").skill("ask");
    message.configuration["taskPushNotificationConfig"] = hook(address);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = server.rpc_request("hostile", "SendMessage", &message.params());
    let sent = answer(request.header("traceparent", trace)).json();
    let task = sent["result"]["task"].clone();
    assert_eq!(state(&task), "TASK_STATE_INPUT_REQUIRED");
    let (fields, body) = posts.recv_timeout(PATIENCE).unwrap();
    for field in [
        &*format!("traceparent: {trace}"),
        "authorization: Bearer secret",
        "x-a2a-notification-token: t0ken",
        "content-type: application/a2a+json",
    ] {
        assert!(fields.iter().any(|known| known == field), "{fields:?}");
    }
    assert_eq!(body["statusUpdate"]["taskId"], task["id"]);
    let asked = &body["statusUpdate"]["status"]["state"];
    assert_eq!(asked, "TASK_STATE_INPUT_REQUIRED");
    server.send("hostile", text("two").on(&task));
    let expected = ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"];
    assert_eq!(states(&posts, 2), expected);
    let delivered = "outcome=\"delivered\"";
    server.until("three deliveries are counted", |server| {
        server.metric("dormouse_push_deliveries_total", &[delivered]) == 3.0
    });
    assert!(server.stop().success());
}

#[test]
fn what_a_killed_server_owed_is_delivered_by_the_next() {
    let dir = data_dir();
    let address = free_address();
    let allow = address.to_string();
    let flags = ["--webhook-allow", &*allow];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest("hostile"));
    let mut message = text("one").skill("ask");
    message.configuration["taskPushNotificationConfig"] = hook(address);
    let task = server.send("hostile", message)["task"].clone();
    server.send("hostile", text("two").on(&task));
    let failed = "outcome=\"retried\"";
    server.until("a delivery has failed", |server| {
        server.metric("dormouse_push_deliveries_total", &[failed]) > 0.0
    });
    server.kill();

    let posts = receive(address);
    let server = Server::start(dir.path(), &flags);
    let expected = [
        "TASK_STATE_INPUT_REQUIRED",
        "TASK_STATE_WORKING",
        "TASK_STATE_COMPLETED",
    ];
    assert_eq!(states(&posts, 3), expected);
    let configs = json!({"taskId": task["id"]});
    let method = "ListTaskPushNotificationConfigs";
    let known = server.result("hostile", method, &configs);
    assert_eq!(known["configs"][0]["url"], hook(address)["url"]);
    assert!(server.stop().success());
}

/// The number and the state of the next event.
fn event(posts: &Receiver<Post>) -> (String, String) {
    let (fields, body) = posts.recv_timeout(PATIENCE).unwrap();
    let number = fields
        .iter()
        .find_map(|field| field.strip_prefix("x-dormouse-event: "))
        .unwrap_or_else(|| panic!("{fields:?}"));
    let state = &body["statusUpdate"]["status"]["state"];
    (number.to_owned(), state.as_str().unwrap().to_owned())
}

/// A task in two turns, with three events, of which these receivers are told.
fn in_two_turns(server: &Server, receivers: &[SocketAddr]) {
    let mut message = text("one").skill("ask");
    message.configuration["taskPushNotificationConfig"] = hook(receivers[0]);
    let task = server.send("hostile", message)["task"].clone();
    for receiver in &receivers[1..] {
        let mut config = hook(*receiver);
        config["taskId"] = task["id"].clone();
        server.result("hostile", "CreateTaskPushNotificationConfig", &config);
    }
    let ended = server.send("hostile", text("two").on(&task));
    assert_eq!(state(&ended["task"]), "TASK_STATE_COMPLETED");
}

#[test]
fn an_event_that_is_answered_with_500_is_sent_again_before_the_next() {
    let dir = data_dir();
    let address = free_address();
    let posts = receive_with(address, |post| match post {
        0 | 1 => "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => OK.to_owned(),
    });
    let server = Server::start(dir.path(), &["--webhook-allow", &address.to_string()]);
    server.deploy(&guest("hostile"));
    in_two_turns(&server, &[address]);
    let first = event(&posts);
    assert_eq!(first.1, "TASK_STATE_INPUT_REQUIRED");
    assert_eq!([event(&posts), event(&posts)], [first.clone(), first]);
    let expected = ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"];
    assert_eq!(states(&posts, 2), expected);
    let retried = server.metric("dormouse_push_deliveries_total", &["outcome=\"retried\""]);
    assert_eq!(retried, 2.0);
}

#[test]
fn a_redirect_to_an_address_inside_is_not_followed() {
    let dir = data_dir();
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = inside.local_addr().unwrap();
    let address = free_address();
    let posts = receive_with(address, move |post| match post {
        0 => format!(
            "HTTP/1.1 307 Elsewhere\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n"
        ),
        _ => OK.to_owned(),
    });
    let server = Server::start(dir.path(), &["--webhook-allow", &address.to_string()]);
    server.deploy(&guest("hostile"));
    in_two_turns(&server, &[address]);
    // A redirect is an answer like any other that is not 2xx: the same place is tried again.
    assert_eq!(event(&posts), event(&posts));
    let expected = ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"];
    assert_eq!(states(&posts, 2), expected);
    inside.set_nonblocking(true).unwrap();
    let followed = inside.accept().map(|(_, from)| from);
    assert_eq!(followed.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_slow_receiver_is_asked_again_and_holds_up_nobody() {
    /// How long the server waits for an answer's head (SPECIFICATION.md, section 4).
    const ANSWER_WITHIN: Duration = Duration::from_secs(15);
    let dir = data_dir();
    let (slow, quick) = (free_address(), free_address());
    let slow_posts = receive_with(slow, |post| {
        if post == 0 {
            thread::sleep(ANSWER_WITHIN * 2);
        }
        OK.to_owned()
    });
    let quick_posts = receive(quick);
    let flags = [slow.to_string(), quick.to_string()];
    let flags = ["--webhook-allow", &flags[0], "--webhook-allow", &flags[1]];
    let server = Server::start(dir.path(), &flags);
    server.deploy(&guest("hostile"));
    let begun = Instant::now();
    in_two_turns(&server, &[slow, quick]);
    let expected = ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"];
    assert_eq!(states(&quick_posts, 2), expected);
    assert!(begun.elapsed() < ANSWER_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(event(&slow_posts), event(&slow_posts));
    assert!(begun.elapsed() >= ANSWER_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(states(&slow_posts, 2), expected);
}

#[test]
fn a_receiver_on_this_machine_must_be_let_in() {
    let dir = data_dir();
    let server = Server::start(dir.path(), &[]);
    server.deploy(&guest("hostile"));
    let mut message = text("one").skill("echo-task");
    message.configuration["taskPushNotificationConfig"] = hook(free_address());
    let answer = server.rpc("hostile", "SendMessage", &message.params());
    let (code, sentence) = answer.rpc_error();
    assert_eq!(code, -32602);
    assert!(sentence.contains("loopback"), "{sentence}");
}

/// A receiver is a reader like others.
#[test]
fn receivers_get_what_filters_have_left() {
    let dir = data_dir();
    let address = free_address();
    let posts = receive(address);
    let allow = address.to_string();
    let server = Server::start(dir.path(), &["--webhook-allow", &allow]);
    server.deploy(&guest("hostile"));
    let begin = |config: &str| {
        let config = json!({"config": config});
        server.filter("guard", &policy("hostile-messages"), config);
        let mut message = text("one").skill("ask");
        message.configuration["taskPushNotificationConfig"] = hook(address);
        let task = server.send("hostile", message)["task"].clone();
        let (_, body) = posts.recv_timeout(PATIENCE).unwrap();
        let told = body["statusUpdate"].clone();
        assert_eq!(told["taskId"], task["id"]);
        let said = told["status"]["message"]["parts"][0]["text"].clone();
        (task, told["status"]["state"].clone(), said)
    };
    let (asked, state, said) = begin("reply=redact");
    assert_eq!(
        (state, said),
        ("TASK_STATE_INPUT_REQUIRED".into(), "[redacted]".into())
    );
    server.send("hostile", text("two").on(&asked));
    assert_eq!(
        states(&posts, 2),
        ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"]
    );
    let (_, state, said) = begin("reply=block");
    assert_eq!(
        (state, said),
        ("TASK_STATE_FAILED".into(), "as asked".into())
    );
    assert!(server.stop().success());
}
