//! Gemini: `POST .../models/{model}:generateContent` and `:streamGenerateContent`.

mod partial_arguments;
pub(super) mod parts;
mod stream;
pub(super) mod usage;

use oisp_decode::Headers;
use oisp_event::{Model, Parameters, RequestType, Role, ToolDefinition, ToolType};
use serde_json::{Map, Value, json};

use self::parts::{Part, object, snake_case_object};
use super::common::{self, Content, Messages};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path};
use crate::detect::Target;
use crate::json::{into_text, owned_text, take_array, take_text};
use crate::providers::Dialect;

pub(super) struct Gemini;

impl Format for Gemini {
    fn id(&self) -> FormatId {
        FormatId::Gemini
    }

    fn name(&self) -> &'static str {
        "gemini"
    }

    fn compatible_id(&self) -> &'static str {
        "gemini_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        self.serves_any_host(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        matches!(google_path::verb(path), Some("generateContent" | "streamGenerateContent"))
    }

    fn is_distinctive(&self, _path: &str, _headers: &Headers) -> bool {
        true
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        has_contents(body)
    }

    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        let contents = inner_request(body).get("contents").and_then(Value::as_array);
        contents.and_then(|contents| contents.first()).is_some_and(|first| first.get("parts").is_some())
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let body = inner_answer(body);
        ["candidates", "promptFeedback", "prompt_feedback"].iter().any(|key| body.get(key).is_some())
            || (body.get("usageMetadata").is_some() && body.get("modelVersion").is_some())
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        self.recognises_response(data)
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"candidates\"") || beginning.contains("\"promptFeedback\"")
    }

    /// Without `alt=sse` a stream is one array.
    fn streams_array(&self) -> bool {
        true
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut parsed = read_request(body, target);
        parsed.request.request_type = RequestType::Chat;
        parsed.request.streaming = match google_path::verb(&target.path) {
            Some("streamGenerateContent") => Some(true),
            Some("generateContent") => Some(false),
            _ => None,
        };
        parsed
    }

    /// A whole answer is a stream of one event.
    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse {
        let mut stream = self.stream(dialect);
        stream.event("", body);
        stream.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(stream::GeminiStream::default())
    }
}

/// What a client for developers wraps around the request.
const WRAPPERS: [&str; 2] = ["request", "generateContentRequest"];

/// The request itself, where it is wrapped.
fn inner_request(body: &Value) -> &Value {
    WRAPPERS.iter().find_map(|key| body.get(key).filter(|inner| inner.is_object())).unwrap_or(body)
}

/// The answer itself, where it is wrapped.
fn inner_answer(body: &Value) -> &Value {
    body.get("response").filter(|inner| inner.is_object()).unwrap_or(body)
}

pub(super) fn has_contents(body: &Value) -> bool {
    inner_request(body).get("contents").is_some_and(|contents| contents.is_array() || contents.is_object())
}

/// Reads what generating and counting have in common.
pub(super) fn read_request(body: Value, target: &Target) -> ParsedRequest {
    let mut parsed = ParsedRequest::default();
    let mut map = object(body);
    let mut model = google_path::model(target);
    let mut said_model = |map: &mut Map<String, Value>| {
        let said = take_text(map, "model").filter(|model| !model.is_empty());
        if model.is_none() {
            model = said.as_deref().map(google_path::bare_model);
        }
    };
    said_model(&mut map);
    for key in WRAPPERS {
        if let Some(inner) = map.remove(key).filter(Value::is_object) {
            common::set_text(&mut parsed.extension, "conversation_id", take_text(&mut map, "sessionId"));
            map = object(inner);
            said_model(&mut map);
        }
    }
    let mut messages = Messages::default();
    let mut tool_errors = Vec::new();
    if let Some(system) = map.remove("systemInstruction").filter(|system| !system.is_null()) {
        let mut content = Content::default();
        read_parts(system).into_iter().for_each(|part| parts::push(&mut content, part));
        messages.push(Role::System, content);
    }
    let contents = match map.remove("contents") {
        Some(Value::Array(contents)) => contents,
        Some(content) => vec![content],
        None => Vec::new(),
    };
    for content in contents {
        push_message(&mut messages, content, &mut tool_errors, &mut parsed.unparsed);
    }
    messages.finish(&mut parsed);
    common::set_array(&mut parsed.extension, "tool_errors", tool_errors);
    let request = &mut parsed.request;
    request.model = model.map(|id| Model { id });
    let tools = match map.remove("tools") {
        Some(Value::Array(tools)) => tools,
        Some(tool @ Value::Object(_)) => vec![tool],
        _ => Vec::new(),
    };
    push_tools(tools, &mut parsed);
    parsed.request.tool_choice = tool_choice(map.remove("toolConfig"));
    let configuration = object(map.remove("generationConfig").unwrap_or_default());
    parsed.request.parameters = Some(parameters(&configuration));
    let mut others = snake_case_object(&configuration);
    others.extend(snake_case_object(&map));
    common::enter_other_parameters(&mut parsed.extension, &others, OTHER_PARAMETERS);
    parsed
}

