//! HTTP/1.0 and HTTP/1.1, both directions of one connection.
//!
//! Each direction is a state machine of its own; `Pairing` joins them. A loss where a message
//! boundary may lie puts a direction into `State::Lost`: everything is left out until a captured
//! record begins with a certain message start at a moment when one is due. Records are single
//! writes and reads, and messages mostly begin with one.

mod chunked;
mod framing;
mod half;
mod head;
mod loss;
mod pairing;
mod start;

pub(crate) use self::framing::content_length;
use self::framing::upgrade_of;
use self::framing::{Framing, Progress, RequestKind};
use self::half::{Half, HeadProgress, State};
use self::head::LineBlock;
use self::pairing::{Admission, Answers, Pairing};
pub(crate) use self::start::{Start, classify};
use crate::Limits;
use crate::body::{MessageBody, Side, bare_end, problem};
use crate::headers::Headers;
use crate::message::{
    Defect, Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem, ProblemKind, Role, Undecodable,
    UpgradeProtocol,
};
use crate::websocket::{Extensions, Opening};

/// Decoder of one HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    limits: Limits,
    request: Half,
    response: Half,
    pairing: Pairing,
    /// The roles were found by looks, on a connection that was already open.
    joined: bool,
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
        self.pairing.buffered_bytes() + self.request.buffered_bytes() + self.response.buffered_bytes()
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
            self.pairing.response_activity(false);
        }
        let mut used = 0;
        while used < record.len() {
            let rest = &record[used..];
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
            State::Held { bytes, .. } => {
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

    fn request_head(
        &mut self,
        time: Nanos,
        block: LineBlock,
        first_byte: Nanos,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) {
        let direction = self.request.direction;
        let at = |kind| Problem { direction, offset, kind };
        let (head, oddities) = head::request(block, first_byte, &self.limits);
        let head = match head {
            Ok(head) => head,
            Err(kind) => {
                for odd in oddities.problems() {
                    out.push(problem(ExchangeId::CONNECTION, time, at(odd)));
                }
                self.lose(Side::Request, time, None, at(kind), out);
                return;
            }
        };
        // Whoever asks again has the answer before.
        self.give_up_chunks(time, out);
        let kind = RequestKind::of(&head.method);
        let (exchange, admission) = self.pairing.request(kind, self.answers());
        let plan = framing::request_plan(&head, &self.limits);
        let asks_upgrade = kind == RequestKind::Connect || head.headers.all("upgrade").next().is_some();
        out.push(HttpEvent { exchange, time, kind: HttpEventKind::RequestHead(head) });
        let resynchronised = self.request.doubt();
        for kind in resynchronised.into_iter().chain(oddities.problems()).chain(plan.problem) {
            out.push(problem(exchange, time, at(kind)));
        }
        let refused = match admission {
            Admission::Paired => None,
            Admission::Uncertain => Some(ProblemKind::PairingUncertain),
            Admission::TooMany => Some(ProblemKind::TooManyPendingRequests),
        };
        if let Some(kind) = refused {
            out.push(problem(exchange, time, at(kind)));
            out.push(bare_end(exchange, time, [Defect::PairingLost]));
        }
        let mut body =
            Box::new(MessageBody::new(exchange, Side::Request, &plan.codings, plan.length(), &self.limits));
        if let Framing::Unknown(reason) = &plan.framing {
            body.stop(reason.clone());
            self.pairing.hide_requests();
        }
        let done = plan.framing.is_done();
        self.request.state = State::Body { framing: plan.framing, body, hold: asks_upgrade };
        if done {
            self.end_body(Side::Request, time, Headers::new(), out);
        }
    }

    /// Returns whether the connection was handed over.
    fn response_head(
        &mut self,
        time: Nanos,
        block: LineBlock,
        first_byte: Nanos,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) -> bool {
        let direction = self.response.direction;
        let at = |kind| Problem { direction, offset, kind };
        let (head, oddities) = head::response(block, first_byte, &self.limits);
        let (exchange, request) = match self.pairing.front() {
            Some(front) => front,
            None => self.response_without_request(time, offset, out),
        };
        let head = match head {
            Ok(head) => head,
            Err(kind) => {
                for odd in oddities.problems() {
                    out.push(problem(exchange, time, at(odd)));
                }
                self.lose(Side::Response, time, None, at(kind), out);
                return false;
            }
        };
        let plan = framing::response_plan(&head, request, &self.limits);
        let upgrade = upgrade_of(&head, request);
        // The answer to a request that asks for HTTP/2 comes by HTTP/2.
        let answered_later = upgrade == Some(UpgradeProtocol::Http2);
        let informational = (upgrade.is_none() || answered_later) && head.status < 200;
        let kind = if informational { HttpEventKind::InformationalHead } else { HttpEventKind::ResponseHead };
        let extensions = Extensions::accepted(&head.headers);
        out.push(HttpEvent { exchange, time, kind: kind(head) });
        let plan_problem = plan.problem.filter(|_| upgrade.is_none());
        let resynchronised = self.response.doubt();
        for kind in resynchronised.into_iter().chain(oddities.problems()).chain(plan_problem) {
            out.push(problem(exchange, time, at(kind)));
        }
        if let Some(protocol) = upgrade {
            let successor = protocol.clone();
            out.push(HttpEvent { exchange, time, kind: HttpEventKind::Upgraded { protocol } });
            if !answered_later {
                out.push(bare_end(exchange, time, []));
            }
            self.pairing.close_front();
            // In any case: what the client sent before the answer belongs to the new protocol.
            let opening = self.opening(exchange, extensions);
            self.successor = match successor {
                UpgradeProtocol::WebSocket => Successor::WebSocket(Box::new(opening)),
                UpgradeProtocol::Http2 => Successor::Http2 {
                    opening: Box::new(opening),
                    bodiless_response: request == RequestKind::Head,
                },
                _ => Successor::Unread,
            };
            self.close(time, out);
            return true;
        }
        if informational {
            return false;
        }
        let mut body =
            Box::new(MessageBody::new(exchange, Side::Response, &plan.codings, plan.length(), &self.limits));
        if let Framing::Unknown(reason) = &plan.framing {
            body.stop(reason.clone());
        }
        let done = plan.framing.is_done();
        self.response.state = State::Body { framing: plan.framing, body, hold: false };
        if done {
            self.end_body(Side::Response, time, Headers::new(), out);
        }
        false
    }

    /// What is to be known of a WebSocket. Takes out what the client sent before the answer: it
    /// belongs to the new protocol.
    fn opening(&mut self, exchange: ExchangeId, extensions: Extensions) -> Opening {
        let (state, held, held_since) = match std::mem::replace(&mut self.request.state, State::Lost) {
            State::Held { bytes, time, .. } => (State::Lost, bytes, Some(time)),
            state => (state, Vec::new(), None),
        };
        self.request.state = state;
        Opening {
            exchange,
            extensions,
            client: self.request.direction,
            client_offset: self.request.offset - held.len() as u64,
            server_offset: self.response.offset,
            client_is_lost: held_since.is_none(),
            held,
            held_since: held_since.unwrap_or_default(),
        }
    }

    /// The exchange of a response that begins while no request waits for one.
    fn response_without_request(
        &mut self,
        time: Nanos,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) -> (ExchangeId, RequestKind) {
        let head_began = matches!(&self.request.state, State::Head { block, .. } if !block.is_empty());
        if head_began && let Some(exchange) = self.pairing.open_early() {
            return (exchange, RequestKind::Other);
        }
        if self.request.offset == 0 {
            // Nothing of the other direction was seen yet: joined between request and response.
            self.pairing.hide_requests();
        } else if !self.pairing.requests_may_be_hidden() {
            self.pairing.unexplained_response();
        }
        self.pairing.response_activity(false);
        let exchange = self.pairing.open_orphan();
        let (direction, kind) = (self.response.direction, ProblemKind::ResponseWithoutRequest);
        out.push(problem(exchange, time, Problem { direction, offset, kind }));
        (exchange, RequestKind::Other)
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
