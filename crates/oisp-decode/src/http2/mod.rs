//! HTTP/2 (RFC 9113), both directions of one connection, read passively.
//!
//! Each direction is a `Lane` that finds frames and collects header blocks; `Streams` are the
//! exchanges. A loss within the content of a DATA frame touches that stream only, because the
//! frame's length is known. A loss anywhere else costs the framing of that direction: it is found
//! again at a record that begins with plausible frames, every stream that was open takes up the
//! loss, and the header table is forgotten as far as it was filled before.
//!
//! Flow control is not followed: it changes nothing about what was transferred.

mod early;
mod frame;
mod frames;
mod head;
mod hpack;
mod huffman;
mod ids;
mod lane;
mod stream;
mod streams;

use self::early::Stalled;
pub(crate) use self::frame::begins_with_settings;
use self::frame::{FrameHeader, HEADER_LENGTH};
use self::lane::{Lane, LaneState, Payload, PayloadKind};
use self::streams::Streams;
use crate::Limits;
use crate::body::{Side, problem};
use crate::early::Early;
use crate::message::{Direction, ExchangeId, HttpEvent, Nanos, Problem, ProblemKind, Role};

/// The client's first bytes (section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of a connection that is joined late are expected to be numbered below this.
const JOINED_STREAM: u32 = 1 << 24;
/// Streams that may have been opened unseen during one loss.
const UNSEEN_STREAMS: u32 = 20_000;

/// Whether a record begins with frames of a connection that nothing is known of.
pub(crate) fn begins_with_frames(record: &[u8]) -> bool {
    frame::begins_with_frames(record, JOINED_STREAM)
}

/// Decoder of one HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    limits: Limits,
    /// Of the client, of the server.
    lanes: [Lane; 2],
    streams: Streams,
    /// Which direction is the client's was seen, not only supposed.
    role_is_certain: bool,
    /// The stream that may have undelivered content of the current record.
    pending: Option<u32>,
    joined: bool,
    /// The frame of the server that waits for its request.
    stalled: Option<Stalled>,
    /// What the server sent behind it.
    early: Early,
    /// None waits: one did in vain.
    refuses_early: bool,
}

impl Http2 {
    /// `offsets`: of the next byte of the client and of the server. `last`: the last exchange id
    /// that the connection has used.
    pub(crate) fn new(limits: Limits, role: Role, offsets: (u64, u64), last: ExchangeId) -> Self {
        let (client, server) = match role {
            Role::Client => (Direction::Sent, Direction::Received),
            Role::Server => (Direction::Received, Direction::Sent),
        };
        Self {
            limits,
            lanes: [
                Lane::new(client, offsets.0, LaneState::Preface(0), &limits),
                Lane::new(server, offsets.1, LaneState::between(), &limits),
            ],
            streams: Streams::new(limits, last),
            role_is_certain: true,
            pending: None,
            joined: false,
            stalled: None,
            early: Early::default(),
            refuses_early: false,
        }
    }

    /// For a connection joined while it was open: frames are still to be found.
    pub(crate) fn join(mut self) -> Self {
        self.joined = true;
        self.role_is_certain = false;
        for lane in &mut self.lanes {
            lane.state = LaneState::Lost;
            lane.headers.forget();
            lane.max_frame = frame::LARGEST_FRAME;
        }
        self
    }

    /// For a connection that was HTTP/1: stream 1 answers the request that asked for it, which is this
    /// exchange's.
    pub(crate) fn upgraded(mut self, exchange: ExchangeId, bodiless_response: bool) -> Self {
        self.streams.upgraded(exchange, bodiless_response);
        // What the client allows was said in the request (RFC 7540 section 3.2.1).
        self.lanes[1].max_frame = frame::LARGEST_FRAME;
        self
    }

