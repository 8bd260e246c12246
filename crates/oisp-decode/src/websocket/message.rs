//! What a WebSocket delivers.

use std::fmt;

use bytes::Bytes;

use crate::message::{Completeness, Direction, Nanos};
use crate::whole::WholeContent;

/// One message, its fragments joined, or one control frame.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketMessage {
    /// Which way it went.
    pub direction: Direction,
    /// What it is.
    pub kind: WebSocketKind,
    /// The content, unmasked and inflated: all of it, or what comes before the first defect. What
    /// was captured behind a gap is counted in `wire_bytes` and not delivered.
    pub bytes: Bytes,
    /// Whether `bytes` is all of it, and if not why.
    pub completeness: Completeness,
    /// It was compressed (RFC 7692).
    pub compressed: bool,
    /// Its first frame was masked, as those of clients must be and those of servers must not.
    pub masked: bool,
    /// Payload bytes captured, as on the wire. Without frame headers and without lost ones.
    pub wire_bytes: u64,
    /// Of a message that is not compressed and was cut because it is too long, and of which nothing
    /// else is missing: what it was as a whole.
    pub whole: Option<WholeContent>,
    /// When the first byte of its first frame was captured. Its last one came at the event's time.
    pub first_byte: Nanos,
}

/// What a WebSocket message is.
#[derive(Clone, PartialEq, Eq)]
pub enum WebSocketKind {
    /// Declared to be UTF-8, which is not checked here.
    Text,
    /// Any bytes.
    Binary,
    /// The sender will send nothing more.
    Close {
        /// Status code (RFC 6455 section 7.4); `None` where it sent none, or it was not captured.
        code: Option<u16>,
        /// Explanation, mostly empty; what is not UTF-8 is replaced by U+FFFD.
        reason: String,
    },
    /// Asks for a sign of life.
    Ping,
    /// The answer to a ping.
    Pong,
}

// Captured content stays out of Debug output: it ends in logs and crash messages.

impl fmt::Debug for WebSocketMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketMessage")
            .field("direction", &self.direction)
            .field("kind", &self.kind)
            .field("bytes", &self.bytes.len())
            .field("completeness", &self.completeness)
            .field("compressed", &self.compressed)
            .field("masked", &self.masked)
            .field("wire_bytes", &self.wire_bytes)
            .field("first_byte", &self.first_byte)
            .finish()
    }
}

impl fmt::Debug for WebSocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("Text"),
            Self::Binary => f.write_str("Binary"),
            Self::Close { code, reason } => write!(f, "Close({code:?}, {} bytes)", reason.len()),
            Self::Ping => f.write_str("Ping"),
            Self::Pong => f.write_str("Pong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_content() {
        let message = WebSocketMessage {
            direction: Direction::Sent,
            kind: WebSocketKind::Close { code: Some(1000), reason: "SECRET".to_owned() },
            bytes: Bytes::from_static(b"SECRET"),
            completeness: Completeness::default(),
            compressed: false,
            masked: true,
            wire_bytes: 6,
            whole: None,
            first_byte: Nanos(1),
        };
        assert!(!format!("{message:?}").contains("SECRET"));
    }
}
