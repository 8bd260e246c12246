//! The streams of a connection: each is one exchange.
//!
//! A loss of framing may have touched every stream that was open. It is counted for the direction,
//! and a stream takes it up when it is next touched or ends, so that a loss costs nothing by
//! itself however many streams there are.

use std::collections::{BTreeMap, VecDeque};

use super::head::Section;
use crate::Limits;
use crate::body::{MessageBody, Side, bare_end, end_event, problem};
use crate::headers::Headers;
use crate::http1::content_length;
use crate::message::{
    BodyEnd, Completeness, Defect, Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem,
    ProblemKind, Undecodable,
};

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
}

#[derive(Debug)]
struct Stream {
    halves: [Half; 2],
    /// What of `Streams::lost` is taken up.
    lost: [u64; 2],
    request_seen: bool,
    /// The response has no body whatever its length field says.
    bodiless_response: bool,
}

#[derive(Debug)]
enum Half {
    /// The head did not come yet, and so many bytes were lost that may have held it.
    Awaiting {
        lost: u64,
    },
    /// The head can't be read any more.
    Headless(Defect),
    Body(Box<Body>),
    Done,
}

#[derive(Debug)]
struct Body {
    message: MessageBody,
    /// By its `content-length`.
    expected: Option<u64>,
    received: u64,
    has_gap: bool,
    /// The content encoding may be among the fields that are not known: holds the first bytes
    /// until they tell.
    undecided: Option<Vec<u8>>,
}

/// No text begins like this (RFC 1952 section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is known of a header block besides its fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockOrigin {
    pub(super) direction: Direction,
    pub(super) offset: u64,
    pub(super) first_byte: Nanos,
    pub(super) ends_stream: bool,
    pub(super) doubt: bool,
}

