//! Texts as vectors that are near where meanings are: what memory is searched by.

use super::{Llm, Secret, unavailable};
use crate::desk::{Asker, ServiceError};
use crate::memory::{MAX_DIMENSIONS, rank};
use crate::net::{HttpClient, Target};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Bytes of a text that are looked at, from its beginning: what models in use take.
const MAX_TEXT: usize = 8 << 10;
/// Bytes of an answer: a vector of the most numbers, generously written.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Its label in metrics.
const LABEL: &str = "embeddings";

/// What makes vectors of texts.
pub enum Embedder {
    /// `POST {url}/embeddings`, as OpenAI has it and many others do
    /// (platform.openai.com/docs/api-reference/embeddings).
    Remote {
        client: HttpClient,
        target: Target,
        /// The provider's name for the model.
        model: String,
        key: Option<Secret>,
        /// Numbers in a vector; `None` for the model's own number.
        dimensions: Option<u32>,
    },
    /// Without a provider, for tests and work without a network: texts are near each other that share words.
    Words,
}

/// A vector of length 1, and the name of what made it: vectors of others say nothing about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Embedding {
    pub(crate) by: String,
    pub(crate) vector: Vec<f32>,
}

/// Numbers in a vector of hashed words.
const WORD_DIMENSIONS: usize = 256;

impl Embedder {
    fn name(&self) -> &str {
        match self {
            Self::Remote { model, .. } => model,
            Self::Words => "words",
        }
    }

    /// A vector, and the tokens that it took.
    async fn embed(&self, text: &str) -> Result<(Vec<f32>, u64), ServiceError> {
        let Self::Remote {
            client,
            target,
            model,
            key,
            dimensions,
        } = self
        else {
            return Ok((hashed(text), text.len().div_ceil(4) as u64));
        };
        let mut body = json!({"model": model, "input": text, "encoding_format": "float"});
        if let Some(dimensions) = dimensions {
            body["dimensions"] = (*dimensions).into();
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            let value = HeaderValue::try_from(format!("Bearer {}", key.expose()));
            let mut value = value.map_err(|_| {
                unavailable("the platform's key for embeddings has characters that no key has")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let body = Bytes::from(body.to_string());
        let sent = client.exchange(Method::POST, target, &headers, body, MAX_ANSWER_BYTES);
        let answer = sent
            .await
            .map_err(|error| unavailable(format!("the embedding model gave no answer: {error}")))?;
        if !answer.status.is_success() {
            let status = answer.status;
            return Err(unavailable(format!(
                "the embedding model answered with status {status}"
            )));
        }
        read(&answer.body).ok_or_else(|| unavailable("the embedding model's answer cannot be read"))
    }
}

fn read(body: &[u8]) -> Option<(Vec<f32>, u64)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let numbers = body["data"].get(0)?["embedding"].as_array()?;
    if !(1..=MAX_DIMENSIONS).contains(&numbers.len()) {
        return None;
    }
    let numbers = numbers.iter().map(|number| {
        let number = number.as_f64()? as f32;
        number.is_finite().then_some(number)
    });
    let tokens = body["usage"]["prompt_tokens"].as_u64().unwrap_or(0);
    Some((numbers.collect::<Option<_>>()?, tokens))
}

/// Of length 1 and with four decimals: enough for a cosine, and a third of the bytes.
fn short(mut vector: Vec<f32>) -> Vec<f32> {
    let squares = vector.iter().map(|number| f64::from(*number).powi(2));
    let length = squares.sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    for number in &mut vector {
        *number = ((f64::from(*number) / length * 1e4).round() / 1e4) as f32;
    }
    vector
}

/// How often words occur whose hashes fall together.
fn hashed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; WORD_DIMENSIONS];
    for word in rank::words(text) {
        let hash = blake3::hash(word.as_bytes());
        vector[usize::from(hash.as_bytes()[0]) % WORD_DIMENSIONS] += 1.0;
    }
    vector
}

impl Llm {
    /// With vectors for memory.
    #[must_use]
    pub fn with_embedder(mut self, embedder: Option<Embedder>) -> Self {
        self.embedder = embedder;
        self
    }

    pub(crate) fn embeds(&self) -> bool {
        self.embedder.is_some()
    }

    /// The vector of a text. Its tokens are the agent's and the principal's, for their budgets.
    ///
    /// # Errors
    /// Limit if a budget does not have enough left, Unavailable if there is no answer.
    pub(crate) async fn embed(&self, asker: &Asker, text: &str) -> Result<Embedding, ServiceError> {
        let embedder = self.embedder.as_ref();
        let embedder = embedder.ok_or_else(|| unavailable("there is no embedding model here"))?;
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        let embedded = self.embed_within(asker, embedder, text).await;
        let outcome = match &embedded {
            Ok(_) => "ok",
            Err(ServiceError::Unavailable(_)) => "failed",
            Err(_) => "refused",
        };
        let requests = &self.metrics.requests;
        requests.with_label_values(&[LABEL, outcome]).inc();
        let (vector, tokens) = embedded?;
        let counted = &self.metrics.tokens;
        counted.with_label_values(&[LABEL, "input"]).inc_by(tokens);
        Ok(Embedding {
            by: embedder.name().to_owned(),
            vector: short(vector),
        })
    }

    async fn embed_within(
        &self,
        asker: &Asker,
        embedder: &Embedder,
        text: &str,
    ) -> Result<(Vec<f32>, u64), ServiceError> {
        let estimate = text.len().div_ceil(4) as u64;
        let mut reserved = self.ledger.reserve(asker, estimate)?;
        let _turn = self.requests.acquire().await;
        reserved.sent();
        let embedded = embedder.embed(text).await;
        let used = embedded.as_ref().map_or(0, |(_, tokens)| match tokens {
            0 => estimate,
            told => *told,
        });
        reserved.settle(used);
        embedded.map(|(vector, _)| (vector, used))
    }
}
