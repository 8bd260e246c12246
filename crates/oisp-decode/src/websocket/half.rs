//! One direction of a WebSocket.

use bytes::Bytes;

use super::extension::Extensions;
use super::frame::{FrameHeader, HeaderBytes, HeaderProgress, Opcode, RSV1, is_whole_messages, unmask};
use super::inflate::{InflateError, Inflater};
use super::message::{WebSocketKind, WebSocketMessage};
use crate::Limits;
use crate::body::problem;
use crate::message::{
    Completeness, Defect, Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem, ProblemKind,
    Undecodable,
};
use crate::whole::Hashing;

/// Payload bytes unmasked at a time.
const PIECE: usize = 4 << 10;
#[derive(Debug)]
pub(super) struct Half {
    direction: Direction,
    offset: u64,
    is_client: bool,
    exchange: ExchangeId,
    compression: Compression,
    /// Largest message delivered.
    limit: usize,
    /// Inflated bytes that may still be made: refilled by bytes on the wire, at most `limit`.
    credit: u64,
    /// Bytes that one byte on the wire earns.
    ratio: u64,
    state: State,
    /// The message whose last frame has not come.
    message: Option<Message>,
    control: Option<Message>,
    inflater: Option<Box<Inflater>>,
    /// No message before was lost that later ones may refer to.
    context_is_whole: bool,
    masking_was_reported: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Compression {
    None,
    Deflate {
        takeover: bool,
    },
    /// Under an extension of this name, which is not known here.
    Unknown(String),
}

#[derive(Debug)]
enum State {
    Header {
        bytes: HeaderBytes,
        offset: u64,
        first_byte: Nanos,
    },
    Payload {
        header: FrameHeader,
        left: u64,
    },
    /// Frame boundaries are lost.
    Lost,
}

#[derive(Debug)]
struct Message {
    opcode: Opcode,
    compressed: bool,
    masked: bool,
    bytes: Vec<u8>,
    /// Largest number of bytes delivered.
    room: usize,
    over_limit: bool,
    /// Nothing stands in the way so far.
    is_delivered: bool,
    completeness: Completeness,
    wire_bytes: u64,
    first_byte: Nanos,
    /// Since the message exceeded its limit.
    hashing: Hashing,
}

impl Half {
    pub(super) fn new(
        direction: Direction,
        offset: u64,
        is_client: bool,
        exchange: ExchangeId,
        extensions: &Extensions,
        limits: &Limits,
    ) -> Self {
        let compression = match (&extensions.unknown, extensions.deflate) {
            (Some(name), _) => Compression::Unknown(name.clone()),
            (None, Some(deflate)) => Compression::Deflate {
                takeover: if is_client { deflate.client_takeover } else { deflate.server_takeover },
            },
            (None, None) => Compression::None,
        };
        Self {
            direction,
            offset,
            is_client,
            exchange,
            compression,
            limit: limits.websocket_message_bytes,
            credit: limits.websocket_message_bytes as u64,
            ratio: limits.websocket_ratio,
            state: State::between(),
            message: None,
            control: None,
            inflater: None,
            context_is_whole: true,
            masking_was_reported: false,
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// It is not known where the first frame begins.
    pub(super) fn begin_lost(&mut self) {
        self.state = State::Lost;
        self.context_is_whole = false;
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let messages = self.message.iter().chain(&self.control).map(|message| message.bytes.capacity());
        messages.sum::<usize>() + if self.inflater.is_some() { Inflater::BYTES } else { 0 }
    }

    pub(super) fn data(&mut self, time: Nanos, record: &[u8], out: &mut Vec<HttpEvent>) {
        if matches!(self.state, State::Lost) {
            let compression = self.compression != Compression::None;
            if !is_whole_messages(record, self.is_client, compression) {
                self.advance(record.len() as u64);
                return;
            }
            self.report(time, self.offset, ProblemKind::Resynchronised, out);
            self.state = State::between();
        }
        let mut used = 0;
        while used < record.len() {
            used += match self.state {
                State::Header { .. } => self.header_bytes(time, &record[used..], out),
                State::Payload { .. } => self.payload_bytes(time, &record[used..], out),
                State::Lost => {
                    self.advance((record.len() - used) as u64);
                    return;
                }
            };
        }
    }

    pub(super) fn gap(&mut self, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        match &mut self.state {
            State::Payload { header, left } if length <= *left => {
                *left -= length;
                let (header, is_over) = (*header, *left == 0);
                self.lose_content(&header, length);
                self.advance(length);
                if is_over {
                    self.end_frame(&header, time, out);
                }
            }
            State::Lost => self.advance(length),
            State::Header { .. } | State::Payload { .. } => {
                self.lose(time, Some(length), ProblemKind::FramingLost, self.offset, out);
                self.advance(length);
            }
        }
    }

    pub(super) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        if let State::Header { bytes, offset, .. } = &self.state
            && !bytes.is_empty()
        {
            self.report(time, *offset, ProblemKind::TruncatedHead, out);
        }
        self.state = State::Lost;
        self.end_open_messages(time, &[Defect::Truncated], out);
    }

    /// Takes some bytes of a header, at least one.
    fn header_bytes(&mut self, time: Nanos, rest: &[u8], out: &mut Vec<HttpEvent>) -> usize {
        let here = self.offset;
        let State::Header { bytes, offset, first_byte } = &mut self.state else { return rest.len() };
        if bytes.is_empty() {
            (*offset, *first_byte) = (here, time);
        }
        let (used, progress) = bytes.push(rest);
        let (offset, first_byte) = (*offset, *first_byte);
        self.advance(used as u64);
        let well_formed = match progress {
            HeaderProgress::Partial => return used,
            HeaderProgress::Complete(header) if self.fits(&header) => Some(header),
            HeaderProgress::Complete(_) | HeaderProgress::Malformed => None,
        };
        match well_formed {
            Some(header) => self.begin_frame(header, first_byte, offset, time, out),
            None => self.lose(time, None, ProblemKind::MalformedFrame, offset, out),
        }
        used
    }

    /// Whether a frame may come here.
    fn fits(&self, header: &FrameHeader) -> bool {
        let starts = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let in_order = header.opcode.is_control() || starts == self.message.is_none();
        let rsv_is_agreed = match self.compression {
            Compression::Unknown(_) => true,
            Compression::Deflate { .. } if starts => header.rsv & !RSV1 == 0,
            Compression::Deflate { .. } | Compression::None => header.rsv == 0,
        };
        in_order && rsv_is_agreed
    }

    fn begin_frame(
        &mut self,
        header: FrameHeader,
        first_byte: Nanos,
        offset: u64,
        time: Nanos,
        out: &mut Vec<HttpEvent>,
    ) {
        if header.mask.is_some() != self.is_client && !self.masking_was_reported {
            self.masking_was_reported = true;
            self.report(time, offset, ProblemKind::UnexpectedMasking, out);
        }
        if header.opcode != Opcode::Continuation {
            let message = self.begin_message(&header, first_byte);
            *if header.opcode.is_control() { &mut self.control } else { &mut self.message } = Some(message);
        }
        self.state = State::Payload { header, left: header.length };
        if header.length == 0 {
            self.end_frame(&header, time, out);
        }
    }

    fn begin_message(&mut self, header: &FrameHeader, first_byte: Nanos) -> Message {
        let mut message = Message {
            opcode: header.opcode,
            compressed: false,
            masked: header.mask.is_some(),
            bytes: Vec::new(),
            room: self.limit,
            over_limit: false,
            is_delivered: true,
            completeness: Completeness::default(),
            wire_bytes: 0,
            first_byte,
            hashing: Hashing::Off,
        };
        match &self.compression {
            Compression::Unknown(name) if !header.opcode.is_control() => {
                message.stop(Undecodable::UnsupportedEncoding(name.clone()));
            }
            Compression::Deflate { takeover } if header.rsv & RSV1 != 0 => {
                message.compressed = true;
                message.room = usize::try_from(self.credit).unwrap_or(usize::MAX).min(self.limit);
                let inflater =
                    self.inflater.get_or_insert_with(|| Box::new(Inflater::new(self.context_is_whole)));
                if !takeover {
                    inflater.reset(true);
                }
                inflater.begin_message();
            }
            _ => {}
        }
        message
    }

    /// Takes some bytes of a payload, at least one.
    fn payload_bytes(&mut self, time: Nanos, rest: &[u8], out: &mut Vec<HttpEvent>) -> usize {
        let State::Payload { header, left } = &mut self.state else { return rest.len() };
        let header = *header;
        let most = if header.mask.is_some() { PIECE } else { usize::MAX };
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len()).min(most);
        let before = header.length - *left;
        *left -= taken as u64;
        let is_over = *left == 0;
        let piece = &rest[..taken];
        let mut unmasked: [u8; PIECE];
        let piece = match header.mask {
            Some(mask) => {
                unmasked = [0; PIECE];
                let unmasked = &mut unmasked[..taken];
                unmasked.copy_from_slice(piece);
                unmask(mask, before, unmasked);
                &*unmasked
            }
            None => piece,
        };
        let message = if header.opcode.is_control() { &mut self.control } else { &mut self.message };
        if let Some(message) = message {
            message.push(piece, self.inflater.as_deref_mut());
        }
        self.advance(taken as u64);
        if is_over {
            self.end_frame(&header, time, out);
        }
        taken
    }

