//! What a filter decides, and what it says about it.

use crate::bindings::zentinel::agent::types::{
    AgentResponse, AuditMetadata, BlockParams, Decision, Header, HeaderOp, RedirectParams,
};

/// A decision with its header edits and its audit record, made piece by piece. Edits are made in their order.
///
/// ```
/// use dormouse_filter_sdk::{Answer, HeaderOp, testing};
///
/// let answer = Answer::allow()
///     .remove_request("x-user")
///     .add_request("x-user", "ann")
///     .remove_response("server")
///     .add_response("vary", "origin");
/// let mut headers = testing::headers(&[("x-user", "ann"), ("vary", "origin")]);
/// let [user, vary] = [headers.remove(0), headers.remove(0)];
/// let response = answer.response();
/// assert_eq!(response.request_headers, [HeaderOp::Remove("x-user".into()), HeaderOp::Add(user)]);
/// assert_eq!(response.response_headers, [HeaderOp::Remove("server".into()), HeaderOp::Add(vary)]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Answer(AgentResponse);

impl From<Answer> for AgentResponse {
    fn from(answer: Answer) -> Self {
        answer.0
    }
}

impl Answer {
    fn of(decision: Decision) -> Self {
        Self(AgentResponse {
            decision,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            audit: AuditMetadata {
                tags: Vec::new(),
                rule_ids: Vec::new(),
                confidence: None,
                reason_codes: Vec::new(),
            },
            needs_more: false,
        })
    }

    pub fn allow() -> Self {
        Self::of(Decision::Allow)
    }

    pub fn block(status: u16, body: &str) -> Self {
        Self::of(Decision::Block(BlockParams {
            status,
            body: Some(body.to_owned()),
            headers: Vec::new(),
        }))
    }

    pub fn redirect(status: u16, url: &str) -> Self {
        Self::of(Decision::Redirect(RedirectParams {
            url: url.to_owned(),
            status,
        }))
    }

    /// A header of the answer that a block is.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Decision::Block(block) = &mut self.0.decision {
            block.headers.push(header(name, value));
        }
        self
    }

    /// Sets a header of the request on its way to the agent.
    pub fn set_request(mut self, name: &str, value: &str) -> Self {
        let edits = &mut self.0.request_headers;
        edits.push(HeaderOp::Set(header(name, value)));
        self
    }

    /// Adds one to those of this name that the request has.
    pub fn add_request(mut self, name: &str, value: &str) -> Self {
        let edits = &mut self.0.request_headers;
        edits.push(HeaderOp::Add(header(name, value)));
        self
    }

    /// Takes away all of this name.
    pub fn remove_request(mut self, name: &str) -> Self {
        let edits = &mut self.0.request_headers;
        edits.push(HeaderOp::Remove(name.to_owned()));
        self
    }

    /// Sets a header of the response on its way to the client.
    pub fn set_response(mut self, name: &str, value: &str) -> Self {
        let edits = &mut self.0.response_headers;
        edits.push(HeaderOp::Set(header(name, value)));
        self
    }

    /// Adds one to those of this name that the response has.
    pub fn add_response(mut self, name: &str, value: &str) -> Self {
        let edits = &mut self.0.response_headers;
        edits.push(HeaderOp::Add(header(name, value)));
        self
    }

    /// Takes away all of this name.
    pub fn remove_response(mut self, name: &str) -> Self {
        let edits = &mut self.0.response_headers;
        edits.push(HeaderOp::Remove(name.to_owned()));
        self
    }

    pub fn tag(mut self, tag: &str) -> Self {
        self.0.audit.tags.push(tag.to_owned());
        self
    }

    /// Which rule has decided.
    pub fn rule(mut self, id: &str) -> Self {
        self.0.audit.rule_ids.push(id.to_owned());
        self
    }

    /// Why, for machines.
    pub fn reason(mut self, code: &str) -> Self {
        self.0.audit.reason_codes.push(code.to_owned());
        self
    }

    /// How sure, from 0 to 1.
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.0.audit.confidence = Some(confidence);
        self
    }

    /// The decision waits for the rest of the body.
    pub fn needs_more(mut self) -> Self {
        self.0.needs_more = true;
        self
    }

    pub fn is_allow(&self) -> bool {
        self.0.decision == Decision::Allow
    }

    /// The status of a block.
    pub fn status(&self) -> Option<u16> {
        match &self.0.decision {
            Decision::Block(block) => Some(block.status),
            _ => None,
        }
    }

    /// For the tests of filters.
    pub fn response(&self) -> &AgentResponse {
        &self.0
    }
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// A URL as it is meant: percent escapes undone, and `+` as the space that it is in the answers of forms.
///
/// ```
/// use dormouse_filter_sdk::text_of_url;
///
/// assert_eq!(text_of_url("x.example/?q=me%40here+100%"), "x.example/?q=me@here 100%");
/// ```
pub fn text_of_url(url: &str) -> std::borrow::Cow<'_, str> {
    if !url.contains(['%', '+']) {
        return url.into();
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let (bytes, mut text, mut at) = (url.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        let escaped = match (digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (Some(high), Some(low)) if byte == b'%' => Some((high * 16 + low) as u8),
            _ => None,
        };
        at += if escaped.is_some() { 2 } else { 0 };
        text.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    text_of(&text).into_owned().into()
}

/// A body as text; what is not UTF-8 is replaced, so that nothing hides behind it.
pub fn text_of(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(body)
}
