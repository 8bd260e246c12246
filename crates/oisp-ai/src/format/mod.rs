//! Formats: how requests, responses and streams are written. One file each, behind [`Format`].

mod aleph_alpha;
mod answer;
mod anthropic_complete;
mod anthropic_messages;
mod bedrock_agents;
mod bedrock_converse;
mod bedrock_native;
mod blocks;
mod choices;
mod cohere;
mod common;
mod completion;
mod embeddings;
#[cfg(test)]
mod equality;
mod gap_text;
mod gemini;
mod gemini_embeddings;
mod gemini_interactions;
mod google_count_tokens;
mod google_path;
mod huggingface_tgi;
mod invocations;
mod llama_cpp;
mod lm_studio;
mod ollama;
mod openai_assistants;
mod openai_chat;
mod openai_completions;
mod openai_media;
mod openai_responses;
mod plain_request;
mod replicate;
mod text_answer;
mod vectors;
mod watsonx;

use oisp_decode::Headers;
use oisp_event::{AiRequest, AiResponse};
use serde_json::{Map, Value};

use crate::call::Embedding;
use crate::chunks::{Draft, Progress};
use crate::detect::Target;
use crate::providers::Dialect;
use crate::thin::Thinning;

/// Names a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FormatId {
    OpenAiChat,
    OpenAiCompletions,
    OpenAiResponses,
    AnthropicMessages,
    AnthropicComplete,
    BedrockConverse,
    BedrockNative,
    CohereV2,
    CohereV1,
    CohereGenerate,
    CohereEmbed,
    CohereRerank,
    Gemini,
    GeminiEmbeddings,
    GeminiInteractions,
    GoogleCountTokens,
    Ollama,
    OllamaEmbeddings,
    OpenAiEmbeddings,
    HuggingFaceTgi,
    LlamaCpp,
    LmStudio,
    OpenAiMedia,
    Replicate,
    Watsonx,
    AlephAlpha,
    BedrockAgents,
    OpenAiAssistants,
}

/// Every format, the more particular first: the first that recognises a body has it.
pub(crate) static ALL: &[&dyn Format] = &[
    &anthropic_messages::AnthropicMessages,
    &openai_responses::OpenAiResponses,
    &anthropic_complete::AnthropicComplete,
    &bedrock_converse::BedrockConverse,
    &cohere::CohereV2,
    &cohere::CohereV1,
    &watsonx::Watsonx,
    &ollama::Ollama,
    &openai_chat::OpenAiChat,
    &openai_completions::OpenAiCompletions,
    &gemini::Gemini,
    &gemini_interactions::GeminiInteractions,
    &gemini_embeddings::GeminiEmbeddings,
    &google_count_tokens::GoogleCountTokens,
    &embeddings::OllamaEmbeddings,
    &embeddings::OpenAiEmbeddings,
    &huggingface_tgi::HuggingFaceTgi,
    &llama_cpp::LlamaCpp,
    &lm_studio::LmStudio,
    &openai_media::OpenAiMedia,
    &replicate::Replicate,
    &aleph_alpha::AlephAlpha,
    &bedrock_agents::BedrockAgents,
    &openai_assistants::OpenAiAssistants,
    // What these recognise is broad.
    &cohere::CohereGenerate,
    &cohere::CohereEmbed,
    &cohere::CohereRerank,
    &bedrock_native::BedrockNative,
];

