//! OpenAI chat completions: `POST .../chat/completions`.

mod stream;
pub(super) mod usage;

use oisp_decode::Headers;
use oisp_event::{Model, Parameters, RequestType, ToolCall, ToolDefinition, ToolType};
use serde_json::{Map, Value, json};

use super::choices::{self, CollectedChoice};
use super::common::{self, Content, Messages};
use super::{
    Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, google_path, invocations,
    plain_request,
};
use crate::bedrock;
use crate::detect::Target;
use crate::json::{into_object, into_text, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct OpenAiChat;

impl Format for OpenAiChat {
    fn id(&self) -> FormatId {
        FormatId::OpenAiChat
    }

    fn name(&self) -> &'static str {
        "openai_chat"
    }

    fn compatible_id(&self) -> &'static str {
        "openai_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        // The second is Writer's.
        self.serves_any_host(path)
            || path.trim_end_matches('/') == "/v1/chat"
            || google_path::may_be_chat(path)
            || invocations::is_at(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        let trimmed = path.trim_end_matches('/');
        // The second is Mistral's.
        trimmed.ends_with("/chat/completions")
            || trimmed.ends_with("/agents/completions")
            || bedrock::is_invoke(path)
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        !bedrock::is_invoke(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        common::has_messages(body)
    }

    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        common::has_messages(body) && text(body, "model").is_some()
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "object") == Some("chat.completion")
            || first_choice(body).is_some_and(|choice| choice.get("message").is_some_and(Value::is_object))
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        text(data, "object") == Some("chat.completion.chunk")
            || first_choice(data).is_some_and(|choice| choice.get("delta").is_some_and(Value::is_object))
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"chat.completion") || beginning.contains("\"choices\"")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        for message in take_array(&mut map, "messages").unwrap_or_default() {
            push_message(&mut messages, message, &mut parsed.unparsed);
        }
        messages.finish(&mut parsed);
        let request = &mut parsed.request;
        request.request_type = RequestType::Chat;
        common::set_model_and_streaming(request, &mut map, target);
        let mut tool_types = Vec::new();
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            let (definition, original) = tool_definition(&tool);
            if let Some(original) = original {
                tool_types.push(json!({ "tool": request.tools.len(), "type": original }));
            }
            request.tools.push(definition);
        }
        for function in take_array(&mut map, "functions").unwrap_or_default() {
            request.tools.push(described_tool(&function, ToolType::Function));
        }
        request.tools_count = Some(request.tools.len() as u64);
        common::set_array(&mut parsed.extension, "tool_types", tool_types);
        request.tool_choice = map
            .get_mut("tool_choice")
            .map(Value::take)
            .and_then(into_text)
            .or_else(|| map.get_mut("function_call").map(Value::take).and_then(into_text));
        request.parameters = Some(parameters(&map));
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        plain_request::note_deployment(&mut parsed, target);
        parsed
    }

    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse {
        let mut map = into_object(body);
        let mut parsed = ParsedResponse::default();
        let mut collected = Collected { error: common::error_in(&map), ..Collected::default() };
        collected.take_common(&mut map);
        for (position, choice) in take_array(&mut map, "choices").unwrap_or_default().into_iter().enumerate()
        {
            let mut choice = into_object(choice);
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
            let finish = finish_reason(&mut choice);
            let native = take_text(&mut choice, "native_finish_reason");
            if let Some(error) = common::error_in(&choice) {
                collected.error.get_or_insert(error);
            }
            let mut message = into_object(choice.remove("message").unwrap_or_default());
            let mut content = Content::default();
            // Of a text completion, which is the same otherwise.
            take_text(&mut choice, "text").into_iter().for_each(|text| content.push_owned_text(text));
            let mut reasoning = String::new();
            if let Some(value) = message.remove("content") {
                push_content(&mut content, value, Some(&mut reasoning));
            }
            output_parts(&mut content, &mut message);
            if let Some(text) = reasoning_text(&mut message) {
                reasoning.push_str(&text);
            }
            let mut calls: Vec<ToolCall> = take_array(&mut message, "tool_calls")
                .unwrap_or_default()
                .into_iter()
                .map(tool_call)
                .collect();
            calls.extend(message.remove("function_call").filter(Value::is_object).map(legacy_call));
            collected.choices.push(CollectedChoice {
                index,
                content,
                reasoning,
                refusal: take_text(&mut message, "refusal").unwrap_or_default(),
                finish,
                native,
                calls,
                ..CollectedChoice::default()
            });
        }
        collected.finish(dialect, &mut parsed);
        parsed
    }

    fn stream(&self, dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(stream::ChatStream::new(dialect))
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "n",
    "seed",
    "top_k",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "verbosity",
    "response_format",
    "parallel_tool_calls",
    "service_tier",
    "stream_options",
    "logprobs",
    "modalities",
    "user",
    "metadata",
    "store",
    "provider",
    "models",
];

