//! What decoding delivers: the types shared by every protocol.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::headers::Headers;
use crate::json_lines::JsonRpcLine;
use crate::websocket::WebSocketMessage;
use crate::whole::WholeContent;

/// Kernel monotonic time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default, Serialize, Deserialize)]
pub struct Nanos(pub u64);

/// Which way bytes went, seen from the recorded process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// Written by the recorded process.
    Sent,
    /// Read by the recorded process.
    Received,
}

impl Direction {
    /// The other one.
    pub fn opposite(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }
}

/// What the recorded process is on this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// It sends requests.
    Client,
    /// It receives requests.
    Server,
}

/// What a connection was recognised as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Protocol {
    /// Too few bytes yet.
    #[default]
    Undetermined,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/1.1 gave the connection over to another protocol, which is not decoded.
    Tunnel,
    /// HTTP/1.1 gave the connection over to WebSocket.
    WebSocket,
    /// JSON-RPC messages, one a line.
    JsonRpcLines,
    /// Not recognised. Becomes [`Protocol::Http1`], [`Protocol::Http2`] or
    /// [`Protocol::JsonRpcLines`] when a record begins with a certain message start, with frames or with a
    /// whole line: the connection may have been joined in the middle.
    Opaque,
}

/// Names an exchange (a request with its response) within its connection. HTTP/1 counts up from 1;
/// HTTP/2 uses the stream's id, after an upgrade from HTTP/1 added to the last that HTTP/1 used; stream 1
/// then belongs to the exchange that asked for the upgrade.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ExchangeId(pub u64);

impl ExchangeId {
    /// Carried by what belongs to the connection and to no exchange: problems, and lines of JSON-RPC.
    pub const CONNECTION: Self = Self(0);
}

/// One thing that happened on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpEvent {
    /// The exchange that it belongs to.
    pub exchange: ExchangeId,
    /// When the bytes that made it known were captured.
    pub time: Nanos,
    /// What happened.
    pub kind: HttpEventKind,
}

/// What an [`HttpEvent`] says.
///
/// Order within an exchange: `RequestHead`, then `RequestBody` and `RequestBodyGap`, then one
/// `RequestEnd`; independently any `InformationalHead`, `ResponseHead`, `ResponseBody` and
/// `ResponseBodyGap`, then one `ResponseEnd`. A server may answer before the request has ended.
///
/// Every exchange gets exactly one `ResponseEnd`, also when its response was lost or could not be
/// assigned (then without a `ResponseHead`, and the completeness says why). An exchange has a
/// `RequestEnd` exactly if it has a `RequestHead`. It is over when each side that began has ended.
///
/// An exchange that opens a WebSocket ends as any other, with its head as the whole response. The
/// `WebSocketMessage`s of both directions follow after its `ResponseEnd` under the same id, up to the
/// end of the connection, or of the stream where it was opened by HTTP/2 (RFC 8441). On an HTTP/1
/// connection nothing else comes but problems.
///
/// An exchange that asks for HTTP/2 by `Upgrade` is answered on stream 1: its 101 is an
/// `InformationalHead`, then come `Upgraded`, and the `ResponseHead` of HTTP/2.
#[derive(Clone, PartialEq, Eq)]
pub enum HttpEventKind {
    /// Request line and header fields.
    RequestHead(RequestHead),
    /// The next bytes of the request body, after transfer and content encodings were removed.
    RequestBody(Bytes),
    /// Bytes of the request body are missing here: what follows is not to be joined to what came
    /// before.
    RequestBodyGap {
        /// Bytes lost, as they were on the wire within the body (still content-encoded). Where they
        /// lie across chunks of an HTTP/1 body, the framing between them is counted too. Where
        /// the framing of an HTTP/2 connection was lost, this much at most: it may be other
        /// streams' or none of this body.
        lost: u64,
    },
    /// The request is over.
    RequestEnd(BodyEnd),
    /// A 1xx response other than 101, or the 101 that goes over to HTTP/2.
    InformationalHead(ResponseHead),
    /// Status line and header fields.
    ResponseHead(ResponseHead),
    /// The next bytes of the response body, after transfer and content encodings were removed.
    ResponseBody(Bytes),
    /// As [`HttpEventKind::RequestBodyGap`].
    ResponseBodyGap {
        /// Bytes lost, as they were on the wire within the body (still content-encoded).
        lost: u64,
    },
    /// The response is over.
    ResponseEnd(BodyEnd),
    /// This exchange turned the connection over to another protocol, or its stream where the connection
    /// speaks HTTP/2. Comes between `ResponseHead` and `ResponseEnd`; before `ResponseHead` if the
    /// protocol is HTTP/2.
    Upgraded {
        /// What the connection speaks from here on.
        protocol: UpgradeProtocol,
    },
    /// A message or control frame of the WebSocket that this exchange opened, at the time of its last
    /// byte. Those of one direction come in their order.
    WebSocketMessage(WebSocketMessage),
    /// A line of a connection that carries JSON-RPC messages without HTTP, at the time of its last byte.
    JsonRpcLine(JsonRpcLine),
    /// Something was not understood, or was understood with a reservation.
    Problem(Problem),
}

