//! The streams of a connection: each is one exchange.
//!
//! A loss of framing may have touched every stream that was open. It is counted for the direction,
//! and a stream takes it up when it is next touched or ends, so that a loss costs nothing by
//! itself however many streams there are.

use std::collections::BTreeMap;

use super::head::Section;
use super::ids::Ids;
use super::stream::{BlockError, BlockOrigin, Half, Say, Stream, headless_end};
use crate::Limits;
use crate::body::{Side, problem};
use crate::headers::Headers;
use crate::message::{Defect, Direction, ExchangeId, HttpEvent, Nanos, Problem, ProblemKind, Undecodable};

#[derive(Debug)]
pub(super) struct Streams {
    limits: Limits,
    open: BTreeMap<u32, Stream>,
    by_client: Ids,
    by_server: Ids,
    /// Bytes that each direction lost together with its framing.
    lost: [u64; 2],
    /// Exchanges of the connection before it spoke HTTP/2.
    base: u64,
    /// The exchange of stream 1, whose request was made by HTTP/1.
    upgraded: Option<ExchangeId>,
}

impl Streams {
    pub(super) fn new(limits: Limits, base: ExchangeId) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            by_client: Ids::from(1),
            by_server: Ids::from(2),
            lost: [0, 0],
            base: base.0,
            upgraded: None,
        }
    }

    pub(super) fn exchange(&self, id: u32) -> ExchangeId {
        match self.upgraded {
            Some(exchange) if id == 1 => exchange,
            _ => ExchangeId(self.base + u64::from(id)),
        }
    }

    /// The exchange if the stream is open, else the connection.
    pub(super) fn exchange_if_open(&self, id: u32) -> ExchangeId {
        if self.open.contains_key(&id) { self.exchange(id) } else { ExchangeId::CONNECTION }
    }

    pub(super) fn highest(&self) -> u32 {
        self.by_client.next.max(self.by_server.next)
    }

    /// A direction lost its framing, and so many bytes with it.
    pub(super) fn lose(&mut self, side: Side, bytes: u64) {
        self.lost[side as usize] = self.lost[side as usize].saturating_add(bytes);
    }

    pub(super) fn has_lost(&self) -> bool {
        self.lost != [0, 0]
    }

    /// Whether the client may open a stream of that id, and has not yet.
    pub(super) fn is_unused_by_client(&self, id: u32) -> bool {
        id % 2 == 1 && self.by_client.is_unused(id)
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let held = self.open.values().map(Stream::buffered_bytes);
        // Nodes of the tree are at least half full.
        let nodes = self.open.len() * 2 * size_of::<(u32, Stream)>();
        held.sum::<usize>() + nodes + self.by_client.buffered_bytes() + self.by_server.buffered_bytes()
    }

    /// Stream 1 answers a request that was made by HTTP/1.
    pub(super) fn upgraded(&mut self, exchange: ExchangeId, bodiless_response: bool) {
        self.by_client.take(1);
        self.upgraded = Some(exchange);
        let stream = Stream::answering(self.lost, bodiless_response);
        self.open.insert(1, stream);
    }

    /// The stream of an id, opened if it was never seen; `None` if it is over. Takes up losses.
    fn reach(&mut self, id: u32, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) -> Option<&mut Stream> {
        let ids = if id % 2 == 1 { &mut self.by_client } else { &mut self.by_server };
        if !self.open.contains_key(&id) {
            if !ids.take(id) {
                return None;
            }
            while self.open.len() >= self.limits.streams.max(1) {
                let Some((&oldest, _)) = self.open.first_key_value() else { break };
                // Where only the request was not seen there is nothing to say.
                let kind = (!self.is_answered(oldest)).then_some(ProblemKind::TooManyStreams);
                self.cut(oldest, None, kind, time, out);
            }
            self.open.insert(id, Stream::new(self.lost));
        }
        let lost = self.lost;
        let stream = self.open.get_mut(&id)?;
        stream.settle(side, lost, time, out);
        Some(stream)
    }

    fn is_answered(&self, id: u32) -> bool {
        self.open
            .get(&id)
            .is_some_and(|stream| matches!(stream.halves[1], Half::Done) && !stream.request_seen)
    }

    /// A header block is complete.
    pub(super) fn head(
        &mut self,
        id: u32,
        side: Side,
        block: Result<Section, BlockError>,
        origin: BlockOrigin,
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        let (exchange, limits) = (self.exchange(id), self.limits);
        let Some(stream) = self.reach(id, side, time, out) else { return };
        let mut say = Say { exchange, time, origin, out };
        match &mut stream.halves[side as usize] {
            Half::Done => return,
            Half::Tunnel => {
                if origin.ends_stream {
                    self.end(id, side, Headers::new(), origin, time, out);
                }
                return;
            }
            Half::Body(body) => {
                let trailers = match block {
                    Ok(section) if section.side().is_none() && origin.ends_stream => {
                        say.reservations(&section);
                        section.into_trailers()
                    }
                    Ok(_) => {
                        say.problem(ProblemKind::MalformedTrailers);
                        Headers::new()
                    }
                    Err(error) => {
                        say.problem(error.of_trailers());
                        if let BlockError::Lost(lost) = error {
                            body.gap(time, lost, say.out);
                        }
                        Headers::new()
                    }
                };
                if origin.ends_stream {
                    self.end(id, side, trailers, origin, time, out);
                }
                return;
            }
            Half::Awaiting { .. } | Half::Headless(_) => {}
        }
        let cause = match block {
            Ok(section) => stream.begin(side, section, &limits, &mut say).err(),
            Err(error) => {
                say.problem(error.of_head());
                Some(match error {
                    BlockError::Lost(lost_bytes) => Defect::Gap { lost_bytes, at: 0 },
                    BlockError::Malformed | BlockError::TooLarge => {
                        Defect::Undecodable(Undecodable::MalformedHead)
                    }
                })
            }
        };
        let half = &mut stream.halves[side as usize];
        if let Some(cause) = cause
            && matches!(half, Half::Awaiting { .. })
        {
            *half = Half::Headless(cause);
        }
        if origin.ends_stream {
            self.end(id, side, Headers::new(), origin, time, out);
        }
    }

    /// The next bytes of a body. `offset`: of the first in its direction.
    pub(super) fn data(
        &mut self,
        id: u32,
        side: Side,
        offset: u64,
        time: Nanos,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let (limits, exchange) = (self.limits, self.exchange(id));
        let Some(stream) = self.reach(id, side, time, out) else { return };
        stream.data(side, exchange, offset, &limits, time, bytes, out);
    }

    /// Bytes of a body are missing.
    pub(super) fn gap(&mut self, id: u32, side: Side, time: Nanos, lost: u64, out: &mut Vec<HttpEvent>) {
        let Some(stream) = self.reach(id, side, time, out) else { return };
        stream.gap(side, time, lost, out);
    }

    /// Delivers what is pending of a body.
    pub(super) fn flush(&mut self, id: u32, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let Some(Stream { halves, .. }) = self.open.get_mut(&id)
            && let Half::Body(body) = &mut halves[side as usize]
        {
            body.message.flush(time, out);
        }
    }

    /// A frame says that its side of the stream is over.
    pub(super) fn end(
        &mut self,
        id: u32,
        side: Side,
        trailers: Headers,
        origin: BlockOrigin,
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        let exchange = self.exchange(id);
        let Some(stream) = self.reach(id, side, time, out) else { return };
        if side == Side::Request {
            stream.release_held(time, out);
        }
        let half = &mut stream.halves[side as usize];
        match std::mem::replace(half, Half::Done) {
            Half::Body(mut body) => {
                body.decide(time, out);
                body.message.flush(time, out);
                if let Some(expected) = body.expected
                    && !body.has_gap
                    && expected != body.received
                {
                    Say { exchange, time, origin, out }.problem(ProblemKind::LengthMismatch);
                    if body.received < expected {
                        body.message.defect(Defect::Truncated);
                    }
                }
                body.message.finish(time, trailers, out);
            }
            Half::Awaiting { lost } if side == Side::Response => {
                out.push(headless_end(exchange, time, Half::Awaiting { lost }.cause()));
            }
            Half::Headless(cause) if side == Side::Response => {
                out.push(headless_end(exchange, time, Some(cause)));
            }
            Half::Awaiting { .. } | Half::Headless(_) | Half::Tunnel | Half::Done => {}
        }
        if stream.halves.iter().all(|half| matches!(half, Half::Done)) {
            stream.tunnel.close(time, out);
            self.open.remove(&id);
        }
    }

    /// Ends a stream before its time. `origin` and `kind`: the problem that says why.
    pub(super) fn cut(
        &mut self,
        id: u32,
        at: Option<(Direction, u64)>,
        kind: Option<ProblemKind>,
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        let exchange = self.exchange(id);
        let Some(mut stream) = self.open.remove(&id) else { return };
        let (direction, offset) = at.unwrap_or((Direction::Received, 0));
        for side in [Side::Request, Side::Response] {
            stream.settle(side, self.lost, time, out);
        }
        stream.release_held(time, out);
        let was_over = stream.halves.iter().all(|half| match half {
            Half::Body(body) => body.is_whole(),
            Half::Done => true,
            Half::Awaiting { .. } | Half::Headless(_) | Half::Tunnel => false,
        });
        // A client that has read as much as was announced may reset the stream before its end was said.
        if let Some(kind) = kind.filter(|_| !was_over) {
            for half in &mut stream.halves {
                if let Half::Body(body) = half {
                    body.decide(time, out);
                    body.message.flush(time, out);
                }
            }
            out.push(problem(exchange, time, Problem { direction, offset, kind }));
        }
        stream.tunnel.close(time, out);
        let [request, response] = stream.halves;
        if let Half::Body(body) = request {
            body.cut(time, out);
        }
        match response {
            Half::Done | Half::Tunnel => {}
            Half::Body(body) => body.cut(time, out),
            half => out.push(headless_end(exchange, time, half.cause())),
        }
    }

    /// The other side will not answer streams above `last`.
    pub(super) fn go_away(
        &mut self,
        of_client: bool,
        last: u32,
        at: (Direction, u64),
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        let refused: Vec<u32> = self
            .open
            .range(last.saturating_add(1)..)
            .map(|(id, _)| *id)
            .filter(|id| (id % 2 == 1) == of_client)
            .collect();
        for id in refused {
            self.cut(id, Some(at), Some(ProblemKind::StreamReset), time, out);
        }
    }

    pub(super) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        while let Some((&id, _)) = self.open.first_key_value() {
            self.cut(id, None, None, time, out);
        }
    }
}