/// Mistral's models on Bedrock have it under the other name.
fn finish_reason(choice: &mut Map<String, Value>) -> Option<String> {
    take_text(choice, "finish_reason").or_else(|| take_text(choice, "stop_reason"))
}

fn first_choice(body: &Value) -> Option<&Value> {
    body.get("choices")?.as_array()?.first()
}

pub(super) fn push_message(messages: &mut Messages, message: Value, unparsed: &mut Vec<String>) {
    let mut message = into_object(message);
    let original = take_text(&mut message, "role").unwrap_or_default();
    let role = messages.role(&original, unparsed);
    let mut content = Content::default();
    if let Some(value) = message.remove("content") {
        push_content(&mut content, value, None);
    }
    if let Some(reasoning) = reasoning_text(&mut message) {
        content.push_part(json!({ "type": "reasoning", "text_bytes": reasoning.len() }));
    }
    let mut calls: Vec<ToolCall> =
        take_array(&mut message, "tool_calls").unwrap_or_default().into_iter().map(tool_call).collect();
    calls.extend(message.remove("function_call").filter(Value::is_object).map(legacy_call));
    for call in calls {
        messages.tool_call(serde_json::to_value(call).unwrap_or_default());
    }
    let written = messages.push(role, content);
    written.tool_call_id = take_text(&mut message, "tool_call_id");
    written.name = take_text(&mut message, "name");
}

/// Content is a text, a list of parts, or null. Reasoning among the parts goes to `reasoning` in an
/// answer and is described in a request.
pub(super) fn push_content(content: &mut Content, value: Value, mut reasoning: Option<&mut String>) {
    match value {
        Value::Null => {}
        Value::String(text) => content.push_owned_text(text),
        Value::Array(parts) => {
            for mut part in parts {
                match text(&part, "type") {
                    Some("text" | "input_text" | "output_text") => {
                        if let Some(text) = part.get_mut("text").map(Value::take).and_then(into_text) {
                            content.push_owned_text(text);
                        }
                    }
                    Some("image_url" | "input_image") => {
                        let url =
                            part.get("image_url").and_then(|image| image.as_str().or(text(image, "url")));
                        content.push_image(common::describe_url("image", url.unwrap_or_default()));
                    }
                    Some("thinking") if reasoning.is_some() => {
                        if let Some(reasoning) = reasoning.as_deref_mut() {
                            thinking_text(&part, reasoning);
                        }
                    }
                    kind => match part {
                        Value::String(text) => content.push_owned_text(text),
                        // Mistaken requests, and services that leave the kind out.
                        Value::Object(mut part)
                            if kind.is_none()
                                && ["text", "content"]
                                    .iter()
                                    .any(|key| part.get(*key).is_some_and(Value::is_string)) =>
                        {
                            let text =
                                take_text(&mut part, "text").or_else(|| take_text(&mut part, "content"));
                            text.into_iter().for_each(|text| content.push_owned_text(text));
                        }
                        other => content.push_part(common::describe_part(&other)),
                    },
                }
            }
        }
        // Cloudflare gives what was asked for as JSON as such, and not as its text.
        Value::Object(said) if reasoning.is_some() => {
            content.push_owned_text(Value::Object(said).to_string())
        }
        other => content.push_part(common::describe_part(&other)),
    }
}

/// Mistral's thinking part: a list of text parts.
fn thinking_text(part: &Value, reasoning: &mut String) {
    match part.get("thinking") {
        Some(Value::String(text)) => reasoning.push_str(text),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| text(part, "text")).for_each(|text| reasoning.push_str(text));
        }
        _ => {}
    }
}

/// Reasoning as compatible services send it; some send it under both names.
fn reasoning_text(message: &mut Map<String, Value>) -> Option<String> {
    ["reasoning_content", "reasoning"]
        .iter()
        .find_map(|key| take_text(message, key).filter(|text| !text.is_empty()))
}

/// Audio and images that the model made.
fn output_parts(content: &mut Content, message: &mut Map<String, Value>) {
    if let Some(audio) = message.get("audio").filter(|audio| audio.is_object()) {
        let bytes = text(audio, "data").map_or(0, str::len);
        content.push_part(json!({ "type": "audio", "encoded_bytes": bytes }));
    }
    for image in take_array(message, "images").unwrap_or_default() {
        let url = image.get("image_url").and_then(|image| text(image, "url"));
        content.push_image(common::describe_url("image", url.unwrap_or_default()));
    }
}

pub(super) fn tool_call(value: Value) -> ToolCall {
    let mut map = into_object(value);
    let call_type = take_text(&mut map, "type");
    let (name, arguments) = match (map.remove("function"), map.remove("custom")) {
        (Some(function), _) if function.is_object() => {
            let mut function = into_object(function);
            (take_text(&mut function, "name"), function.remove("arguments"))
        }
        (_, Some(custom)) => {
            let mut custom = into_object(custom);
            (take_text(&mut custom, "name"), custom.remove("input"))
        }
        _ => (None, None),
    };
    ToolCall {
        id: take_text(&mut map, "id").filter(|id| !id.is_empty()),
        name,
        call_type,
        arguments: arguments.and_then(into_text),
        arguments_hash: None,
    }
}