/// What follows an upgrade or a CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpgradeProtocol {
    /// WebSocket.
    WebSocket,
    /// HTTP/2 in clear (`h2c`).
    Http2,
    /// A tunnel to another host.
    Connect,
    /// As named by the `Upgrade` header; empty when it was not named.
    Other(String),
}

/// Version of an HTTP message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// The start of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent: `POST`. Empty if it is not known ([`ProblemKind::HpackUnreliable`]).
    pub method: String,
    /// As sent: a path with query, a full URL, an authority (CONNECT) or `*`. Empty if it is not
    /// known ([`ProblemKind::HpackUnreliable`]).
    pub target: String,
    /// Version in the request line.
    pub version: HttpVersion,
    /// Header fields in their order. Of HTTP/2 without pseudo fields, its authority as `host`
    /// unless there is one.
    pub headers: Headers,
    /// When its first byte was captured.
    pub first_byte: Nanos,
}

/// The start of a response.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase, empty when there was none.
    pub reason: String,
    /// Version in the status line.
    pub version: HttpVersion,
    /// Header fields in their order.
    pub headers: Headers,
    /// When its first byte was captured.
    pub first_byte: Nanos,
}

/// How a message ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BodyEnd {
    /// Whether all of it was delivered, and if not why.
    pub completeness: Completeness,
    /// Body bytes captured, chunk framing removed, content encoding not. Without lost ones.
    pub wire_bytes: u64,
    /// Body bytes delivered.
    pub decoded_bytes: u64,
    /// When the first body byte was captured; `None` without a body.
    pub first_byte: Option<Nanos>,
    /// When the last body byte was captured; `None` without a body.
    pub last_byte: Option<Nanos>,
    /// Trailer fields of a chunked or an HTTP/2 body.
    pub trailers: Headers,
    /// Of a body that was cut because it is too long ([`Defect::OverLimit`]) and of which nothing else
    /// is missing: what it was as a whole.
    pub whole: Option<WholeContent>,
}

/// Everything that stands between a delivered message and the whole one. Nothing: it is complete.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Completeness {
    defects: Vec<Defect>,
}

impl Completeness {
    /// Whether the whole message was delivered.
    pub fn is_complete(&self) -> bool {
        self.defects.is_empty()
    }

    /// Each kind of defect at most once, in the order in which they were found.
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    /// Adds a defect. Gaps are summed up under the place of the first; any other kind that is
    /// already there is kept as it is.
    pub fn add(&mut self, defect: Defect) {
        for known in &mut self.defects {
            if let (Defect::Gap { lost_bytes, .. }, Defect::Gap { lost_bytes: more, .. }) =
                (&mut *known, &defect)
            {
                *lost_bytes = lost_bytes.saturating_add(*more);
                return;
            }
            if std::mem::discriminant(known) == std::mem::discriminant(&defect) {
                return;
            }
        }
        self.defects.push(defect);
    }
}

