//! One stream: the two messages of its exchange, or what they opened.

use super::head::Section;
use crate::Limits;
use crate::body::{MessageBody, Side, bare_end, end_event, problem};
use crate::headers::Headers;
use crate::http1::content_length;
use crate::message::{
    BodyEnd, Completeness, Defect, Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem,
    ProblemKind, Undecodable, UpgradeProtocol,
};
use crate::websocket::{Extensions, Opening, WebSocket};

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) halves: [Half; 2],
    /// What of `Streams::lost` is taken up.
    lost: [u64; 2],
    pub(super) request_seen: bool,
    /// The response has no body whatever its length field says.
    bodiless_response: bool,
    pub(super) tunnel: Tunnel,
}

#[derive(Debug)]
pub(super) enum Half {
    /// The head did not come yet, and so many bytes were lost that may have held it.
    Awaiting {
        lost: u64,
    },
    /// The head can't be read any more.
    Headless(Defect),
    Body(Box<Body>),
    /// The message is over, the stream is not: it carries another protocol.
    Tunnel,
    Done,
}

/// What a CONNECT makes of its stream (RFC 9113 section 8.5, RFC 8441).
#[derive(Debug)]
pub(super) enum Tunnel {
    None,
    /// It was asked for, and the answer decides what the client's bytes are.
    Asked(Box<Asked>),
    WebSocket(Box<WebSocket>),
    /// Something that is not read.
    Unread,
}

#[derive(Debug)]
pub(super) struct Asked {
    /// The client's direction.
    direction: Direction,
    /// By the `:protocol` field; `None` for a tunnel to another host.
    protocol: Option<String>,
    /// What the client sent before the answer, since when, and where it begins.
    held: Vec<u8>,
    held_since: Nanos,
    held_from: Option<u64>,
    /// There was more than may be held, or some of it was lost.
    is_lost: bool,
    /// Bytes lost behind what is held.
    lost: u64,
}

#[derive(Debug)]
pub(super) struct Body {
    pub(super) message: MessageBody,
    /// By its `content-length`.
    pub(super) expected: Option<u64>,
    pub(super) received: u64,
    pub(super) has_gap: bool,
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

impl Stream {
    /// `lost`: what the directions have lost so far.
    pub(super) fn new(lost: [u64; 2]) -> Self {
        let halves = [Half::Awaiting { lost: 0 }, Half::Awaiting { lost: 0 }];
        Self { halves, lost, request_seen: false, bodiless_response: false, tunnel: Tunnel::None }
    }

    /// Whose request is not its own.
    pub(super) fn answering(lost: [u64; 2], bodiless_response: bool) -> Self {
        let halves = [Half::Done, Half::Awaiting { lost: 0 }];
        Self { halves, request_seen: true, bodiless_response, ..Self::new(lost) }
    }

    /// Bytes of memory held besides the fixed size.
    pub(super) fn buffered_bytes(&self) -> usize {
        let bodies = self.halves.iter().map(|half| match half {
            Half::Body(body) => size_of::<Body>() + body.message.buffered_bytes(),
            Half::Awaiting { .. } | Half::Headless(_) | Half::Tunnel | Half::Done => 0,
        });
        let tunnel = match &self.tunnel {
            Tunnel::Asked(asked) => size_of::<Asked>() + asked.held.capacity(),
            Tunnel::WebSocket(websocket) => size_of::<WebSocket>() + websocket.buffered_bytes(),
            Tunnel::None | Tunnel::Unread => 0,
        };
        bodies.sum::<usize>() + tunnel
    }

    /// The next bytes of a side.
    #[expect(clippy::too_many_arguments, reason = "what is known of a piece of a DATA frame")]
    pub(super) fn data(
        &mut self,
        side: Side,
        exchange: ExchangeId,
        offset: u64,
        limits: &Limits,
        time: Nanos,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        match (&mut self.halves[side as usize], &mut self.tunnel) {
            (Half::Body(_), Tunnel::Asked(asked)) if side == Side::Request => {
                asked.hold(exchange, offset, limits, time, bytes, out);
            }
            (Half::Body(body), _) => {
                body.received = body.received.saturating_add(bytes.len() as u64);
                body.data(side, limits, time, bytes, out);
            }
            (Half::Tunnel, Tunnel::WebSocket(websocket)) => {
                websocket.data_at(side == Side::Request, offset, time, bytes, out);
            }
            (Half::Tunnel, _) => {}
            (half, _) => half.lack_head(),
        }
    }