fn legacy_call(function: Value) -> ToolCall {
    tool_call(json!({ "type": "function", "function": function }))
}

pub(super) fn tool_definition(tool: &Value) -> (ToolDefinition, Option<String>) {
    let kind = text(tool, "type").unwrap_or("function");
    match kind {
        "function" => (described_tool(tool.get("function").unwrap_or(tool), ToolType::Function), None),
        other => {
            let inner = tool.get(other).filter(|inner| inner.is_object()).unwrap_or(tool);
            let tool_type = match other {
                "code_interpreter" => ToolType::CodeInterpreter,
                "file_search" => ToolType::FileSearch,
                "computer" | "computer_use" | "computer_use_preview" => ToolType::ComputerUse,
                _ => ToolType::Other,
            };
            (described_tool(inner, tool_type), Some(other.to_owned()))
        }
    }
}

fn described_tool(value: &Value, tool_type: ToolType) -> ToolDefinition {
    ToolDefinition {
        name: owned_text(value, "name"),
        tool_type: Some(tool_type),
        description: owned_text(value, "description"),
    }
}

pub(super) fn parameters(map: &Map<String, Value>) -> Parameters {
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    let whole = |key: &str| map.get(key).and_then(Value::as_u64);
    Parameters {
        temperature: number("temperature"),
        top_p: number("top_p"),
        max_tokens: ["max_completion_tokens", "max_tokens", "max_output_tokens"].into_iter().find_map(whole),
        frequency_penalty: number("frequency_penalty"),
        presence_penalty: number("presence_penalty"),
        stop: common::stop_list(map.get("stop")),
    }
}

/// An answer, whole or streamed, before it is written.
#[derive(Debug, Default)]
struct Collected {
    model: Option<String>,
    response_id: Option<String>,
    /// Some services put their request id into the body.
    request_id: Option<String>,
    upstream: Option<String>,
    service_tier: Option<String>,
    system_fingerprint: Option<String>,
    usage: Option<Value>,
    /// How long and how fast, as local servers tell it (llama.cpp, LM Studio).
    server_timings: Option<Value>,
    /// The usage of each model that had a part in it (Groq's compound systems).
    usage_breakdown: Option<Value>,
    error: Option<oisp_event::ErrorInfo>,
    choices: Vec<CollectedChoice>,
}

/// Unless it is empty, or says the same.
fn overwrite(to: &mut Option<String>, text: Option<&str>) {
    if let Some(text) = text
        && !text.is_empty()
        && to.as_deref() != Some(text)
    {
        *to = Some(text.to_owned());
    }
}

impl Collected {
    /// Takes what stands beside the choices. A later chunk overwrites an earlier one; an empty value
    /// overwrites nothing.
    fn take_common(&mut self, map: &mut Map<String, Value>) {
        for (to, key) in [
            (&mut self.model, "model"),
            (&mut self.response_id, "id"),
            (&mut self.request_id, "request_id"),
            (&mut self.upstream, "provider"),
            (&mut self.service_tier, "service_tier"),
            (&mut self.system_fingerprint, "system_fingerprint"),
        ] {
            overwrite(to, map.get(key).and_then(Value::as_str));
        }
        for key in ["timings", "stats"] {
            if let Some(timings) = map.remove(key).filter(Value::is_object) {
                self.server_timings = Some(timings);
            }
        }
        self.usage_breakdown = map.remove("usage_breakdown").or(self.usage_breakdown.take());
        let groq = map.get_mut("x_groq").and_then(|groq| groq.get_mut("usage")).map(Value::take);
        if let Some(usage) = map.remove("usage").filter(Value::is_object).or(groq).filter(Value::is_object) {
            self.usage = Some(usage);
        }
    }

    fn finish(self, dialect: Dialect, parsed: &mut ParsedResponse) {
        let (response, extension) = (&mut parsed.response, &mut parsed.extension);
        response.provider_request_id = self.request_id.or_else(|| self.response_id.clone());
        response.model = self.model.map(|id| Model { id });
        response.error = self.error;
        common::set_text(extension, "response_id", self.response_id);
        common::set_text(extension, "upstream_provider", self.upstream);
        common::set_text(extension, "service_tier", self.service_tier);
        common::set_text(extension, "system_fingerprint", self.system_fingerprint);
        if let Some(usage) = self.usage {
            response.usage = usage::normalise(&usage, dialect, extension);
            extension.insert("usage".to_owned(), usage);
        }
        if let Some(timings) = self.server_timings {
            extension.insert("server_timings".to_owned(), timings);
        }
        if let Some(breakdown) = self.usage_breakdown.filter(|breakdown| !breakdown.is_null()) {
            extension.insert("usage_breakdown".to_owned(), common::bounded(breakdown));
        }
        choices::write(self.choices, parsed);
    }
}
