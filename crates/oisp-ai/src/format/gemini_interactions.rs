//! Gemini interactions: `POST /v1beta/interactions`.

mod steps;

use oisp_decode::Headers;
use oisp_event::{Model, Parameters, RequestType, Role, ToolDefinition, ToolType};
use serde_json::{Map, Value, json};

use self::steps::{InteractionStream, content_part, is_call, tool_call};
use super::common::{self, Content, Messages};
use super::gemini::parts;
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path};
use crate::detect::Target;
use crate::json::{as_text, into_object, into_text, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct GeminiInteractions;

impl Format for GeminiInteractions {
    fn id(&self) -> FormatId {
        FormatId::GeminiInteractions
    }

    fn name(&self) -> &'static str {
        "gemini_interactions"
    }

    fn compatible_id(&self) -> &'static str {
        "gemini_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        path.trim_end_matches('/').ends_with("/interactions")
    }

    /// Others may have interactions of their own.
    fn serves_any_host(&self, path: &str) -> bool {
        path.starts_with("/v1") && self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        body.get("input").is_some() && (text(body, "model").is_some() || text(body, "agent").is_some())
    }

    /// OpenAI's responses have the same keys.
    fn owns_request(&self, _body: &Value, _headers: &Headers) -> bool {
        false
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "object") == Some("interaction")
            || (text(body, "status").is_some()
                && ["steps", "outputs"].iter().any(|key| body.get(*key).is_some_and(Value::is_array)))
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        text(data, "event_type").is_some_and(|kind| {
            ["interaction.", "step.", "content."].iter().any(|start| kind.starts_with(start))
        })
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"interaction") || beginning.contains("interaction.created")
    }

    fn parse_request(&self, body: Value, _target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        let mut tool_errors = Vec::new();
        if let Some(system) = map.remove("system_instruction").filter(|system| !system.is_null()) {
            let mut content = Content::default();
            push_content(&mut content, system);
            messages.push(Role::System, content);
        }
        let input = map.remove("input").unwrap_or_default();
        push_input(&mut messages, input, &mut tool_errors, &mut parsed.unparsed);
        messages.finish(&mut parsed);
        let (request, extension) = (&mut parsed.request, &mut parsed.extension);
        common::set_array(extension, "tool_errors", tool_errors);
        common::set_text(extension, "agent", take_text(&mut map, "agent"));
        common::set_text(extension, "previous_response_id", take_text(&mut map, "previous_interaction_id"));
        request.request_type = RequestType::Chat;
        request.model = take_text(&mut map, "model").map(|id| Model { id: google_path::bare_model(&id) });
        request.streaming = match map.get("stream") {
            None | Some(Value::Null) => Some(false),
            Some(value) => value.as_bool(),
        };
        let (mut tool_types, mut servers) = (Vec::new(), Vec::new());
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            let kind = text(&tool, "type").unwrap_or("function");
            let tool_type = match kind {
                "function" => ToolType::Function,
                "code_execution" => ToolType::CodeInterpreter,
                "file_search" => ToolType::FileSearch,
                "computer_use" => ToolType::ComputerUse,
                _ => ToolType::Other,
            };
            if kind == "mcp_server" {
                servers.extend(owned_text(&tool, "name").map(Value::String));
            }
            if kind != "function" {
                tool_types.push(json!({ "tool": request.tools.len(), "type": kind }));
            }
            request.tools.push(ToolDefinition {
                name: owned_text(&tool, "name"),
                tool_type: Some(tool_type),
                description: owned_text(&tool, "description"),
            });
        }
        request.tools_count = Some(request.tools.len() as u64);
        common::set_array(extension, "tool_types", tool_types);
        common::set_array(extension, "mcp_servers", servers);
        let mut configuration = into_object(map.remove("generation_config").unwrap_or_default());
        request.tool_choice = configuration.remove("tool_choice").and_then(into_text);
        request.parameters = Some(parameters(&configuration));
        configuration.extend(map);
        common::enter_other_parameters(extension, &configuration, OTHER_PARAMETERS);
        parsed
    }

    /// A whole answer is what the last event of a stream carries.
    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut stream = Box::new(InteractionStream::default());
        stream.whole(body);
        stream.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(InteractionStream::default())
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "top_k",
    "seed",
    "thinking_level",
    "thinking_summaries",
    "image_config",
    "speech_config",
    "video_config",
    "transcription_config",
    "response_format",
    "response_mime_type",
    "response_modalities",
    "safety_settings",
    "service_tier",
    "store",
    "background",
    "cached_content",
    "agent_config",
    "environment",
    "labels",
];

