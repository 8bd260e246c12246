//! JSON-RPC messages, one a line, as programs send them over pipes and unix sockets.

use std::fmt;

use bytes::Bytes;

use crate::message::{Direction, ExchangeId, HttpEvent, HttpEventKind, Nanos, Problem, ProblemKind};
use crate::{JsonRpcMessage, Limits, NdjsonLine, NdjsonSplitter};

/// A line of a connection that carries JSON-RPC messages.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonRpcLine {
    /// Who wrote it.
    pub direction: Direction,
    /// The line without its end: a message, mostly. Nothing but the first line of a connection was looked at.
    pub bytes: Bytes,
    /// It was longer than [`Limits::message_bytes`], or bytes of it were lost: what is here is its beginning.
    pub truncated: bool,
}

// Lines are captured content: sizes only.
impl fmt::Debug for JsonRpcLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonRpcLine({:?}, {} bytes)", self.direction, self.bytes.len())
    }
}

/// What the first bytes of a direction say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// They begin a JSON text, and the line has not ended.
    Undecided,
    /// The first line is a JSON-RPC message.
    JsonRpc,
    Other,
}

/// Judges the first bytes of a direction by their first line, which may have `limit` bytes.
pub(crate) fn classify(bytes: &[u8], limit: usize) -> Start {
    if !begins_json(bytes) {
        return Start::Other;
    }
    let looked_at = &bytes[..bytes.len().min(limit.saturating_add(1))];
    match memchr::memchr(b'\n', looked_at) {
        Some(end) if JsonRpcMessage::parse(&bytes[..end]) != JsonRpcMessage::Other => Start::JsonRpc,
        None if bytes.len() <= limit => Start::Undecided,
        _ => Start::Other,
    }
}

/// Whether these could be the first bytes of a JSON-RPC message or of a batch.
pub(crate) fn begins_json(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'{' | b'['))
}

/// Both directions of a connection that carries JSON-RPC lines.
#[derive(Debug)]
pub(crate) struct JsonLines {
    sent: Lane,
    received: Lane,
    scratch: Vec<NdjsonLine>,
}

#[derive(Debug)]
struct Lane {
    splitter: NdjsonSplitter,
    /// Bytes so far, lost ones included.
    offset: u64,
}

impl JsonLines {
    /// `offsets`: bytes of what was sent and received before.
    pub(crate) fn new(limits: &Limits, offsets: (u64, u64)) -> Self {
        let lane = |offset| Lane { splitter: NdjsonSplitter::new(limits), offset };
        Self { sent: lane(offsets.0), received: lane(offsets.1), scratch: Vec::new() }
    }

    pub(crate) fn data(&mut self, direction: Direction, time: Nanos, bytes: &[u8], out: &mut Vec<HttpEvent>) {
        let mut lines = std::mem::take(&mut self.scratch);
        let lane = self.lane(direction);
        lane.offset = lane.offset.saturating_add(bytes.len() as u64);
        lane.splitter.push(bytes, &mut lines);
        out.extend(lines.drain(..).map(|line| event(direction, time, line)));
        self.scratch = lines;
    }

    pub(crate) fn gap(&mut self, direction: Direction, time: Nanos, length: u64, out: &mut Vec<HttpEvent>) {
        let lane = self.lane(direction);
        let offset = lane.offset;
        lane.offset = lane.offset.saturating_add(length);
        out.extend(lane.splitter.gap(length).map(|line| event(direction, time, line)));
        let problem = Problem { direction, offset, kind: ProblemKind::FramingLost };
        out.push(HttpEvent { exchange: ExchangeId::CONNECTION, time, kind: HttpEventKind::Problem(problem) });
    }

    pub(crate) fn close(&mut self, time: Nanos, out: &mut Vec<HttpEvent>) {
        for direction in [Direction::Sent, Direction::Received] {
            let last = self.lane(direction).splitter.finish();
            out.extend(last.map(|line| event(direction, time, line)));
        }
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.sent.splitter.buffered_bytes()
            + self.received.splitter.buffered_bytes()
            + self.scratch.capacity() * size_of::<NdjsonLine>()
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

fn event(direction: Direction, time: Nanos, line: NdjsonLine) -> HttpEvent {
    let NdjsonLine { offset: _, bytes, truncated } = line;
    let line = JsonRpcLine { direction, bytes: bytes.into(), truncated };
    HttpEvent { exchange: ExchangeId::CONNECTION, time, kind: HttpEventKind::JsonRpcLine(line) }
}
