//! OpenAI responses: `POST .../responses`.

mod output;
mod stream;

use oisp_decode::Headers;
use oisp_event::{Model, RequestType, Role};
use serde_json::{Map, Value, json};

use self::output::{Facts, Output};
use super::common::{self, Content, Messages};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, openai_chat};
use crate::detect::Target;
use crate::json::{bare_url, into_object, into_text, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct OpenAiResponses;

impl Format for OpenAiResponses {
    fn id(&self) -> FormatId {
        FormatId::OpenAiResponses
    }

    fn name(&self) -> &'static str {
        "openai_responses"
    }

    fn compatible_id(&self) -> &'static str {
        "openai_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.ends_with("/responses") || path.ends_with("/responses/compact") || is_count(path)
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    /// One that was worked on in the background.
    fn fetches_answer(&self, path: &str) -> bool {
        common::is_member(path, "responses") && !self.serves_known_host(path)
    }

    /// The word is a common one.
    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        path.contains("/v1/responses") || path.contains("/codex/responses")
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        let continues =
            ["previous_response_id", "conversation", "prompt"].iter().any(|key| body.get(key).is_some());
        match body.get("input") {
            Some(Value::String(_)) => true,
            Some(Value::Array(items)) => items.iter().all(is_item),
            _ => continues,
        }
    }

    /// A request for embeddings has a model and an input too.
    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        const OWN: [&str; 4] = ["instructions", "previous_response_id", "max_output_tokens", "store"];
        text(body, "model").is_some()
            && match body.get("input") {
                Some(Value::String(_)) => OWN.iter().any(|key| body.get(*key).is_some()),
                Some(Value::Array(items)) => !items.is_empty() && items.iter().all(is_item),
                _ => false,
            }
    }

    fn recognises_response(&self, body: &Value) -> bool {
        matches!(
            text(body, "object"),
            Some("response" | "response.compaction" | "realtime.response" | COUNTED)
        ) || (text(body, "status").is_some()
            && body.get("output").and_then(Value::as_array).is_some_and(|items| items.iter().all(is_item)))
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        text(data, "type").unwrap_or(name).starts_with("response.")
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"response\"") || beginning.contains("response.created")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut input = Input::default();
        match map.remove("instructions") {
            None | Some(Value::Null) => {}
            Some(Value::String(instructions)) => {
                let mut content = Content::default();
                content.push_owned_text(instructions);
                input.messages.push(Role::System, content);
            }
            Some(Value::Array(items)) => items.into_iter().for_each(|item| input.item(item)),
            Some(_) => parsed.unparsed.push("instructions".to_owned()),
        }
        match map.remove("input") {
            Some(Value::String(text)) => {
                let mut content = Content::default();
                content.push_owned_text(text);
                input.messages.push(Role::User, content);
            }
            Some(Value::Array(items)) => items.into_iter().for_each(|item| input.item(item)),
            None | Some(Value::Null) => {}
            Some(_) => parsed.unparsed.push("input".to_owned()),
        }
        input.finish(&mut parsed);
        let request = &mut parsed.request;
        request.request_type = if is_count(&target.path) { RequestType::Other } else { RequestType::Chat };
        request.model = take_text(&mut map, "model").map(|id| Model { id });
        request.streaming = match map.get("stream") {
            None | Some(Value::Null) => Some(false),
            Some(value) => value.as_bool(),
        };
        let mut tool_types = Vec::new();
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            let (mut definition, original) = openai_chat::tool_definition(&tool);
            if let Some(original) = original {
                let mut described = into_object(describe_tool(&tool));
                definition.name = definition.name.or(owned_text(&tool, "server_label"));
                described.insert("tool".to_owned(), request.tools.len().into());
                described.insert("type".to_owned(), original.into());
                tool_types.push(Value::Object(described));
            }
            request.tools.push(definition);
        }
        request.tools_count = Some(request.tools.len() as u64);
        request.tool_choice = map.get_mut("tool_choice").map(Value::take).and_then(into_text);
        request.parameters = Some(openai_chat::parameters(&map));
        let extension = &mut parsed.extension;
        common::set_array(extension, "tool_types", tool_types);
        common::set_text(extension, "previous_response_id", take_text(&mut map, "previous_response_id"));
        let conversation = map.remove("conversation").and_then(|conversation| match conversation {
            Value::String(id) => Some(id),
            other => owned_text(&other, "id"),
        });
        common::set_text(extension, "conversation_id", conversation);
        common::enter_other_parameters(extension, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, body: Value, dialect: Dialect) -> ParsedResponse {
        if text(&body, "object") == Some(COUNTED) {
            // Counted tokens are no usage: nothing was charged for them.
            let mut parsed = ParsedResponse::default();
            let counted = body.get("input_tokens").cloned().unwrap_or_default();
            parsed.extension.insert("counted_tokens".to_owned(), counted);
            return parsed;
        }
        let mut map = into_object(body);
        let mut output = Output::default();
        for item in take_array(&mut map, "output").unwrap_or_default() {
            output.push(item);
        }
        let mut facts = Facts::default();
        facts.take(&mut map);
        facts.finish(output, dialect)
    }

    fn stream(&self, dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(stream::ResponseStream::new(dialect))
    }
}