    /// Whether the protocol was found by looks and no head has confirmed it.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.joined && !self.role_is_certain
    }

    pub(crate) fn role(&self) -> Role {
        if self.lanes[0].direction == Direction::Sent { Role::Client } else { Role::Server }
    }

    /// Bytes of memory held besides the fixed size.
    pub(crate) fn buffered_bytes(&self) -> usize {
        let lanes = self.lanes.iter().map(Lane::buffered_bytes).sum::<usize>();
        self.streams.buffered_bytes() + lanes + self.early.buffered_bytes()
    }

    /// Takes one record. Events are appended to `out`.
    pub(crate) fn data(
        &mut self,
        direction: Direction,
        time: Nanos,
        record: &[u8],
        out: &mut Vec<HttpEvent>,
    ) {
        let mut used = 0;
        while used < record.len() {
            let side = self.side(direction);
            if side == Side::Response && self.stalled.is_some() {
                self.early.push(time, &record[used..]);
                break;
            }
            used += self.step(side, time, &record[used..], used == 0, out);
        }
        self.flush(self.side(direction), time, out);
        self.resume(out);
    }

    /// Tells that bytes are missing here.
    pub(crate) fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        self.give_up_early(out);
        let side = self.side(direction);
        let mut left = length;
        while left > 0 {
            let lane = &mut self.lanes[side as usize];
            match &mut lane.state {
                LaneState::Payload(payload) => {
                    let here = u64::from(payload.left).min(left);
                    let stream = payload.header.stream;
                    let mut lost = 0;
                    match &mut payload.kind {
                        PayloadKind::Skip => {}
                        PayloadKind::Collect { lost, .. } => *lost += here,
                        PayloadKind::Data { content } => {
                            lost = u64::from(*content).min(here);
                            *content -= lost as u32;
                        }
                        PayloadKind::DataPadded => {
                            // How much of what follows is padding is not known.
                            lost = u64::from(payload.left);
                            payload.kind = PayloadKind::Skip;
                        }
                    }
                    payload.left -= here as u32;
                    lane.advance(here);
                    left -= here;
                    let is_done = payload_is_done(&self.lanes[side as usize]);
                    if lost > 0 {
                        self.streams.gap(stream, side, time, lost, out);
                    }
                    if is_done {
                        self.end_frame(side, time, out);
                    }
                }
                LaneState::Lost => {
                    self.streams.lose(side, left);
                    lane.advance(left);
                    return;
                }
                LaneState::Preface(_) | LaneState::Header { .. } => {
                    self.lose(side, time, out);
                    self.streams.lose(side, left);
                    self.lanes[side as usize].advance(left);
                    return;
                }
            }
        }
    }

    /// Tells that the connection ended: everything that began ends now.
    pub(crate) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        self.give_up_early(out);
        for lane in &mut self.lanes {
            let partial = match &lane.state {
                LaneState::Payload(Payload { header, offset, .. })
                    if matches!(header.kind, frame::HEADERS | frame::PUSH_PROMISE) =>
                {
                    Some((header.stream, *offset))
                }
                _ => None,
            };
            let partial = lane.block.as_ref().map(|block| (block.stream, block.offset)).or(partial);
            if let Some((stream, offset)) = partial {
                let kind = ProblemKind::TruncatedHead;
                let exchange = self.streams.exchange_if_open(stream);
                out.push(problem(exchange, time, Problem { direction: lane.direction, offset, kind }));
            }
            lane.block = None;
            lane.state = LaneState::Lost;
        }
        self.streams.close(time, out);
    }

    fn side(&self, direction: Direction) -> Side {
        if direction == self.lanes[0].direction { Side::Request } else { Side::Response }
    }

    /// Takes some bytes of a direction, at least one.
    fn step(
        &mut self,
        side: Side,
        time: Nanos,
        rest: &[u8],
        record_start: bool,
        out: &mut Vec<HttpEvent>,
    ) -> usize {
        let last_stream = self.last_plausible_stream();
        if record_start && self.lanes[side as usize].is_doubtful_within_a_frame() {
            // What was taken for frames may have been content, and this is as good a beginning.
            if frame::begins_with_frames(rest, last_stream) {
                self.lose(side, time, out);
                self.streams.lose(side, HEADER_LENGTH as u64);
            }
        }
        let lane = &mut self.lanes[side as usize];
        match &mut lane.state {
            LaneState::Preface(matched) => {
                let expected = &PREFACE[*matched..];
                let taken = expected.len().min(rest.len());
                if *matched == 0 && matches!(rest[0], b'\r' | b'\n') {
                    lane.advance(1);
                    return 1;
                }
                if rest[..taken] != expected[..taken] {
                    self.lose(side, time, out);
                    return if record_start { 0 } else { self.skip_lost(side, rest) };
                }
                *matched += taken;
                if *matched == PREFACE.len() {
                    lane.state = LaneState::between();
                }
                lane.advance(taken as u64);
                taken
            }
            LaneState::Header { bytes, filled, time: first_byte } => {
                if *filled == 0 {
                    *first_byte = time;
                    lane.doubt &= !record_start || lane.offset == lane.found_at;
                }
                let taken = (HEADER_LENGTH - *filled).min(rest.len());
                bytes[*filled..*filled + taken].copy_from_slice(&rest[..taken]);
                *filled += taken;
                lane.offset = lane.offset.saturating_add(taken as u64);
                if *filled == HEADER_LENGTH {
                    let (header, first_byte) = (FrameHeader::parse(bytes), *first_byte);
                    if self.awaits_request(side, &header) {
                        self.stalled = Some(Stalled { header, first_byte, time });
                    } else {
                        self.begin_frame(side, header, first_byte, time, out);
                    }
                }
                taken
            }
            LaneState::Payload(_) => self.payload(side, time, rest, out),
            LaneState::Lost => {
                if record_start && frame::begins_with_frames(rest, last_stream) {
                    lane.state = LaneState::between();
                    lane.doubt = true;
                    lane.found_at = lane.offset;
                    return 0;
                }
                self.skip_lost(side, rest)
            }
        }
    }

    /// Leaves bytes out whose place in the framing is not known.
    fn skip_lost(&mut self, side: Side, rest: &[u8]) -> usize {
        self.streams.lose(side, rest.len() as u64);
        self.lanes[side as usize].advance(rest.len() as u64);
        rest.len()
    }

    fn last_plausible_stream(&self) -> u32 {
        match self.streams.highest() {
            0..=2 if self.joined => JOINED_STREAM,
            highest => highest.saturating_add(UNSEEN_STREAMS),
        }
    }

    /// The framing of a direction is lost.
    fn lose(&mut self, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        self.flush(side, time, out);
        let lane = &mut self.lanes[side as usize];
        let (direction, offset, kind) = (lane.direction, lane.offset, ProblemKind::FramingLost);
        out.push(problem(ExchangeId::CONNECTION, time, Problem { direction, offset, kind }));
        lane.state = LaneState::Lost;
        lane.block = None;
        lane.headers.forget();
        lane.doubt = false;
        self.lanes[1 - side as usize].max_frame = frame::LARGEST_FRAME;
    }

    fn malformed(&mut self, side: Side, offset: u64, time: Nanos, out: &mut Vec<HttpEvent>) {
        let (direction, kind) = (self.lanes[side as usize].direction, ProblemKind::MalformedFrame);
        out.push(problem(ExchangeId::CONNECTION, time, Problem { direction, offset, kind }));
    }

    fn flush(&mut self, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let Some(stream) = self.pending.take() {
            self.streams.flush(stream, side, time, out);
        }
    }
}

fn payload_is_done(lane: &Lane) -> bool {
    matches!(lane.state, LaneState::Payload(Payload { left: 0, .. }))
}
