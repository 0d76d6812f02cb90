//! JSON that anybody may keep for a while: cards, keys, the catalogue.

use crate::respond::{self, Body, Reply};
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED};
use hyper::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

/// Long enough to spare the server, short enough that a deployment is noticed soon.
const PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=60");
/// The same for what only some may see.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=60");

pub(crate) struct Document {
    json: Bytes,
    content_type: HeaderValue,
    cache: HeaderValue,
    etag: HeaderValue,
    last_modified: Option<HeaderValue>,
}

impl Document {
    pub(crate) fn new(content: &impl Serialize) -> Self {
        // By way of a Value, whose maps are sorted: the same content is the same bytes everywhere.
        let json = serde_json::to_value(content)
            .expect("documents have string keys only")
            .to_string();
        let etag = format!("\"{}\"", blake3::hash(json.as_bytes()).to_hex());
        Self {
            etag: etag.try_into().expect("hex digits are a valid header"),
            content_type: respond::JSON,
            cache: PUBLIC,
            last_modified: None,
            json: json.into(),
        }
    }

    pub(crate) fn content_type(mut self, content_type: HeaderValue) -> Self {
        self.content_type = content_type;
        self
    }

    pub(crate) fn modified(mut self, ms: u64) -> Self {
        self.last_modified = Some(http_date(ms));
        self
    }

    /// Not to be kept by caches that serve others, too.
    pub(crate) fn private(mut self) -> Self {
        self.cache = PRIVATE;
        self
    }

    /// The document, or 304 if the client has it (RFC 9110 §13.1.2).
    pub(crate) fn reply(&self, request: &HeaderMap) -> Reply {
        let known = request
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|value| self.matches(value));
        let mut reply = if known {
            let mut reply = Response::new(Body::Full(None));
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        } else {
            let content_type = self.content_type.clone();
            respond::full(StatusCode::OK, content_type, self.json.clone())
        };
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, self.cache.clone());
        headers.insert(ETAG, self.etag.clone());
        if let Some(date) = &self.last_modified {
            headers.insert(LAST_MODIFIED, date.clone());
        }
        reply
    }

    fn matches(&self, if_none_match: &HeaderValue) -> bool {
        let Ok(tags) = if_none_match.to_str() else {
            return false;
        };
        tags.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || self.etag == tag.strip_prefix("W/").unwrap_or(tag))
    }
}

/// RFC 9110 §5.6.7.
fn http_date(ms: u64) -> HeaderValue {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let text = time
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    text.try_into().expect("a date is a valid header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_in_the_http_form() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
