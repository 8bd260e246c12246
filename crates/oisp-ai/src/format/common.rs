//! What the formats share: content, finish reasons, errors, parameters.

use oisp_event::{AiRequest, ErrorInfo, FinishReason, Message, Model, Role};
use serde_json::{Map, Value, json};

use super::{google_path, invocations};
use crate::bedrock::{self, Operation};
use crate::detect::Target;
use crate::json;

/// A message's content on its way: text parts are joined by a line feed, images counted, everything
/// else described.
#[derive(Debug, Default)]
pub(super) struct Content {
    text: Option<String>,
    images: u64,
    parts: Vec<Value>,
}

impl Content {
    pub(super) fn push_text(&mut self, text: &str) {
        match &mut self.text {
            Some(joined) => {
                joined.push('\n');
                joined.push_str(text);
            }
            None => self.text = Some(text.to_owned()),
        }
    }

    pub(super) fn push_owned_text(&mut self, text: String) {
        match &self.text {
            Some(_) => self.push_text(&text),
            None => self.text = Some(text),
        }
    }

    /// An image, with what is known about it.
    pub(super) fn push_image(&mut self, description: Value) {
        self.images += 1;
        self.parts.push(description);
    }

    pub(super) fn push_part(&mut self, description: Value) {
        self.parts.push(description);
    }

    /// Takes over everything but the text of another content.
    pub(super) fn append_parts(&mut self, other: Self) {
        self.images += other.images;
        self.parts.extend(other.parts);
    }

    /// Takes the text out.
    pub(super) fn take_text(&mut self) -> Option<String> {
        self.text.take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_none() && self.parts.is_empty()
    }

    /// Whether it is no more than an empty text.
    pub(super) fn says_nothing(&self) -> bool {
        self.text.as_deref().unwrap_or_default().is_empty() && self.parts.is_empty()
    }

    /// As a message of somebody, and what is described of it besides.
    pub(super) fn into_message(self, role: Role) -> (Message, Vec<Value>) {
        let mut message = match self.text {
            Some(text) => Message::text(role, text),
            None => Message { role, ..Message::default() },
        };
        if self.images > 0 {
            message.has_images = Some(true);
            message.image_count = Some(self.images);
        }
        (message, self.parts)
    }

    pub(super) fn into_parts(self) -> (Option<String>, u64, Vec<Value>) {
        (self.text, self.images, self.parts)
    }
}

/// The messages of a request on their way, with what the schema has no field for.
#[derive(Debug, Default)]
pub(super) struct Messages {
    list: Vec<Message>,
    images: u64,
    parts: Vec<Value>,
    roles: Vec<Value>,
    tool_calls: Vec<Value>,
}

impl Messages {
    /// The number that the next message will have.
    pub(super) fn next_index(&self) -> usize {
        self.list.len()
    }

    /// Adds a message.
    pub(super) fn push(&mut self, role: Role, content: Content) -> &mut Message {
        let index = self.list.len();
        let (message, parts) = content.into_message(role);
        self.images += message.image_count.unwrap_or(0);
        self.parts.extend(parts.into_iter().map(|part| at_message(index, part)));
        self.list.push(message);
        &mut self.list[index]
    }

    /// The role of the next message by the name that chat interfaces give it.
    pub(super) fn role(&mut self, original: &str, unparsed: &mut Vec<String>) -> Role {
        match original {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            "function" => Role::Function,
            "developer" => {
                self.original_role(original);
                Role::System
            }
            other => {
                self.original_role(other);
                unparsed.push("message_role".to_owned());
                Role::User
            }
        }
    }

    /// Notes the original of a role that the schema does not have, of the next message.
    pub(super) fn original_role(&mut self, role: &str) {
        self.roles.push(json!({ "message": self.next_index(), "role": role }));
    }

    /// Notes a tool call of an earlier answer that the next message carries.
    pub(super) fn tool_call(&mut self, call: Value) {
        let index = self.next_index();
        self.tool_calls.push(at_message(index, call));
    }

