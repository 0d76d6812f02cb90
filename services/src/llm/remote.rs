//! A model behind HTTP: sent, waited for, tried again.

use super::sse::Events;
use super::stream::{Along, Written};
use super::{MAX_ANSWER_BYTES, Reply, Request, Secret, anthropic, openai, unavailable};
use crate::desk::ServiceError;
use crate::net::{Answer, Driving, HttpClient, NetError, Received, StreamError, Target, Times};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::Value;
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

/// The first wait before another attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A provider that wants a longer wait is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Characters of what a provider says that an agent is told.
const MAX_QUOTE: usize = 300;

/// Which of the two wire forms a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `POST {url}/chat/completions`, as OpenAI has it and many others do.
    OpenAi,
    /// `POST {url}/v1/messages`, as Anthropic has it.
    Anthropic,
}

/// A provider's model.
pub struct Remote {
    pub style: Style,
    pub client: HttpClient,
    /// Where the requests go.
    pub target: Target,
    /// The provider's name for the model.
    pub model: String,
    pub key: Option<Secret>,
    /// Attempts after the first.
    pub retries: u32,
    /// What the model may say at most in one answer.
    pub max_tokens: Option<u32>,
}

impl Style {
    /// Where requests go below a provider's base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }
}

impl Remote {
    pub(super) async fn answer(&self, request: &Request) -> Result<Reply, ServiceError> {
        let body = Bytes::from(self.body(request).to_string());
        let headers = self.headers()?;
        let mut attempts = self.attempts();
        let answer = loop {
            let sent = self.client.exchange(
                Method::POST,
                &self.target,
                &headers,
                body.clone(),
                MAX_ANSWER_BYTES,
            );
            let answer = sent.await;
            let again = match &answer {
                Ok(answer) => attempts.after(answer.status, &answer.headers),
                Err(NetError::ConnectTimeout | NetError::Dial(_) | NetError::Broken(_)) => {
                    Some(attempts.wait)
                }
                Err(_) => None,
            };
            if !attempts.again(again).await {
                break answer;
            }
        };
        let answer = answer.map_err(|error| self.silent(&error))?;
        self.read(&answer, request)
    }

    /// The same, with its words as they come. Only what has not begun is tried again.
    pub(super) async fn stream(
        &self,
        request: &Request,
        along: &mut Along<'_>,
    ) -> Result<Reply, ServiceError> {
        let body = match self.style {
            Style::OpenAi => openai::streamed(self.body(request)),
            Style::Anthropic => {
                let mut body = self.body(request);
                body["stream"] = true.into();
                body
            }
        };
        let (answer, driving) = self.begin(Bytes::from(body.to_string())).await?;
        driven(driving, self.listen(answer, request, along)).await
    }

    fn body(&self, request: &Request) -> Value {
        match self.style {
            Style::OpenAi => openai::body(&self.model, request),
            Style::Anthropic => anthropic::body(&self.model, request),
        }
    }

    /// Sends until an answer begins.
    async fn begin(&self, body: Bytes) -> Result<(Response<Received>, Driving), ServiceError> {
        let mut headers = self.headers()?;
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let times = Times {
            head: Some(self.client.answer_timeout),
            piece: Some(self.client.answer_timeout),
            ..Times::default()
        };
        let mut attempts = self.attempts();
        let begun = loop {
            let mut sent = hyper::Request::post(self.target.path())
                .body(Full::new(body.clone()))
                .map_err(|error| self.silent(&NetError::Unwritable(error)))?;
            sent.headers_mut().extend(headers.clone());
            let begun = self.client.stream(&self.target, sent, times).await;
            let again = match &begun {
                Ok((answer, _)) => attempts.after(answer.status(), answer.headers()),
                Err(
                    StreamError::ConnectTimeout | StreamError::Dial(_) | StreamError::Broken(_),
                ) => Some(attempts.wait),
                Err(_) => None,
            };
            if !attempts.again(again).await {
                break begun;
            }
        };
        begun.map_err(|error| self.silent(&error))
    }

    async fn listen(
        &self,
        answer: Response<Received>,
        request: &Request,
        along: &mut Along<'_>,
    ) -> Result<Reply, ServiceError> {
        let (head, body) = answer.into_parts();
        let body = Timely {
            body,
            left: self.client.answer_timeout,
        };
        let kind = head.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !head.status.is_success() || kind.starts_with("application/json") {
            // A refusal, or a provider that does not stream.
            let answer = Answer {
                status: head.status,
                headers: head.headers,
                body: self.whole(body).await?,
            };
            let reply = self.read(&answer, request)?;
            along.say(reply.said.text.clone()).await;
            return Ok(reply);
        }
        let has_schema = request.schema.is_some();
        let written = match self.style {
            Style::OpenAi => Written::OpenAi(openai::Written::default()),
            Style::Anthropic => Written::Anthropic(anthropic::Written::new(has_schema)),
        };
        let written = self.events(body, written, along).await?;
        written.reply().ok_or_else(|| self.unreadable())
    }

