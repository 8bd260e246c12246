//! Ollama's own interface: `POST /api/chat`, `POST /api/generate`. Answers are lines of JSON, streamed
//! unless the request says otherwise.

use oisp_decode::Headers;
use oisp_event::{RequestType, Role, ToolCall};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::common::{self, Content, Messages};
use super::openai_chat::tool_definition;
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole, some_fields};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{count, into_object, into_text, take_array, take_text, text};
use crate::lean::{self, Object, Skipped, Text};
use crate::providers::Dialect;

pub(super) struct Ollama;

impl Format for Ollama {
    fn id(&self) -> FormatId {
        FormatId::Ollama
    }

    fn name(&self) -> &'static str {
        "ollama"
    }

    fn compatible_id(&self) -> &'static str {
        "ollama"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.ends_with("/api/chat") || path.ends_with("/api/generate")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        let Some(map) = body.as_object().filter(|_| text(body, "model").is_some()) else { return false };
        if target.path.trim_end_matches('/').ends_with("/api/chat") {
            let plain = |message: &Value| {
                text(message, "role").is_some()
                    && message.get("content").is_none_or(|content| content.is_string() || content.is_null())
            };
            return map.get("messages").and_then(Value::as_array).is_some_and(|list| list.iter().all(plain));
        }
        // Without a prompt it loads a model.
        map.get("prompt").map_or_else(|| map.len() == 1 || map.contains_key("keep_alive"), Value::is_string)
    }

    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        let prompted =
            common::has_messages(body) || body.get("prompt").is_some_and(|prompt| prompt.is_string());
        prompted && text(body, "model").is_some() && body.get("options").is_some_and(Value::is_object)
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("done").is_some_and(Value::is_boolean)
            && (body.get("message").is_some_and(Value::is_object)
                || body.get("response").is_some_and(Value::is_string)
                || text(body, "image").is_some())
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        self.recognises_response(data)
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"done\":")
            && (beginning.contains("\"message\"") || beginning.contains("\"response\""))
    }

    fn parse_request(&self, body: Value, _target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let is_chat = map.contains_key("messages");
        let kind = if is_chat { RequestType::Chat } else { RequestType::Completion };
        let mut parsed = plain::begin(kind, take_text(&mut map, "model"));
        let mut messages = Messages::default();
        for message in take_array(&mut map, "messages").unwrap_or_default() {
            push_message(&mut messages, message, &mut parsed.unparsed);
        }
        if let Some(system) = take_text(&mut map, "system") {
            plain::push_text(&mut messages, Role::System, system);
        }
        let images = take_array(&mut map, "images").unwrap_or_default();
        if let Some(prompt) =
            take_text(&mut map, "prompt").filter(|text| !text.is_empty() || !images.is_empty())
        {
            let mut content = Content::default();
            content.push_owned_text(prompt);
            push_images(&mut content, &images);
            messages.push(Role::User, content);
        }
        if let Some(suffix) = take_text(&mut map, "suffix").filter(|text| !text.is_empty()) {
            let mut content = Content::default();
            content.push_owned_text(suffix);
            messages.push(Role::User, content).name = Some("suffix".to_owned());
        }
        messages.finish(&mut parsed);
        if let Some(context) = map.get("context").and_then(Value::as_array) {
            parsed.extension.insert("context_tokens".to_owned(), context.len().into());
        }
        let request = &mut parsed.request;
        request.streaming = plain::streaming(&map, true);
        let tools = take_array(&mut map, "tools").unwrap_or_default();
        request.tools = tools.iter().map(|tool| tool_definition(tool).0).collect();
        request.tools_count = Some(request.tools.len() as u64);
        let options = into_object(map.remove("options").unwrap_or_default());
        let parameters = plain::parameters(&options, &["num_predict"], "stop");
        // -1 and -2 stand for no bound.
        let bounded = parameters.max_tokens.is_some();
        request.parameters = Some(parameters);
        plain::note(&mut parsed, &map, OTHER_PARAMETERS);
        plain::note_others(&mut parsed, &options, &KNOWN_OPTIONS[usize::from(!bounded)..]);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        read_whole(body, take).finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::with_text(take, take_line)
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "think",
    "format",
    "keep_alive",
    "raw",
    "truncate",
    "shift",
    "logprobs",
    "top_logprobs",
    "width",
    "height",
    "steps",
];

/// Options that have fields of their own.
const KNOWN_OPTIONS: [&str; 6] =
    ["num_predict", "temperature", "top_p", "frequency_penalty", "presence_penalty", "stop"];

