//! Bodies on their way past filters. A request's is kept until it is whole in any case, because the agent gets it whole;
//! filters see it whole or as it arrives. A response's is whole already, or a stream of events.

use super::edits::{MAX_EDITS_IN_ALL, apply_new};
use super::filter::Filter;
use super::pipeline::{Passage, Stop, listed};
use super::question::{Phase, Piece, Question};
use super::stored::BodyMode;
use crate::body::Arriving;
use crate::config::GatewayConfig;
use crate::errors::ApiError;
use crate::grpc;
use crate::respond::{Body, Reply};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use hyper::HeaderMap;
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use std::sync::Arc;

/// Bytes of a piece of a body, for filters that take them in pieces; also what is small for a hybrid one.
const PIECE: usize = 64 << 10;

/// What has arrived of a body.
#[derive(Default)]
struct Arrived {
    pieces: Vec<Bytes>,
    bytes: u64,
    whole: bool,
}

impl Arrived {
    /// Small pieces become one, or a client that sends a byte at a time would be dear to keep and to ask about.
    fn take(&mut self, piece: Bytes) {
        self.bytes += piece.len() as u64;
        match self.pieces.last_mut() {
            // It grows in place: nobody else has a piece that is not told yet.
            Some(last) if last.len() + piece.len() <= PIECE => {
                let grown = std::mem::take(last).try_into_mut();
                let mut grown = grown.unwrap_or_else(|shared| BytesMut::from(&*shared));
                grown.extend_from_slice(&piece);
                *last = grown.freeze();
            }
            _ => self.pieces.push(piece),
        }
    }

    /// All of it. Most bodies are one piece: no copy.
    fn joined(&self) -> Bytes {
        if let [only] = &*self.pieces {
            return only.clone();
        }
        let mut all = BytesMut::new();
        for piece in &self.pieces {
            all.extend_from_slice(piece);
        }
        all.freeze()
    }
}

/// How far one filter has been told a body.
#[derive(Default, Clone)]
struct Feed {
    /// Pieces as they arrived.
    told: usize,
    /// Pieces as the filter counts them.
    index: u32,
    done: bool,
}

impl Passage {
    /// Takes in the body of a request and asks about it.
    ///
    /// # Errors
    /// With the answer to the client. What it still sends is thrown away then, or it would not see the answer.
    pub(super) async fn request_body(
        &mut self,
        body: Incoming,
        config: &GatewayConfig,
        headers: &mut HeaderMap,
    ) -> Result<Bytes, Stop> {
        let mut arriving = Arriving::new(body, config, config.max_request_bytes);
        let taken = self.take_in(&mut arriving, headers).await;
        if taken.is_err() {
            arriving.discard().await;
        }
        taken
    }

    async fn take_in(
        &mut self,
        arriving: &mut Arriving<'_>,
        headers: &mut HeaderMap,
    ) -> Result<Bytes, Stop> {
        let mut feeds = vec![Feed::default(); self.filters.len()];
        for (feed, (filter, _)) in feeds.iter_mut().zip(self.filters.iter()) {
            feed.done = !filter.wants(Phase::RequestBody);
        }
        let mut arrived = Arrived::default();
        while !arrived.whole {
            let next = arriving.next().await;
            match next.map_err(|error| Box::new(ApiError::from(error).reply()))? {
                Some(piece) => arrived.take(piece),
                None => arrived.whole = true,
            }
            for (at, feed) in feeds.iter_mut().enumerate().filter(|(_, feed)| !feed.done) {
                self.feed(at, feed, &arrived, headers).await?;
            }
        }
        Ok(arrived.joined())
    }

