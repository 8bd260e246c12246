//! `ai.request`, `ai.response` and what goes with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `ai.request`: a call to a model, complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AiRequest {
    /// The sensor's id of the call; the response has the same.
    pub request_id: String,
    /// The conversation that it belongs to, as the sensor tells them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The service.
    pub provider: Provider,
    /// The model asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// How the caller identified itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The kind of call.
    pub request_type: RequestType,
    /// Whether a stream was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// The messages, a system prompt among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// How many messages there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_count: Option<u64>,
    /// Whether a system prompt is among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_system_prompt: Option<bool>,
    /// Hash of the system prompt, keyed; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt_hash: Option<String>,
    /// Tools offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    /// How many tools were offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools_count: Option<u64>,
    /// The caller's choice among them; an object is written as its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<String>,
    /// Sampling parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Whether images were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_images: Option<bool>,
    /// How many images were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_count: Option<u64>,
}

/// `ai.response`: what came back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AiResponse {
    /// The request's id.
    pub request_id: String,
    /// The request's conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The id that the provider gave the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// The service.
    pub provider: Provider,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Whether the call succeeded: HTTP status below 400 and no error in the body or the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// The answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Tool calls that the model asked for, of all choices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls_count: Option<u64>,
    /// Tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// From the request's last byte to the response's last byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// From the request's last byte to the first content of a streamed answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<u64>,
    /// Why generation stopped (the first choice's).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
}

/// `ai.streaming_chunk`: what a streamed answer added since the last one, told only on request.
///
/// Its text went through redaction with the text before it. Several of the provider's events may be in one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AiStreamingChunk {
    /// The request's id.
    pub request_id: String,
    /// Its number within the answer, from 0; set by the redaction stage, which holds text back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_index: Option<u64>,
    /// What was added.
    #[serde(default)]
    pub delta: Delta,
    /// Why generation stopped, in the last chunk of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
}

/// What a chunk adds to an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Who speaks, in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Parts of tool calls: each with the call's id and name where they are known, and what was added to its arguments.
    /// Which calls they are, by number, stands in `ext.oisp_sensor.tool_call_indexes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// `ai.embedding`: texts were turned into vectors, request and response in one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AiEmbedding {
    /// The service.
    pub provider: Provider,
    /// The model that answered, else the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Vectors that came back: one for each input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_count: Option<u64>,
    /// Tokens of all inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Numbers in a vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u64>,
    /// From the request's last byte to the response's last byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

/// An AI service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// The specification's name; a provider outside its list is `other`, with the exact id in
    /// `ext.oisp_sensor.provider_id`.
    pub name: ProviderName,
    /// URL called, without query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region, where the host or a header tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Organisation, where a header tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Project, where a header tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
}

/// The specification's closed list of providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the providers' own")]
pub enum ProviderName {
    #[serde(rename = "openai")]
    OpenAi,
    Anthropic,
    Google,
    #[serde(rename = "azure_openai")]
    AzureOpenAi,
    AwsBedrock,
    Cohere,
    Mistral,
    Groq,
    Together,
    Fireworks,
    Replicate,
    #[serde(rename = "huggingface")]
    HuggingFace,
    Ollama,
    #[serde(rename = "lmstudio")]
    LmStudio,
    Vllm,
    #[default]
    Other,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// As sent or as returned.
    pub id: String,
}

/// How a caller identified itself: never the credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Auth {
    /// Kind of credential.
    #[serde(rename = "type")]
    pub auth_type: AuthType,
    /// Whose account it is, where what was sent tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_type: Option<AccountType>,
    /// The credential's first characters as far as they are the scheme's fixed part, at most 8
    /// (`sk-proj-`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Keyed hash of the credential; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<String>,
    /// The credential itself, for the redaction stage to hash. Never serialised.
    #[serde(skip)]
    pub credential: Option<Credential>,
}

/// A credential on its way to the redaction stage: has no text form and cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(pub String);

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credential(..)")
    }
}

/// Kind of credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum AuthType {
    ApiKey,
    #[serde(rename = "oauth")]
    OAuth,
    ServiceAccount,
    Session,
    None,
    #[default]
    Unknown,
}

/// Whose account a call is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum AccountType {
    Personal,
    Corporate,
    Shared,
    Unknown,
}

/// The kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum RequestType {
    Chat,
    Completion,
    Embedding,
    Image,
    Audio,
    Moderation,
    #[default]
    Other,
}

/// A message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text parts, joined; other parts are counted here and described under `ext`. A redaction mode
    /// that keeps no content replaces it by a `$redacted` object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// Keyed hash of the content; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// Length of the text in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_length: Option<u64>,
    /// Whether it has images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_images: Option<bool>,
    /// How many images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_count: Option<u64>,
    /// The tool call that a tool message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The speaker's or tool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Message {
    /// A message with text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        let length = text.chars().count() as u64;
        Self { role, content: Some(Value::String(text)), content_length: Some(length), ..Self::default() }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the field's own names")]
pub enum Role {
    System,
    #[default]
    User,
    Assistant,
    Tool,
    Function,
}

/// A tool that the model may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolDefinition {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its kind.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub tool_type: Option<ToolType>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Kind of tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the specification's own names")]
pub enum ToolType {
    Function,
    CodeInterpreter,
    FileSearch,
    ComputerUse,
    Other,
}

/// A tool call that the model asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As the provider calls it (`function`, `tool_use`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub call_type: Option<String>,
    /// The arguments: the JSON text as the model wrote it. (An object would be ambiguous in the
    /// specification's schema as soon as redaction puts a marker into it.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Keyed hash of the arguments; set by the redaction stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_hash: Option<String>,
}

/// Sampling parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the field's own names")]
pub struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorInfo {
    /// The provider's kind of error.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// The provider's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The provider's code; a number is written as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// Its number, from 0.
    pub index: u64,
    /// What the model said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Why it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
}

/// The specification's closed list of finish reasons; the provider's own word stands in
/// `ext.oisp_sensor.finish_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the field's own names")]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    Error,
    Other,
}

/// Tokens, normalised: input includes cached tokens, output includes reasoning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// All input tokens, those from a cache included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// All output tokens, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    /// Input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Input tokens read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Output tokens spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Cost of the input in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_cost_usd: Option<f64>,
    /// Cost of the output in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_cost_usd: Option<f64>,
    /// Cost of the call in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_cost_usd: Option<f64>,
}
