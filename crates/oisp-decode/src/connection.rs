//! One connection: recognises its protocol and hands its bytes to the decoder of that protocol.

use crate::Limits;
use crate::body::Side;
use crate::early::Record;
use crate::http1::{HandOver, Http1, Start, Successor, classify};
use crate::http2::{self, Http2};
use crate::json_lines::{self, JsonLines};
use crate::message::{
    Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem, ProblemKind, Protocol, Role,
};
use crate::websocket::WebSocket;

/// Decodes both directions of one connection.
///
/// Each call of [`data`](Self::data) is one captured write or read; calls come in the order in
/// which things happened, over both directions, but for one thing: what a client receives may come
/// before the request that it answers, and waits for it then. Where the record boundaries lie makes no
/// difference as long as nothing was lost; after a loss they help to find the next message.
/// What decides between HTTP/1, HTTP/2 and others are the first bytes, at most
/// [`Limits::sniff_bytes`]; on a connection that was joined late, those of a record.
#[derive(Debug)]
pub struct ConnectionDecoder {
    limits: Limits,
    state: State,
    sent: Track,
    received: Track,
    role: Option<Role>,
    closed: bool,
}

/// What is known of a direction apart from its protocol.
#[derive(Debug, Default)]
struct Track {
    /// Bytes so far, lost ones included.
    offset: u64,
    /// First bytes that do not yet tell the protocol.
    held: Vec<u8>,
    held_since: Nanos,
}

#[derive(Debug)]
enum State {
    Sniffing,
    Opaque,
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    WebSocket(Box<WebSocket>),
    JsonLines(Box<JsonLines>),
    Tunnel,
}

