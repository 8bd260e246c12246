//! What was said in generated traffic, to compare events with.

use crate::ConnectionId;

use super::Service;

/// A call as it was made, whether or not it can be seen in the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTruth {
    /// From 0, in the order in which calls were planned.
    pub number: u64,
    /// The connection that it went over.
    pub connection: ConnectionId,
    /// Whom it was made to.
    pub service: Service,
    /// The model asked, which is also the one that answers.
    pub model: &'static str,
    /// Whether the answer is a stream.
    pub streamed: bool,
    /// The system prompt.
    pub system: &'static str,
    /// What the user says.
    pub prompt: String,
    /// What the model says.
    pub answer: String,
    /// The tools that the model asks for.
    pub tool_calls: Vec<ToolCallTruth>,
    /// The provider's id of the answer.
    pub response_id: String,
    /// Why the answer ends, in the provider's words.
    pub finish_reason: &'static str,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// How much of the request was delivered.
    pub request: Delivery,
    /// How much of the response was delivered.
    pub response: Delivery,
    /// Whether the connection lost bytes before this call. What can be read behind a gap is less certain, though it
    /// was delivered whole.
    pub after_loss: bool,
}

/// A tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCallTruth {
    /// The provider's id of it.
    pub id: String,
    /// The tool.
    pub name: &'static str,
    /// JSON.
    pub arguments: String,
}

/// How much of a message was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// All of it.
    Whole,
    /// All but bytes that were dropped.
    Lossy {
        /// How many, as on the wire.
        lost_bytes: u64,
    },
    /// The generator was stopped before its end, or before its beginning.
    CutShort,
}
