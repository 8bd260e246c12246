//! HTTP/1.0 and HTTP/1.1, both directions of one connection.
//!
//! Each direction is a state machine of its own; `Pairing` joins them. A loss where a message
//! boundary may lie puts a direction into `State::Lost`: everything is left out until a captured
//! record begins with a certain message start at a moment when one is due. Records are single
//! writes and reads, and messages mostly begin with one.

mod chunked;
mod early;
mod framing;
mod half;
mod head;
mod heads;
mod loss;
mod pairing;
mod start;

use self::early::may_begin_response;
pub(crate) use self::framing::content_length;
use self::framing::{Framing, Progress};
use self::half::{Half, HeadProgress, State};
use self::pairing::{Answers, Pairing};
pub(crate) use self::start::{Start, classify};
use crate::Limits;
use crate::body::{Side, bare_end, problem};
use crate::early::Early;
use crate::headers::Headers;
use crate::message::{
    Defect, Direction, ExchangeId, HttpEvent, Nanos, Problem, ProblemKind, Role, Undecodable,
};
use crate::websocket::Opening;

/// Decoder of one HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    limits: Limits,
    request: Half,
    response: Half,
    pairing: Pairing,
    /// The roles were found by looks, on a connection that was already open.
    joined: bool,
    /// A response that waits for its request.
    early: Early,
    /// None waits.
    refuses_early: bool,
    /// What the connection speaks from here on.
    successor: Successor,
}

/// What follows HTTP/1 on a connection.
#[derive(Debug, Default)]
pub(crate) enum Successor {
    WebSocket(Box<Opening>),
    /// Answers the exchange of the opening on its stream 1.
    Http2 {
        opening: Box<Opening>,
        /// Whatever the answer's fields say, it has no body.
        bodiless_response: bool,
    },
    /// Something that is not read.
    #[default]
    Unread,
}

/// The connection speaks another protocol from here on.
#[derive(Debug)]
pub(crate) struct HandOver {
    /// Bytes of the record that were HTTP/1.
    pub(crate) used: usize,
    pub(crate) successor: Successor,
}

impl Http1 {
    /// `offsets`: of the next request byte and the next response byte. `last`: the last id that
    /// the connection has used.
    pub(crate) fn new(limits: Limits, role: Role, offsets: (u64, u64), last: ExchangeId) -> Self {
        let (request, response) = match role {
            Role::Client => (Direction::Sent, Direction::Received),
            Role::Server => (Direction::Received, Direction::Sent),
        };
        Self {
            request: Half::new(request, offsets.0, &limits),
            response: Half::new(response, offsets.1, &limits),
            pairing: Pairing::new(limits.pending_requests, last),
            joined: false,
            early: Early::default(),
            refuses_early: false,
            successor: Successor::Unread,
            limits,
        }
    }

    /// For a connection joined while it was open: the next record begins a message of `side`, and
    /// nothing is known of the other direction but whether it was active.
    pub(crate) fn join(mut self, side: Side, other_was_active: bool) -> Self {
        self.pairing.hide_requests();
        self.joined = true;
        match side {
            Side::Request => {
                self.request.resynchronised = true;
                self.response.state = State::Lost;
                if other_was_active {
                    self.pairing.response_activity(false);
                }
            }
            Side::Response => {
                self.response.resynchronised = true;
                self.request.state = State::Lost;
            }
        }
        self
    }

    /// Whether a record shows that the roles are the other way round: content was taken for the
    /// first message of a joined connection. The direction opposite to it was not understood yet.
    pub(crate) fn is_refuted_by(&self, direction: Direction, record: &[u8]) -> bool {
        let (half, contrary) = if direction == self.request.direction {
            (&self.request, Start::Response)
        } else {
            (&self.response, Start::Request)
        };
        self.joined
            && matches!(half.state, State::Lost)
            && classify(record, self.limits.sniff_bytes) == contrary
    }

    /// The last id that was used.
    pub(crate) fn last_exchange(&self) -> ExchangeId {
        self.pairing.last()
    }

