//! All filters that apply to a request, in their order. The first that does not allow it ends it; edits add up.

use super::edits::{Edit, Verdict, apply};
use super::filter::{Failure, Filter, Phase, Said};
use crate::body;
use crate::config::GatewayConfig;
use crate::errors::ApiError;
use crate::respond::{self, Body, Reply};
use bytes::Bytes;
use dormouse_filters::{Event, Header, RequestMetadata};
use futures_util::{Stream, StreamExt};
use hyper::HeaderMap;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a piece of a body, for filters that take them in pieces.
const PIECE: usize = 64 << 10;

/// Every filter there is, in order.
pub(crate) struct Pipeline(pub(super) Vec<Arc<Filter>>);

/// Who asks, and for which agent.
pub(crate) struct Ask<'a> {
    pub(crate) agent: Option<&'a str>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) config: &'a GatewayConfig,
}

/// A request that was let in, until its response has left.
pub(crate) struct Passage {
    /// Each filter with the instance that sees this request.
    filters: Vec<(Arc<Filter>, usize)>,
    id: String,
    edits: Vec<Edit>,
}

/// Why something does not go on, as the client sees it.
type Stop = Box<Reply>;

impl Pipeline {
    pub(super) fn new(mut filters: Vec<Arc<Filter>>) -> Self {
        filters.sort_by(|one, other| {
            let key =
                |filter: &Arc<Filter>| (filter.record.settings.order, filter.record.name.clone());
            key(one).cmp(&key(other))
        });
        Self(filters)
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
            .filter(|filter| filter.stands_before(ask.agent));
        let metadata = metadata(&ask, parts);
        let mut passage = Passage {
            filters: filters
                .map(|filter| (Arc::clone(filter), filter.turn()))
                .collect(),
            id: metadata.correlation_id.clone(),
            edits: Vec::new(),
        };
        if let Err(stop) = passage.request_head(&metadata, parts).await {
            // A client that is still sending would not see the answer.
            body::discard(body).await;
            return Err(stop);
        }
        if !passage.any_wants(Phase::RequestBody) {
            return Ok((passage, body::Payload::Arriving(body)));
        }
        let limit = ask.config.max_request_bytes;
        let whole = body::read(body, ask.config, limit).await;
        let whole = whole.map_err(|error| Box::new(ApiError::from(error).reply()))?;
        passage.request_body(&whole, &mut parts.headers).await?;
        Ok((passage, body::Payload::Whole(whole)))
    }
}

impl Passage {
    fn any_wants(&self, phase: Phase) -> bool {
        self.filters.iter().any(|(filter, _)| filter.wants(phase))
    }

    async fn request_head(
        &mut self,
        metadata: &RequestMetadata,
        parts: &mut Parts,
    ) -> Result<(), Stop> {
        let phase = Phase::RequestHeaders;
        for (filter, turn) in self.filters.clone() {
            if !filter.wants(phase) {
                continue;
            }
            // Each sees what those before it have left.
            let headers = listed(&parts.headers);
            let event = Event::RequestHeaders {
                metadata,
                method: parts.method.as_str(),
                uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
                headers: &headers,
            };
            let said = filter.ask(turn, phase, &self.id, event).await;
            self.heed(said, Some(&mut parts.headers))?;
        }
        Ok(())
    }

