//! Answers that are handed over while they are written.

use super::{Llm, Request, Response, anthropic, openai, unavailable};
use crate::desk::{Asker, ServiceError};
use serde_json::Value;
use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

/// Pieces that wait for the agent; then the provider waits.
const MAX_WAITING: usize = 8;
/// How long a piece may wait for the agent: meanwhile the answer has a place among the requests of all agents.
const UNREAD: Duration = Duration::from_secs(5);
/// Tool calls and blocks of text of one answer.
pub(super) const MAX_CALLS: usize = 128;
/// Characters of what a provider says that an agent is told.
const MAX_QUOTE: usize = 300;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// More of its text.
    Text(String),
    /// All of it. Nothing follows.
    Done(Response),
}

pub(crate) type Heard = Result<Piece, ServiceError>;

/// Where the pieces go.
pub(crate) struct Along<'a> {
    to: &'a mpsc::Sender<Heard>,
    /// Told when the agent has left a piece lying for [`UNREAD`].
    unread: &'a Notify,
    /// Bytes of the texts and arguments that have come.
    bytes: usize,
}

impl Along<'_> {
    pub(super) async fn say(&mut self, text: String) {
        if !text.is_empty() {
            let told = timeout(UNREAD, self.to.send(Ok(Piece::Text(text)))).await;
            if !matches!(told, Ok(Ok(()))) {
                // Whoever drives this notices, too, that nobody listens, and drops it.
                self.unread.notify_one();
                pending::<()>().await;
            }
        }
    }

    /// # Errors
    /// The bytes that an answer may have, if it has more.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), usize> {
        self.bytes += bytes;
        if self.bytes > super::MAX_ANSWER_BYTES {
            return Err(super::MAX_ANSWER_BYTES);
        }
        Ok(())
    }

    /// About how many tokens have come: four bytes are one.
    pub(super) fn tokens(&self) -> u64 {
        self.bytes.div_ceil(4) as u64
    }
}

/// What one event of a provider adds.
#[derive(Debug, Default)]
pub(super) struct Event {
    pub(super) text: String,
    /// Of the text and of tool calls.
    pub(super) bytes: usize,
    pub(super) ends: bool,
}

impl Event {
    pub(super) fn end() -> Self {
        Self {
            ends: true,
            ..Self::default()
        }
    }
}

/// Why an answer cannot be read any further.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    #[error("it cannot be read")]
    Garbage,
    #[error("the provider says: {0}")]
    Told(String),
}

impl Unreadable {
    /// What a provider says in the middle of an answer.
    pub(super) fn told(error: &Value) -> Self {
        let said = error["message"].as_str().or(error.as_str());
        Self::Told(said.unwrap_or("error").chars().take(MAX_QUOTE).collect())
    }
}

/// An answer in either of the wire forms.
pub(super) enum Written {
    OpenAi(openai::Written),
    Anthropic(anthropic::Written),
}

impl Written {
    pub(super) fn take(&mut self, data: &str) -> Result<Event, Unreadable> {
        match self {
            Self::OpenAi(written) => written.take(data),
            Self::Anthropic(written) => written.take(data),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::OpenAi(written) => written.is_whole(),
            Self::Anthropic(written) => written.is_whole(),
        }
    }

    pub(super) fn reply(self) -> Option<super::Reply> {
        match self {
            Self::OpenAi(written) => written.reply(),
            Self::Anthropic(written) => written.reply(),
        }
    }
}

impl Llm {
    /// Has a model answer, and hands its words over while they come. `None` if nobody waits for them any more: then it
    /// counts as it was set aside, because the model may go on.
    pub(crate) async fn stream(
        &self,
        asker: &Asker,
        request: Request,
        to: &mpsc::Sender<Heard>,
    ) -> Option<Result<Response, ServiceError>> {
        let (name, model) = match self.model(request.model.as_deref()) {
            Ok(found) => found,
            Err(refused) => return Some(Err(refused)),
        };
        let asked = super::bytes(&request) as u64 / 4;
        let unread = Notify::new();
        let mut along = Along {
            to,
            unread: &unread,
            bytes: 0,
        };
        let answered = tokio::select! {
            biased;
            answered = self.answer(asker, name, model, request, Some(&mut along)) => Some(answered),
            () = to.closed() => None,
            () = unread.notified() => None,
        };
        let cut_off = (along.bytes > 0).then_some((asked, along.tokens()));
        self.count(name, answered.as_ref(), cut_off);
        answered
    }
}