    /// Bytes of the current payload were not captured.
    fn lose_content(&mut self, header: &FrameHeader, lost_bytes: u64) {
        let message = if header.opcode.is_control() { &mut self.control } else { &mut self.message };
        let Some(message) = message else { return };
        message.completeness.add(Defect::Gap { lost_bytes, at: message.bytes.len() as u64 });
        message.is_delivered = false;
        if message.compressed {
            self.lose_context();
        }
    }

    fn lose_context(&mut self) {
        self.context_is_whole = false;
        if let Some(inflater) = &mut self.inflater {
            inflater.reset(false);
        }
    }

    fn end_frame(&mut self, header: &FrameHeader, time: Nanos, out: &mut Vec<HttpEvent>) {
        self.state = State::between();
        let message = match header.opcode.is_control() {
            true => self.control.take(),
            false if header.fin => self.message.take(),
            false => None,
        };
        if let Some(mut message) = message {
            message.end(self.inflater.as_deref_mut());
            self.deliver(message, time, out);
        }
    }

    fn deliver(&mut self, message: Message, time: Nanos, out: &mut Vec<HttpEvent>) {
        if message.compressed {
            let earned = message.wire_bytes.saturating_mul(self.ratio);
            let left = self.credit.saturating_sub(message.bytes.len() as u64);
            self.credit = left.saturating_add(earned).min(self.limit as u64);
        }
        let kind = HttpEventKind::WebSocketMessage(message.into_message(self.direction));
        out.push(HttpEvent { exchange: self.exchange, time, kind });
    }