impl FromIterator<Defect> for Completeness {
    fn from_iter<I: IntoIterator<Item = Defect>>(defects: I) -> Self {
        let mut completeness = Self::default();
        defects.into_iter().for_each(|defect| completeness.add(defect));
        completeness
    }
}

/// Why a message is not complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Defect {
    /// Bytes of it were not captured.
    Gap {
        /// Bytes lost in all that are known to have been lost, as on the wire. The part beyond
        /// the message is included when its end could not be told.
        lost_bytes: u64,
        /// Delivered bytes before the first gap.
        at: u64,
    },
    /// The connection or the stream ended before the message, or its end can no longer be told.
    Truncated,
    /// The body is larger than [`Limits::body_bytes`](crate::Limits::body_bytes), the WebSocket message
    /// than [`Limits::websocket_message_bytes`](crate::Limits::websocket_message_bytes) or than
    /// compressed messages may grow on average; what exceeds it was counted and not delivered.
    OverLimit {
        /// Body bytes on the wire in all, content-encoded.
        total_bytes: u64,
    },
    /// Bytes were captured and could not be read.
    Undecodable(Undecodable),
    /// It is not certain which request and which response belong together, so this request was
    /// left without its response.
    PairingLost,
}

/// Why captured bytes of a body could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Undecodable {
    /// Encoded in a way that this crate does not read, as the header said it.
    UnsupportedEncoding(String),
    /// The content encoding is broken.
    CorruptEncoding,
    /// The message is complete but its content encoding is not.
    TruncatedEncoding,
    /// The head could not be read.
    MalformedHead,
    /// Several lengths that differ, or one that is no number: nobody can say where it ends.
    ConflictingLength,
    /// A transfer encoding that leaves the end unknown.
    UnsupportedTransferEncoding,
    /// The chunk framing is broken.
    MalformedChunk,
    /// Compressed by reference to an earlier WebSocket message that was not read completely.
    CompressionContextLost,
}

/// Something on a connection that was not understood, or only with a reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub direction: Direction,
    /// Bytes of that direction (lost ones included) before the place, from the first byte that
    /// the decoder was told of.
    pub offset: u64,
    /// What.
    pub kind: ProblemKind,
}

/// What a [`Problem`] is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ProblemKind {
    /// The first bytes are no message start: another protocol, or a connection that was joined in
    /// the middle of a message.
    Unrecognised,
    /// A message head that could not be read.
    MalformedHead,
    /// A head larger than [`Limits::head_bytes`](crate::Limits::head_bytes) or with more fields
    /// than [`Limits::headers`](crate::Limits::headers).
    HeadTooLarge,
    /// The connection ended within a head or a WebSocket frame header.
    TruncatedHead,
    /// Trailer fields that could not be read; the body before them is not affected.
    MalformedTrailers,
    /// Chunk framing that could not be read.
    MalformedChunk,
    /// Both `Transfer-Encoding` and `Content-Length`. Chunked wins (RFC 9112 section 6.3).
    TransferEncodingWithLength,
    /// Several `Content-Length` that differ, or one that is no number.
    ConflictingLength,
    /// A transfer encoding that leaves the end of the message unknown.
    UnsupportedTransferEncoding,
    /// A transfer encoding that another reader may overlook or read otherwise: in HTTP/1.0, empty, with
    /// parameters, or together with `identity`. Read as if that were nothing.
    DoubtfulTransferEncoding,
    /// A header field continued on a further line; read as one line.
    ObsoleteFolding,
    /// A carriage return without line feed in a head.
    BareCarriageReturn,
    /// A line feed without carriage return in a head; read as a line end.
    BareLineFeed,
    /// Bytes lost where a message boundary may lie. What follows is left out up to the next
    /// certain message start.
    FramingLost,
    /// This message was found after message boundaries had been lost: by the start of a record
    /// that looks like a message start at a moment when one was due, or within that same record
    /// behind such a message. It may be content that looks like a message; and the pairing is
    /// right unless whole messages of both directions vanished besides. In a chunked body: by a
    /// record that is nothing but chunks. In a WebSocket: by one that is nothing but whole frames.
    Resynchronised,
    /// A response to a request that was not captured.
    ResponseWithoutRequest,
    /// Requests or responses were lost and it is not certain which belong together.
    PairingUncertain,
    /// More unanswered requests than [`Limits::pending_requests`](crate::Limits::pending_requests).
    TooManyPendingRequests,
    /// The client went on for more than [`Limits::held_bytes`](crate::Limits::held_bytes) before
    /// its upgrade was answered.
    HeldTooLong,
    /// A frame of HTTP/2 or WebSocket that contradicts itself or may not stand where it does. Its
    /// content is left out; on a WebSocket also what follows in its direction, as after lost bytes.
    MalformedFrame,
    /// A WebSocket frame of a client that is not masked, or of a server that is; read as it is. Said
    /// once for each direction.
    UnexpectedMasking,
    /// Fields of this head refer to a header table that is not known since bytes were lost: they
    /// are left out. What is there is certain. Where a `content-encoding` may be among them, gzip
    /// is undone if the body begins like it; a body in another encoding is delivered as it is.
    HpackUnreliable,
    /// The body is not as long as its `content-length` says.
    LengthMismatch,
    /// One side ended this exchange before it was over (RST_STREAM, GOAWAY).
    StreamReset,
    /// More streams at once than [`Limits::streams`](crate::Limits::streams): this one, the oldest,
    /// was given up.
    TooManyStreams,
}