    /// Enters everything into the request.
    pub(super) fn finish(self, parsed: &mut super::ParsedRequest) {
        let request = &mut parsed.request;
        request.messages_count = Some(self.list.len() as u64);
        request.has_system_prompt = Some(self.list.iter().any(|message| message.role == Role::System));
        request.has_images = Some(self.images > 0);
        request.image_count = Some(self.images);
        request.messages = self.list;
        set_array(&mut parsed.extension, "parts", self.parts);
        set_array(&mut parsed.extension, "roles", self.roles);
        set_array(&mut parsed.extension, "message_tool_calls", self.tool_calls);
    }
}

fn at_message(index: usize, description: Value) -> Value {
    let mut map = json::into_object(description);
    map.insert("message".to_owned(), index.into());
    Value::Object(map)
}

/// Sets a key if there is anything to say.
pub(super) fn set_array(map: &mut Map<String, Value>, key: &str, values: Vec<Value>) {
    if !values.is_empty() {
        map.insert(key.to_owned(), Value::Array(values));
    }
}

/// Sets a key to a text if there is one.
pub(super) fn set_text(map: &mut Map<String, Value>, key: &str, text: Option<String>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        map.insert(key.to_owned(), Value::String(text));
    }
}

/// What a URL or data URL of a part is, without its content: a data URL's media type and length, any
/// other URL without its query.
pub(super) fn describe_url(kind: &str, url: &str) -> Value {
    match url.strip_prefix("data:") {
        Some(data) => {
            let (meta, content) = data.split_once(',').unwrap_or((data, ""));
            let media_type = meta.split(';').next().unwrap_or_default();
            json!({ "type": kind, "media_type": media_type, "encoded_bytes": content.len() })
        }
        None => json!({ "type": kind, "url": json::bare_url(url) }),
    }
}

/// What a part is, by its type and the size of its JSON.
pub(super) fn describe_part(part: &Value) -> Value {
    let kind = json::text(part, "type").unwrap_or("unknown");
    let mut description = json!({ "type": kind, "json_bytes": part.to_string().len() });
    for key in ["id", "name", "tool_use_id"] {
        if let Some(value) = json::text(part, key) {
            description[key] = value.into();
        }
    }
    description
}

/// Whether a path ends in one of a collection's members.
pub(super) fn is_member(path: &str, collection: &str) -> bool {
    let mut segments = path.trim_end_matches('/').rsplit('/');
    segments.next().is_some_and(|id| !id.is_empty()) && segments.next() == Some(collection)
}

/// Maps a provider's finish reason onto the specification's list.
pub(super) fn finish_reason(original: &str) -> FinishReason {
    match original.to_ascii_lowercase().as_str() {
        "stop" | "completed" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "word" | "complete"
        | "finish" | "finished" | "endoftext" => FinishReason::Stop,
        "length"
        | "limit"
        | "token_limit"
        | "max_tokens"
        | "model_length"
        | "model_context_window_exceeded"
        | "error_limit" => FinishReason::Length,
        "tool_calls" | "requires_action" | "tool_use" | "function_call" | "tool_call" => {
            FinishReason::ToolCalls
        }
        "content_filter"
        | "content_filtered"
        | "guardrail_intervened"
        | "error_toxic"
        | "refusal"
        | "safety"
        | "sensitive"
        | "recitation"
        | "blocklist"
        | "prohibited_content"
        | "spii"
        | "model_armor"
        | "jailbreak"
        | "image_safety"
        | "image_prohibited_content"
        | "image_recitation"
        | "escalation" => FinishReason::ContentFilter,
        "error"
        | "network_error"
        | "insufficient_system_resource"
        | "malformed_model_output"
        | "malformed_tool_use"
        | "timeout"
        | "malformed_function_call"
        | "unexpected_tool_call"
        | "too_many_tool_calls"
        | "malformed_response"
        | "missing_thought_signature" => FinishReason::Error,
        _ => FinishReason::Other,
    }
}