    /// Frame boundaries are lost, by a gap or by what was read.
    fn lose(
        &mut self,
        time: Nanos,
        gap: Option<u64>,
        kind: ProblemKind,
        offset: u64,
        out: &mut Vec<HttpEvent>,
    ) {
        self.report(time, offset, kind, out);
        self.state = State::Lost;
        let mut defects = Vec::new();
        if let Some(lost_bytes) = gap {
            let at = self.message.as_ref().map_or(0, |message| message.bytes.len() as u64);
            defects.push(Defect::Gap { lost_bytes, at });
        }
        defects.push(Defect::Truncated);
        self.end_open_messages(time, &defects, out);
        self.lose_context();
    }

    /// Delivers what there is of the messages whose end will not be seen.
    fn end_open_messages(&mut self, time: Nanos, defects: &[Defect], out: &mut Vec<HttpEvent>) {
        for mut message in [self.control.take(), self.message.take()].into_iter().flatten() {
            for defect in defects {
                message.completeness.add(defect.clone());
            }
            self.deliver(message, time, out);
        }
    }

    /// The next byte is at this place of its direction.
    pub(super) fn move_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    fn advance(&mut self, bytes: u64) {
        self.offset = self.offset.saturating_add(bytes);
    }

    fn report(&self, time: Nanos, offset: u64, kind: ProblemKind, out: &mut Vec<HttpEvent>) {
        out.push(problem(self.exchange, time, Problem { direction: self.direction, offset, kind }));
    }
}

impl State {
    fn between() -> Self {
        Self::Header { bytes: HeaderBytes::default(), offset: 0, first_byte: Nanos(0) }
    }
}

impl Message {
    fn push(&mut self, payload: &[u8], inflater: Option<&mut Inflater>) {
        self.wire_bytes = self.wire_bytes.saturating_add(payload.len() as u64);
        if !self.is_delivered {
            self.hashing.push_now(payload);
            return;
        }
        let room = self.room - self.bytes.len();
        match inflater {
            Some(inflater) if self.compressed => {
                let result = inflater.push(payload, room, &mut self.bytes);
                self.inflated(result, inflater);
            }
            _ => {
                self.bytes.extend_from_slice(&payload[..payload.len().min(room)]);
                if payload.len() > room {
                    self.over_limit = true;
                    self.is_delivered = false;
                    self.hashing = Hashing::new(0);
                    self.hashing.push_now(&self.bytes);
                    self.hashing.push_now(&payload[room..]);
                }
            }
        }
    }