// Captured content is sensitive and Debug output ends in logs and crash messages, so the
// implementations below show structure and sizes, never values.

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("target_bytes", &self.target.len())
            .field("version", &self.version)
            .field("headers", &self.headers)
            .field("first_byte", &self.first_byte)
            .finish()
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("headers", &self.headers)
            .field("first_byte", &self.first_byte)
            .finish()
    }
}

impl fmt::Debug for HttpEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHead(head) => head.fmt(f),
            Self::RequestBody(bytes) => write!(f, "RequestBody({} bytes)", bytes.len()),
            Self::RequestBodyGap { lost } => write!(f, "RequestBodyGap({lost} bytes)"),
            Self::RequestEnd(end) => f.debug_tuple("RequestEnd").field(end).finish(),
            Self::InformationalHead(head) => f.debug_tuple("InformationalHead").field(head).finish(),
            Self::ResponseHead(head) => head.fmt(f),
            Self::ResponseBody(bytes) => write!(f, "ResponseBody({} bytes)", bytes.len()),
            Self::ResponseBodyGap { lost } => write!(f, "ResponseBodyGap({lost} bytes)"),
            Self::ResponseEnd(end) => f.debug_tuple("ResponseEnd").field(end).finish(),
            Self::WebSocketMessage(message) => message.fmt(f),
            Self::JsonRpcLine(line) => line.fmt(f),
            Self::Upgraded { protocol } => f.debug_tuple("Upgraded").field(protocol).finish(),
            Self::Problem(problem) => problem.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Header;

    #[test]
    fn debug_output_shows_no_captured_content() {
        let head = RequestHead {
            method: "POST".into(),
            target: "/v1?key=SECRET".into(),
            version: HttpVersion::Http11,
            headers: [Header::new("authorization", "SECRET")].into_iter().collect(),
            first_byte: Nanos(1),
        };
        assert!(!format!("{head:?}").contains("SECRET"));
        assert!(
            !format!("{:?}", HttpEventKind::RequestBody(Bytes::from_static(b"SECRET"))).contains("SECRET")
        );
    }

    #[test]
    fn gaps_are_summed_under_the_place_of_the_first() {
        let completeness: Completeness = [
            Defect::Gap { lost_bytes: 3, at: 10 },
            Defect::Truncated,
            Defect::Gap { lost_bytes: 4, at: 20 },
            Defect::Truncated,
        ]
        .into_iter()
        .collect();
        assert_eq!(completeness.defects(), [Defect::Gap { lost_bytes: 7, at: 10 }, Defect::Truncated]);
    }
}
