//! Push notifications by the real binary, to a receiver on this machine.

use super::{PATIENCE, Server, data_dir, guest, state, text};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// A post: its fields, each a line in lower case, and its body.
type Post = (Vec<String>, Value);

/// Answers every post with 200, and passes it on.
fn receive(address: SocketAddr) -> Receiver<Post> {
    let listener = TcpListener::bind(address).unwrap();
    let (posts, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let posts = posts.clone();
            thread::spawn(move || serve(stream.unwrap(), &posts));
        }
    });
    received
}

fn serve(stream: TcpStream, posts: &Sender<Post>) {
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
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if posts.send((fields, body)).is_err() || writer.write_all(answer).is_err() {
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
    let task = server.send("hostile", message)["task"].clone();
    assert_eq!(state(&task), "TASK_STATE_INPUT_REQUIRED");
    let (fields, body) = posts.recv_timeout(PATIENCE).unwrap();
    for field in [
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
