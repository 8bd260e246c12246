//! From the bytes of a connection to messages, without I/O.
//!
//! This crate takes what was written and read on one connection, piece by piece, and gives HTTP
//! messages: heads, content-decoded body bytes, ends that say how complete they are. It reads no
//! clock (times are passed in), opens nothing, never panics, holds bounded memory (see [`Limits`])
//! and works in time linear in its input. It knows no AI provider, no process and no socket.
//!
//! The way in:
//! - [`StreamAssembler`] turns records with absolute offsets into ordered bytes and explicit gaps,
//!   one assembler for each direction;
//! - [`ConnectionDecoder`] takes both directions of a connection in the order in which they
//!   happened, recognises the protocol and gives [`HttpEvent`]s, the messages of a WebSocket
//!   and the lines of a connection that speaks JSON-RPC without HTTP among them;
//! - [`SseParser`] splits a `text/event-stream` body into events, [`NdjsonSplitter`] lines,
//!   [`JsonArraySplitter`] a streamed array, [`EventStreamParser`] an AWS event stream,
//!   [`GrpcSplitter`] gRPC messages; [`JsonRpcMessage`] tells what a JSON-RPC message is.
//!
//! What is not understood is never dropped in silence: it is a [`Problem`] or a [`Defect`].

mod assemble;
mod body;
mod connection;
mod early;
mod encoding;
mod event_stream;
pub mod fuzz;
mod grpc;
mod headers;
mod http1;
mod http2;
mod json_array;
mod json_lines;
mod json_rpc;
mod limits;
mod message;
mod ndjson;
mod sse;
mod websocket;
mod whole;

pub use assemble::{Segment, StreamAssembler};
pub use connection::ConnectionDecoder;
pub use encoding::{ContentDecoder, EncodingError};
pub use event_stream::{
    EventHeader, EventHeaderValue, EventMessage, EventMessageType, EventStreamError, EventStreamParser,
};
pub use grpc::{GrpcError, GrpcMessage, GrpcSplitter};
pub use headers::{Header, Headers};
pub use json_array::{JsonArrayError, JsonArraySplitter, JsonElement};
pub use json_lines::JsonRpcLine;
pub use json_rpc::{JsonRpcId, JsonRpcMessage};
pub use limits::{LimitOutOfRange, Limits};
pub use message::{
    BodyEnd, Completeness, Defect, Direction, ExchangeId, HttpEvent, HttpEventKind, HttpVersion, Nanos,
    Problem, ProblemKind, Protocol, RequestHead, ResponseHead, Role, Undecodable, UpgradeProtocol,
};
pub use ndjson::{NdjsonLine, NdjsonSplitter};
pub use sse::{SseEvent, SseParser};
pub use websocket::{WebSocketKind, WebSocketMessage};
pub use whole::WholeContent;
