//! How much one connection may cost.

/// Bounds of what a decoder keeps and delivers. Whatever exceeds one is cut and said to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Content-decoded bytes delivered of one body. The rest is counted, not delivered.
    pub body_bytes: u64,
    /// Bytes of one message head, or of one trailer section.
    pub head_bytes: usize,
    /// Header fields of one message head, or of one trailer section.
    pub headers: usize,
    /// Requests on one HTTP/1 connection that wait for their answer.
    pub pending_requests: usize,
    /// Bytes held of a direction before its protocol is recognised, and the longest first line
    /// that is recognised as one.
    pub sniff_bytes: usize,
    /// Bytes held of a client that goes on before its upgrade was answered.
    pub held_bytes: usize,
    /// Bytes of one line of chunk size and chunk extensions.
    pub chunk_line_bytes: usize,
    /// Bytes kept of one message within a body: a line of newline-delimited JSON, an element of a
    /// JSON array, the payload of an event stream message, a gRPC message.
    pub message_bytes: usize,
    /// Levels of brackets within one element of a JSON array; 128 at most.
    pub json_depth: u32,
    /// Bytes delivered of one WebSocket message, which are held until it is over. The rest is counted,
    /// not delivered.
    pub websocket_message_bytes: usize,
    /// Streams of one HTTP/2 connection that are open at once.
    pub streams: usize,
    /// Bytes kept of one direction's header table (HPACK), by the measure of RFC 7541 section 4.1.
    pub header_table_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            head_bytes: 256 << 10,
            headers: 200,
            pending_requests: 256,
            sniff_bytes: 16 << 10,
            held_bytes: 64 << 10,
            chunk_line_bytes: 16 << 10,
            message_bytes: 8 << 20,
            json_depth: 127,
            websocket_message_bytes: 4 << 20,
            streams: 1024,
            header_table_bytes: 64 << 10,
        }
    }
}