    /// Tells one filter what it is to know by now.
    async fn feed(
        &mut self,
        at: usize,
        feed: &mut Feed,
        arrived: &Arrived,
        headers: &mut HeaderMap,
    ) -> Result<(), Stop> {
        let filter = Arc::clone(&self.filters[at].0);
        if arrived.bytes > filter.max_body() {
            feed.done = true;
            let said = filter.too_large(Phase::RequestBody, self.about());
            return self.heed(at, said, None).map(drop);
        }
        let in_pieces = match filter.body_mode() {
            BodyMode::Buffer => false,
            BodyMode::Stream => true,
            BodyMode::Hybrid => arrived.bytes > PIECE as u64,
        };
        if !in_pieces && !arrived.whole {
            return Ok(());
        }
        if !in_pieces {
            let body = arrived.joined();
            return self.tell(at, feed, &body, true, headers).await;
        }
        // The newest may be the last, so it waits for the next or for the end.
        let known = arrived.pieces.len() - usize::from(!arrived.whole);
        while feed.told < known && !feed.done {
            let piece = arrived.pieces[feed.told].clone();
            feed.told += 1;
            let last = arrived.whole && feed.told == known;
            self.tell(at, feed, &piece, last, headers).await?;
        }
        if arrived.whole && feed.index == 0 && !feed.done {
            return self.tell(at, feed, &Bytes::new(), true, headers).await;
        }
        Ok(())
    }

    /// Tells one filter a piece of the request's body, in pieces that are not too large if it takes any.
    async fn tell(
        &mut self,
        at: usize,
        feed: &mut Feed,
        data: &Bytes,
        last: bool,
        headers: &mut HeaderMap,
    ) -> Result<(), Stop> {
        let filters = Arc::clone(&self.filters);
        let (filter, turn) = &filters[at];
        let mut pieces = pieces(data, filter).peekable();
        while let Some(data) = pieces.next() {
            let question = Question::RequestBody(Piece {
                id: Arc::clone(&self.id),
                data,
                index: feed.index,
                last: last && pieces.peek().is_none(),
            });
            feed.index += 1;
            let room = self.room[at];
            let said = filter.ask(*turn, self.about(), question, room).await;
            if !self.heed(at, said, Some(&mut *headers))? {
                feed.done = true;
                return Ok(());
            }
        }
        feed.done |= last;
        Ok(())
    }

