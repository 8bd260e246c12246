//! Anthropic messages: `POST .../v1/messages`.

mod stream;

use oisp_decode::Headers;
use oisp_event::{
    Choice, ErrorInfo, Message, Model, Parameters, RequestType, Role, ToolCall, ToolDefinition, ToolType,
    Usage,
};
use serde_json::{Map, Value, json};

use super::common::{self, Content, Messages};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path};
use crate::detect::Target;
use crate::json::{as_text, count, into_object, into_text, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct AnthropicMessages;

impl Format for AnthropicMessages {
    fn id(&self) -> FormatId {
        FormatId::AnthropicMessages
    }

    fn name(&self) -> &'static str {
        "anthropic_messages"
    }

    fn compatible_id(&self) -> &'static str {
        "anthropic_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        path.trim_end_matches('/').ends_with("/v1/messages") || google_path::may_be_anthropics(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    /// Other services have a `/v1/messages` too.
    fn is_distinctive(&self, _path: &str, headers: &Headers) -> bool {
        headers.get("anthropic-version").is_some()
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        let says_so = if google_path::is_raw_predict(&target.path) {
            body.get("anthropic_version").is_some()
                || target.segment_after("publishers").as_deref() == Some("anthropic")
        } else {
            text(body, "model").is_some()
        };
        says_so && common::has_messages(body)
    }

    fn owns_request(&self, body: &Value, headers: &Headers) -> bool {
        common::has_messages(body)
            && text(body, "model").is_some()
            && (headers.get("anthropic-version").is_some()
                || body.get("anthropic_version").is_some()
                || (body.get("system").is_some() && body.get("max_tokens").is_some())
                || body
                    .get("tools")
                    .and_then(Value::as_array)
                    .is_some_and(|tools| tools.iter().any(|tool| tool.get("input_schema").is_some())))
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "type") == Some("message") && body.get("content").is_some_and(Value::is_array)
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        matches!(
            text(data, "type"),
            Some(
                "message_start"
                    | "content_block_start"
                    | "content_block_delta"
                    | "content_block_stop"
                    | "message_delta"
                    | "message_stop"
                    | "ping"
            )
        )
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("message_start")
            || (beginning.contains("\"message\"") && beginning.contains("\"assistant\""))
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        let mut tool_errors = Vec::new();
        if let Some(system) = map.remove("system").filter(|system| !system.is_null()) {
            let mut content = Content::default();
            push_content(&mut content, system);
            messages.push(Role::System, content);
        }
        for message in take_array(&mut map, "messages").unwrap_or_default() {
            push_message(&mut messages, message, &mut tool_errors, &mut parsed.unparsed);
        }
        messages.finish(&mut parsed);
        common::set_array(&mut parsed.extension, "tool_errors", tool_errors);
        let request = &mut parsed.request;
        request.request_type = RequestType::Chat;
        request.model = take_text(&mut map, "model")
            .or_else(|| google_path::model_of_raw_predict(target))
            .map(|id| Model { id });
        request.streaming = match map.get("stream") {
            None | Some(Value::Null) if google_path::verb(&target.path) == Some("streamRawPredict") => {
                Some(true)
            }
            None | Some(Value::Null) => Some(false),
            Some(value) => value.as_bool(),
        };
        let mut tool_types = Vec::new();
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            if let Some(kind) = text(&tool, "type").filter(|kind| *kind != "custom") {
                tool_types.push(json!({ "tool": request.tools.len(), "type": kind }));
            }
            request.tools.push(tool_definition(&tool));
        }
        request.tools_count = Some(request.tools.len() as u64);
        common::set_array(&mut parsed.extension, "tool_types", tool_types);
        request.tool_choice = map.get_mut("tool_choice").map(Value::take).and_then(into_text);
        request.parameters = Some(parameters(&map));
        if let Some(other) = common::other_parameters(&map, OTHER_PARAMETERS) {
            parsed.extension.insert("parameters".to_owned(), other);
        }
        // A server's entry holds its access token, so only names are taken.
        let servers = take_array(&mut map, "mcp_servers").unwrap_or_default();
        let names =
            servers.iter().filter_map(|server| owned_text(server, "name").map(Value::String)).collect();
        common::set_array(&mut parsed.extension, "mcp_servers", names);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut map = into_object(body);
        let mut collected = Collected { error: error_in(&map), ..Collected::default() };
        let blocks = take_array(&mut map, "content");
        collected.answered = blocks.is_some();
        for block in blocks.unwrap_or_default() {
            collected.push_block(block);
        }
        collected.take_common(&mut map);
        collected.take_stop(&mut map);
        collected.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(stream::MessageStream::default())
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "top_k",
    "thinking",
    "output_config",
    "metadata",
    "service_tier",
    "context_management",
    "container",
    "speed",
];

