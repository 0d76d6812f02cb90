//! All filters that apply to a request, in their order. The first that does not allow it ends it; edits add up.

use super::edits::{Edit, MAX_EDITS_IN_ALL, Verdict, apply};
use super::filter::Filter;
use super::question::{Head, Phase, Question};
use super::said::{About, Failure, Opinion, Said};
use crate::auth::Caller;
use crate::body;
use crate::config::GatewayConfig;
use crate::errors::ApiError;
use crate::handle::Peer;
use crate::respond::{self, Reply};
use crate::trace;
use bytes::Bytes;
use dormouse_filters::{Header, RequestMetadata, World};
use dormouse_scheduler::is_label;
use dormouse_services::trace::Trace;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HOST, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Version};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Every filter there is, in order.
pub(crate) struct Pipeline(pub(super) Vec<Arc<Filter>>);

/// Who asks, and for which agent.
pub(crate) struct Ask<'a> {
    pub(crate) agent: Option<&'a str>,
    /// As filters see it: the path as it was routed, so that each agent has one spelling.
    pub(crate) uri: &'a str,
    pub(crate) caller: &'a Caller,
    pub(crate) peer: Peer,
    pub(crate) config: &'a GatewayConfig,
}

/// A request that was let in, until its response has left.
pub(crate) struct Passage {
    /// Each filter with the instance that sees this request.
    pub(super) filters: Arc<[(Arc<Filter>, usize)]>,
    pub(super) id: Arc<str>,
    trace: Option<Trace>,
    caller: Caller,
    /// Of the response.
    pub(super) edits: Vec<Edit>,
    /// Further edits that there may be, of each filter: what one makes is no failure of another.
    pub(super) room: Vec<usize>,
}

/// Why something does not go on, as the client sees it.
pub(super) type Stop = Box<Reply>;

impl Pipeline {
    pub(super) fn new(mut filters: Vec<Arc<Filter>>) -> Self {
        filters.sort_by(|one, other| {
            let key =
                |filter: &Arc<Filter>| (filter.record.settings.order, filter.record.name.clone());
            key(one).cmp(&key(other))
        });
        Self(filters)
    }

    /// Whether any of them is of this world.
    pub(crate) fn has(&self, world: World) -> bool {
        self.0.iter().any(|filter| filter.is_of(world))
    }

    /// Asks about a request. The body is read only if a filter wants it.
    ///
    /// # Errors
    /// With the answer to the client, when a filter decides so, or fails closed.
    pub(crate) async fn enter(
        &self,
        ask: Ask<'_>,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<(Passage, body::Payload), Stop> {
        let filters = self
            .0
            .iter()
            .filter(|filter| filter.is_of(World::Http) && filter.stands_before(ask.agent));
        let trace = trace::of(parts);
        let metadata = Arc::new(metadata(&ask, parts, trace.as_ref()));
        let filters: Arc<[_]> = filters
            .map(|filter| (Arc::clone(filter), filter.turn()))
            .collect();
        let mut passage = Passage {
            room: vec![MAX_EDITS_IN_ALL; filters.len()],
            filters,
            id: metadata.correlation_id.as_str().into(),
            trace,
            caller: ask.caller.clone(),
            edits: Vec::new(),
        };
        if let Err(stop) = passage.request_head(&metadata, ask.uri, parts).await {
            // A client that is still sending would not see the answer. One that asks first does.
            if !parts.headers.contains_key(EXPECT) {
                body::discard(body).await;
            }
            return Err(stop);
        }
        if !passage.any_wants(Phase::RequestBody) {
            return Ok((passage, body::Payload::Arriving(body)));
        }
        let whole = passage.request_body(body, ask.config, &mut parts.headers);
        let whole = whole.await?;
        Ok((passage, body::Payload::Whole(whole)))
    }
}

impl Passage {
    pub(super) fn any_wants(&self, phase: Phase) -> bool {
        self.filters.iter().any(|(filter, _)| filter.wants(phase))
    }

