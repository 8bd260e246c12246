//! How much one connection may cost.

/// Bounds of what a decoder keeps and delivers. Whatever exceeds one is cut and said to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Content-decoded bytes delivered of one body. The rest is counted and hashed, not delivered.
    pub body_bytes: u64,
    /// Content-decoded bytes of a body that may turn out to be longer than `body_bytes` that are kept
    /// besides, so that its hash can begin with its first byte. A body that grows beyond this is
    /// hashed as it comes; one whose length is known to be within `body_bytes` never is.
    pub hash_from_bytes: usize,
    /// Bytes that are made of one compressed body, delivered or not, and that pass between two codings
    /// of it. A body that becomes longer is neither counted nor hashed to its end: few bytes could
    /// cause any amount of work.
    pub expanded_bytes: u64,
    /// Content codings of one body. Nobody means it with more than two.
    pub codings: usize,
    /// Members of one gzip body. Real bodies have one, concatenated logs hundreds; each costs a reset
    /// for 20 bytes of input.
    pub gzip_members: u32,
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
            hash_from_bytes: 256 << 10,
            expanded_bytes: 64 << 20,
            codings: 3,
            gzip_members: 1024,
            head_bytes: 256 << 10,
            headers: 200,
            pending_requests: 256,
            sniff_bytes: 16 << 10,
            held_bytes: 64 << 10,
            chunk_line_bytes: 16 << 10,
            message_bytes: 16 << 20,
            json_depth: 127,
            websocket_message_bytes: 16 << 20,
            streams: 1024,
            header_table_bytes: 64 << 10,
        }
    }
}
