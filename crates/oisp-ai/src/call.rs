//! What interpreting delivers.

use oisp_decode::{ExchangeId, Nanos};
use oisp_event::{AiRequest, AiResponse, AiStreamingChunk, DetectionMethod, Level};
use serde_json::{Map, Value};

use crate::{Findings, McpMessage};

/// A call to a model, one half of it; or a message of MCP.
#[derive(Clone, Debug, PartialEq)]
pub enum AiEvent {
    /// The request is complete, or has ended incomplete and was recognised all the same.
    Request(Box<AiCall>),
    /// Part of a streamed response arrived; only where that was asked for
    /// ([`Limits::streaming_chunks`](crate::Limits::streaming_chunks)), and only of requests that were given.
    Chunk(Box<AiChunk>),
    /// The response is complete or has ended; also when it was never seen (see [`AiAnswer::findings`]).
    Response(Box<AiAnswer>),
    /// A message between an agent and a server of tools.
    Mcp(Box<McpMessage>),
}

/// A request to a model.
#[derive(Clone, PartialEq)]
pub struct AiCall {
    /// The exchange on its connection.
    pub exchange: ExchangeId,
    /// The payload; `request_id` is empty.
    pub request: AiRequest,
    /// How it was recognised.
    pub detection: Detection,
    /// When its first byte was captured.
    pub started: Nanos,
    /// When its last byte was captured.
    pub completed: Nanos,
    /// What is missing.
    pub findings: Findings,
    /// For `ext.oisp_sensor`.
    pub extension: Map<String, Value>,
}

/// The response to a request.
#[derive(Clone, PartialEq)]
pub struct AiAnswer {
    /// The exchange on its connection: the same as the request's.
    pub exchange: ExchangeId,
    /// The payload; `request_id` is empty.
    pub response: AiResponse,
    /// How it was recognised: as its request, or by its own body where the request was not seen.
    pub detection: Detection,
    /// Whether an [`AiEvent::Request`] of this exchange was given.
    pub has_request: bool,
    /// What an embedding gave, where it is one.
    pub embedding: Option<Embedding>,
    /// When things happened.
    pub timings: Timings,
    /// What is missing.
    pub findings: Findings,
    /// For `ext.oisp_sensor`.
    pub extension: Map<String, Value>,
}

/// Part of the streamed response to a request.
#[derive(Clone, PartialEq)]
pub struct AiChunk {
    /// The exchange on its connection: the same as the request's.
    pub exchange: ExchangeId,
    /// The payload, as it came; `request_id` is empty, and it has no number.
    pub chunk: AiStreamingChunk,
    /// How the request was recognised.
    pub detection: Detection,
    /// When its last byte was captured.
    pub time: Nanos,
    /// Which of the response's choices its text is of.
    pub choice: u64,
    /// Which of the response's tool calls those in the chunk are.
    pub call_numbers: Vec<u64>,
    /// Whether nothing follows of this choice.
    pub is_last: bool,
    /// For `ext.oisp_sensor`.
    pub extension: Map<String, Value>,
}

/// The vectors that an embedding gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedding {
    /// How many there are: one for each input.
    pub count: u64,
    /// Numbers in each; `None` where they cannot be counted or differ.
    pub dimensions: Option<u64>,
}

/// How a call was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The service, more exact than the specification's list (`openrouter`, `openai_compatible`).
    pub provider_id: String,
    /// By what.
    pub method: DetectionMethod,
    /// How sure, before findings.
    pub confidence: Level,
}

/// Kernel times of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The request's last byte; `None` when the request was not seen.
    pub request_completed: Option<Nanos>,
    /// The response's first byte, of its head.
    pub first_byte: Option<Nanos>,
    /// The first streamed event with content (text, reasoning, tool call).
    pub first_content: Option<Nanos>,
    /// The response's last byte.
    pub last_byte: Option<Nanos>,
    /// Streamed events, without comments.
    pub chunk_count: u64,
    /// The longest time between two streamed events, in nanoseconds.
    pub longest_chunk_gap: Option<u64>,
}

// Events carry prompts and answers, and Debug output ends in logs and crash messages.

impl std::fmt::Debug for AiCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AiCall")
            .field("exchange", &self.exchange)
            .field("detection", &self.detection)
            .field("messages", &self.request.messages.len())
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AiChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AiChunk")
            .field("exchange", &self.exchange)
            .field("time", &self.time)
            .field("choice", &self.choice)
            .field("is_last", &self.is_last)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AiAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AiAnswer")
            .field("exchange", &self.exchange)
            .field("detection", &self.detection)
            .field("status_code", &self.response.status_code)
            .field("timings", &self.timings)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}
