//! Anthropic messages: `POST .../v1/messages`, and the same body as Bedrock invokes it.
//!
//! With them the calls beside them: `/v1/messages/count_tokens`, `/v1/messages/batches`.

mod beside;
mod stream;

use oisp_decode::Headers;
use oisp_event::{Parameters, RequestType, Role, ToolCall, ToolDefinition, ToolType, Usage};
use serde_json::{Map, Value, json};

use super::answer::{Answer, citation, replace_text, usage_with_cache_apart};
use super::common::{self, Content, Messages};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path};
use crate::bedrock;
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
        is_messages(path)
            || beside::is_at(path)
            || bedrock::may_invoke(path, "anthropic")
            || google_path::may_be_anthropics(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    /// Other services have a `/v1/messages` too.
    fn is_distinctive(&self, path: &str, headers: &Headers) -> bool {
        headers.get("anthropic-version").is_some() || bedrock::invokes(path, "anthropic")
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        if bedrock::is_invoke(&target.path) {
            return common::has_messages(body) && text(body, "anthropic_version").is_some();
        }
        let says_so = if google_path::is_raw_predict(&target.path) {
            body.get("anthropic_version").is_some()
                || target.segment_after("publishers").as_deref() == Some("anthropic")
        } else {
            text(body, "model").is_some()
        };
        beside::is_batch(body, &target.path) || (says_so && common::has_messages(body))
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
        (text(body, "type") == Some("message") && body.get("content").is_some_and(Value::is_array))
            || beside::is_answer(body)
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
        if beside::is_batch(&body, &target.path) {
            return beside::parse_batch(&body);
        }
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        let mut tool_errors = Vec::new();
        if let Some(system) = map.remove("system").filter(|system| !system.is_null()) {
            let mut content = Content::default();
            push_content(&mut content, system);
            if !content.says_nothing() {
                messages.push(Role::System, content);
            }
        }
        for message in take_array(&mut map, "messages").unwrap_or_default() {
            push_message(&mut messages, message, &mut tool_errors, &mut parsed.unparsed);
        }
        messages.finish(&mut parsed);
        common::set_array(&mut parsed.extension, "tool_errors", tool_errors);
        let request = &mut parsed.request;
        request.request_type =
            if beside::is_at(&target.path) { RequestType::Other } else { RequestType::Chat };
        common::set_model_and_streaming(request, &mut map, target);
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
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        // Where headers are the carrier's own, the features in trial stand in the body.
        parsed.extension.extend(
            take_array(&mut map, "anthropic_beta")
                .filter(|features| !features.is_empty())
                .map(|features| ("beta_features".to_owned(), common::bounded(Value::Array(features)))),
        );
        // A server's entry holds its access token, so only names are taken.
        let servers = take_array(&mut map, "mcp_servers").unwrap_or_default();
        let names =
            servers.iter().filter_map(|server| owned_text(server, "name").map(Value::String)).collect();
        common::set_array(&mut parsed.extension, "mcp_servers", names);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        if beside::is_answer(&body) {
            return beside::parse_answer(body);
        }
        let mut map = into_object(body);
        let mut collected = Collected::default();
        collected.answer.error = common::error_in(&map);
        let blocks = take_array(&mut map, "content");
        collected.answer.answered = blocks.is_some();
        for block in blocks.unwrap_or_default() {
            push_answer_block(&mut collected.answer, block);
        }
        collected.take_common(&mut map);
        collected.take_stop(&mut map);
        collected.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(stream::MessageStream::default())
    }
}

fn is_messages(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/v1/messages")
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
    "inference_geo",
];

/// Adds a message; tool results in it become messages of their own, in their order.
pub(super) fn push_message(
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

pub(super) fn is_tool_use(kind: &str) -> bool {
    matches!(kind, "tool_use" | "server_tool_use" | "mcp_tool_use")
}

/// Content is a text or a list of blocks.
pub(super) fn push_content(content: &mut Content, value: Value) {
    match value {
        Value::Null => {}
        Value::String(text) => content.push_owned_text(text),
        Value::Array(blocks) => blocks.into_iter().for_each(|block| push_block(content, block)),
        other => content.push_part(common::describe_part(&other)),
    }
}

pub(super) fn push_block(content: &mut Content, mut block: Value) {
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
        // Of a tool that the service executed.
        Some(kind) if kind.ends_with("_tool_result") => {
            let mut described = common::describe_part(&block);
            let result = block.get_mut("content").map(Value::take).filter(|result| !result.is_null());
            if let (Some(result), Some(described)) = (result, described.as_object_mut()) {
                described.insert("content".to_owned(), common::bounded(result));
            }
            content.push_part(described);
        }
        _ => content.push_part(common::describe_part(&block)),
    }
}

pub(super) fn tool_call(block: Value) -> ToolCall {
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

/// An answer, whole or streamed, before it is written.
#[derive(Default)]
struct Collected {
    answer: Answer,
    usage: Map<String, Value>,
}

/// Adds a block of a whole answer.
pub(super) fn push_answer_block(answer: &mut Answer, block: Value) {
    for cited in block.get("citations").and_then(Value::as_array).into_iter().flatten() {
        answer.citations.push(citation(cited, None));
    }
    match text(&block, "type") {
        Some(kind) if is_tool_use(kind) => answer.calls.push(tool_call(block)),
        Some("thinking") => {
            if let Some(thinking) = owned_text(&block, "thinking") {
                answer.push_reasoning(thinking);
            }
        }
        _ => push_block(&mut answer.content, block),
    }
}

impl Collected {
    /// Takes model, ids and usage. Counts are cumulative: a later one overwrites an earlier one.
    fn take_common(&mut self, map: &mut Map<String, Value>) {
        let answer = &mut self.answer;
        for (to, key) in [
            (&mut answer.model, "model"),
            (&mut answer.response_id, "id"),
            (&mut answer.request_id, "request_id"),
        ] {
            replace_text(to, map, key);
        }
        answer.keep("context_management", map.remove("context_management"));
        let usage = into_object(map.remove("usage").unwrap_or_default());
        self.usage.extend(usage.into_iter().filter(|(_, value)| !value.is_null()));
    }

    fn take_stop(&mut self, map: &mut Map<String, Value>) {
        let answer = &mut self.answer;
        replace_text(&mut answer.finish_reason, map, "stop_reason");
        for key in ["stop_sequence", "stop_details", "container"] {
            answer.keep(key, map.remove(key));
        }
    }

    fn finish(self) -> ParsedResponse {
        let Self { mut answer, usage } = self;
        let usage = Value::Object(usage);
        common::set_text(&mut answer.extension, "service_tier", owned_text(&usage, "service_tier"));
        answer.usage = normalise(&usage, &mut answer.extension);
        if answer.usage.is_some() {
            answer.extension.insert("usage".to_owned(), usage);
        }
        answer.finish()
    }
}

/// Input includes what was read from and written to the cache; Anthropic counts those apart.
fn normalise(usage: &Value, extension: &mut Map<String, Value>) -> Option<Usage> {
    const KEYS: [&str; 4] =
        ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
    let mut normalised = usage_with_cache_apart(usage, KEYS, extension)?;
    normalised.reasoning_tokens =
        usage.get("output_tokens_details").and_then(|details| count(details, "thinking_tokens"));
    Some(normalised)
}
