//! A model behind HTTP: sent, waited for, tried again.

use super::{Reply, Request, Secret, anthropic, openai, unavailable};
use crate::desk::ServiceError;
use crate::net::{Answer, HttpClient, NetError, Target};
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;

/// Bytes of an answer. The longest answers of today's models are a tenth of it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
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
        let body = match self.style {
            Style::OpenAi => openai::body(&self.model, request),
            Style::Anthropic => anthropic::body(&self.model, request),
        };
        let body = Bytes::from(body.to_string());
        let headers = self.headers()?;
        let mut wait = FIRST_WAIT;
        let mut attempts = 0;
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
                Ok(answer) => again(answer, wait),
                Err(NetError::ConnectTimeout | NetError::Dial(_) | NetError::Broken(_)) => {
                    Some(wait)
                }
                Err(_) => None,
            };
            match again {
                Some(pause) if attempts < self.retries => sleep(pause).await,
                _ => break answer,
            }
            attempts += 1;
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        let answer = answer.map_err(|error| {
            let cause = &error as &dyn std::error::Error;
            warn!(
                host = self.target.authority(),
                error = cause,
                "a language model gave no answer"
            );
            unavailable(format!("the language model gave no answer: {error}"))
        })?;
        self.read(&answer, request)
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
        reply.ok_or_else(|| {
            warn!(
                host = self.target.authority(),
                "a language model's answer cannot be read"
            );
            unavailable("the language model's answer cannot be read")
        })
    }
}

/// How long to wait before another attempt, if one may help.
fn again(answer: &Answer, wait: Duration) -> Option<Duration> {
    let status = answer.status;
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    if !passing {
        return None;
    }
    let told = answer.headers.get(RETRY_AFTER);
    let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
    match told.map(Duration::from_secs) {
        Some(told) if told > LONGEST_WAIT => None,
        Some(told) => Some(told.max(wait)),
        None => Some(wait),
    }
}