/// Adds a message; tool results in it become messages of their own, in their order.
fn push_message(
    messages: &mut Messages,
    message: Value,
    tool_errors: &mut Vec<Value>,
    unparsed: &mut Vec<String>,
) {
    let mut message = into_object(message);
    let role = match message.get("role").and_then(Value::as_str) {
        Some("assistant") => Role::Assistant,
        Some("user") => Role::User,
        Some("system") => Role::System,
        other => {
            messages.original_role(other.unwrap_or_default());
            unparsed.push("message_role".to_owned());
            Role::User
        }
    };
    let mut content = Content::default();
    let mut written = false;
    let blocks = match message.remove("content") {
        Some(Value::Array(blocks)) => blocks,
        Some(other) => {
            push_content(&mut content, other);
            Vec::new()
        }
        None => Vec::new(),
    };
    for mut block in blocks {
        match text(&block, "type") {
            Some("tool_result") => {
                if !content.is_empty() {
                    messages.push(role, std::mem::take(&mut content));
                }
                let mut result = Content::default();
                push_content(&mut result, block.get_mut("content").map(Value::take).unwrap_or_default());
                if block.get("is_error").and_then(Value::as_bool) == Some(true) {
                    tool_errors.push(messages.next_index().into());
                }
                messages.push(Role::Tool, result).tool_call_id = owned_text(&block, "tool_use_id");
                written = true;
            }
            Some(kind) if is_tool_use(kind) => {
                messages.tool_call(serde_json::to_value(tool_call(block)).unwrap_or_default());
            }
            _ => push_block(&mut content, block),
        }
    }
    if !content.is_empty() || !written {
        messages.push(role, content);
    }
}

fn is_tool_use(kind: &str) -> bool {
    matches!(kind, "tool_use" | "server_tool_use" | "mcp_tool_use")
}

/// Content is a text or a list of blocks.
fn push_content(content: &mut Content, value: Value) {
    match value {
        Value::Null => {}
        Value::String(text) => content.push_owned_text(text),
        Value::Array(blocks) => blocks.into_iter().for_each(|block| push_block(content, block)),
        other => content.push_part(common::describe_part(&other)),
    }
}

fn push_block(content: &mut Content, mut block: Value) {
    match text(&block, "type") {
        Some("text") => {
            if let Some(text) = block.get_mut("text").map(Value::take).and_then(into_text) {
                content.push_owned_text(text);
            }
        }
        Some("image") => {
            let source = block.get("source");
            let description = match source.and_then(|source| text(source, "url")) {
                Some(url) => common::describe_url("image", url),
                None => json!({
                    "type": "image",
                    "media_type": source.and_then(|source| text(source, "media_type")).unwrap_or_default(),
                    "encoded_bytes": source.and_then(|source| text(source, "data")).map_or(0, str::len),
                }),
            };
            content.push_image(description);
        }
        Some("thinking") => {
            let bytes = text(&block, "thinking").map_or(0, str::len);
            content.push_part(json!({ "type": "thinking", "text_bytes": bytes }));
        }
        _ => content.push_part(common::describe_part(&block)),
    }
}

fn tool_call(block: Value) -> ToolCall {
    let mut map = into_object(block);
    ToolCall {
        id: take_text(&mut map, "id").filter(|id| !id.is_empty()),
        name: take_text(&mut map, "name"),
        call_type: take_text(&mut map, "type"),
        arguments: map.get("input").and_then(as_text),
        arguments_hash: None,
    }
}

fn tool_definition(tool: &Value) -> ToolDefinition {
    let kind = text(tool, "type").unwrap_or("custom");
    let tool_type = match kind {
        "custom" => ToolType::Function,
        kind if kind.starts_with("code_execution") => ToolType::CodeInterpreter,
        kind if kind.starts_with("computer") => ToolType::ComputerUse,
        _ => ToolType::Other,
    };
    ToolDefinition {
        name: owned_text(tool, "name"),
        tool_type: Some(tool_type),
        description: owned_text(tool, "description"),
    }
}