/// A header block that can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum BlockError {
    Lost(u64),
    Malformed,
    TooLarge,
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
        }
    }

    pub(super) fn exchange(&self, id: u32) -> ExchangeId {
        ExchangeId(self.base + u64::from(id))
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

    pub(super) fn buffered_bytes(&self) -> usize {
        let bodies = self.open.values().flat_map(|stream| &stream.halves).map(|half| match half {
            Half::Body(body) => size_of::<Body>() + body.message.buffered_bytes(),
            Half::Awaiting { .. } | Half::Headless(_) | Half::Done => 0,
        });
        // Nodes of the tree are at least half full.
        let nodes = self.open.len() * 2 * size_of::<(u32, Stream)>();
        bodies.sum::<usize>() + nodes + self.by_client.buffered_bytes() + self.by_server.buffered_bytes()
    }

    /// A stream that began without a request here: the request was made by HTTP/1.
    pub(super) fn upgraded(&mut self) {
        self.by_client.take(1);
        let halves = [Half::Done, Half::Awaiting { lost: 0 }];
        let stream = Stream { halves, lost: self.lost, request_seen: false, bodiless_response: false };
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
            let halves = [Half::Awaiting { lost: 0 }, Half::Awaiting { lost: 0 }];
            let stream = Stream { halves, lost: self.lost, request_seen: false, bodiless_response: false };
            self.open.insert(id, stream);
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

    /// The next bytes of a body.
    pub(super) fn data(&mut self, id: u32, side: Side, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let limit = self.limits.body_bytes;
        let Some(stream) = self.reach(id, side, time, out) else { return };
        match &mut stream.halves[side as usize] {
            Half::Body(body) => {
                body.received = body.received.saturating_add(bytes.len() as u64);
                body.data(side, limit, time, bytes, out);
            }
            half => half.lack_head(),
        }
    }

    /// Bytes of a body are missing.
    pub(super) fn gap(&mut self, id: u32, side: Side, time: Nanos, lost: u64, out: &mut Vec<HttpEvent>) {
        let Some(stream) = self.reach(id, side, time, out) else { return };
        match &mut stream.halves[side as usize] {
            Half::Body(body) => body.gap(time, lost, out),
            half => half.lack_head(),
        }
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
            Half::Awaiting { .. } | Half::Headless(_) | Half::Done => {}
        }
        if stream.halves.iter().all(|half| matches!(half, Half::Done)) {
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
        let was_over = stream.halves.iter().all(|half| match half {
            Half::Body(body) => body.is_whole(),
            Half::Done => true,
            Half::Awaiting { .. } | Half::Headless(_) => false,
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
        let [request, response] = stream.halves;
        if let Half::Body(body) = request {
            body.cut(time, out);
        }
        match response {
            Half::Done => {}
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

impl Stream {
    /// Takes up what the direction lost since the stream was last touched.
    fn settle(&mut self, side: Side, lost: [u64; 2], time: Nanos, out: &mut Vec<HttpEvent>) {
        let news = lost[side as usize] - self.lost[side as usize];
        self.lost = match side {
            Side::Request => [lost[0], self.lost[1]],
            Side::Response => [self.lost[0], lost[1]],
        };
        if news == 0 {
            return;
        }
        match &mut self.halves[side as usize] {
            Half::Body(body) => body.gap(time, news, out),
            Half::Awaiting { lost } => *lost = lost.saturating_add(news),
            Half::Headless(_) | Half::Done => {}
        }
    }

    /// A head came where one was due. Gives why there is none.
    fn begin(
        &mut self,
        side: Side,
        section: Section,
        limits: &Limits,
        say: &mut Say<'_>,
    ) -> Result<(), Defect> {
        let first_byte = say.origin.first_byte;
        let malformed = Defect::Undecodable(Undecodable::MalformedHead);
        // Trailers, where the head may have been lost.
        let lost = match &self.halves[side as usize] {
            Half::Awaiting { lost: 1.. } | Half::Headless(_) => self.halves[side as usize].cause(),
            _ => None,
        };
        if section.side() != Some(side) {
            match lost {
                _ if section.some_unknown => say.problem(ProblemKind::HpackUnreliable),
                None => say.problem(ProblemKind::MalformedHead),
                Some(_) => {}
            }
            return Err(lost.unwrap_or(malformed));
        }
        if section.too_large {
            say.problem(ProblemKind::HeadTooLarge);
            return Err(malformed);
        }
        let reservations = (section.is_odd, section.some_unknown);
        let (headers, kind) = match side {
            Side::Request => {
                let Some(head) = section.into_request(first_byte) else {
                    say.problem(ProblemKind::MalformedHead);
                    return Err(malformed);
                };
                self.request_seen = true;
                self.bodiless_response = head.method == "HEAD";
                (head.headers.clone(), HttpEventKind::RequestHead(head))
            }
            Side::Response => {
                let Some(head) = section.into_response(first_byte) else { return Err(malformed) };
                if head.status < 200 {
                    say.event(HttpEventKind::InformationalHead(head));
                    say.told(reservations);
                    return if say.origin.ends_stream { Err(malformed) } else { Ok(()) };
                }
                self.bodiless_response |= matches!(head.status, 204 | 304);
                (head.headers.clone(), HttpEventKind::ResponseHead(head))
            }
        };
        say.event(kind);
        say.told(reservations);
        if side == Side::Response && !self.request_seen {
            say.problem(ProblemKind::ResponseWithoutRequest);
        }
        let expected = match content_length(&headers) {
            Some(Err(())) => {
                say.problem(ProblemKind::ConflictingLength);
                None
            }
            Some(Ok(length)) if side == Side::Request || !self.bodiless_response => Some(length),
            Some(Ok(_)) | None => None,
        };
        let codings = headers.list("content-encoding");
        let message = MessageBody::new(say.exchange, side, &codings, limits.body_bytes);
        let undecided = (reservations.1 && codings.is_empty()).then(Vec::new);
        let body = Body { message, expected, received: 0, has_gap: false, undecided };
        self.halves[side as usize] = Half::Body(Box::new(body));
        Ok(())
    }
}

impl Half {
    /// Content came without a head.
    fn lack_head(&mut self) {
        if let Self::Awaiting { lost } = self {
            *self = Self::Headless(Defect::Gap { lost_bytes: *lost, at: 0 });
        }
    }

    /// Why there is no head.
    fn cause(&self) -> Option<Defect> {
        match self {
            Self::Awaiting { lost: 0 } | Self::Body(_) | Self::Done => None,
            Self::Awaiting { lost } => Some(Defect::Gap { lost_bytes: *lost, at: 0 }),
            Self::Headless(cause) => Some(cause.clone()),
        }
    }
}

impl Body {
    fn data(&mut self, side: Side, limit: u64, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let Some(first) = &mut self.undecided else {
            self.message.data(time, bytes, out);
            return;
        };
        first.extend_from_slice(&bytes[..bytes.len().min(GZIP_MAGIC.len() - first.len())]);
        let used = self.received - bytes.len() as u64;
        let held = usize::try_from(used).unwrap_or(usize::MAX).min(first.len());
        if first.len() < GZIP_MAGIC.len() {
            return;
        }
        let first = self.undecided.take().unwrap_or_default();
        if first == GZIP_MAGIC {
            let codings = ["gzip".to_owned()];
            self.message = MessageBody::new(self.message.exchange(), side, &codings, limit);
        }
        self.message.data(time, &first[..held], out);
        self.message.data(time, bytes, out);
    }

    /// Nothing more comes that could decide.
    fn decide(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let Some(first) = self.undecided.take() {
            self.message.data(time, &first, out);
        }
    }

    fn gap(&mut self, time: Nanos, lost: u64, out: &mut Vec<HttpEvent>) {
        self.decide(time, out);
        self.has_gap = true;
        self.message.gap(time, lost, out);
    }

    fn cut(mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        self.decide(time, out);
        if !self.is_whole() {
            self.message.defect(Defect::Truncated);
        }
        self.message.finish(time, Headers::new(), out);
    }

    /// As long as it was said to be.
    fn is_whole(&self) -> bool {
        !self.has_gap && self.expected == Some(self.received)
    }
}

/// The end of a response whose head was not read.
fn headless_end(exchange: ExchangeId, time: Nanos, cause: Option<Defect>) -> HttpEvent {
    let Some(cause) = cause else { return bare_end(exchange, time, [Defect::Truncated]) };
    let completeness: Completeness = [cause, Defect::Truncated].into_iter().collect();
    end_event(exchange, Side::Response, time, BodyEnd { completeness, ..BodyEnd::default() })
}

impl BlockError {
    fn of_head(&self) -> ProblemKind {
        match self {
            Self::Lost(_) => ProblemKind::FramingLost,
            Self::Malformed => ProblemKind::MalformedHead,
            Self::TooLarge => ProblemKind::HeadTooLarge,
        }
    }

    fn of_trailers(&self) -> ProblemKind {
        match self {
            Self::Lost(_) => ProblemKind::FramingLost,
            Self::Malformed | Self::TooLarge => ProblemKind::MalformedTrailers,
        }
    }
}

/// Where the events of one header block go.
struct Say<'a> {
    exchange: ExchangeId,
    time: Nanos,
    origin: BlockOrigin,
    out: &'a mut Vec<HttpEvent>,
}

impl Say<'_> {
    fn event(&mut self, kind: HttpEventKind) {
        self.out.push(HttpEvent { exchange: self.exchange, time: self.time, kind });
    }

    fn problem(&mut self, kind: ProblemKind) {
        let BlockOrigin { direction, offset, .. } = self.origin;
        self.out.push(problem(self.exchange, self.time, Problem { direction, offset, kind }));
    }

    fn reservations(&mut self, section: &Section) {
        self.told((section.is_odd, section.some_unknown));
        if section.too_large {
            self.problem(ProblemKind::MalformedTrailers);
        }
    }

    fn told(&mut self, (is_odd, some_unknown): (bool, bool)) {
        if self.origin.doubt {
            self.problem(ProblemKind::Resynchronised);
        }
        if is_odd {
            self.problem(ProblemKind::MalformedHead);
        }
        if some_unknown {
            self.problem(ProblemKind::HpackUnreliable);
        }
    }
}

/// Which ids of one side were used. They ascend, so those below the next that were not seen are
/// few ranges: streams whose beginning was lost.
#[derive(Debug)]
struct Ids {
    next: u32,
    missing: VecDeque<(u32, u32)>,
}

/// Ranges of missing ids that are remembered; older ones count as used.
const MISSING_RANGES: usize = 64;

impl Ids {
    fn from(next: u32) -> Self {
        Self { next, missing: VecDeque::new() }
    }

    /// Whether an id is used for the first time.
    fn take(&mut self, id: u32) -> bool {
        if id >= self.next {
            if id > self.next {
                self.remember(self.next, id - 2);
            }
            self.next = id.saturating_add(2);
            return true;
        }
        let Some(at) = self.missing.iter().position(|(first, last)| (*first..=*last).contains(&id)) else {
            return false;
        };
        let Some((first, last)) = self.missing.remove(at) else { return false };
        if first < id {
            self.remember(first, id - 2);
        }
        if id < last {
            self.remember(id + 2, last);
        }
        true
    }

    fn remember(&mut self, first: u32, last: u32) {
        if self.missing.len() == MISSING_RANGES {
            self.missing.pop_front();
        }
        self.missing.push_back((first, last));
    }

    fn buffered_bytes(&self) -> usize {
        self.missing.capacity() * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_taken_once_also_those_that_were_skipped() {
        let mut ids = Ids::from(1);
        assert!(ids.take(1) && ids.take(9));
        assert!(!ids.take(1) && !ids.take(9));
        assert!(ids.take(5) && !ids.take(5));
        assert!(ids.take(3) && ids.take(7) && ids.take(11));
        assert!(!ids.take(3) && !ids.take(7));
        assert!(ids.missing.is_empty());
    }

    #[test]
    fn what_is_remembered_of_skipped_ids_is_bounded() {
        let mut ids = Ids::from(1);
        for id in (1..10_000).step_by(6) {
            assert!(ids.take(id));
        }
        assert_eq!(ids.missing.len(), MISSING_RANGES);
        assert!(!ids.take(3));
    }
}