impl ConnectionDecoder {
    /// A connection of which nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Sniffing,
            sent: Track::default(),
            received: Track::default(),
            role: None,
            closed: false,
        }
    }

    /// Takes the next bytes of a direction: one captured write or read.
    pub fn data(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        if self.closed || bytes.is_empty() {
            return;
        }
        match &self.state {
            State::Sniffing => self.sniff(direction, time, bytes, out),
            State::Opaque => match classify(bytes, self.limits.sniff_bytes) {
                Start::Undecided | Start::Other => {
                    // A line of any length: it is there as a whole.
                    if json_lines::classify(bytes, bytes.len()) == json_lines::Start::JsonRpc {
                        self.begin_json_lines(direction, time, bytes, out);
                    } else if http2::begins_with_frames(bytes) {
                        self.join_http2(direction, time, bytes, out);
                    }
                }
                start => self.begin(start, direction, time, true, bytes, out),
            },
            State::Http1(http1) if http1.is_refuted_by(direction, bytes) => {
                self.begin_anew(direction, time, bytes, out);
            }
            State::Http1(_) => self.proceed(direction, time, bytes, out),
            State::Http2(http2)
                if http2.is_doubtful()
                    && matches!(
                        classify(bytes, self.limits.sniff_bytes),
                        Start::Request | Start::Response | Start::Http2
                    ) =>
            {
                self.begin_anew(direction, time, bytes, out);
            }
            State::Http2(_) | State::WebSocket(_) | State::JsonLines(_) | State::Tunnel => {
                self.proceed(direction, time, bytes, out)
            }
        }
        let track = self.track(direction);
        track.offset = track.offset.saturating_add(bytes.len() as u64);
    }

    /// Tells that the next `length` bytes of a direction were not captured.
    pub fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        if self.closed || length == 0 {
            return;
        }
        self.give_up_early(out);
        match &mut self.state {
            State::Sniffing => self.give_up(direction, time, ProblemKind::FramingLost, out),
            State::Http1(http1) => http1.gap(direction, time, length, out),
            State::Http2(http2) => http2.gap(direction, time, length, out),
            State::WebSocket(websocket) => websocket.gap(direction, time, length, out),
            State::JsonLines(lines) => lines.gap(direction, time, length, out),
            State::Opaque | State::Tunnel => {}
        }
        let track = self.track(direction);
        track.offset = track.offset.saturating_add(length);
    }

    /// Tells that the connection ended: bodies that last until then are complete, other messages
    /// that are still open are truncated. Later calls have no effect.
    pub fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.give_up_early(out);
        match &mut self.state {
            State::Sniffing => {
                for direction in [Direction::Sent, Direction::Received] {
                    if !self.track(direction).held.is_empty() {
                        self.give_up(direction, time, ProblemKind::Unrecognised, out);
                    }
                }
            }
            State::Http1(http1) => http1.close(time, out),
            State::Http2(http2) => http2.close(time, out),
            State::WebSocket(websocket) => websocket.close(time, out),
            State::JsonLines(lines) => lines.close(time, out),
            State::Opaque | State::Tunnel => {}
        }
    }

    /// What the connection was recognised as.
    pub fn protocol(&self) -> Protocol {
        match self.state {
            State::Sniffing => Protocol::Undetermined,
            State::Opaque => Protocol::Opaque,
            State::Http1(_) => Protocol::Http1,
            State::Http2(_) => Protocol::Http2,
            State::WebSocket(_) => Protocol::WebSocket,
            State::JsonLines(_) => Protocol::JsonRpcLines,
            State::Tunnel => Protocol::Tunnel,
        }
    }

    /// What the recorded process is on this connection; `None` while the protocol is unknown, and of lines of
    /// JSON-RPC, where both sides may ask.
    pub fn role(&self) -> Option<Role> {
        match &self.state {
            State::Http2(http2) => Some(http2.role()),
            _ => self.role,
        }
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        let decoder = match &self.state {
            State::Http1(http1) => size_of::<Http1>() + http1.buffered_bytes(),
            State::Http2(http2) => size_of::<Http2>() + http2.buffered_bytes(),
            State::WebSocket(websocket) => size_of::<WebSocket>() + websocket.buffered_bytes(),
            State::JsonLines(lines) => size_of::<JsonLines>() + lines.buffered_bytes(),
            State::Sniffing | State::Opaque | State::Tunnel => 0,
        };
        decoder + self.sent.held.capacity() + self.received.held.capacity()
    }

    fn track(&mut self, direction: Direction) -> &mut Track {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    fn sniff(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let limit = self.limits.sniff_bytes;
        let track = self.track(direction);
        let begins = if track.held.is_empty() { bytes } else { &track.held };
        if json_lines::begins_json(begins) {
            self.sniff_json(direction, time, bytes, out);
            return;
        }
        let track = self.track(direction);
        if track.held.is_empty() {
            // Nearly always the first record tells, and nothing needs to be copied.
            match classify(bytes, limit) {
                Start::Other if http2::begins_with_settings(bytes) == Some(true) => {
                    self.begin_http2(direction.opposite(), false, direction, time, bytes, out);
                }
                Start::Other if http2::begins_with_frames(bytes) => {
                    report(direction, 0, time, ProblemKind::Unrecognised, out);
                    self.join_http2(direction, time, bytes, out);
                }
                Start::Other if http2::begins_with_settings(bytes).is_none() => {
                    track.held_since = time;
                    track.held.extend_from_slice(bytes);
                }
                Start::Undecided => {
                    track.held_since = time;
                    track.held.extend_from_slice(bytes);
                }
                Start::Other => self.give_up(direction, time, ProblemKind::Unrecognised, out),
                start => self.begin(start, direction, time, false, bytes, out),
            }
            return;
        }
        let before = track.held.len();
        // What is beyond the limit decides by its presence alone.
        let kept = bytes.len().min((limit + 1).saturating_sub(before));
        track.held.extend_from_slice(&bytes[..kept]);
        let length = track.held.len();
        // Once the method is there, only the end of the line can decide: looking again at every
        // piece would be quadratic.
        if length > 64 && length <= limit && !bytes.contains(&b'\n') {
            return;
        }
        match classify(&track.held, limit) {
            Start::Undecided => {}
            Start::Other if http2::begins_with_settings(&track.held) == Some(true) => {
                track.held.truncate(before);
                self.begin_http2(direction.opposite(), false, direction, time, bytes, out);
            }
            Start::Other if http2::begins_with_settings(&track.held).is_none() => {}
            Start::Other => self.give_up(direction, time, ProblemKind::Unrecognised, out),
            start => {
                track.held.truncate(before);
                self.begin(start, direction, time, false, bytes, out);
            }
        }
    }

    /// The first bytes of a direction begin a JSON text: its first line tells.
    fn sniff_json(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let limit = self.limits.sniff_bytes;
        let track = self.track(direction);
        let before = track.held.len();
        if before == 0 {
            track.held_since = time;
        }
        // What is beyond the limit decides by its presence alone.
        let kept = bytes.len().min((limit + 1).saturating_sub(before));
        track.held.extend_from_slice(&bytes[..kept]);
        if track.held.len() <= limit && !bytes.contains(&b'\n') {
            return;
        }
        match json_lines::classify(&track.held, limit) {
            json_lines::Start::JsonRpc => {
                track.held.truncate(before);
                self.begin_json_lines(direction, time, bytes, out);
            }
            json_lines::Start::Undecided => {}
            json_lines::Start::Other => self.give_up(direction, time, ProblemKind::Unrecognised, out),
        }
    }

    /// The protocol is none that is known, or bytes that would tell were lost.
    fn give_up(&mut self, direction: Direction, time: Nanos, kind: ProblemKind, out: &mut Vec<HttpEvent>) {
        let offset = match kind {
            ProblemKind::Unrecognised => 0,
            _ => self.track(direction).offset,
        };
        self.state = State::Opaque;
        self.sent.held = Vec::new();
        self.received.held = Vec::new();
        report(direction, offset, time, kind, out);
    }

    /// A message start was found in `direction`, in `bytes` or in what is held before them.
    fn begin(
        &mut self,
        start: Start,
        direction: Direction,
        time: Nanos,
        joined: bool,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let requests = if start == Start::Response { direction.opposite() } else { direction };
        let role = match requests {
            Direction::Sent => Role::Client,
            Direction::Received => Role::Server,
        };
        self.role = Some(role);
        if start == Start::Http2 {
            self.begin_http2(requests, false, direction, time, bytes, out);
            return;
        }
        let sent = std::mem::take(&mut self.sent.held);
        let received = std::mem::take(&mut self.received.held);
        // Where the decoder begins: at the held bytes where there are some.
        let offsets = (self.sent.offset - sent.len() as u64, self.received.offset - received.len() as u64);
        let (requests, responses) = match role {
            Role::Client => ((Direction::Sent, sent, offsets.0), (Direction::Received, received, offsets.1)),
            Role::Server => ((Direction::Received, received, offsets.1), (Direction::Sent, sent, offsets.0)),
        };
        let last = match &self.state {
            State::Http1(http1) => http1.last_exchange(),
            _ => ExchangeId::CONNECTION,
        };
        let mut http1 = Box::new(Http1::new(self.limits, role, (requests.2, responses.2), last));
        if joined {
            let side = if start == Start::Request { Side::Request } else { Side::Response };
            http1 = Box::new(http1.join(side, responses.2 > 0));
        }
        self.state = State::Http1(http1);
        for (direction, held, _) in [requests, responses] {
            if !held.is_empty() {
                let since = self.track(direction).held_since;
                self.http1(direction, since, &held, out);
            }
        }
        self.http1(direction, time, bytes, out);
    }

    /// Frames were found on a connection whose beginning was not seen. Most recorded processes are
    /// clients; the first head that can be read tells.
    fn join_http2(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        self.begin_http2(Direction::Sent, true, direction, time, bytes, out);
    }

    /// The connection speaks HTTP/2, `requests` is the client's direction.
    fn begin_http2(
        &mut self,
        requests: Direction,
        joined: bool,
        direction: Direction,
        time: Nanos,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let role = if requests == Direction::Sent { Role::Client } else { Role::Server };
        let responses = requests.opposite();
        let held = [requests, responses].map(|direction| std::mem::take(&mut self.track(direction).held));
        let offsets = (
            self.track(requests).offset - held[0].len() as u64,
            self.track(responses).offset - held[1].len() as u64,
        );
        let last = match &self.state {
            State::Http1(http1) => http1.last_exchange(),
            _ => ExchangeId::CONNECTION,
        };
        let http2 = Http2::new(self.limits, role, offsets, last);
        self.state = State::Http2(Box::new(if joined { http2.join() } else { http2 }));
        for (direction, held) in [requests, responses].into_iter().zip(held) {
            if !held.is_empty() {
                let since = self.track(direction).held_since;
                self.http2(direction, since, &held, out);
            }
        }
        self.http2(direction, time, bytes, out);
    }

    /// The connection carries lines of JSON-RPC; `bytes` or what is held before them begins one.
    fn begin_json_lines(
        &mut self,
        direction: Direction,
        time: Nanos,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let first = direction.opposite();
        let held = [first, direction].map(|direction| std::mem::take(&mut self.track(direction).held));
        let begins = |track: &Track, held: &[u8]| track.offset - held.len() as u64;
        let offsets = match direction {
            Direction::Sent => (begins(&self.sent, &held[1]), begins(&self.received, &held[0])),
            Direction::Received => (begins(&self.sent, &held[0]), begins(&self.received, &held[1])),
        };
        self.state = State::JsonLines(Box::new(JsonLines::new(&self.limits, offsets)));
        for (direction, held) in [first, direction].into_iter().zip(held) {
            let since = self.track(direction).held_since;
            self.json_lines(direction, since, &held, out);
        }
        self.json_lines(direction, time, bytes, out);
    }

    /// What the roles or the protocol were taken from was content: takes the record as the first
    /// message.
    fn begin_anew(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        match &mut self.state {
            State::Http1(http1) => http1.close(time, out),
            State::Http2(http2) => http2.close(time, out),
            _ => {}
        }
        report(direction, self.track(direction).offset, time, ProblemKind::Unrecognised, out);
        self.begin(classify(bytes, self.limits.sniff_bytes), direction, time, true, bytes, out);
    }

    /// Takes bytes of a connection whose protocol is known.
    fn proceed(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        match &self.state {
            State::Http1(_) => self.http1(direction, time, bytes, out),
            State::Http2(_) => self.http2(direction, time, bytes, out),
            State::WebSocket(_) => self.websocket(direction, time, bytes, out),
            State::JsonLines(_) => self.json_lines(direction, time, bytes, out),
            State::Sniffing | State::Opaque | State::Tunnel => {}
        }
    }

    fn http1(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let State::Http1(http1) = &mut self.state else { return };
        if http1.refutes_early(direction, bytes) {
            self.give_up_early(out);
            self.proceed(direction, time, bytes, out);
            return;
        }
        if let Some(handed_over) = http1.data(direction, time, bytes, out) {
            self.hand_over(handed_over, direction, time, bytes, out);
        } else if http1.early_is_too_long() {
            self.give_up_early(out);
        } else if let Some(records) = http1.due_early() {
            let responses = http1.responses();
            for Record { time, bytes } in records {
                self.proceed(responses, time, &bytes, out);
            }
        }
    }

    /// Reads a response that waits for its request as one that has none.
    fn give_up_early(&mut self, out: &mut Vec<HttpEvent>) {
        let State::Http1(http1) = &mut self.state else { return };
        let responses = http1.responses();
        for Record { time, bytes } in http1.refuse_early() {
            self.proceed(responses, time, &bytes, out);
        }
        if let State::Http1(http1) = &mut self.state {
            http1.read_early();
        }
    }

    /// The connection speaks another protocol from somewhere in a record on.
    fn hand_over(
        &mut self,
        handed_over: HandOver,
        direction: Direction,
        time: Nanos,
        bytes: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let State::Http1(http1) = &self.state else { return };
        self.state = match handed_over.successor {
            Successor::WebSocket(opening) => {
                State::WebSocket(Box::new(WebSocket::open(&self.limits, *opening, out)))
            }
            Successor::Http2 { opening, bodiless_response } => {
                let last = http1.last_exchange();
                let role = self.role.unwrap_or(Role::Client);
                let offsets = (opening.client_offset, opening.server_offset);
                let http2 = Http2::new(self.limits, role, offsets, last);
                let mut http2 = Box::new(http2.upgraded(opening.exchange, bodiless_response));
                http2.data(opening.client, opening.held_since, &opening.held, out);
                State::Http2(http2)
            }
            Successor::Unread => State::Tunnel,
        };
        // The server may begin with the new protocol in the same write.
        let rest = &bytes[handed_over.used..];
        self.http2(direction, time, rest, out);
        self.websocket(direction, time, rest, out);
    }

    fn websocket(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        if let State::WebSocket(websocket) = &mut self.state {
            websocket.data(direction, time, bytes, out);
        }
    }

    fn json_lines(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        if let State::JsonLines(lines) = &mut self.state
            && !bytes.is_empty()
        {
            lines.data(direction, time, bytes, out);
        }
    }

    fn http2(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        if let State::Http2(http2) = &mut self.state {
            http2.data(direction, time, bytes, out);
        }
    }
}

fn report(direction: Direction, offset: u64, time: Nanos, kind: ProblemKind, out: &mut Vec<HttpEvent>) {
    out.push(HttpEvent {
        exchange: ExchangeId::CONNECTION,
        time,
        kind: HttpEventKind::Problem(Problem { direction, offset, kind }),
    });
}