/// The answers that a call is reading. They end with it, whatever the guest still holds.
#[derive(Default)]
pub(crate) struct Streams(Mutex<Open>);

#[derive(Default)]
struct Open {
    last: u64,
    streams: HashMap<u64, Arc<Incoming>>,
}

struct Incoming {
    pieces: tokio::sync::Mutex<mpsc::Receiver<Heard>>,
    /// The first piece, which was waited for.
    first: Mutex<Option<Piece>>,
    /// Its last piece was taken.
    is_over: AtomicBool,
    /// Its place among the requests of the call.
    _turn: OwnedSemaphorePermit,
}

/// An answer that is being written. Dropping it stops it.
pub struct AnswerStream {
    streams: Weak<Streams>,
    key: u64,
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `answer`, which is given where to send the pieces, and returns when the first has come.
    pub(crate) async fn start<F>(
        self: &Arc<Self>,
        turn: OwnedSemaphorePermit,
        answer: impl FnOnce(mpsc::Sender<Heard>) -> F,
    ) -> Result<AnswerStream, ServiceError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (to, mut pieces) = mpsc::channel(MAX_WAITING);
        // Not the guest's own future: it reads, counts and ends in time though the guest may not ask for the next
        // piece. It ends when the receiver is dropped, which is at the end of the call at the latest.
        tokio::spawn(answer(to));
        let first = pieces.recv().await.unwrap_or_else(|| Err(ended()))?;
        let mut open = self.open();
        open.last += 1;
        let key = open.last;
        let incoming = Incoming {
            pieces: tokio::sync::Mutex::new(pieces),
            first: Mutex::new(Some(first)),
            is_over: AtomicBool::new(false),
            _turn: turn,
        };
        open.streams.insert(key, Arc::new(incoming));
        Ok(AnswerStream {
            streams: Arc::downgrade(self),
            key,
        })
    }
}

impl AnswerStream {
    /// The next piece.
    ///
    /// # Errors
    /// Those of [`Desk::generate`](crate::Desk::generate), in the middle of the answer too; Unavailable if it was given up
    /// because nobody read it; Invalid after its end and after the end of its call.
    pub async fn next(&self) -> Result<Piece, ServiceError> {
        let open = self.streams.upgrade();
        let incoming = open.and_then(|streams| streams.open().streams.get(&self.key).cloned());
        let incoming = incoming.ok_or_else(over)?;
        let first = incoming
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let piece = match first {
            Some(first) => Ok(first),
            None => {
                let next = incoming.pieces.lock().await.recv().await;
                let is_over = || incoming.is_over.load(Ordering::Acquire);
                next.unwrap_or_else(|| Err(if is_over() { over() } else { given_up() }))
            }
        };
        if !matches!(piece, Ok(Piece::Text(_))) {
            incoming.is_over.store(true, Ordering::Release);
            self.close();
        }
        piece
    }

    fn close(&self) {
        let streams = self.streams.upgrade();
        drop(streams.and_then(|streams| streams.open().streams.remove(&self.key)));
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        self.close();
    }
}

fn over() -> ServiceError {
    ServiceError::Invalid("this answer has ended: nothing follows".to_owned())
}

/// Whoever writes an answer says how it ends, unless there was no room for that.
fn given_up() -> ServiceError {
    unavailable(format!(
        "the language model's answer was given up: a piece of it was not read for {} s",
        UNREAD.as_secs()
    ))
}

fn ended() -> ServiceError {
    unavailable("the language model gave no answer")
}