    /// Asks about the response, and edits it.
    pub(crate) async fn leave(mut self, mut reply: Reply) -> Reply {
        let status = reply.status().as_u16();
        if let Err(stop) = self.response_head(status, reply.headers_mut()).await {
            return *stop;
        }
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
                let inspected = self.inspected(frames, || None);
                Body::Stream(Box::pin(
                    inspected.filter_map(|frame| async { frame.into_data().ok() }),
                ))
            }
            Body::Frames(frames) => {
                // A client of gRPC is told why nothing follows.
                let cut = || Some(Frame::trailers(grpc::cut()));
                Body::Frames(Box::pin(self.inspected(frames, cut)))
            }
        };
        let mut reply = Reply::from_parts(parts, body);
        if !matches!(reply.body(), Body::Full(_)) {
            // A stream may be cut.
            reply.headers_mut().remove(CONTENT_LENGTH);
        }
        reply
    }

    /// Asks about the head, and edits it.
    async fn response_head(&mut self, status: u16, head: &mut HeaderMap) -> Result<(), Stop> {
        let (mut applied, mut seen) = (0, None);
        for (at, (filter, turn)) in Arc::clone(&self.filters).iter().enumerate() {
            if !filter.wants(Phase::ResponseHeaders) {
                continue;
            }
            // Each sees what those before it have left.
            if apply_new(head, &self.edits, &mut applied) {
                seen = None;
            }
            let headers = seen.get_or_insert_with(|| Arc::new(listed(head)));
            let question = Question::ResponseHeaders {
                id: Arc::clone(&self.id),
                status,
                headers: Arc::clone(headers),
            };
            let room = self.room[at];
            let said = filter.ask(*turn, self.about(), question, room).await;
            self.heed(at, said, None)?;
        }
        apply_new(head, &self.edits, &mut applied);
        Ok(())
    }

    async fn whole_response(&mut self, body: &Bytes) -> Result<(), Stop> {
        for (at, (filter, _)) in Arc::clone(&self.filters).iter().enumerate() {
            if !filter.wants(Phase::ResponseBody) {
                continue;
            }
            if body.len() as u64 > filter.max_body() {
                let said = filter.too_large(Phase::ResponseBody, self.about());
                self.heed(at, said, None)?;
                continue;
            }
            let mut pieces = pieces(body, filter).enumerate().peekable();
            while let Some((index, data)) = pieces.next() {
                let last = pieces.peek().is_none();
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                if !self.response_piece(at, data, index, last).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Edits come too late here: the head has left, or is as the filters saw it. They are not kept.
    async fn response_piece(
        &mut self,
        at: usize,
        data: Bytes,
        index: u32,
        last: bool,
    ) -> Result<bool, Stop> {
        let filters = Arc::clone(&self.filters);
        let (filter, turn) = &filters[at];
        let question = Question::ResponseBody(Piece {
            id: Arc::clone(&self.id),
            data,
            index,
            last,
        });
        let asking = filter.ask(*turn, self.about(), question, MAX_EDITS_IN_ALL);
        let said = asking.await.map(|mut opinion| {
            opinion.checked.response.clear();
            opinion.checked.request.clear();
            opinion
        });
        self.heed(at, said, None)
    }

    /// One event of a stream, or its end. Each is looked at by itself, however much there was before.
    async fn event(&mut self, data: &Bytes, index: u32, last: bool) -> Result<(), Stop> {
        for (at, (filter, _)) in Arc::clone(&self.filters).iter().enumerate() {
            if !filter.wants(Phase::ResponseBody) {
                continue;
            }
            if data.len() as u64 > filter.max_body() {
                let said = filter.too_large(Phase::ResponseBody, self.about());
                self.heed(at, said, None)?;
                continue;
            }
            self.response_piece(at, data.clone(), index, last).await?;
        }
        Ok(())
    }

    /// A stream ends where a filter blocks it: its head has left. `cut` is its last frame then.
    fn inspected<S>(
        self,
        frames: S,
        cut: fn() -> Option<Frame<Bytes>>,
    ) -> impl Stream<Item = Frame<Bytes>> + Send
    where
        S: Stream<Item = Frame<Bytes>> + Send + Unpin + 'static,
    {
        let start = (Some(self), frames, 0);
        futures_util::stream::unfold(start, move |(passage, mut frames, index)| async move {
            let mut passage = passage?;
            let Some(frame) = frames.next().await else {
                let _nothing_follows = passage.event(&Bytes::new(), index, true).await;
                return None;
            };
            let Some(data) = frame.data_ref() else {
                // Trailers: nobody asks what follows them.
                let ended = passage.event(&Bytes::new(), index, true).await;
                let last = match ended {
                    Ok(()) => Some(frame),
                    Err(_stop) => cut(),
                };
                return last.map(|last| (last, (None, frames, index)));
            };
            match passage.event(data, index, false).await {
                Ok(()) => Some((frame, (Some(passage), frames, index + 1))),
                Err(_stop) => cut().map(|last| (last, (None, frames, index))),
            }
        })
    }
}

/// All of it at once, or in pieces for a filter that takes them; an empty body is one piece.
fn pieces<'a>(data: &'a Bytes, filter: &Filter) -> impl Iterator<Item = Bytes> + 'a {
    let size = if filter.streams() {
        PIECE
    } else {
        data.len().max(1)
    };
    let count = data.len().div_ceil(size).max(1);
    (0..count).map(move |at| data.slice(at * size..data.len().min((at + 1) * size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_a_byte_at_a_time_is_kept_in_large_pieces() {
        let mut arrived = Arrived::default();
        let sent: Vec<u8> = (0..3 * PIECE + 1).map(|at| at as u8).collect();
        for byte in &sent {
            arrived.take(Bytes::copy_from_slice(&[*byte]));
        }
        let sizes: Vec<usize> = arrived.pieces.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [PIECE, PIECE, PIECE, 1]);
        assert_eq!(arrived.joined(), sent);
        // Large ones stay as they are.
        let mut arrived = Arrived::default();
        for size in [PIECE, 1, PIECE] {
            arrived.take(vec![b'x'; size].into());
        }
        let sizes: Vec<usize> = arrived.pieces.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [PIECE, 1, PIECE]);
    }
}