/// What an answer says that it is, where tokens were only to be counted.
const COUNTED: &str = "response.input_tokens";

/// Whether a path is for counting a request's tokens.
fn is_count(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/responses/input_tokens")
}

const OTHER_PARAMETERS: &[&str] = &[
    "reasoning",
    "text",
    "store",
    "background",
    "service_tier",
    "include",
    "truncation",
    "max_tool_calls",
    "parallel_tool_calls",
    "top_logprobs",
    "top_k",
    "context_management",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "stream_options",
    "modalities",
    "output_modalities",
    "user",
    "metadata",
    "provider",
    "models",
];

fn is_item(item: &Value) -> bool {
    text(item, "type").is_some() || text(item, "role").is_some() || text(item, "id").is_some()
}

/// The items of an input on their way to messages.
#[derive(Default)]
struct Input {
    messages: Messages,
    /// Of the assistant's turn that is not yet a message: what it thought.
    thought: Content,
    /// Of the same: whether it called tools.
    called: bool,
    /// Items that are of no message.
    others: Vec<Value>,
    unknown_roles: bool,
}

impl Input {
    fn item(&mut self, item: Value) {
        let kind = text(&item, "type").unwrap_or("message");
        match kind {
            "message" if text(&item, "role").is_some() => self.message(item),
            "reasoning" => {
                if self.called {
                    self.end_turn();
                }
                let texts =
                    ["summary", "content"].iter().filter_map(|key| item.get(*key)?.as_array()).flatten();
                let bytes: usize = texts.filter_map(|part| text(part, "text")).map(str::len).sum();
                let encrypted = text(&item, "encrypted_content").map_or(0, str::len);
                self.thought.push_part(
                    json!({ "type": "reasoning", "text_bytes": bytes, "encrypted_bytes": encrypted }),
                );
            }
            _ if output::is_client_call(&item) => {
                let call = serde_json::to_value(output::tool_call(item)).unwrap_or_default();
                self.messages.tool_call(call);
                self.called = true;
            }
            _ if kind.ends_with("_output") && item.get("call_id").is_some() => {
                self.end_turn();
                let mut item = into_object(item);
                let call_id = take_text(&mut item, "call_id");
                let mut content = Content::default();
                match ["output", "result"].iter().find_map(|key| item.remove(*key)) {
                    Some(Value::Array(parts)) => push_content(&mut content, Value::Array(parts)),
                    // A screenshot is described by its type and size.
                    Some(part @ Value::Object(_)) => push_content(&mut content, Value::Array(vec![part])),
                    Some(other) => {
                        into_text(other).into_iter().for_each(|text| content.push_owned_text(text))
                    }
                    None => {}
                }
                let message = self.messages.push(Role::Tool, content);
                message.tool_call_id = call_id;
                message.name = take_text(&mut item, "name");
            }
            _ => {
                let mut described = into_object(common::describe_part(&item));
                described.insert("before_message".to_owned(), self.messages.next_index().into());
                self.others.push(Value::Object(described));
            }
        }
    }

