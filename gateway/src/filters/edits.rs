//! What of a filter's answer is valid, and what it does to a head. Pure.

use dormouse_filters::{AgentResponse, Decision, Header, HeaderOp};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use thiserror::Error;

/// Headers that belong to one connection (RFC 9110 §7.6.1), to the framing of a message, or to its routing:
/// a filter that edits one would change another message than it saw.
const NOT_ITS_BUSINESS: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is wrong with a filter's answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Wrong {
    #[error("status {0} of a block is not one of 200 to 599")]
    BlockStatus(u16),
    #[error("status {0} of a redirect is not 301, 302, 307 or 308")]
    RedirectStatus(u16),
    #[error("the URL of a redirect is not a header's value")]
    RedirectUrl,
    #[error("the value of {0:?} is not a header's")]
    HeaderValue(String),
    #[error("{0:?} is not the name of a header")]
    HeaderName(String),
    #[error("{0:?} is not a filter's to edit")]
    ForbiddenHeader(String),
    #[error("there is no part {0} to redact")]
    NoSuchPart(u32),
    #[error("what takes the place of part {0} is neither text nor data")]
    RedactionKind(u32),
    #[error("the data in the place of part {0} is not JSON")]
    RedactionJson(u32),
    #[error("{0:?} is not the name of an annotation: it has 1 to 64 bytes")]
    AnnotationName(String),
    #[error("the annotation {0:?} is not JSON")]
    AnnotationJson(String),
}

/// An edit that has been looked at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edit {
    Set(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
    Remove(HeaderName),
}

/// What a filter has decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Allow,
    Block {
        status: StatusCode,
        body: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    Redirect {
        status: StatusCode,
        url: HeaderValue,
    },
}

/// A whole answer that has been looked at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    pub(crate) verdict: Verdict,
    pub(crate) request: Vec<Edit>,
    pub(crate) response: Vec<Edit>,
}

/// # Errors
/// With what is wrong. Nothing of a wrong answer counts.
pub(crate) fn check(response: &AgentResponse) -> Result<Checked, Wrong> {
    Ok(Checked {
        verdict: verdict(&response.decision)?,
        request: edits(&response.request_headers)?,
        response: edits(&response.response_headers)?,
    })
}

fn verdict(decision: &Decision) -> Result<Verdict, Wrong> {
    match decision {
        Decision::Allow => Ok(Verdict::Allow),
        Decision::Block(block) => {
            let status = StatusCode::from_u16(block.status).ok();
            let status = status.filter(|status| (200..600).contains(&status.as_u16()));
            Ok(Verdict::Block {
                status: status.ok_or(Wrong::BlockStatus(block.status))?,
                body: block.body.clone().unwrap_or_default(),
                headers: block.headers.iter().map(pair).collect::<Result<_, _>>()?,
            })
        }
        Decision::Redirect(redirect) => {
            let status = StatusCode::from_u16(redirect.status).ok();
            let status = status.filter(|status| matches!(status.as_u16(), 301 | 302 | 307 | 308));
            Ok(Verdict::Redirect {
                status: status.ok_or(Wrong::RedirectStatus(redirect.status))?,
                url: HeaderValue::from_str(&redirect.url)
                    .map_err(|_not_a_value| Wrong::RedirectUrl)?,
            })
        }
    }
}

fn edits(edits: &[HeaderOp]) -> Result<Vec<Edit>, Wrong> {
    let edit = |edit: &HeaderOp| {
        Ok(match edit {
            HeaderOp::Set(header) => {
                let (name, value) = pair(header)?;
                Edit::Set(name, value)
            }
            HeaderOp::Add(header) => {
                let (name, value) = pair(header)?;
                Edit::Add(name, value)
            }
            HeaderOp::Remove(header) => Edit::Remove(name(header)?),
        })
    };
    edits.iter().map(edit).collect()
}

fn pair(header: &Header) -> Result<(HeaderName, HeaderValue), Wrong> {
    let value = HeaderValue::from_str(&header.value)
        .map_err(|_not_a_value| Wrong::HeaderValue(header.name.clone()))?;
    Ok((name(&header.name)?, value))
}

fn name(text: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_not_a_name| Wrong::HeaderName(text.to_owned()))?;
    if NOT_ITS_BUSINESS.contains(&name.as_str()) {
        return Err(Wrong::ForbiddenHeader(text.to_owned()));
    }
    Ok(name)
}

/// In their order.
pub(crate) fn apply(headers: &mut HeaderMap, edits: &[Edit]) {
    for edit in edits {
        match edit.clone() {
            Edit::Set(name, value) => drop(headers.insert(name, value)),
            Edit::Add(name, value) => drop(headers.append(name, value)),
            Edit::Remove(name) => drop(headers.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dormouse_filters::{AuditMetadata, BlockParams, RedirectParams};

    fn said(decision: Decision, edits: Vec<HeaderOp>) -> AgentResponse {
        AgentResponse {
            decision,
            request_headers: edits,
            response_headers: Vec::new(),
            audit: AuditMetadata {
                tags: Vec::new(),
                rule_ids: Vec::new(),
                confidence: None,
                reason_codes: Vec::new(),
            },
            needs_more: false,
        }
    }

    fn header(name: &str, value: &str) -> Header {
        Header {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn edits_work_in_their_order() {
        let edits = vec![
            HeaderOp::Set(header("x-a", "1")),
            HeaderOp::Add(header("X-A", "2")),
            HeaderOp::Remove("x-b".into()),
            HeaderOp::Add(header("x-b", "3")),
        ];
        let checked = check(&said(Decision::Allow, edits)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("0"));
        headers.insert("x-b", HeaderValue::from_static("0"));
        apply(&mut headers, &checked.request);
        let values = |name| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("x-a"), ["1", "2"]);
        assert_eq!(values("x-b"), ["3"]);
    }

    #[test]
    fn wrong_answers_are_named() {
        let block = |status, headers| {
            Decision::Block(BlockParams {
                status,
                body: None,
                headers,
            })
        };
        let redirect = |status, url: &str| {
            Decision::Redirect(RedirectParams {
                status,
                url: url.into(),
            })
        };
        for (decision, edits, wrong) in [
            (block(9999, vec![]), vec![], Wrong::BlockStatus(9999)),
            (block(100, vec![]), vec![], Wrong::BlockStatus(100)),
            (
                block(403, vec![header("transfer-encoding", "chunked")]),
                vec![],
                Wrong::ForbiddenHeader("transfer-encoding".into()),
            ),
            (redirect(303, "/"), vec![], Wrong::RedirectStatus(303)),
            (redirect(302, "/\r\nx: y"), vec![], Wrong::RedirectUrl),
            (
                Decision::Allow,
                vec![HeaderOp::Set(header("Content-Length", "1"))],
                Wrong::ForbiddenHeader("Content-Length".into()),
            ),
            (
                Decision::Allow,
                vec![HeaderOp::Remove("Host".into())],
                Wrong::ForbiddenHeader("Host".into()),
            ),
            (
                Decision::Allow,
                vec![HeaderOp::Set(header("a b", "1"))],
                Wrong::HeaderName("a b".into()),
            ),
            (
                Decision::Allow,
                vec![HeaderOp::Set(header("a", "1\r\nb: 2"))],
                Wrong::HeaderValue("a".into()),
            ),
        ] {
            let error = check(&said(decision, edits)).unwrap_err();
            assert_eq!(error, wrong);
        }
    }
}