    pub(super) fn about(&self) -> About<'_> {
        About {
            id: &self.id,
            trace: self.trace.as_ref(),
            client: self.caller.client(),
        }
    }

    async fn request_head(
        &mut self,
        metadata: &Arc<RequestMetadata>,
        uri: &str,
        parts: &mut Parts,
    ) -> Result<(), Stop> {
        let phase = Phase::RequestHeaders;
        let mut head: Option<Arc<Head>> = None;
        for (at, (filter, turn)) in Arc::clone(&self.filters).iter().enumerate() {
            if !filter.wants(phase) {
                continue;
            }
            // Each sees what those before it have left.
            let seen = head.get_or_insert_with(|| Arc::new(self::head(metadata, uri, parts)));
            let question = Question::RequestHeaders(Arc::clone(seen));
            let room = self.room[at];
            let said = filter.ask(*turn, self.about(), question, room).await;
            if matches!(&said, Said::Answer(heard) if !heard.checked.request.is_empty()) {
                head = None;
            }
            self.heed(at, said, Some(&mut parts.headers))?;
        }
        Ok(())
    }

    /// Whether the filter wants to see more.
    pub(super) fn heed(
        &mut self,
        at: usize,
        said: Said<Opinion>,
        request: Option<&mut HeaderMap>,
    ) -> Result<bool, Stop> {
        match said {
            Said::Skip => Ok(false),
            Said::Refuse(failure) => {
                let mut reply = refusal(&failure);
                apply(reply.headers_mut(), &self.edits);
                Err(Box::new(reply))
            }
            Said::Answer(Opinion {
                checked,
                needs_more,
            }) => {
                let edits = checked.request.len() + checked.response.len();
                self.room[at] = self.room[at].saturating_sub(edits);
                if let Some(headers) = request {
                    apply(headers, &checked.request);
                }
                self.edits.extend(checked.response);
                match answer(checked.verdict, &self.edits) {
                    Some(reply) => Err(Box::new(reply)),
                    None => Ok(needs_more),
                }
            }
        }
    }
}

/// `edits` are those of its response, also of filters that were asked before.
fn answer(verdict: Verdict, edits: &[Edit]) -> Option<Reply> {
    match verdict {
        Verdict::Allow => None,
        Verdict::Block {
            status,
            body,
            headers,
        } => {
            let mut reply = respond::text(status, body);
            apply(reply.headers_mut(), edits);
            for (name, value) in headers {
                // A filter's own type takes the place of ours; of others there may be several.
                if name == hyper::header::CONTENT_TYPE {
                    reply.headers_mut().insert(name, value);
                } else {
                    reply.headers_mut().append(name, value);
                }
            }
            Some(reply)
        }
        Verdict::Redirect { status, url } => {
            let mut reply = respond::text(status, Bytes::new());
            apply(reply.headers_mut(), edits);
            reply.headers_mut().insert(LOCATION, url);
            Some(reply)
        }
    }
}

fn refusal(failure: &Failure) -> Reply {
    let sentence = match failure {
        Failure::TooLarge => "the body is too large for the filters of this agent to inspect",
        _ => "a filter of this agent cannot decide about the request",
    };
    ApiError::new(failure.status(), failure.code(), sentence).reply()
}