const OTHER_PARAMETERS: &[&str] = &[
    "top_k",
    "seed",
    "candidate_count",
    "response_mime_type",
    "response_schema",
    "response_json_schema",
    "response_format",
    "response_modalities",
    "response_logprobs",
    "logprobs",
    "thinking_config",
    "speech_config",
    "image_config",
    "media_resolution",
    "audio_timestamp",
    "enable_affective_dialog",
    "enable_enhanced_civic_answers",
    "routing_config",
    "model_selection_config",
    "model_config",
    "translation_config",
    "safety_settings",
    "model_armor_config",
    "cached_content",
    "labels",
    "service_tier",
    "store",
];

/// The parts of a content; a content may be a bare text.
fn read_parts(content: Value) -> Vec<Part> {
    match content {
        Value::String(text) => vec![Part::Text(text)],
        content => match object(content).remove("parts") {
            Some(Value::Array(parts)) => parts.into_iter().map(parts::read).collect(),
            Some(part) => vec![parts::read(part)],
            None => Vec::new(),
        },
    }
}

/// Adds a message; tool results in it become messages of their own, in their order.
fn push_message(
    messages: &mut Messages,
    content: Value,
    tool_errors: &mut Vec<Value>,
    unparsed: &mut Vec<String>,
) {
    let role = match content.get("role").and_then(Value::as_str) {
        None | Some("user" | "") => Role::User,
        Some("model") => Role::Assistant,
        Some("system") => Role::System,
        Some("function" | "tool") => Role::Tool,
        Some(other) => {
            messages.original_role(other);
            unparsed.push("message_role".to_owned());
            Role::User
        }
    };
    let mut content_of_message = Content::default();
    let mut written = false;
    for part in read_parts(content) {
        match part {
            Part::Result { id, name, text, failed } => {
                if !content_of_message.is_empty() {
                    messages.push(role, std::mem::take(&mut content_of_message));
                }
                let mut result = Content::default();
                if let Some(text) = text {
                    result.push_owned_text(text);
                }
                if failed {
                    tool_errors.push(messages.next_index().into());
                }
                let message = messages.push(Role::Tool, result);
                message.tool_call_id = id;
                message.name = name;
                written = true;
            }
            Part::Call { call, .. } => {
                messages.tool_call(serde_json::to_value(call).unwrap_or_default());
            }
            part => parts::push(&mut content_of_message, part),
        }
    }
    if !content_of_message.is_empty() || !written {
        messages.push(role, content_of_message);
    }
}

/// A tool object holds declarations of functions, tools of the service, or both.
fn push_tools(tools: Vec<Value>, parsed: &mut ParsedRequest) {
    let request = &mut parsed.request;
    let (mut tool_types, mut servers) = (Vec::new(), Vec::new());
    for tool in tools {
        let mut tool = object(tool);
        for function in take_array(&mut tool, "functionDeclarations").unwrap_or_default() {
            request.tools.push(ToolDefinition {
                name: owned_text(&function, "name"),
                tool_type: Some(ToolType::Function),
                description: owned_text(&function, "description"),
            });
        }
        // A server's entry may hold its access token, so only names are taken.
        for server in take_array(&mut tool, "mcpServers").unwrap_or_default() {
            servers.extend(owned_text(&server, "name").map(Value::String));
        }
        for (kind, settings) in tool {
            if settings.is_null() {
                continue;
            }
            let tool_type = match kind.as_str() {
                "codeExecution" => ToolType::CodeInterpreter,
                "fileSearch" => ToolType::FileSearch,
                "computerUse" => ToolType::ComputerUse,
                _ => ToolType::Other,
            };
            tool_types.push(json!({ "tool": request.tools.len(), "type": kind }));
            request.tools.push(ToolDefinition { tool_type: Some(tool_type), ..ToolDefinition::default() });
        }
    }
    request.tools_count = Some(request.tools.len() as u64);
    common::set_array(&mut parsed.extension, "tool_types", tool_types);
    common::set_array(&mut parsed.extension, "mcp_servers", servers);
}

/// The mode, or the whole setting where it says more than that.
fn tool_choice(configuration: Option<Value>) -> Option<String> {
    let mut calling = object(object(configuration?).remove("functionCallingConfig")?);
    if calling.len() == 1 {
        return take_text(&mut calling, "mode");
    }
    (!calling.is_empty()).then(|| into_text(Value::Object(calling))).flatten()
}

fn parameters(map: &Map<String, Value>) -> Parameters {
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    Parameters {
        temperature: number("temperature"),
        top_p: number("topP"),
        max_tokens: map.get("maxOutputTokens").and_then(Value::as_u64),
        frequency_penalty: number("frequencyPenalty"),
        presence_penalty: number("presencePenalty"),
        stop: common::stop_list(map.get("stopSequences")),
    }
}
