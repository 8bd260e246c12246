//! HTTP/2 (RFC 9113), both directions of one connection, read passively.
//!
//! Each direction is a `Lane` that finds frames and collects header blocks; `Streams` are the
//! exchanges. A loss within the content of a DATA frame touches that stream only, because the
//! frame's length is known. A loss anywhere else costs the framing of that direction: it is found
//! again at a record that begins with plausible frames, every stream that was open takes up the
//! loss, and the header table is forgotten as far as it was filled before.
//!
//! Flow control is not followed: it changes nothing about what was transferred.

mod frame;
mod head;
mod hpack;
mod huffman;
mod ids;
mod lane;
mod stream;
mod streams;

pub(crate) use self::frame::begins_with_settings;
use self::frame::{FrameHeader, HEADER_LENGTH};
use self::head::Section;
use self::hpack::BlockLimits;
use self::lane::{Block, Lane, LaneState, Payload, PayloadKind};
use self::stream::{BlockError, BlockOrigin};
use self::streams::Streams;
use crate::Limits;
use crate::body::{Side, problem};
use crate::headers::Headers;
use crate::message::{Direction, ExchangeId, HttpEvent, Nanos, Problem, ProblemKind, Role};

/// The client's first bytes (section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of a connection that is joined late are expected to be numbered below this.
const JOINED_STREAM: u32 = 1 << 24;
/// Streams that may have been opened unseen during one loss.
const UNSEEN_STREAMS: u32 = 20_000;
/// SETTINGS_MAX_FRAME_SIZE.
const MAX_FRAME_SIZE: u16 = 5;

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
        self.streams.buffered_bytes() + self.lanes.iter().map(Lane::buffered_bytes).sum::<usize>()
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
            used += self.step(side, time, &record[used..], used == 0, out);
        }
        self.flush(self.side(direction), time, out);
    }

    /// Tells that bytes are missing here.
    pub(crate) fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
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
                    self.begin_frame(side, header, first_byte, time, out);
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

    /// A frame header is complete.
    fn begin_frame(
        &mut self,
        side: Side,
        header: FrameHeader,
        first_byte: Nanos,
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        if header.kind != frame::DATA || self.pending != Some(header.stream) {
            self.flush(side, time, out);
        }
        let last_stream = self.last_plausible_stream();
        let lane = &mut self.lanes[side as usize];
        let is_refuted = lane.doubt && !header.is_plausible(last_stream);
        if header.length > lane.max_frame || is_refuted {
            self.streams.lose(side, HEADER_LENGTH as u64);
            self.lose(side, time, out);
            return;
        }
        let continues = header.kind == frame::CONTINUATION
            && lane.block.as_ref().is_some_and(|block| block.stream == header.stream);
        let offset = lane.offset.saturating_sub(HEADER_LENGTH as u64);
        if !continues && let Some(block) = &mut lane.block {
            // Nothing may come in between (section 6.2).
            block.malformed = true;
            self.malformed(side, offset, time, out);
            self.end_block(side, time, out);
        }
        let kind = match header.kind {
            _ if !header.is_consistent() || (header.kind == frame::CONTINUATION && !continues) => {
                self.malformed(side, offset, time, out);
                let lane = &mut self.lanes[side as usize];
                if matches!(header.kind, frame::PUSH_PROMISE | frame::CONTINUATION) {
                    lane.headers.forget();
                }
                PayloadKind::Skip
            }
            // Before the roles are known nothing can be said of a stream without its head.
            frame::DATA if !self.role_is_certain => PayloadKind::Skip,
            frame::DATA if header.is_padded() => PayloadKind::DataPadded,
            frame::DATA => PayloadKind::Data { content: header.length },
            frame::HEADERS
            | frame::PUSH_PROMISE
            | frame::CONTINUATION
            | frame::SETTINGS
            | frame::RST_STREAM
            | frame::GOAWAY => PayloadKind::Collect { bytes: Vec::new(), lost: 0, too_large: false },
            _ => PayloadKind::Skip,
        };
        let lane = &mut self.lanes[side as usize];
        lane.state =
            LaneState::Payload(Payload { header, time: first_byte, offset, left: header.length, kind });
        if header.length == 0 {
            self.end_frame(side, time, out);
        }
    }

    /// Takes bytes of a frame's payload. The state must be `Payload`.
    fn payload(&mut self, side: Side, time: Nanos, rest: &[u8], out: &mut Vec<HttpEvent>) -> usize {
        let limit = self.limits.head_bytes;
        let lane = &mut self.lanes[side as usize];
        let LaneState::Payload(payload) = &mut lane.state else { return rest.len() };
        let mut taken = rest.len().min(payload.left as usize);
        let stream = payload.header.stream;
        let mut content = 0;
        let mut bad_padding = None;
        match &mut payload.kind {
            PayloadKind::Skip => {}
            PayloadKind::Collect { bytes, too_large, .. } => {
                *too_large |= bytes.len() + taken > limit;
                if *too_large {
                    *bytes = Vec::new();
                } else {
                    bytes.extend_from_slice(&rest[..taken]);
                }
            }
            PayloadKind::DataPadded => {
                taken = 1;
                match (payload.left - 1).checked_sub(u32::from(rest[0])) {
                    Some(content) => payload.kind = PayloadKind::Data { content },
                    None => {
                        bad_padding = Some(payload.offset);
                        payload.kind = PayloadKind::Skip;
                    }
                }
            }
            PayloadKind::Data { content: left } => {
                content = taken.min(*left as usize);
                *left -= content as u32;
            }
        }
        payload.left -= taken as u32;
        let is_done = payload.left == 0;
        let content_offset = lane.offset;
        lane.advance(taken as u64);
        if let Some(offset) = bad_padding {
            self.malformed(side, offset, time, out);
        }
        if content > 0 {
            self.streams.data(stream, side, content_offset, time, &rest[..content], out);
            self.pending = Some(stream);
        }
        if is_done {
            self.end_frame(side, time, out);
        }
        taken
    }

    /// The payload of a frame is complete.
    fn end_frame(&mut self, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        let lane = &mut self.lanes[side as usize];
        let LaneState::Payload(payload) = std::mem::replace(&mut lane.state, LaneState::between()) else {
            return;
        };
        let Payload { header, time: first_byte, offset, kind, .. } = payload;
        let PayloadKind::Collect { bytes, lost, too_large } = kind else {
            if header.kind == frame::DATA
                && header.ends_stream()
                && self.role_is_certain
                && header.stream != 0
            {
                let origin = BlockOrigin {
                    direction: lane.direction,
                    offset,
                    first_byte,
                    ends_stream: true,
                    doubt: lane.doubt,
                };
                self.streams.end(header.stream, side, Headers::new(), origin, time, out);
            }
            return;
        };
        let is_whole = lost == 0 && !too_large;
        match header.kind {
            frame::CONTINUATION => {
                if let Some(block) = &mut lane.block {
                    block.add(&bytes, lost, too_large, self.limits.head_bytes);
                }
            }
            frame::HEADERS | frame::PUSH_PROMISE => {
                let mut block = Block {
                    stream: header.stream,
                    promised: None,
                    ends_stream: header.ends_stream(),
                    bytes: Vec::new(),
                    lost: 0,
                    too_large: false,
                    malformed: false,
                    first_byte,
                    offset,
                };
                match fragment(&header, &bytes) {
                    Some((promised, fragment)) if is_whole => {
                        block.promised = promised;
                        block.add(fragment, 0, false, self.limits.head_bytes);
                    }
                    None if is_whole => block.malformed = true,
                    _ => block.add(&[], lost, too_large, self.limits.head_bytes),
                }
                lane.block = Some(block);
            }
            frame::SETTINGS => {
                if !header.is_ack() {
                    self.settings(side, &bytes, is_whole);
                }
                return;
            }
            frame::RST_STREAM => {
                let at = Some((lane.direction, offset));
                self.streams.cut(header.stream, at, Some(ProblemKind::StreamReset), time, out);
                return;
            }
            _ => {
                if let (true, Some(last)) = (is_whole, bytes.first_chunk::<4>()) {
                    let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
                    let at = (lane.direction, offset);
                    self.streams.go_away(side == Side::Response, last, at, time, out);
                }
                return;
            }
        }
        if header.ends_headers() {
            self.end_block(side, time, out);
        }
    }

    /// What a side tells the other about frames. The other may still send by older settings.
    fn settings(&mut self, side: Side, bytes: &[u8], is_whole: bool) {
        let other = &mut self.lanes[1 - side as usize];
        if !is_whole {
            other.max_frame = frame::LARGEST_FRAME;
        }
        for setting in bytes.chunks_exact(6) {
            let [a, b, c, d, e, f] = *setting else { continue };
            if u16::from_be_bytes([a, b]) == MAX_FRAME_SIZE {
                other.max_frame = other.max_frame.max(u32::from_be_bytes([c, d, e, f]));
            }
        }
    }

    /// The header block of a direction ends, complete or not.
    fn end_block(&mut self, side: Side, time: Nanos, out: &mut Vec<HttpEvent>) {
        let limits = BlockLimits { fields: self.limits.headers, bytes: self.limits.head_bytes };
        let lane = &mut self.lanes[side as usize];
        let Some(block) = lane.block.take() else { return };
        let error = if block.lost > 0 {
            Some(BlockError::Lost(block.lost))
        } else if block.too_large {
            Some(BlockError::TooLarge)
        } else {
            block.malformed.then_some(BlockError::Malformed)
        };
        let decoded = match error {
            Some(error) => {
                lane.headers.forget();
                Err(error)
            }
            None => match lane.headers.decode(&block.bytes, limits) {
                Ok(fields) => Ok(Section::new(fields)),
                Err(hpack::MalformedBlock) => Err(BlockError::Malformed),
            },
        };
        let origin = BlockOrigin {
            direction: lane.direction,
            offset: block.offset,
            first_byte: block.first_byte,
            ends_stream: block.ends_stream,
            doubt: lane.doubt,
        };
        let mut side = side;
        if !self.role_is_certain {
            // A promise is the server's, its head is a request's.
            let told = match (&decoded, block.promised) {
                (_, Some(_)) => Some(Side::Response),
                (Ok(section), None) => section.side(),
                (Err(_), None) => None,
            };
            let Some(told) = told else { return };
            if told != side {
                self.lanes.swap(0, 1);
                side = told;
            }
            self.role_is_certain = true;
        }
        match block.promised {
            None => self.streams.head(block.stream, side, decoded, origin, time, out),
            Some(promised) if promised % 2 == 0 && promised != 0 => {
                let origin = BlockOrigin { ends_stream: true, ..origin };
                self.streams.head(promised, Side::Request, decoded, origin, time, out);
            }
            Some(_) => self.malformed(side, block.offset, time, out),
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

/// The part of a HEADERS or PUSH_PROMISE frame that belongs to the header block, and the promised
/// stream. `None` if it contradicts itself.
fn fragment<'a>(header: &FrameHeader, mut payload: &'a [u8]) -> Option<(Option<u32>, &'a [u8])> {
    let mut padding = 0;
    if header.is_padded() {
        let (length, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(*length), rest);
    }
    let mut promised = None;
    if header.kind == frame::PUSH_PROMISE {
        let (id, rest) = payload.split_first_chunk::<4>()?;
        (promised, payload) = (Some(u32::from_be_bytes(*id) & 0x7fff_ffff), rest);
    } else if header.has_priority() {
        payload = payload.get(5..)?;
    }
    Some((promised, payload.get(..payload.len().checked_sub(padding)?)?))
}