    /// Its last frame has ended.
    fn end(&mut self, inflater: Option<&mut Inflater>) {
        if let Some(inflater) = inflater
            && self.compressed
            && self.is_delivered
        {
            let room = self.room - self.bytes.len();
            let result = inflater.end_message(room, &mut self.bytes);
            self.inflated(result, inflater);
        }
    }

    fn inflated(&mut self, result: Result<(), InflateError>, inflater: &mut Inflater) {
        match result {
            Ok(()) => return,
            Err(InflateError::OverLimit) => {
                self.over_limit = true;
                self.is_delivered = false;
            }
            Err(InflateError::Corrupt) if inflater.is_whole() => self.stop(Undecodable::CorruptEncoding),
            Err(InflateError::Corrupt) => self.stop(Undecodable::CompressionContextLost),
        }
        // The rest of the message is not read, so what later ones may refer to is missing.
        inflater.reset(false);
    }

    fn stop(&mut self, reason: Undecodable) {
        self.completeness.add(Defect::Undecodable(reason));
        self.is_delivered = false;
    }

    fn into_message(mut self, direction: Direction) -> WebSocketMessage {
        let whole = if self.completeness.is_complete() { self.hashing.finish() } else { None };
        if self.over_limit {
            self.completeness.add(Defect::OverLimit { total_bytes: self.wire_bytes });
        }
        let kind = match self.opcode {
            // A message never begins with a continuation.
            Opcode::Text | Opcode::Continuation => WebSocketKind::Text,
            Opcode::Binary => WebSocketKind::Binary,
            Opcode::Ping => WebSocketKind::Ping,
            Opcode::Pong => WebSocketKind::Pong,
            Opcode::Close => {
                let (code, reason) = match self.bytes.split_first_chunk::<2>() {
                    Some((code, reason)) => (Some(u16::from_be_bytes(*code)), reason),
                    None => (None, &[][..]),
                };
                WebSocketKind::Close { code, reason: String::from_utf8_lossy(reason).into_owned() }
            }
        };
        WebSocketMessage {
            direction,
            kind,
            bytes: Bytes::from(self.bytes),
            completeness: self.completeness,
            compressed: self.compressed,
            masked: self.masked,
            wire_bytes: self.wire_bytes,
            whole,
            first_byte: self.first_byte,
        }
    }
}