    /// What a CONNECT asked for will not come: what the client sent is the body of its request.
    pub(super) fn release_held(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        let Tunnel::Asked(asked) = &mut self.tunnel else { return };
        if let Half::Body(body) = &mut self.halves[Side::Request as usize] {
            body.received = body.received.saturating_add(asked.held.len() as u64);
            let since = if asked.held.is_empty() { time } else { asked.held_since };
            body.message.data(since, &asked.held, out);
            body.message.flush(time, out);
            if asked.lost > 0 {
                body.gap(time, asked.lost, out);
            }
            if asked.is_lost {
                body.message.defect(Defect::Truncated);
            }
        }
        self.tunnel = Tunnel::None;
    }

    /// A CONNECT was accepted: both messages are over, and the stream goes on as what it opened.
    fn open_tunnel(&mut self, head: &Headers, limits: &Limits, say: &mut Say<'_>) {
        let Tunnel::Asked(asked) = std::mem::replace(&mut self.tunnel, Tunnel::Unread) else { return };
        let asked = *asked;
        let protocol = match asked.protocol {
            None => UpgradeProtocol::Connect,
            Some(name) if name.eq_ignore_ascii_case("websocket") => UpgradeProtocol::WebSocket,
            Some(name) => UpgradeProtocol::Other(name.chars().take(64).collect()),
        };
        let is_websocket = protocol == UpgradeProtocol::WebSocket;
        say.event(HttpEventKind::Upgraded { protocol });
        let half = std::mem::replace(&mut self.halves[Side::Request as usize], Half::Tunnel);
        if let Half::Body(body) = half {
            body.message.finish(say.time, Headers::new(), say.out);
        }
        say.out.push(bare_end(say.exchange, say.time, []));
        self.halves[Side::Response as usize] = Half::Tunnel;
        if is_websocket {
            let opening = Opening {
                exchange: say.exchange,
                extensions: Extensions::accepted(head),
                client: say.origin.direction.opposite(),
                client_offset: asked.held_from.unwrap_or_default(),
                server_offset: say.origin.offset,
                held: asked.held,
                held_since: asked.held_since,
                client_is_lost: asked.is_lost,
            };
            self.tunnel = Tunnel::WebSocket(Box::new(WebSocket::open(limits, opening, say.out)));
        }
    }

    /// Takes up what the direction lost since the stream was last touched.
    pub(super) fn settle(&mut self, side: Side, lost: [u64; 2], time: Nanos, out: &mut Vec<HttpEvent>) {
        let news = lost[side as usize] - self.lost[side as usize];
        self.lost = match side {
            Side::Request => [lost[0], self.lost[1]],
            Side::Response => [self.lost[0], lost[1]],
        };
        if news == 0 {
            return;
        }
        match &mut self.halves[side as usize] {
            Half::Awaiting { lost } => *lost = lost.saturating_add(news),
            Half::Body(_) | Half::Tunnel => self.gap(side, time, news, out),
            Half::Headless(_) | Half::Done => {}
        }
    }

    /// Bytes of a side are missing.
    pub(super) fn gap(&mut self, side: Side, time: Nanos, lost: u64, out: &mut Vec<HttpEvent>) {
        match (&mut self.halves[side as usize], &mut self.tunnel) {
            (Half::Body(_), Tunnel::Asked(asked)) if side == Side::Request => {
                asked.is_lost = true;
                asked.lost = asked.lost.saturating_add(lost);
            }
            (Half::Body(body), _) => body.gap(time, lost, out),
            (Half::Tunnel, Tunnel::WebSocket(websocket)) => {
                websocket.gap_of(side == Side::Request, time, lost, out);
            }
            (Half::Tunnel, _) => {}
            (half, _) => half.lack_head(),
        }
    }

    /// A head came where one was due. Gives why there is none.
    pub(super) fn begin(
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
        let protocol = section.protocol.clone();
        let mut accepted = false;
        let (headers, kind) = match side {
            Side::Request => {
                let Some(head) = section.into_request(first_byte) else {
                    say.problem(ProblemKind::MalformedHead);
                    return Err(malformed);
                };
                self.request_seen = true;
                self.bodiless_response = head.method == "HEAD";
                if head.method == "CONNECT" && !say.origin.ends_stream {
                    self.tunnel = Tunnel::Asked(Box::new(Asked::new(say.origin.direction, protocol)));
                }
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
                accepted = (200..300).contains(&head.status);
                (head.headers.clone(), HttpEventKind::ResponseHead(head))
            }
        };
        say.event(kind);
        say.told(reservations);
        if side == Side::Response && !self.request_seen {
            say.problem(ProblemKind::ResponseWithoutRequest);
        }
        if side == Side::Response {
            if accepted && !say.origin.ends_stream && matches!(self.tunnel, Tunnel::Asked(_)) {
                self.open_tunnel(&headers, limits, say);
                return Ok(());
            }
            self.release_held(say.time, say.out);
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
        let message = MessageBody::new(say.exchange, side, &codings, expected, limits);
        let undecided = (reservations.1 && codings.is_empty()).then(Vec::new);
        let body = Body { message, expected, received: 0, has_gap: false, undecided };
        self.halves[side as usize] = Half::Body(Box::new(body));
        Ok(())
    }
}

impl Tunnel {
    /// The stream is over.
    pub(super) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let Self::WebSocket(websocket) = self {
            websocket.close(time, out);
        }
    }
}

impl Asked {
    fn new(direction: Direction, protocol: Option<String>) -> Self {
        Self {
            direction,
            protocol,
            held: Vec::new(),
            held_since: Nanos::default(),
            held_from: None,
            is_lost: false,
            lost: 0,
        }
    }

