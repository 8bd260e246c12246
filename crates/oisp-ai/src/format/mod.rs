//! Formats: how requests, responses and streams are written. One file each, behind [`Format`].

mod anthropic_messages;
mod common;
#[cfg(test)]
mod equality;
mod gap_text;
mod openai_chat;

use oisp_decode::Headers;
use oisp_event::{AiRequest, AiResponse};
use serde_json::{Map, Value};

use crate::call::Embedding;
use crate::detect::Target;
use crate::providers::Dialect;

/// Names a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FormatId {
    OpenAiChat,
    AnthropicMessages,
}

/// Every format, the more particular first: the first that recognises a body has it.
pub(crate) static ALL: &[&dyn Format] = &[&anthropic_messages::AnthropicMessages, &openai_chat::OpenAiChat];

/// The format of an id.
pub(crate) fn of(id: FormatId) -> &'static dyn Format {
    match id {
        FormatId::OpenAiChat => &openai_chat::OpenAiChat,
        FormatId::AnthropicMessages => &anthropic_messages::AnthropicMessages,
    }
}

/// The first format that recognises a request by its body alone.
pub(crate) fn of_request(body: &Value, headers: &Headers) -> Option<&'static dyn Format> {
    ALL.iter().copied().find(|format| format.owns_request(body, headers))
}

/// The format of a response body: `expected` if it recognises it, else the first that does.
pub(crate) fn of_response(body: &Value, expected: Option<FormatId>) -> Option<&'static dyn Format> {
    in_order(expected).find(|format| format.recognises_response(body))
}

/// The format of a stream by one of its events.
pub(crate) fn of_stream(data: &Value, name: &str, expected: Option<FormatId>) -> Option<&'static dyn Format> {
    in_order(expected).find(|format| format.recognises_stream_event(name, data))
}

/// The formats that a path may be of on any host.
pub(crate) fn at_any_host(path: &str) -> impl Iterator<Item = &'static dyn Format> {
    ALL.iter().copied().filter(move |format| format.serves_any_host(path))
}

fn in_order(expected: Option<FormatId>) -> impl Iterator<Item = &'static dyn Format> {
    expected.map(of).into_iter().chain(ALL.iter().copied())
}

/// How one kind of API writes its messages.
///
/// Parsing takes what it understands and lists the rest in `unparsed`; it fails on nothing.
pub(crate) trait Format: Sync {
    fn id(&self) -> FormatId;
    /// For `ext.oisp_sensor.api_format`.
    fn name(&self) -> &'static str;
    /// The provider id of an unknown service that speaks it.
    fn compatible_id(&self) -> &'static str;

    /// Whether a path is this format's on a host that is known to speak it.
    fn serves_known_host(&self, path: &str) -> bool;
    /// Whether a path may be this format's on any host; the body must confirm it.
    fn serves_any_host(&self, path: &str) -> bool;
    /// Whether path and headers alone are enough when the body was lost.
    fn is_distinctive(&self, path: &str, headers: &Headers) -> bool;

    /// Whether a body is a request of this format, given that the path says so.
    fn recognises_request(&self, body: &Value, target: &Target) -> bool;
    /// Whether a body on an unknown path is a request of this format and of no other.
    fn owns_request(&self, body: &Value, headers: &Headers) -> bool;
    /// Whether a body is an answer of this format (not: an error, whose shapes are shared).
    fn recognises_response(&self, body: &Value) -> bool;
    /// Whether a stream's event is of this format. Most framings give it no name.
    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool;
    /// Whether the beginning of a response body may be of this format: a cheap first look.
    fn may_begin_response(&self, beginning: &str) -> bool;

    /// Whether an answer that is one JSON array is a stream whose elements are its events.
    fn streams_array(&self) -> bool {
        false
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest;
    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse;
    /// Collects a streamed response.
    fn stream(&self, dialect: Dialect) -> Box<dyn StreamAccumulator>;
}

/// A streamed response on its way.
pub(crate) trait StreamAccumulator: Send {
    /// Takes the next event; says whether it carries content (text, reasoning, tool call).
    fn event(&mut self, name: &str, data: Value) -> bool;
    /// As [`event`](Self::event) from the text of a small event, for the shapes that make up most of a stream, without
    /// building its value; `None`, and nothing taken, for any other, also one that is no JSON.
    fn text_event(&mut self, _name: &str, _data: &str) -> Option<bool> {
        None
    }
    /// Bytes are missing here: what follows must not be joined to what came before.
    fn gap(&mut self);
    /// Whether every part of the answer has its end.
    fn is_complete(&self) -> bool;
    /// Whether an event said that no other follows.
    fn has_ended(&self) -> bool;
    fn finish(self: Box<Self>) -> ParsedResponse;
}

/// What a request body says.
#[derive(Debug, Default)]
pub(crate) struct ParsedRequest {
    pub(crate) request: AiRequest,
    pub(crate) extension: Map<String, Value>,
    pub(crate) unparsed: Vec<String>,
}

/// What a response body says.
#[derive(Debug, Default)]
pub(crate) struct ParsedResponse {
    pub(crate) response: AiResponse,
    /// What an embedding gave.
    pub(crate) embedding: Option<Embedding>,
    pub(crate) extension: Map<String, Value>,
    pub(crate) unparsed: Vec<String>,
}

pub(crate) use common::error_of_failed;
