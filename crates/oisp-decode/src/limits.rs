//! How much one connection may cost.

use thiserror::Error;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bounds of what a decoder keeps and delivers. Whatever exceeds one is cut and said to be cut.
///
/// Each field says its unit, its default and the range that [`Limits::validated`] accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Content-decoded bytes delivered of one body. The rest is counted and hashed, not delivered.
    /// 16 MiB; 1 KiB to 1 GiB.
    pub body_bytes: u64,
    /// Content-decoded bytes of a body that may turn out to be longer than `body_bytes` that are kept
    /// besides, so that its hash can begin with its first byte. A body that grows beyond this is
    /// hashed as it comes; one whose length is known to be within `body_bytes` never is.
    /// 256 KiB; 0 to 16 MiB.
    pub hash_from_bytes: usize,
    /// Bytes that are made of one compressed body, delivered or not, and that pass between two codings
    /// of it. A body that becomes longer is neither counted nor hashed to its end: few bytes could
    /// cause any amount of work. 64 MiB; 1 KiB to 4 GiB.
    pub expanded_bytes: u64,
    /// Content codings of one body. Nobody means it with more than two. 3; 1 to 8.
    pub codings: usize,
    /// Members of one gzip body. Real bodies have one, concatenated logs hundreds; each costs a reset
    /// for 20 bytes of input. 1024; 1 to 65,536.
    pub gzip_members: u32,
    /// Bytes of one message head, or of one trailer section. 256 KiB; 1 KiB to 16 MiB.
    pub head_bytes: usize,
    /// Header fields of one message head, or of one trailer section. 200; 1 to 10,000.
    pub headers: usize,
    /// Requests on one HTTP/1 connection that wait for their answer. 256; 1 to 65,536.
    pub pending_requests: usize,
    /// Bytes held of a direction before its protocol is recognised, and the longest first line
    /// that is recognised as one. 16 KiB; 64 bytes to 1 MiB.
    pub sniff_bytes: usize,
    /// Bytes held of a client that goes on before its upgrade, or its CONNECT by HTTP/2, was answered.
    /// 64 KiB; 0 to 16 MiB.
    pub held_bytes: usize,
    /// Bytes held of a response that is captured before its request, each record with some more for itself.
    /// A longer one is taken for a response without a request. 64 KiB; 0 to 16 MiB.
    pub early_response_bytes: usize,
    /// Bytes of one line of chunk size and chunk extensions. 16 KiB; 16 bytes to 1 MiB.
    pub chunk_line_bytes: usize,
    /// Bytes kept of one message within a body: a server-sent event, a line of newline-delimited JSON,
    /// an element of a JSON array, the payload of an event stream message, a gRPC message.
    /// 16 MiB; 1 KiB to 1 GiB.
    pub message_bytes: usize,
    /// Bytes of the id of a server-sent event; longer ones are ignored, because an id comes again with
    /// every later event. 1 KiB; 0 to 1 MiB.
    pub event_id_bytes: usize,
    /// Levels of brackets within one element of a JSON array. 127; 1 to 128.
    pub json_depth: u32,
    /// Bytes delivered of one WebSocket message, which are held until it is over. The rest is counted
    /// (and hashed, if it is not compressed), not delivered. 16 MiB; 1 KiB to 1 GiB.
    pub websocket_message_bytes: usize,
    /// Bytes that one byte on the wire of a compressed WebSocket message may become, on average over
    /// messages. Text that repeats itself a lot, as streamed JSON does, stays below 64.
    /// 64; 1 to 1032.
    pub websocket_ratio: u64,
    /// Streams of one HTTP/2 connection that are open at once. 1024; 1 to 65,536.
    pub streams: usize,
    /// Bytes kept of one direction's header table (HPACK), by the measure of RFC 7541 section 4.1.
    /// 64 KiB; 4 KiB to 16 MiB, as no connection starts with less than 4 KiB.
    pub header_table_bytes: usize,
}

/// A limit that is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the limit {limit} is {value}, and has to be from {least} to {most}")]
pub struct LimitOutOfRange {
    /// The name of the field.
    pub limit: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The least that makes sense.
    pub least: u64,
    /// The most that makes sense.
    pub most: u64,
}

impl Limits {
    /// These limits, if each is in its range. A decoder is bounded and does not panic with any; out of
    /// range it recognises nothing, or holds more than a host may spare.
    ///
    /// # Errors
    /// The first limit that is out of its range.
    pub fn validated(self) -> Result<Self, LimitOutOfRange> {
        for (limit, value, least, most) in self.ranges() {
            if !(least..=most).contains(&value) {
                return Err(LimitOutOfRange { limit, value, least, most });
            }
        }
        Ok(self)
    }

    fn ranges(&self) -> [(&'static str, u64, u64, u64); 19] {
        [
            ("body_bytes", self.body_bytes, KIB, GIB),
            ("hash_from_bytes", self.hash_from_bytes as u64, 0, 16 * MIB),
            ("expanded_bytes", self.expanded_bytes, KIB, 4 * GIB),
            ("codings", self.codings as u64, 1, 8),
            ("gzip_members", self.gzip_members.into(), 1, 65_536),
            ("head_bytes", self.head_bytes as u64, KIB, 16 * MIB),
            ("headers", self.headers as u64, 1, 10_000),
            ("pending_requests", self.pending_requests as u64, 1, 65_536),
            ("sniff_bytes", self.sniff_bytes as u64, 64, MIB),
            ("held_bytes", self.held_bytes as u64, 0, 16 * MIB),
            ("early_response_bytes", self.early_response_bytes as u64, 0, 16 * MIB),
            ("chunk_line_bytes", self.chunk_line_bytes as u64, 16, MIB),
            ("message_bytes", self.message_bytes as u64, KIB, GIB),
            ("event_id_bytes", self.event_id_bytes as u64, 0, MIB),
            ("json_depth", self.json_depth.into(), 1, 128),
            ("websocket_message_bytes", self.websocket_message_bytes as u64, KIB, GIB),
            ("websocket_ratio", self.websocket_ratio, 1, 1032),
            ("streams", self.streams as u64, 1, 65_536),
            ("header_table_bytes", self.header_table_bytes as u64, 4 * KIB, 16 * MIB),
        ]
    }
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
            early_response_bytes: 64 << 10,
            chunk_line_bytes: 16 << 10,
            message_bytes: 16 << 20,
            event_id_bytes: 1 << 10,
            json_depth: 127,
            websocket_message_bytes: 16 << 20,
            websocket_ratio: 64,
            streams: 1024,
            header_table_bytes: 64 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_what_is_out_of_it_is_named_with_its_range() {
        assert_eq!(Limits::default().validated(), Ok(Limits::default()));
        let error = Limits { json_depth: 129, ..Limits::default() }.validated().unwrap_err();
        assert_eq!(error, LimitOutOfRange { limit: "json_depth", value: 129, least: 1, most: 128 });
        assert_eq!(error.to_string(), "the limit json_depth is 129, and has to be from 1 to 128");
        assert!(Limits { body_bytes: 0, ..Limits::default() }.validated().is_err());
    }
}
