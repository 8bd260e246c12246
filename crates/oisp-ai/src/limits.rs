//! The bounds that hold whatever the input.

/// Bounds of one [`ConnectionInterpreter`](crate::ConnectionInterpreter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exchanges followed at once; beyond it the oldest is ended.
    pub exchanges: usize,
    /// Bytes of one body that are kept; a larger one is not read.
    pub body_bytes: usize,
    /// Bytes kept for all exchanges together.
    pub buffered_bytes: usize,
    /// Bytes looked at to tell whether a body on an unknown host and path is of a known format.
    pub sniff_bytes: usize,
    /// Estimated memory that one parsed JSON text may take. Parsed JSON of many small values takes
    /// far more memory than its text, so a bound on the text alone would not be one.
    pub parsed_bytes: usize,
    /// Whether streamed answers are told while they come, too ([`AiEvent::Chunk`](crate::AiEvent::Chunk)).
    pub streaming_chunks: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchanges: 256,
            body_bytes: 16 << 20,
            buffered_bytes: 32 << 20,
            sniff_bytes: 4 << 10,
            parsed_bytes: 64 << 20,
            streaming_chunks: false,
        }
    }
}