    /// Keeps what the client sends before the answer.
    fn hold(
        &mut self,
        exchange: ExchangeId,
        offset: u64,
        limits: &Limits,
        time: Nanos,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        if self.is_lost {
            return;
        }
        if self.held.len() + bytes.len() > limits.held_bytes {
            self.is_lost = true;
            let (direction, kind) = (self.direction, ProblemKind::HeldTooLong);
            out.push(problem(exchange, time, Problem { direction, offset, kind }));
            return;
        }
        if self.held.is_empty() {
            self.held_since = time;
            self.held_from = Some(offset);
        }
        self.held.extend_from_slice(bytes);
    }
}

impl Half {
    /// Content came without a head.
    pub(super) fn lack_head(&mut self) {
        if let Self::Awaiting { lost } = self {
            *self = Self::Headless(Defect::Gap { lost_bytes: *lost, at: 0 });
        }
    }

    /// Why there is no head.
    pub(super) fn cause(&self) -> Option<Defect> {
        match self {
            Self::Awaiting { lost: 0 } | Self::Body(_) | Self::Tunnel | Self::Done => None,
            Self::Awaiting { lost } => Some(Defect::Gap { lost_bytes: *lost, at: 0 }),
            Self::Headless(cause) => Some(cause.clone()),
        }
    }
}

impl Body {
    fn data(&mut self, side: Side, limits: &Limits, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
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
            self.message = MessageBody::new(self.message.exchange(), side, &codings, None, limits);
        }
        self.message.data(time, &first[..held], out);
        self.message.data(time, bytes, out);
    }

    /// Nothing more comes that could decide.
    pub(super) fn decide(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let Some(first) = self.undecided.take() {
            self.message.data(time, &first, out);
        }
    }

    pub(super) fn gap(&mut self, time: Nanos, lost: u64, out: &mut Vec<HttpEvent>) {
        self.decide(time, out);
        self.has_gap = true;
        self.message.gap(time, lost, out);
    }

    pub(super) fn cut(mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        self.decide(time, out);
        if !self.is_whole() {
            self.message.defect(Defect::Truncated);
        }
        self.message.finish(time, Headers::new(), out);
    }

    /// As long as it was said to be.
    pub(super) fn is_whole(&self) -> bool {
        !self.has_gap && self.expected == Some(self.received)
    }
}

/// The end of a response whose head was not read.
pub(super) fn headless_end(exchange: ExchangeId, time: Nanos, cause: Option<Defect>) -> HttpEvent {
    let Some(cause) = cause else { return bare_end(exchange, time, [Defect::Truncated]) };
    let completeness: Completeness = [cause, Defect::Truncated].into_iter().collect();
    end_event(exchange, Side::Response, time, BodyEnd { completeness, ..BodyEnd::default() })
}

impl BlockError {
    pub(super) fn of_head(&self) -> ProblemKind {
        match self {
            Self::Lost(_) => ProblemKind::FramingLost,
            Self::Malformed => ProblemKind::MalformedHead,
            Self::TooLarge => ProblemKind::HeadTooLarge,
        }
    }

    pub(super) fn of_trailers(&self) -> ProblemKind {
        match self {
            Self::Lost(_) => ProblemKind::FramingLost,
            Self::Malformed | Self::TooLarge => ProblemKind::MalformedTrailers,
        }
    }
}

/// Where the events of one header block go.
pub(super) struct Say<'a> {
    pub(super) exchange: ExchangeId,
    pub(super) time: Nanos,
    pub(super) origin: BlockOrigin,
    pub(super) out: &'a mut Vec<HttpEvent>,
}

impl Say<'_> {
    fn event(&mut self, kind: HttpEventKind) {
        self.out.push(HttpEvent { exchange: self.exchange, time: self.time, kind });
    }

    pub(super) fn problem(&mut self, kind: ProblemKind) {
        let BlockOrigin { direction, offset, .. } = self.origin;
        self.out.push(problem(self.exchange, self.time, Problem { direction, offset, kind }));
    }

    pub(super) fn reservations(&mut self, section: &Section) {
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
