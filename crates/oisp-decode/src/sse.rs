//! `text/event-stream`, by the rules of the WHATWG HTML standard, section "Server-sent events".

/// One event of a stream.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// Value of the last `event` field; empty means `message`.
    pub event: String,
    /// Values of the `data` fields, joined by LF.
    pub data: String,
    /// The last event id of the stream at this event.
    pub id: Option<String>,
    /// Reconnection time in milliseconds, if this event's block set it.
    pub retry: Option<u64>,
    /// The event was larger than the bound: `data` is its beginning.
    pub truncated: bool,
}

/// Splits a stream into events, however the bytes are cut.
#[derive(Clone, Default)]
pub struct SseParser {}

impl SseParser {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<SseEvent>) {
        let _ = (bytes, out);
    }
    /// The stream is over. An event without its closing empty line is not delivered by the
    /// standard; it is returned here for those who want it.
    pub fn finish(&mut self) -> Option<SseEvent> {
        None
    }
    /// Comment lines so far.
    pub fn comments(&self) -> u64 {
        0
    }
}
