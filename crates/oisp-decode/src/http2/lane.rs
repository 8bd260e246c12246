//! One direction of an HTTP/2 connection: where its frames begin and end.

use super::frame::{DEFAULT_MAX_FRAME, FrameHeader, HEADER_LENGTH};
use super::hpack::HeaderDecoder;
use crate::Limits;
use crate::message::{Direction, Nanos};

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) direction: Direction,
    /// Bytes before the next one, lost ones included.
    pub(super) offset: u64,
    pub(super) state: LaneState,
    pub(super) headers: HeaderDecoder,
    /// A header block that has not ended.
    pub(super) block: Option<Block>,
    /// The longest frame that the other side allows, as far as known.
    pub(super) max_frame: u32,
    /// The frames were found by looks, and nothing has confirmed it yet.
    pub(super) doubt: bool,
    /// Where they were found.
    pub(super) found_at: u64,
}

#[derive(Debug)]
pub(super) enum LaneState {
    /// The client's first bytes, so many of which have come.
    Preface(usize),
    Header {
        bytes: [u8; HEADER_LENGTH],
        filled: usize,
        time: Nanos,
    },
    Payload(Payload),
    /// Nobody knows where a frame begins.
    Lost,
}

/// A frame whose header is known.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) header: FrameHeader,
    /// When its first byte was captured.
    pub(super) time: Nanos,
    /// Of its header.
    pub(super) offset: u64,
    /// Bytes to come, padding included.
    pub(super) left: u32,
    pub(super) kind: PayloadKind,
}

#[derive(Debug)]
pub(super) enum PayloadKind {
    /// Of no interest.
    Skip,
    /// A DATA frame whose pad length comes next.
    DataPadded,
    /// So many bytes of content, then padding.
    Data { content: u32 },
    /// Kept until it is whole.
    Collect { bytes: Vec<u8>, lost: u64, too_large: bool },
}

/// A header block being collected.
#[derive(Debug)]
pub(super) struct Block {
    /// The stream that its frames are on.
    pub(super) stream: u32,
    /// The stream that it opens, if it is a promise.
    pub(super) promised: Option<u32>,
    pub(super) ends_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) lost: u64,
    pub(super) too_large: bool,
    pub(super) malformed: bool,
    pub(super) first_byte: Nanos,
    pub(super) offset: u64,
}

impl Lane {
    pub(super) fn new(direction: Direction, offset: u64, state: LaneState, limits: &Limits) -> Self {
        Self {
            direction,
            offset,
            state,
            headers: HeaderDecoder::new(limits.header_table_bytes),
            block: None,
            max_frame: DEFAULT_MAX_FRAME,
            doubt: false,
            found_at: offset,
        }
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.offset = self.offset.saturating_add(bytes);
    }

    pub(super) fn is_doubtful_within_a_frame(&self) -> bool {
        let is_within = match &self.state {
            LaneState::Header { filled, .. } => *filled > 0,
            LaneState::Payload(_) => true,
            LaneState::Preface(_) | LaneState::Lost => false,
        };
        self.doubt && is_within
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let payload = match &self.state {
            LaneState::Payload(Payload { kind: PayloadKind::Collect { bytes, .. }, .. }) => bytes.capacity(),
            _ => 0,
        };
        payload
            + self.block.as_ref().map_or(0, |block| block.bytes.capacity())
            + self.headers.buffered_bytes()
    }
}

impl LaneState {
    /// Before a frame.
    pub(super) fn between() -> Self {
        Self::Header { bytes: [0; HEADER_LENGTH], filled: 0, time: Nanos(0) }
    }
}

impl Block {
    /// Adds a frame's fragment.
    pub(super) fn add(&mut self, fragment: &[u8], lost: u64, too_large: bool, limit: usize) {
        self.lost = self.lost.saturating_add(lost);
        self.too_large |= too_large || self.bytes.len() + fragment.len() > limit;
        if self.too_large || self.lost > 0 {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(fragment);
        }
    }
}