fn parameters(map: &Map<String, Value>) -> Parameters {
    Parameters {
        temperature: map.get("temperature").and_then(Value::as_f64),
        top_p: map.get("top_p").and_then(Value::as_f64),
        max_tokens: map.get("max_tokens").and_then(Value::as_u64),
        stop: common::stop_list(map.get("stop_sequences")),
        ..Parameters::default()
    }
}

/// `{"type":"error","error":{"type","message"},"request_id"}`.
fn error_in(map: &Map<String, Value>) -> Option<ErrorInfo> {
    common::error_in(map)
}

/// An answer, whole or streamed, before it is written.
#[derive(Debug, Default)]
struct Collected {
    answered: bool,
    model: Option<String>,
    response_id: Option<String>,
    request_id: Option<String>,
    content: Content,
    reasoning: Vec<Value>,
    calls: Vec<ToolCall>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Map<String, Value>,
    error: Option<ErrorInfo>,
}

impl Collected {
    fn push_block(&mut self, block: Value) {
        match text(&block, "type") {
            Some(kind) if is_tool_use(kind) => self.calls.push(tool_call(block)),
            Some("thinking") => {
                if let Some(thinking) = owned_text(&block, "thinking") {
                    self.reasoning.push(json!({ "choice": 0, "text": thinking }));
                }
            }
            _ => push_block(&mut self.content, block),
        }
    }

    /// Takes model, ids and usage. Counts are cumulative: a later one overwrites an earlier one.
    fn take_common(&mut self, map: &mut Map<String, Value>) {
        for (to, key) in
            [(&mut self.model, "model"), (&mut self.response_id, "id"), (&mut self.request_id, "request_id")]
        {
            if let Some(text) = take_text(map, key).filter(|text| !text.is_empty()) {
                *to = Some(text);
            }
        }
        let usage = into_object(map.remove("usage").unwrap_or_default());
        self.usage.extend(usage.into_iter().filter(|(_, value)| !value.is_null()));
    }

    fn take_stop(&mut self, map: &mut Map<String, Value>) {
        for (to, key) in [(&mut self.stop_reason, "stop_reason"), (&mut self.stop_sequence, "stop_sequence")]
        {
            if let Some(text) = take_text(map, key) {
                *to = Some(text);
            }
        }
    }

    fn finish(self) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let (response, extension) = (&mut parsed.response, &mut parsed.extension);
        response.provider_request_id = self.request_id.or_else(|| self.response_id.clone());
        common::set_text(extension, "response_id", self.response_id);
        response.model = self.model.map(|id| Model { id });
        response.error = self.error;
        response.finish_reason = self.stop_reason.as_deref().map(common::finish_reason);
        common::set_text(extension, "finish_reason", self.stop_reason);
        common::set_text(extension, "stop_sequence", self.stop_sequence);
        let usage = Value::Object(self.usage);
        common::set_text(extension, "service_tier", owned_text(&usage, "service_tier"));
        response.usage = normalise(&usage, extension);
        if response.usage.is_some() {
            extension.insert("usage".to_owned(), usage);
        }
        common::set_array(extension, "reasoning", self.reasoning);
        if self.answered {
            let (text, images, parts) = self.content.into_parts();
            let mut message = match text {
                Some(text) => Message::text(Role::Assistant, text),
                None => Message { role: Role::Assistant, ..Message::default() },
            };
            if images > 0 {
                message.has_images = Some(true);
                message.image_count = Some(images);
            }
            response.choices.push(Choice {
                index: 0,
                message: Some(message),
                finish_reason: response.finish_reason,
            });
            response.tool_calls_count = Some(self.calls.len() as u64);
            response.tool_calls = self.calls;
            common::set_array(extension, "parts", parts);
        }
        parsed
    }
}

/// Input includes what was read from and written to the cache; Anthropic counts those apart.
fn normalise(usage: &Value, extension: &mut Map<String, Value>) -> Option<Usage> {
    let input = count(usage, "input_tokens");
    let read = count(usage, "cache_read_input_tokens");
    let written = count(usage, "cache_creation_input_tokens");
    let output = count(usage, "output_tokens");
    if let Some(written) = written {
        extension.insert("cache_write_tokens".to_owned(), written.into());
    }
    let prompt = input.map(|input| [read, written].into_iter().flatten().fold(input, u64::saturating_add));
    let normalised = Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: prompt.and_then(|prompt| prompt.checked_add(output?)),
        cached_tokens: read,
        reasoning_tokens: usage
            .get("output_tokens_details")
            .and_then(|details| count(details, "thinking_tokens")),
        ..Usage::default()
    };
    (normalised != Usage::default()).then_some(normalised)
}