/// Values that are not text are shown as far as they are, with replacements.
pub(super) fn listed(headers: &HeaderMap) -> Vec<Header> {
    let header = |(name, value): (&hyper::header::HeaderName, &HeaderValue)| Header {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(header).collect()
}

fn head(metadata: &Arc<RequestMetadata>, uri: &str, parts: &Parts) -> Head {
    Head {
        metadata: Arc::clone(metadata),
        method: parts.method.as_str().to_owned(),
        uri: uri.to_owned(),
        headers: listed(&parts.headers),
    }
}

fn metadata(ask: &Ask<'_>, parts: &Parts, trace: Option<&Trace>) -> RequestMetadata {
    let id = uuid::Uuid::now_v7().to_string();
    let text = |name: &str| {
        let value = parts.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    RequestMetadata {
        request_id: text("x-request-id").unwrap_or_else(|| id.clone()),
        correlation_id: id,
        client_ip: ask
            .peer
            .address
            .map_or_else(String::new, |peer| peer.ip().to_string()),
        client_port: ask.peer.address.map_or(0, |peer| peer.port()),
        server_name: server_name(parts),
        protocol: protocol(parts.version).to_owned(),
        tls_version: ask.peer.tls_version.map(str::to_owned),
        // What no agent can be called is nobody's: a filter may put it where only a name can be.
        route_id: ask.agent.filter(|name| is_label(name)).map(str::to_owned),
        upstream_id: None,
        timestamp_ms: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        traceparent: trace.map(Trace::parent).or_else(|| text("traceparent")),
    }
}

/// The host that the client has asked for, without its port: the same over HTTP/1.1 and HTTP/2.
fn server_name(parts: &Parts) -> Option<String> {
    if let Some(host) = parts.uri.host() {
        return Some(host.to_owned());
    }
    let host = parts.headers.get(HOST)?.as_bytes();
    let authority = Authority::try_from(host).ok()?;
    Some(authority.host().to_owned())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::filters::edits::Checked;
    use hyper::StatusCode;
    use hyper::header::{CONTENT_TYPE, HeaderName};

    #[test]
    fn what_one_filter_edits_takes_no_room_of_another() {
        let mut passage = Passage {
            filters: Arc::new([]),
            id: "c".into(),
            trace: None,
            caller: Caller::inside("ann"),
            edits: Vec::new(),
            room: vec![3, 3],
        };
        let edit = Edit::Remove(HeaderName::from_static("x-a"));
        for _ in 0..3 {
            let checked = Checked {
                verdict: Verdict::Allow,
                request: vec![edit.clone()],
                response: vec![edit.clone()],
            };
            let said = Said::Answer(Opinion {
                checked,
                needs_more: true,
            });
            assert!(
                passage
                    .heed(0, said, None)
                    .is_ok_and(|wants_more| wants_more)
            );
        }
        assert_eq!(passage.room, [0, 3]);
        assert_eq!(passage.edits.len(), 3);
    }

    #[test]
    fn the_name_of_the_server_has_no_port() {
        for (uri, host, expected) in [
            ("/", Some("agents.example:8443"), Some("agents.example")),
            ("/", Some("agents.example"), Some("agents.example")),
            ("/", Some("[2001:db8::1]:80"), Some("[2001:db8::1]")),
            ("https://agents.example:8443/", None, Some("agents.example")),
            (
                "https://agents.example/",
                Some("other.example"),
                Some("agents.example"),
            ),
            ("/", Some("a b"), None),
            ("/", Some(""), None),
            ("/", None, None),
        ] {
            let request = hyper::Request::get(uri);
            let request = match host {
                Some(host) => request.header(HOST, host),
                None => request,
            };
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(server_name(&parts).as_deref(), expected, "{uri} {host:?}");
        }
    }

    #[test]
    fn who_blocks_or_redirects_may_set_headers_and_so_may_those_before() {
        let set = |name, value| {
            let value = HeaderValue::from_static(value);
            Edit::Set(HeaderName::from_static(name), value)
        };
        let edits = [
            set("set-cookie", "a=1"),
            set("content-type", "text/html"),
            set("location", "/edited"),
        ];
        let block = |headers| Verdict::Block {
            status: StatusCode::FORBIDDEN,
            body: String::new(),
            headers,
        };
        let json = HeaderValue::from_static("application/json");
        let redirect = Verdict::Redirect {
            status: StatusCode::FOUND,
            url: HeaderValue::from_static("/there"),
        };
        for (verdict, content_type, location) in [
            (block(Vec::new()), "text/html", "/edited"),
            (
                block(vec![(CONTENT_TYPE, json)]),
                "application/json",
                "/edited",
            ),
            (redirect, "text/html", "/there"),
        ] {
            let reply = answer(verdict, &edits).unwrap();
            let headers = reply.headers();
            assert_eq!(headers["set-cookie"], "a=1");
            assert_eq!(headers[CONTENT_TYPE], content_type);
            assert_eq!(headers[LOCATION], location);
        }
        assert!(answer(Verdict::Allow, &edits).is_none());
    }
}