    async fn events(
        &self,
        mut body: Timely,
        mut written: Written,
        along: &mut Along<'_>,
    ) -> Result<Written, ServiceError> {
        let mut events = Events::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error {
                StreamError::AnswerTimeout => self.silent(&error),
                error => self.broke_off(&error),
            })?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            for data in events.take(bytes).map_err(|error| self.broke_off(&error))? {
                let event = written
                    .take(&data)
                    .map_err(|error| self.broke_off(&error))?;
                if event.ends {
                    return Ok(written);
                }
                along
                    .count(event.bytes)
                    .map_err(|most| self.broke_off(&NetError::TooLarge(most)))?;
                along.say(event.text).await;
            }
        }
        if written.is_whole() {
            return Ok(written);
        }
        Err(self.broke_off(&StreamError::Incomplete))
    }

    async fn whole(&self, mut body: Timely) -> Result<Bytes, ServiceError> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.silent(&error))?;
            let data = frame.data_ref().map_or(&[][..], |data| data);
            if bytes.len() + data.len() > MAX_ANSWER_BYTES {
                return Err(self.silent(&NetError::TooLarge(MAX_ANSWER_BYTES)));
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes.freeze())
    }

    fn silent(&self, error: &(dyn Error + 'static)) -> ServiceError {
        warn!(
            host = self.target.authority(),
            error, "a language model gave no answer"
        );
        unavailable(format!("the language model gave no answer: {error}"))
    }

    fn broke_off(&self, error: &(dyn Error + 'static)) -> ServiceError {
        warn!(
            host = self.target.authority(),
            error, "a language model's answer broke off"
        );
        unavailable(format!("the language model's answer broke off: {error}"))
    }

    fn unreadable(&self) -> ServiceError {
        warn!(
            host = self.target.authority(),
            "a language model's answer cannot be read"
        );
        unavailable("the language model's answer cannot be read")
    }

    fn attempts(&self) -> Attempts {
        Attempts {
            left: self.retries,
            wait: FIRST_WAIT,
        }
    }

    fn headers(&self) -> Result<HeaderMap, ServiceError> {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, json.clone());
        headers.insert(ACCEPT, json);
        if self.style == Style::Anthropic {
            let version = HeaderValue::from_static(anthropic::VERSION);
            headers.insert("anthropic-version", version);
        }
        let Some(key) = &self.key else {
            return Ok(headers);
        };
        let (name, text) = match self.style {
            Style::OpenAi => (AUTHORIZATION, format!("Bearer {}", key.expose())),
            Style::Anthropic => {
                let name = hyper::header::HeaderName::from_static("x-api-key");
                (name, key.expose().to_owned())
            }
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            unavailable("the platform's key for the language model has characters that no key has")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(headers)
    }

    fn read(&self, answer: &Answer, request: &Request) -> Result<Reply, ServiceError> {
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let status = answer.status;
        if !status.is_success() {
            let said = body
                .as_ref()
                .and_then(|body| body["error"]["message"].as_str());
            let said: String = said.unwrap_or_default().chars().take(MAX_QUOTE).collect();
            warn!(host = self.target.authority(), %status, said, "a language model refuses");
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    unavailable("the language model's provider does not take the platform's key")
                }
                StatusCode::BAD_REQUEST
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::PAYLOAD_TOO_LARGE => ServiceError::Invalid(format!(
                    "the language model does not take the request: {said}"
                )),
                _ => unavailable(format!("the language model answered with status {status}")),
            });
        }
        let reply = body.and_then(|body| match self.style {
            Style::OpenAi => openai::reply(&body),
            Style::Anthropic => anthropic::reply(&body, request.schema.is_some()),
        });
        reply.ok_or_else(|| self.unreadable())
    }
}

/// The body of an answer whose provider may take so long for all of it. While the agent has not read what is there, nobody
/// waits for the provider.
struct Timely {
    body: Received,
    left: Duration,
}

impl Timely {
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, StreamError>> {
        if self.left.is_zero() {
            return Some(Err(StreamError::AnswerTimeout));
        }
        let begun = Instant::now();
        self.body.wait_anew();
        let frame = timeout(self.left, self.body.frame()).await;
        self.left = self.left.saturating_sub(begun.elapsed());
        frame.unwrap_or(Some(Err(StreamError::AnswerTimeout)))
    }
}

/// Attempts that may still be made, and the wait before the next.
struct Attempts {
    left: u32,
    wait: Duration,
}

impl Attempts {
    /// How long to wait before another attempt, if one may help.
    fn after(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let passing = status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            );
        if !passing {
            return None;
        }
        let told = headers.get(RETRY_AFTER);
        let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
        match told.map(Duration::from_secs) {
            Some(told) if told > LONGEST_WAIT => None,
            Some(told) => Some(told.max(self.wait)),
            None => Some(self.wait),
        }
    }

    /// Waits, if there is to be another attempt.
    async fn again(&mut self, pause: Option<Duration>) -> bool {
        let Some(pause) = pause.filter(|_| self.left > 0) else {
            return false;
        };
        sleep(pause).await;
        self.left -= 1;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        true
    }
}

/// Reads what `driving` brings.
async fn driven<T>(driving: Driving, reading: impl Future<Output = T>) -> T {
    let mut reading = pin!(reading);
    tokio::select! {
        biased;
        read = &mut reading => read,
        // What is there already can still be read.
        () = driving => reading.await,
    }
}
