//! From HTTP messages to AI calls: which service, what was asked, what came back.
//!
//! Takes the [`HttpEvent`](oisp_decode::HttpEvent)s of one connection, bodies already free of transfer
//! and content encodings, and gives an [`AiEvent`] for each call to a model: the request when it is
//! complete, the response when that is. What is not a call to a model gives nothing and is given up
//! after a bounded look.
//!
//! Messages of MCP, over HTTP or as lines, are given one by one ([`McpMessage`]): a conversation may go over several
//! connections. [`McpConversation`] says what those of one session mean.
//!
//! Knows nothing of sockets, processes, files or clocks: every time comes with the events. Never
//! panics and holds bounded memory whatever the input ([`Limits`]). What could not be read is listed
//! in [`Findings`]; nothing is guessed in its place.
//!
//! A service that speaks a known format is one row in `providers`; a new format is one file under
//! `format` behind the `Format` trait.

mod account;
mod bedrock;
mod body;
mod call;
mod chunks;
mod connection;
mod detect;
mod exchange;
mod findings;
mod form;
mod format;
mod framing;
mod headers;
mod json;
mod lean;
mod limits;
mod mcp;
pub mod prices;
mod providers;
mod request;
mod response;
mod services;
mod stream;
mod thin;
mod websocket;

pub use call::{AiAnswer, AiCall, AiChunk, AiEvent, Detection, Embedding, Timings};
pub use connection::{ConnectionContext, ConnectionInterpreter, Counters};
pub use findings::Findings;
pub use limits::Limits;
pub use mcp::{
    McpBody, McpCall, McpContentPart, McpConversation, McpEvent, McpFacts, McpMessage, McpOutcome, McpPeer,
    McpPlace, McpSide, McpTool, McpTransport,
};
pub use services::{ServiceHost, Services};