/// The format of an id.
pub(crate) fn of(id: FormatId) -> &'static dyn Format {
    match id {
        FormatId::OpenAiChat => &openai_chat::OpenAiChat,
        FormatId::OpenAiCompletions => &openai_completions::OpenAiCompletions,
        FormatId::OpenAiResponses => &openai_responses::OpenAiResponses,
        FormatId::AnthropicMessages => &anthropic_messages::AnthropicMessages,
        FormatId::AnthropicComplete => &anthropic_complete::AnthropicComplete,
        FormatId::BedrockConverse => &bedrock_converse::BedrockConverse,
        FormatId::BedrockNative => &bedrock_native::BedrockNative,
        FormatId::CohereV2 => &cohere::CohereV2,
        FormatId::CohereV1 => &cohere::CohereV1,
        FormatId::CohereGenerate => &cohere::CohereGenerate,
        FormatId::CohereEmbed => &cohere::CohereEmbed,
        FormatId::CohereRerank => &cohere::CohereRerank,
        FormatId::Gemini => &gemini::Gemini,
        FormatId::GeminiEmbeddings => &gemini_embeddings::GeminiEmbeddings,
        FormatId::GeminiInteractions => &gemini_interactions::GeminiInteractions,
        FormatId::GoogleCountTokens => &google_count_tokens::GoogleCountTokens,
        FormatId::Ollama => &ollama::Ollama,
        FormatId::OllamaEmbeddings => &embeddings::OllamaEmbeddings,
        FormatId::OpenAiEmbeddings => &embeddings::OpenAiEmbeddings,
        FormatId::HuggingFaceTgi => &huggingface_tgi::HuggingFaceTgi,
        FormatId::LlamaCpp => &llama_cpp::LlamaCpp,
        FormatId::LmStudio => &lm_studio::LmStudio,
        FormatId::OpenAiMedia => &openai_media::OpenAiMedia,
        FormatId::Replicate => &replicate::Replicate,
        FormatId::Watsonx => &watsonx::Watsonx,
        FormatId::BedrockAgents => &bedrock_agents::BedrockAgents,
        FormatId::OpenAiAssistants => &openai_assistants::OpenAiAssistants,
        FormatId::AlephAlpha => &aleph_alpha::AlephAlpha,
    }
}

/// The first format that recognises a request by its body alone.
pub(crate) fn of_request(body: &Value, headers: &Headers) -> Option<&'static dyn Format> {
    ALL.iter().copied().find(|format| format.owns_request(body, headers))
}

/// The format of a response body: `expected` if it recognises it, else the first that does.
pub(crate) fn of_response(body: &Value, expected: Option<FormatId>) -> Option<&'static dyn Format> {
    let asked = expected.map(of).filter(|format| format.accepts_response(body));
    asked.or_else(|| ALL.iter().copied().find(|format| format.recognises_response(body)))
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
    /// Whether a `GET` of a path gives the answer to an earlier request.
    fn fetches_answer(&self, _path: &str) -> bool {
        false
    }
    /// Whether path and headers alone are enough when the body was lost.
    fn is_distinctive(&self, _path: &str, _headers: &Headers) -> bool {
        false
    }

    /// Whether a body is a request of this format, given that the path says so.
    fn recognises_request(&self, body: &Value, target: &Target) -> bool;
    /// Whether a body on an unknown path is a request of this format and of no other.
    fn owns_request(&self, _body: &Value, _headers: &Headers) -> bool {
        false
    }
    /// Whether a body is an answer of this format (not: an error, whose shapes are shared).
    fn recognises_response(&self, body: &Value) -> bool;
    /// Whether a body is an answer of this format, given that it answers a request of this format.
    fn accepts_response(&self, body: &Value) -> bool {
        self.recognises_response(body)
    }
    /// Whether a stream's event is of this format. Most framings give it no name.
    fn recognises_stream_event(&self, _name: &str, _data: &Value) -> bool {
        false
    }
    /// Whether the beginning of a response body may be of this format: a cheap first look.
    fn may_begin_response(&self, _beginning: &str) -> bool {
        false
    }

    /// Whether an answer that is one JSON array is a stream whose elements are its events.
    fn streams_array(&self) -> bool {
        false
    }

    /// Whether requests may be `multipart/form-data`; the fields are given as an object.
    fn reads_forms(&self) -> bool {
        false
    }
    /// What of an answer is counted and not kept, where it has vectors.
    fn thinning(&self) -> Option<Thinning> {
        None
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest;
    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse;
    /// An answer of plain text, where the format has such.
    fn parse_text(&self, _text: &str) -> Option<ParsedResponse> {
        None
    }
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
    /// Names what the answer says so far: of each choice the text that no gap has torn, and the tool calls in their
    /// order. What is named must stay the beginning of what [`finish`](Self::finish) gives; what a format does not name is
    /// told when the answer is over.
    fn progress(&self, _progress: &mut Progress<'_>) {}
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
    /// A stream's own numbers tell that some of its events did not come.
    pub(crate) is_incomplete: bool,
    /// What was not yet told of a streamed one while it came.
    pub(crate) chunks: Vec<Draft>,
}

pub(crate) use answer::usage_with_cache_apart;
pub(crate) use common::error_of_failed;