    /// Bytes of memory held besides the fixed size.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let halves = self.request.buffered_bytes() + self.response.buffered_bytes();
        self.pairing.buffered_bytes() + halves + self.early.buffered_bytes()
    }

    /// Takes one record. Events are appended to `out`.
    pub(crate) fn data(
        &mut self,
        direction: Direction,
        time: Nanos,
        record: &[u8],
        out: &mut Vec<HttpEvent>,
    ) -> Option<HandOver> {
        let side = self.side(direction);
        if side == Side::Response {
            if !self.early.is_empty() {
                self.early.push(time, record);
                return None;
            }
            self.pairing.response_activity(false);
        }
        let mut used = 0;
        while used < record.len() {
            let rest = &record[used..];
            if side == Side::Response && may_begin_response(rest) && self.awaits_request() {
                self.early.push(time, rest);
                return None;
            }
            let (taken, handed_over) = match side {
                Side::Request => (self.request_bytes(time, rest, used == 0, out), false),
                Side::Response => self.response_bytes(time, rest, used == 0, out),
            };
            used += taken;
            if handed_over {
                return Some(HandOver { used, successor: std::mem::take(&mut self.successor) });
            }
        }
        let half = self.half(side);
        if let State::Body { body, .. } = &mut half.state {
            body.flush(time, out);
        }
        None
    }

    /// Tells that the connection ended: everything that began ends now.
    pub(crate) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let State::Held { exchange, .. } = &self.request.state {
            let exchange = *exchange;
            self.release_held(exchange, out);
        }
        for side in [Side::Request, Side::Response] {
            let half = self.half(side);
            let direction = half.direction;
            match std::mem::replace(&mut half.state, State::Lost) {
                State::Head { block, offset, .. } if !block.is_empty() => {
                    let exchange = match (side, self.pairing.front()) {
                        (Side::Response, Some((exchange, _))) => exchange,
                        _ => ExchangeId::CONNECTION,
                    };
                    let kind = ProblemKind::TruncatedHead;
                    out.push(problem(exchange, time, Problem { direction, offset, kind }));
                }
                State::Body { framing, mut body, .. } => {
                    if matches!(framing, Framing::Length(_) | Framing::Chunked(_)) {
                        body.defect(Defect::Truncated);
                    }
                    body.finish(time, Headers::new(), out);
                    if side == Side::Response {
                        self.pairing.close_front();
                    }
                }
                State::Head { .. } | State::Held { .. } | State::Lost => {}
            }
        }
        while let Some(exchange) = self.pairing.close_front() {
            out.push(bare_end(exchange, time, [Defect::Truncated]));
        }
    }

    /// The direction of the responses.
    pub(crate) fn responses(&self) -> Direction {
        self.response.direction
    }

    fn side(&self, direction: Direction) -> Side {
        if direction == self.request.direction { Side::Request } else { Side::Response }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    fn answers(&self) -> Answers {
        match &self.response.state {
            State::Head { block, .. } if block.is_empty() => Answers::Between,
            State::Lost => Answers::Lost,
            State::Body { framing, .. } if framing.is_lost() => Answers::Lost,
            State::Head { .. } | State::Body { .. } | State::Held { .. } => Answers::Within,
        }
    }

    /// Takes some bytes of the request direction, at least one.
    fn request_bytes(
        &mut self,
        time: Nanos,
        rest: &[u8],
        record_start: bool,
        out: &mut Vec<HttpEvent>,
    ) -> usize {
        match &mut self.request.state {
            State::Head { .. } => match self.request.head_bytes(time, rest, record_start) {
                (taken, HeadProgress::Partial) => taken,
                (taken, HeadProgress::TooLarge) => {
                    self.lose(Side::Request, time, None, self.request.here(ProblemKind::HeadTooLarge), out);
                    taken
                }
                (taken, HeadProgress::Complete { block, first_byte, offset }) => {
                    self.request.state = State::between(&self.limits);
                    self.request_head(time, block, first_byte, offset, out);
                    taken
                }
            },
            State::Body { .. } => self.body_bytes(Side::Request, time, rest, record_start, out),
            State::Held { bytes, time: since, .. } => {
                if bytes.is_empty() {
                    *since = time;
                }
                if bytes.len() + rest.len() > self.limits.held_bytes {
                    self.lose(Side::Request, time, None, self.request.here(ProblemKind::HeldTooLong), out);
                } else {
                    bytes.extend_from_slice(rest);
                }
                self.request.advance(rest.len() as u64);
                rest.len()
            }
            State::Lost => {
                // A request is due once the previous one is answered. Before that, what looks like
                // one may be the content of a body.
                let due = match self.answers() {
                    Answers::Between => self.pairing.is_idle(),
                    Answers::Within => false,
                    Answers::Lost => true,
                };
                if record_start && due && classify(rest, self.limits.sniff_bytes) == Start::Request {
                    self.resynchronise(Side::Request);
                    self.request_bytes(time, rest, false, out)
                } else {
                    self.request.advance(rest.len() as u64);
                    rest.len()
                }
            }
        }
    }

    /// Takes some bytes of the response direction; tells whether HTTP/1 is over.
    fn response_bytes(
        &mut self,
        time: Nanos,
        rest: &[u8],
        record_start: bool,
        out: &mut Vec<HttpEvent>,
    ) -> (usize, bool) {
        match &self.response.state {
            State::Head { .. } => match self.response.head_bytes(time, rest, record_start) {
                (taken, HeadProgress::Partial) => (taken, false),
                (taken, HeadProgress::TooLarge) => {
                    self.lose(Side::Response, time, None, self.response.here(ProblemKind::HeadTooLarge), out);
                    (taken, false)
                }
                (taken, HeadProgress::Complete { block, first_byte, offset }) => {
                    self.response.state = State::between(&self.limits);
                    (taken, self.response_head(time, block, first_byte, offset, out))
                }
            },
            State::Body { .. } => (self.body_bytes(Side::Response, time, rest, record_start, out), false),
            State::Lost | State::Held { .. } => {
                let begins = record_start && classify(rest, self.limits.sniff_bytes) == Start::Response;
                if begins && self.response_is_due(time, out) {
                    self.resynchronise(Side::Response);
                    return self.response_bytes(time, rest, false, out);
                }
                self.response.advance(rest.len() as u64);
                (rest.len(), false)
            }
        }
    }

    /// Takes bytes of a body. The state must be `Body`.
    fn body_bytes(
        &mut self,
        side: Side,
        time: Nanos,
        rest: &[u8],
        record_start: bool,
        out: &mut Vec<HttpEvent>,
    ) -> usize {
        if record_start && side == Side::Response {
            self.look_for_chunks(time, rest, out);
        }
        let limits = self.limits;
        let half = self.half(side);
        let State::Body { framing, body, .. } = &mut half.state else { return rest.len() };
        let (taken, progress) = framing.push(rest, body, time, &limits, out);
        half.offset = half.offset.saturating_add(taken as u64);
        match progress {
            Progress::More => {}
            Progress::Done(trailers, trailer_problem) => {
                if let Some(kind) = trailer_problem {
                    let exchange = body.exchange();
                    body.flush(time, out);
                    out.push(problem(exchange, time, half.here(kind)));
                }
                self.end_body(side, time, trailers, out);
            }
            Progress::Malformed => {
                body.stop(Undecodable::MalformedChunk);
                let here = half.here(ProblemKind::MalformedChunk);
                self.lose(side, time, None, here, out);
            }
        }
        taken
    }

    /// The body of the current message is over: the next message may begin.
    fn end_body(&mut self, side: Side, time: Nanos, trailers: Headers, out: &mut Vec<HttpEvent>) {
        let next = State::between(&self.limits);
        let half = self.half(side);
        let State::Body { body, hold, .. } = std::mem::replace(&mut half.state, next) else { return };
        let exchange = body.exchange();
        body.finish(time, trailers, out);
        match side {
            Side::Request if hold && self.pairing.is_open(exchange) => {
                self.request.state = State::Held { exchange, bytes: Vec::new(), time };
            }
            Side::Request => {}
            Side::Response => {
                self.pairing.close_front();
                self.release_held(exchange, out);
            }
        }
    }

    /// The upgrade that a request asked for was not granted: what was held are further requests.
    fn release_held(&mut self, answered: ExchangeId, out: &mut Vec<HttpEvent>) {
        let State::Held { exchange, bytes, time } = &mut self.request.state else { return };
        if *exchange != answered {
            return;
        }
        let (bytes, time) = (std::mem::take(bytes), *time);
        self.request.state = State::between(&self.limits);
        // They were counted when they came, and are now counted while they are read.
        self.request.offset -= bytes.len() as u64;
        self.data(self.request.direction, time, &bytes, out);
    }
}