/// Reads an error body, whatever the service: `{"error": {...}}`, `{"error": "text"}`,
/// `{"message": ...}`, `{"detail": ...}`. `None` if there is no error in it.
pub(super) fn error_in(body: &Map<String, Value>) -> Option<ErrorInfo> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    match body.get("error") {
        Some(error @ Value::Object(_)) => Some(ErrorInfo {
            // Google's is called `status`.
            error_type: ["type", "status"]
                .iter()
                .find_map(|key| json::owned_text(error, key))
                .or_else(|| text("error_type")),
            message: json::owned_text(error, "message"),
            code: ["code", "status_code"].iter().find_map(|key| error.get(key).and_then(json::as_text)),
        }),
        Some(Value::String(message)) => Some(ErrorInfo {
            error_type: text("error_type"),
            message: Some(message.clone()),
            code: body.get("code").and_then(json::as_text),
        }),
        _ => None,
    }
}

/// As [`error_in`], of a body that is known to tell of an error; also the first of `{"errors": [...]}`.
pub(crate) fn error_of_failed(body: &Value) -> Option<ErrorInfo> {
    // Where an answer would have been a list, Google's errors are in one.
    let body = body.as_array().map_or(Some(body), |list| list.first())?.as_object()?;
    let said = || {
        let message =
            ["message", "Message", "detail"].iter().find_map(|key| body.get(*key).and_then(json::as_text))?;
        Some(ErrorInfo {
            error_type: body.get("type").and_then(Value::as_str).map(str::to_owned),
            message: Some(message),
            code: body.get("code").and_then(json::as_text),
        })
    };
    error_in(body).or_else(said).or_else(|| error_of_failed(body.get("errors")?.as_array()?.first()?))
}

/// Enters parameters that the schema has no field for, beside those that were entered before. A large one is named and
/// measured only.
pub(super) fn enter_other_parameters(
    extension: &mut Map<String, Value>,
    map: &Map<String, Value>,
    keys: &[&str],
) {
    let parameters: Map<String, Value> = keys
        .iter()
        .filter_map(|key| {
            let value = map.get(*key).filter(|value| !value.is_null())?;
            Some(((*key).to_owned(), bounded(value.clone())))
        })
        .collect();
    if parameters.is_empty() {
        return;
    }
    match extension.get_mut("parameters") {
        Some(Value::Object(known)) => known.extend(parameters),
        _ => drop(extension.insert("parameters".to_owned(), Value::Object(parameters))),
    }
}

/// A JSON text up to this length is kept as it is.
pub(super) const LARGEST: usize = 2048;

/// A value as it is, or only its size if it is large.
pub(super) fn bounded(value: Value) -> Value {
    let length = value.to_string().len();
    if length <= LARGEST { value } else { json!({ "json_bytes": length }) }
}

/// One stop text or a list of them.
pub(super) fn stop_list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Sets the model and whether a stream is asked for, from the body, or from the path where that says it.
pub(super) fn set_model_and_streaming(
    request: &mut AiRequest,
    map: &mut Map<String, Value>,
    target: &Target,
) {
    let model = json::take_text(map, "model")
        .or_else(|| bedrock::model(&target.path))
        .or_else(|| google_path::model_of_raw_predict(target))
        .or_else(|| invocations::model(target));
    request.model = model.map(|id| Model { id });
    request.streaming = match (Operation::of_path(&target.path), map.get("stream")) {
        (Some(operation), _) => Some(operation.is_streaming()),
        (None, _) if invocations::is_streaming(&target.path) => Some(true),
        (None, None | Some(Value::Null)) if google_path::verb(&target.path) == Some("streamRawPredict") => {
            Some(true)
        }
        (None, None | Some(Value::Null)) => Some(false),
        (None, Some(value)) => value.as_bool(),
    };
}

/// A request's messages as far as they have the shape that all chat formats share.
pub(super) fn has_messages(body: &Value) -> bool {
    body.get("messages").and_then(Value::as_array).is_some_and(|messages| {
        !messages.is_empty() && messages.iter().all(|message| json::text(message, "role").is_some())
    })
}
