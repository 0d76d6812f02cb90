//! What a filter is asked, owned, so that its work can move to another thread.

use bytes::Bytes;
use dormouse_filters::message::{Content, Kind, Subject};
use dormouse_filters::{Event, Header, RequestMetadata, World};
use std::sync::Arc;

/// How many phases there are.
pub(super) const PHASES: usize = ALL_PHASES.len();

/// Each at its own number.
pub(super) const ALL_PHASES: [Phase; 6] = [
    Phase::RequestHeaders,
    Phase::RequestBody,
    Phase::ResponseHeaders,
    Phase::ResponseBody,
    Phase::Message,
    Phase::Result,
];

/// When a filter is asked. The names are those that filters declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    RequestHeaders,
    RequestBody,
    ResponseHeaders,
    ResponseBody,
    Message,
    Result,
}

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RequestHeaders => "request_headers",
            Self::RequestBody => "request_body",
            Self::ResponseHeaders => "response_headers",
            Self::ResponseBody => "response_body",
            Self::Message => "message",
            Self::Result => "result",
        }
    }

    /// Whose filters are asked then.
    pub(super) fn world(self) -> World {
        match self {
            Self::Message | Self::Result => World::Message,
            _ => World::Http,
        }
    }
}

/// The head of a request as filters see it.
pub(super) struct Head {
    pub(super) metadata: Arc<RequestMetadata>,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: Vec<Header>,
}

/// About HTTP.
pub(super) enum Question {
    RequestHeaders(Arc<Head>),
    RequestBody(Piece),
    ResponseHeaders {
        id: Arc<str>,
        status: u16,
        headers: Arc<Vec<Header>>,
    },
    ResponseBody(Piece),
}

/// A piece of a body. Pieces count from 0 for each filter.
pub(super) struct Piece {
    pub(super) id: Arc<str>,
    pub(super) data: Bytes,
    pub(super) index: u32,
    pub(super) last: bool,
}

impl Question {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::RequestHeaders(_) => Phase::RequestHeaders,
            Self::RequestBody(_) => Phase::RequestBody,
            Self::ResponseHeaders { .. } => Phase::ResponseHeaders,
            Self::ResponseBody(_) => Phase::ResponseBody,
        }
    }

    /// Bytes of a body in it.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::RequestBody(piece) | Self::ResponseBody(piece) => piece.data.len() as u64,
            Self::RequestHeaders(_) | Self::ResponseHeaders { .. } => 0,
        }
    }

    pub(super) fn event(&self) -> Event<'_> {
        match self {
            Self::RequestHeaders(head) => Event::RequestHeaders {
                metadata: &head.metadata,
                method: &head.method,
                uri: &head.uri,
                headers: &head.headers,
            },
            Self::RequestBody(piece) => Event::RequestBody {
                id: &piece.id,
                data: &piece.data,
                index: piece.index,
                last: piece.last,
            },
            Self::ResponseHeaders {
                id,
                status,
                headers,
            } => Event::ResponseHeaders {
                id,
                status: *status,
                headers,
            },
            Self::ResponseBody(piece) => Event::ResponseBody {
                id: &piece.id,
                data: &piece.data,
                index: piece.index,
                last: piece.last,
            },
        }
    }
}

/// About a message or a result.
pub(super) struct Words {
    pub(super) phase: Phase,
    pub(super) subject: Arc<Subject>,
    pub(super) content: Arc<Content>,
}

impl Words {
    /// Whether the agent is in the middle of its call. The engine does not enter another guest from there, so the filter
    /// is asked in a task of its own.
    pub(super) fn are_in_a_call(&self) -> bool {
        matches!(self.content.kind, Kind::Update | Kind::Artifact)
    }
}