fn push_images(content: &mut Content, images: &[Value]) {
    for image in images {
        content.push_image(plain::describe_image(image.as_str().unwrap_or_default()));
    }
}

fn push_message(messages: &mut Messages, message: Value, unparsed: &mut Vec<String>) {
    let mut message = into_object(message);
    let original = take_text(&mut message, "role").unwrap_or_default();
    let role = messages.role(&original, unparsed);
    let mut content = Content::default();
    if let Some(text) = take_text(&mut message, "content") {
        content.push_owned_text(text);
    }
    push_images(&mut content, &take_array(&mut message, "images").unwrap_or_default());
    if let Some(thinking) = take_text(&mut message, "thinking").filter(|text| !text.is_empty()) {
        content.push_part(json!({ "type": "reasoning", "text_bytes": thinking.len() }));
    }
    for call in take_array(&mut message, "tool_calls").unwrap_or_default() {
        messages.tool_call(serde_json::to_value(tool_call(call)).unwrap_or_default());
    }
    let written = messages.push(role, content);
    written.tool_call_id = take_text(&mut message, "tool_call_id");
    written.name = take_text(&mut message, "tool_name").or_else(|| take_text(&mut message, "name"));
}

/// A call with its arguments as an object; older servers give it no id.
fn tool_call(value: Value) -> ToolCall {
    let mut map = into_object(value);
    let mut function = into_object(map.remove("function").unwrap_or_default());
    ToolCall {
        id: take_text(&mut map, "id").or_else(|| take_text(&mut function, "id")).filter(|id| !id.is_empty()),
        name: take_text(&mut function, "name"),
        call_type: Some("function".to_owned()),
        arguments: function.remove("arguments").and_then(into_text),
        arguments_hash: None,
    }
}

const COUNTS: &[&str] = &["prompt_eval_count", "eval_count"];
/// Nanoseconds.
const DURATIONS: &[&str] = &["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];

/// Takes a line; the only one of an answer that is not streamed has everything.
fn take(answer: &mut TextAnswer, _name: &str, mut map: Map<String, Value>) -> bool {
    if let Some(model) = take_text(&mut map, "model").filter(|model| !model.is_empty()) {
        answer.model = Some(model);
    }
    for key in ["remote_model", "remote_host"] {
        answer.note(key, map.remove(key));
    }
    let mut content = false;
    let mut message = into_object(map.remove("message").unwrap_or_default());
    if let Some(text) = take_text(&mut message, "content").or_else(|| take_text(&mut map, "response")) {
        content |= answer.push_text(&text);
    }
    if let Some(text) = take_text(&mut message, "thinking").or_else(|| take_text(&mut map, "thinking")) {
        content |= answer.push_reasoning(&text);
    }
    for call in take_array(&mut message, "tool_calls").unwrap_or_default() {
        content = true;
        answer.tool_calls.push(tool_call(call));
    }
    push_images(&mut answer.parts, &take_array(&mut message, "images").unwrap_or_default());
    if let Some(image) = take_text(&mut map, "image").filter(|image| !image.is_empty()) {
        content = true;
        answer.parts.push_image(plain::describe_image(&image));
    }
    if map.get("done").and_then(Value::as_bool) == Some(true) {
        answer.ended = true;
        answer.finish = take_text(&mut map, "done_reason").filter(|reason| !reason.is_empty());
        answer.note("server_timings_ns", some_fields(&map, DURATIONS));
        let original = fields(&map, COUNTS);
        let map = Value::Object(map);
        answer.count_tokens(count(&map, "prompt_eval_count"), count(&map, "eval_count"), original);
    }
    content
}

/// Most lines of a stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(default, rename = "created_at")]
    _created_at: Skipped,
    #[serde(borrow)]
    message: Option<Object<LineMessage<'a>>>,
    #[serde(borrow)]
    response: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    done: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineMessage<'a> {
    #[serde(default, rename = "role")]
    _role: Skipped,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
}

fn take_line(answer: &mut TextAnswer, line: &str) -> Option<bool> {
    let Object(line) = lean::read::<Object<Line<'_>>>(line)?;
    if line.done {
        return None;
    }
    let model = line.model.filter(|model| !model.0.is_empty());
    if let Some(model) = model.filter(|model| answer.model.as_deref() != Some(&model.0)) {
        answer.model = Some(model.0.into_owned());
    }
    let message = line.message.map(|Object(message)| message).unwrap_or_default();
    let mut content = false;
    if let Some(text) = message.content.or(line.response) {
        content |= answer.push_text(&text.0);
    }
    if let Some(text) = message.thinking.or(line.thinking) {
        content |= answer.push_reasoning(&text.0);
    }
    Some(content)
}
