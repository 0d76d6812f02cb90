//! A webhook's receiver that answers as it is told.

use crate::support::soon;
use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How to answer a post.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// 200 with a body of this many bytes.
    Body(usize),
    /// Nothing, for as long as the client waits.
    Hang,
    /// The end of the connection.
    Close,
}

#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) line: String,
    fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Post {
    /// The only field of this name, or nothing.
    pub(super) fn field(&self, name: &str) -> &str {
        let found: Vec<_> = self.fields.iter().filter(|field| field.0 == name).collect();
        assert!(found.len() < 2, "{found:?}");
        found.first().map_or("", |field| &field.1)
    }
}

#[derive(Default)]
struct Seen {
    posts: Vec<Post>,
    connections: usize,
    now: usize,
    most: usize,
    script: VecDeque<Reply>,
}

/// Listens until it is dropped. Without a script it answers 200.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    listening: JoinHandle<()>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let listening = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    seen.lock().unwrap().connections += 1;
                    tokio::spawn(serve(stream, Arc::clone(&seen)));
                }
            }
        });
        Self {
            address,
            seen,
            listening,
        }
    }

    /// Serves one stream that somebody else has accepted.
    pub(super) fn serving(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> impl Future<Output = Vec<Post>> {
        let seen = Arc::<Mutex<Seen>>::default();
        let serving = tokio::spawn(serve(stream, Arc::clone(&seen)));
        async move {
            let _ = serving.await;
            seen.lock().unwrap().posts.clone()
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The answers to the next posts; after them it is 200 again.
    pub(super) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.seen.lock().unwrap().script.extend(replies);
    }

    /// All posts, as soon as there are this many.
    pub(super) async fn posts(&self, count: usize) -> Vec<Post> {
        soon(async {
            loop {
                let posts = self.seen.lock().unwrap().posts.clone();
                if posts.len() >= count {
                    return posts;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// A moment in which nothing comes.
    pub(super) async fn expect_no_more(&self) {
        let before = self.seen.lock().unwrap().posts.len();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(self.seen.lock().unwrap().posts.len(), before);
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Posts that were being answered at the same time, at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.seen.lock().unwrap().most
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seen: Arc<Mutex<Seen>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(post) = read(&mut stream).await {
        let reply = {
            let mut seen = seen.lock().unwrap();
            seen.posts.push(post);
            seen.now += 1;
            seen.most = seen.most.max(seen.now);
            seen.script.pop_front().unwrap_or(Reply::Status(200))
        };
        let (status, more, body) = match reply {
            Reply::Status(status) => (status, String::new(), Vec::new()),
            Reply::Redirect(to) => (307, format!("location: {to}\r\n"), Vec::new()),
            Reply::Body(bytes) => (200, String::new(), vec![b'x'; bytes]),
            Reply::Hang => {
                seen.lock().unwrap().now -= 1;
                let _gone = stream.read_u8().await;
                return;
            }
            Reply::Close => {
                seen.lock().unwrap().now -= 1;
                return;
            }
        };
        tokio::task::yield_now().await;
        seen.lock().unwrap().now -= 1;
        let length = body.len();
        let head = format!("HTTP/1.1 {status} x\r\n{more}content-length: {length}\r\n\r\n");
        let written = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        if written.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Post> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let bytes = stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            _ if bytes == 0 => return None,
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let field = |line: &String| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let mut post = Post {
        line,
        fields: lines.iter().map(field).collect(),
        body: Vec::new(),
    };
    let length = post.field("content-length").parse().unwrap();
    post.body.resize(length, 0);
    stream.read_exact(&mut post.body).await.ok()?;
    Some(post)
}

/// Posts in a word or two: `working: text`.
pub(super) fn said(posts: &[Post]) -> Vec<String> {
    let word = |post: &Post| {
        let json: Value = serde_json::from_slice(&post.body).unwrap();
        let status = &json["statusUpdate"]["status"];
        let state = status["state"].as_str().unwrap();
        let state = state.trim_start_matches("TASK_STATE_").to_lowercase();
        match status["message"]["parts"][0]["text"].as_str() {
            Some(text) => format!("{state}: {text}"),
            None => state,
        }
    };
    posts.iter().map(word).collect()
}

/// Whether somebody connects within a moment.
pub(super) async fn is_met(listener: &TcpListener) -> bool {
    let meeting: Result<std::io::Result<(TcpStream, _)>, _> =
        tokio::time::timeout(Duration::from_millis(150), listener.accept()).await;
    meeting.is_ok()
}