fn parameters(map: &Map<String, Value>) -> Parameters {
    Parameters {
        temperature: map.get("temperature").and_then(Value::as_f64),
        top_p: map.get("top_p").and_then(Value::as_f64),
        max_tokens: map.get("max_output_tokens").and_then(Value::as_u64),
        stop: common::stop_list(map.get("stop_sequences")),
        ..Parameters::default()
    }
}

/// Input is a text, a content, or a list of contents, of turns with a role, or of steps.
fn push_input(
    messages: &mut Messages,
    input: Value,
    tool_errors: &mut Vec<Value>,
    unparsed: &mut Vec<String>,
) {
    let items = match input {
        Value::Array(items) => items,
        Value::Null => return,
        other => vec![other],
    };
    // Contents that stand side by side are one message.
    let mut bare = Content::default();
    for item in items {
        let mut map = match item {
            Value::Object(map) => map,
            other => {
                push_content(&mut bare, other);
                continue;
            }
        };
        let kind = take_text(&mut map, "type").unwrap_or_default();
        let turn = take_text(&mut map, "role");
        let is_step = turn.is_some() || matches!(kind.as_str(), "user_input" | "model_output" | "thought");
        if is_step || is_call(&kind) || kind.ends_with("_result") {
            flush(messages, &mut bare);
        }
        match (kind.as_str(), turn.as_deref()) {
            (_, Some(role)) => {
                let role = match role {
                    "user" => Role::User,
                    "model" | "assistant" => Role::Assistant,
                    "system" => Role::System,
                    other => {
                        messages.original_role(other);
                        unparsed.push("message_role".to_owned());
                        Role::User
                    }
                };
                push_message(messages, role, map.remove("content").unwrap_or_default());
            }
            ("user_input", _) => {
                push_message(messages, Role::User, map.remove("content").unwrap_or_default())
            }
            ("model_output", _) => {
                push_message(messages, Role::Assistant, map.remove("content").unwrap_or_default());
            }
            ("thought", _) => {
                let bytes = map.get("summary").map_or(0, |summary| summary.to_string().len());
                let mut content = Content::default();
                content.push_part(json!({ "type": "thinking", "json_bytes": bytes }));
                messages.push(Role::Assistant, content);
            }
            (kind, _) if is_call(kind) => {
                messages.tool_call(serde_json::to_value(tool_call(kind, &mut map)).unwrap_or_default());
                messages.push(Role::Assistant, Content::default());
            }
            (kind, _) if kind.ends_with("_result") => {
                let mut content = Content::default();
                push_result(&mut content, map.remove("result").unwrap_or_default());
                if map.get("is_error").and_then(Value::as_bool) == Some(true) {
                    tool_errors.push(messages.next_index().into());
                }
                let message = messages.push(Role::Tool, content);
                message.tool_call_id = take_text(&mut map, "call_id");
                message.name = take_text(&mut map, "name");
            }
            (kind, _) => parts::push(&mut bare, content_part(kind, map)),
        }
    }
    flush(messages, &mut bare);
}

fn flush(messages: &mut Messages, bare: &mut Content) {
    if !bare.is_empty() {
        messages.push(Role::User, std::mem::take(bare));
    }
}

fn push_message(messages: &mut Messages, role: Role, value: Value) {
    let mut content = Content::default();
    push_content(&mut content, value);
    messages.push(role, content);
}

/// Content is a text, a content object, or a list of them.
fn push_content(content: &mut Content, value: Value) {
    match value {
        Value::Null => {}
        Value::String(text) => content.push_owned_text(text),
        Value::Array(items) => items.into_iter().for_each(|item| push_content(content, item)),
        Value::Object(mut map) => {
            let kind = take_text(&mut map, "type").unwrap_or_default();
            parts::push(content, content_part(&kind, map));
        }
        other => content.push_part(common::describe_part(&other)),
    }
}

/// A result is a text, a list of contents, or any object.
fn push_result(content: &mut Content, result: Value) {
    match result {
        object @ Value::Object(_) => content.push_owned_text(as_text(&object).unwrap_or_default()),
        other => push_content(content, other),
    }
}