    async fn request_body(&mut self, body: &Bytes, headers: &mut HeaderMap) -> Result<(), Stop> {
        let phase = Phase::RequestBody;
        for (filter, turn) in self.filters.clone() {
            if !filter.wants(phase) {
                continue;
            }
            if body.len() as u64 > filter.max_body() {
                self.heed(filter.too_large(phase, &self.id), None)?;
                continue;
            }
            let mut pieces = pieces(body, filter.streams()).peekable();
            let mut index = 0;
            while let Some(data) = pieces.next() {
                let event = Event::RequestBody {
                    id: &self.id,
                    data,
                    index,
                    last: pieces.peek().is_none(),
                };
                let said = filter.ask(turn, phase, &self.id, event).await;
                if !self.heed(said, Some(headers))? {
                    break;
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// Whether the filter wants to see more.
    fn heed(&mut self, said: Said, request: Option<&mut HeaderMap>) -> Result<bool, Stop> {
        match said {
            Said::Skip => Ok(false),
            Said::Refuse(failure) => Err(Box::new(refusal(&failure))),
            Said::Answer {
                checked,
                needs_more,
            } => {
                if let Some(headers) = request {
                    apply(headers, &checked.request);
                }
                self.edits.extend(checked.response);
                match answer(checked.verdict) {
                    Some(reply) => Err(Box::new(reply)),
                    None => Ok(needs_more),
                }
            }
        }
    }

    /// Asks about the response, and edits it.
    pub(crate) async fn leave(mut self, mut reply: Reply) -> Reply {
        if let Err(stop) = self
            .response_head(reply.status().as_u16(), reply.headers())
            .await
        {
            return *stop;
        }
        apply(reply.headers_mut(), &self.edits);
        if !self.any_wants(Phase::ResponseBody) {
            return reply;
        }
        let (parts, body) = reply.into_parts();
        let body = match body {
            Body::Full(bytes) => {
                let whole = bytes.clone().unwrap_or_default();
                if let Err(stop) = self.whole_response(&whole).await {
                    return *stop;
                }
                Body::Full(bytes)
            }
            Body::Stream(events) => {
                let frames = events.map(Frame::data);
                let inspected = self.inspected(frames);
                Body::Stream(Box::pin(
                    inspected.filter_map(|frame| async { frame.into_data().ok() }),
                ))
            }
            Body::Frames(frames) => Body::Frames(Box::pin(self.inspected(frames))),
        };
        let mut reply = Reply::from_parts(parts, body);
        if !matches!(reply.body(), Body::Full(_)) {
            // A stream may be cut.
            reply.headers_mut().remove(CONTENT_LENGTH);
        }
        reply
    }

    async fn response_head(&mut self, status: u16, headers: &HeaderMap) -> Result<(), Stop> {
        let phase = Phase::ResponseHeaders;
        for (filter, turn) in self.filters.clone() {
            if !filter.wants(phase) {
                continue;
            }
            let headers = listed(headers);
            let event = Event::ResponseHeaders {
                id: &self.id,
                status,
                headers: &headers,
            };
            let said = filter.ask(turn, phase, &self.id, event).await;
            self.heed(said, None)?;
        }
        Ok(())
    }

    async fn whole_response(&mut self, body: &Bytes) -> Result<(), Stop> {
        let phase = Phase::ResponseBody;
        for (filter, _) in self.filters.clone() {
            if filter.wants(phase) && body.len() as u64 > filter.max_body() {
                self.heed(filter.too_large(phase, &self.id), None)?;
            }
        }
        self.response_piece(body, 0, true).await
    }

    /// Edits come too late here: the head has left, or is as the filters saw it.
    async fn response_piece(&mut self, data: &[u8], index: u32, last: bool) -> Result<(), Stop> {
        let phase = Phase::ResponseBody;
        for (filter, turn) in self.filters.clone() {
            if !filter.wants(phase) || data.len() as u64 > filter.max_body() && index == 0 && last {
                continue;
            }
            let event = Event::ResponseBody {
                id: &self.id,
                data,
                index,
                last,
            };
            let said = filter.ask(turn, phase, &self.id, event).await;
            self.heed(said, None)?;
        }
        Ok(())
    }

    /// A stream ends where a filter blocks it: its head has left.
    fn inspected<S>(self, frames: S) -> impl Stream<Item = Frame<Bytes>> + Send
    where
        S: Stream<Item = Frame<Bytes>> + Send + Unpin + 'static,
    {
        let start = (Some(self), frames, 0);
        futures_util::stream::unfold(start, |(passage, mut frames, index)| async move {
            let mut passage = passage?;
            let Some(frame) = frames.next().await else {
                let _nothing_follows = passage.response_piece(&[], index, true).await;
                return None;
            };
            let Some(data) = frame.data_ref() else {
                return Some((frame, (Some(passage), frames, index)));
            };
            match passage.response_piece(data, index, false).await {
                Ok(()) => Some((frame, (Some(passage), frames, index + 1))),
                Err(_stop) => None,
            }
        })
    }
}

/// All of a body at once, or in pieces; an empty one is one piece.
fn pieces(body: &[u8], streams: bool) -> impl Iterator<Item = &[u8]> {
    let size = if streams { PIECE } else { body.len().max(1) };
    let empty = body.is_empty().then_some(body);
    empty.into_iter().chain(body.chunks(size))
}

fn answer(verdict: Verdict) -> Option<Reply> {
    match verdict {
        Verdict::Allow => None,
        Verdict::Block {
            status,
            body,
            headers,
        } => {
            let mut reply = respond::text(status, body);
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
fn listed(headers: &HeaderMap) -> Vec<Header> {
    let header = |(name, value): (&hyper::header::HeaderName, &HeaderValue)| Header {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(header).collect()
}

fn metadata(ask: &Ask<'_>, parts: &Parts) -> RequestMetadata {
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
            .map_or_else(String::new, |peer| peer.ip().to_string()),
        client_port: ask.peer.map_or(0, |peer| peer.port()),
        server_name: parts.uri.host().map(str::to_owned).or_else(|| text("host")),
        protocol: format!("{:?}", parts.version),
        tls_version: None,
        route_id: ask.agent.map(str::to_owned),
        upstream_id: None,
        timestamp_ms: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        traceparent: text("traceparent"),
    }
}