    fn message(&mut self, item: Value) {
        let mut item = into_object(item);
        let original = take_text(&mut item, "role").unwrap_or_default();
        let role = match original.as_str() {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => Role::User,
        };
        if role != Role::Assistant || self.called {
            self.end_turn();
        }
        if !matches!(original.as_str(), "system" | "assistant" | "tool" | "user") {
            self.messages.original_role(&original);
            self.unknown_roles |= original != "developer";
        }
        let mut content = std::mem::take(&mut self.thought);
        if let Some(value) = item.remove("content") {
            push_content(&mut content, value);
        }
        self.messages.push(role, content).name = take_text(&mut item, "name");
    }

    /// What the assistant thought and called becomes a message of its own.
    fn end_turn(&mut self) {
        if std::mem::take(&mut self.called) || !self.thought.is_empty() {
            self.messages.push(Role::Assistant, std::mem::take(&mut self.thought));
        }
    }

    fn finish(mut self, parsed: &mut ParsedRequest) {
        self.end_turn();
        self.messages.finish(parsed);
        common::set_array(&mut parsed.extension, "input_items", self.others);
        if self.unknown_roles {
            parsed.unparsed.push("message_role".to_owned());
        }
    }
}

/// As in chat completions, with what only this format has.
fn push_content(content: &mut Content, value: Value) {
    let Value::Array(parts) = value else {
        openai_chat::push_content(content, value, None);
        return;
    };
    for mut part in parts {
        match text(&part, "type") {
            Some("input_audio" | "output_audio" | "audio") => {
                if let Some(transcript) = part.get_mut("transcript").map(Value::take).and_then(into_text) {
                    content.push_owned_text(transcript);
                }
                let sound = text(&part, "audio")
                    .or_else(|| part.get("input_audio").and_then(|audio| text(audio, "data")));
                let mut described = json!({ "type": "audio" });
                if let Some(sound) = sound {
                    described["encoded_bytes"] = sound.len().into();
                }
                content.push_part(described);
            }
            Some("computer_screenshot") => {
                let url = text(&part, "image_url").unwrap_or_default();
                content.push_image(common::describe_url("image", url));
            }
            Some("input_file") => {
                let mut described = json!({
                    "type": "file",
                    "encoded_bytes": text(&part, "file_data").map_or(0, str::len),
                });
                for key in ["filename", "file_id"] {
                    if let Some(name) = text(&part, key) {
                        described[key] = name.into();
                    }
                }
                if let Some(url) = text(&part, "file_url") {
                    described["url"] = bare_url(url).into();
                }
                content.push_part(described);
            }
            _ => openai_chat::push_content(content, Value::Array(vec![part]), None),
        }
    }
}

/// What is told of a tool that is no function. A server's entry holds its access token, so few fields are taken.
fn describe_tool(tool: &Value) -> Value {
    let mut described = Map::new();
    for key in ["server_label", "connector_id"] {
        common::set_text(&mut described, key, owned_text(tool, key));
    }
    common::set_text(&mut described, "server_url", text(tool, "server_url").map(bare_url));
    if let Some(allowed) = tool.get("allowed_tools").filter(|allowed| allowed.is_array()) {
        described.insert("allowed_tools".to_owned(), allowed.clone());
    }
    let inner = tool.get("tools").and_then(Value::as_array).into_iter().flatten();
    let names = inner.filter_map(|tool| owned_text(tool, "name").map(Value::String)).collect();
    common::set_array(&mut described, "tools", names);
    Value::Object(described)
}
