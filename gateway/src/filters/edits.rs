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

/// Edits of a kind, or headers of a block, in one answer. Nobody needs as many, and a head with tens of thousands of names is
/// more than `HeaderMap` holds.
const MAX_EDITS: usize = 100;
/// Edits of one request and its response by one filter: one that takes bodies in pieces answers for each. All filters that
/// there may be together make fewer than a head holds.
pub(super) const MAX_EDITS_IN_ALL: usize = 500;

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
    #[error(
        "{0} edits of headers are too many: {MAX_EDITS} of a kind in one answer, {MAX_EDITS_IN_ALL} for one request and its response"
    )]
    TooManyEdits(usize),
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

/// `room`: how many edits it may make.
///
/// # Errors
/// With what is wrong. Nothing of a wrong answer counts.
pub(crate) fn check(response: &AgentResponse, room: usize) -> Result<Checked, Wrong> {
    let (request, others) = (
        response.request_headers.len(),
        response.response_headers.len(),
    );
    let of_block = match &response.decision {
        Decision::Block(block) => block.headers.len(),
        Decision::Allow | Decision::Redirect(_) => 0,
    };
    if request + others > room || request.max(others).max(of_block) > MAX_EDITS {
        return Err(Wrong::TooManyEdits(request + others + of_block));
    }
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

/// In their order. A head that can hold no more stays as it is, which the bounds above keep far away.
pub(crate) fn apply(headers: &mut HeaderMap, edits: &[Edit]) {
    for edit in edits {
        match edit.clone() {
            Edit::Set(name, value) => drop(headers.try_insert(name, value)),
            Edit::Add(name, value) => drop(headers.try_append(name, value)),
            Edit::Remove(name) => drop(headers.remove(name)),
        }
    }
}

/// Applies the edits that were not applied yet; whether there were any.
pub(super) fn apply_new(headers: &mut HeaderMap, edits: &[Edit], applied: &mut usize) -> bool {
    let new = &edits[*applied..];
    apply(headers, new);
    *applied = edits.len();
    !new.is_empty()
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
        let checked = check(&said(Decision::Allow, edits), 4).unwrap();
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
            let error = check(&said(decision, edits), 100).unwrap_err();
            assert_eq!(error, wrong);
        }
    }

    #[test]
    fn edits_have_a_bound() {
        let many = |count: usize| {
            let edit = |number| HeaderOp::Add(header(&format!("x-{number}"), "1"));
            (0..count).map(edit).collect::<Vec<_>>()
        };
        let allow = |count| said(Decision::Allow, many(count));
        assert!(check(&allow(MAX_EDITS), MAX_EDITS).is_ok());
        let refused = check(&allow(MAX_EDITS + 1), MAX_EDITS_IN_ALL);
        assert_eq!(refused, Err(Wrong::TooManyEdits(MAX_EDITS + 1)));
        let mut both = allow(60);
        both.response_headers = many(60);
        assert!(check(&both, 120).is_ok());
        assert_eq!(check(&both, 119), Err(Wrong::TooManyEdits(120)));
        let block = |count: usize| {
            let headers = (0..count).map(|number| header(&format!("x-{number}"), "1"));
            let block = BlockParams {
                status: 403,
                body: None,
                headers: headers.collect(),
            };
            check(&said(Decision::Block(block), Vec::new()), 0)
        };
        assert!(block(MAX_EDITS).is_ok());
        assert!(block(MAX_EDITS + 1).is_err());
        // More than a head holds does no harm.
        let mut headers = HeaderMap::new();
        let edits = super::edits(&many(40_000)).unwrap();
        apply(&mut headers, &edits);
        assert!(headers.len() < 40_000);
    }

    #[test]
    fn each_edit_is_applied_once_and_seen_by_the_next() {
        let edits = |names: &[&str]| {
            let edit = |name: &&str| HeaderOp::Add(header(name, "1"));
            super::edits(&names.iter().map(edit).collect::<Vec<_>>()).unwrap()
        };
        let (mut headers, mut applied) = (HeaderMap::new(), 0);
        let mut all = edits(&["x-a"]);
        assert!(apply_new(&mut headers, &all, &mut applied));
        assert!(headers.contains_key("x-a"));
        assert!(!apply_new(&mut headers, &all, &mut applied));
        all.extend(edits(&["x-a", "x-b"]));
        assert!(apply_new(&mut headers, &all, &mut applied));
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert!(headers.contains_key("x-b"));
    }
}
