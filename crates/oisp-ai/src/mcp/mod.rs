//! The Model Context Protocol: JSON-RPC 2.0 between an agent and the servers of its tools.
//!
//! A connection gives [`McpMessage`]s, over HTTP (`http.rs`: one endpoint, answers as JSON or as server-sent events; the
//! older pair of a stream and a place to post to) or as lines (`lines.rs`: pipes, unix sockets). What they mean is the
//! business of a [`McpConversation`], which knows no transport: a conversation over HTTP goes over several connections,
//! so whoever knows which messages belong together keeps it.
//!
//! Recognised by what no other protocol has: the headers of MCP, or a JSON-RPC message with a method of MCP's. Host and
//! path say nothing. Any other JSON-RPC gives nothing.

mod content;
mod conversation;
mod facts;
mod http;
mod lines;
mod read;

use oisp_decode::{ExchangeId, JsonRpcId, Nanos};
use serde_json::Value;

use crate::Findings;

pub use content::McpContentPart;
pub use conversation::{McpCall, McpConversation, McpEvent, McpOutcome};
pub use facts::{McpFacts, McpPeer, McpTool};
pub(crate) use http::HttpMessages;
pub(crate) use lines::LineMessages;

/// A message between an MCP client and an MCP server.
#[derive(Clone, PartialEq)]
pub struct McpMessage {
    /// The exchange that carried it. On a connection of lines a request and its answer have one number of their own.
    pub exchange: ExchangeId,
    /// It is the first of its exchange.
    pub opens_exchange: bool,
    /// Who sent it.
    pub from: McpSide,
    /// Which side the recorded process is.
    pub recorded: McpSide,
    /// When it was captured: its last byte.
    pub time: Nanos,
    /// Where the conversation takes place.
    pub place: McpPlace,
    /// The message.
    pub body: McpBody,
    /// How it was recognised: by headers of MCP, else by its body.
    pub has_headers: bool,
    /// What is missing.
    pub findings: Findings,
}

/// Where a conversation takes place.
#[derive(Clone, PartialEq, Eq)]
pub struct McpPlace {
    /// What carries it.
    pub transport: McpTransport,
    /// URL of the server without query; none of lines.
    pub endpoint: Option<String>,
    /// What tells the session from others at the same endpoint: the `Mcp-Session-Id`, or the query of the place to post to.
    /// Whoever has it can speak in the session, so it goes nowhere but into comparisons.
    pub session: Option<String>,
    /// Version of the protocol by the header.
    pub protocol_version: Option<String>,
}

/// What carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum McpTransport {
    /// One endpoint ("streamable HTTP"), of both eras.
    Http,
    /// A stream of server-sent events and a place to post to (2024-11-05).
    Sse,
    /// Lines over pipes or a socket.
    Stdio,
}

impl McpTransport {
    /// As events name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::Stdio => "stdio",
        }
    }
}

/// One of the two that speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum McpSide {
    /// The agent's.
    Client,
    /// The tools'.
    Server,
}

impl McpSide {
    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a message says.
#[derive(Clone, PartialEq)]
pub enum McpBody {
    /// Asks for an answer.
    Request {
        /// What the answer will carry.
        id: JsonRpcId,
        /// The method.
        method: String,
        /// Its parameters; null where there are none.
        params: Value,
    },
    /// Asks for none.
    Notification {
        /// The method.
        method: String,
        /// Its parameters; null where there are none.
        params: Value,
    },
    /// An answer: the result, or the error.
    Response {
        /// That of the request; `None` if the answering side could not read it.
        id: Option<JsonRpcId>,
        /// What it says.
        outcome: Result<Value, Value>,
    },
    /// A request was not answered by a message: this HTTP status came instead, or its answer was not read.
    Unanswered {
        /// That of the request.
        id: JsonRpcId,
        /// The HTTP status, where that is the answer.
        status: Option<u16>,
    },
    /// Nothing more will come: the client ended the session, or the connection of lines is over.
    End,
}

// Messages are captured content: kinds and sizes only.

impl std::fmt::Debug for McpMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpMessage")
            .field("exchange", &self.exchange)
            .field("from", &self.from)
            .field("place", &self.place)
            .field("body", &self.body)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for McpPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpPlace")
            .field("transport", &self.transport)
            .field("has_session", &self.session.is_some())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for McpBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request { method, .. } => write!(f, "Request({} bytes of method)", method.len()),
            Self::Notification { method, .. } => write!(f, "Notification({} bytes of method)", method.len()),
            Self::Response { outcome, .. } => write!(f, "Response(error: {})", outcome.is_err()),
            Self::Unanswered { status, .. } => write!(f, "Unanswered({status:?})"),
            Self::End => f.write_str("End"),
        }
    }
}
