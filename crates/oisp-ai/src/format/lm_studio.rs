//! LM Studio's own interface: `POST /api/v1/chat`. (`/api/v0/...` has OpenAI's shapes.)

use oisp_event::{RequestType, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::common::{self, Content, Messages};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole, some_fields};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{count, into_object, into_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct LmStudio;

impl Format for LmStudio {
    fn id(&self) -> FormatId {
        FormatId::LmStudio
    }

    fn name(&self) -> &'static str {
        "lm_studio"
    }

    fn compatible_id(&self) -> &'static str {
        "lmstudio"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        path.trim_end_matches('/').ends_with("/api/v1/chat")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        text(body, "model").is_some()
            && body.get("input").is_some_and(|input| input.is_string() || input.is_array())
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("output").is_some_and(Value::is_array) && text(body, "model_instance_id").is_some()
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        let kind = text(data, "type").unwrap_or(name);
        kind == "chat.start" && text(data, "model_instance_id").is_some()
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"model_instance_id\"")
    }

    fn parse_request(&self, body: Value, _target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = plain::begin(RequestType::Chat, take_text(&mut map, "model"));
        let mut messages = Messages::default();
        if let Some(system) = take_text(&mut map, "system_prompt") {
            plain::push_text(&mut messages, Role::System, system);
        }
        match map.remove("input").unwrap_or_default() {
            Value::String(text) => plain::push_text(&mut messages, Role::User, text),
            Value::Array(items) => {
                // The items are parts of one message.
                let mut content = Content::default();
                for item in items {
                    match (text(&item, "type"), text(&item, "content").or_else(|| text(&item, "text"))) {
                        (Some("message" | "text"), Some(said)) => content.push_text(said),
                        (Some("image"), _) => content
                            .push_image(plain::describe_image(text(&item, "data_url").unwrap_or_default())),
                        _ => content.push_part(common::describe_part(&item)),
                    }
                }
                messages.push(Role::User, content);
            }
            _ => {}
        }
        messages.finish(&mut parsed);
        if let Some(previous) = take_text(&mut map, "previous_response_id") {
            parsed.extension.insert("previous_response_id".to_owned(), previous.into());
        }
        parsed.request.streaming = plain::streaming(&map, false);
        parsed.request.parameters = Some(plain::parameters(&map, &["max_output_tokens"], "stop"));
        plain::note(&mut parsed, &map, OTHER_PARAMETERS);
        let integrations = take_array(&mut map, "integrations").unwrap_or_default();
        // A server's address may carry a key in its query, and its headers do.
        let names = integrations.iter().filter_map(|integration| {
            let name = integration
                .as_str()
                .or_else(|| ["id", "server_label"].iter().find_map(|key| text(integration, key)))?;
            Some(json!({ "type": text(integration, "type").unwrap_or("plugin"), "name": name }))
        });
        common::set_array(&mut parsed.extension, "integrations", names.collect());
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        read_whole(body, |answer, _, map| result(answer, map)).finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(event)
    }
}

const OTHER_PARAMETERS: &[&str] =
    &["top_k", "min_p", "repeat_penalty", "reasoning", "context_length", "store", "ttl"];

fn event(answer: &mut TextAnswer, name: &str, mut map: Map<String, Value>) -> bool {
    let kind = take_text(&mut map, "type").unwrap_or_else(|| name.to_owned());
    match kind.as_str() {
        "message.delta" => take_text(&mut map, "content").is_some_and(|text| answer.push_text(&text)),
        "reasoning.delta" => take_text(&mut map, "content").is_some_and(|text| answer.push_reasoning(&text)),
        "tool_call.success" => {
            tool_call(answer, &mut map);
            true
        }
        "tool_call.failure" => {
            answer.parts.push_part(json!({ "type": "invalid_tool_call", "reason": map.remove("reason") }));
            true
        }
        "chat.start" => {
            answer.model = take_text(&mut map, "model_instance_id");
            false
        }
        "chat.end" => {
            answer.ended = true;
            let mut result = into_object(map.remove("result").unwrap_or_default());
            facts(answer, &mut result);
            false
        }
        _ => false,
    }
}

/// The whole answer.
fn result(answer: &mut TextAnswer, mut map: Map<String, Value>) -> bool {
    answer.ended = true;
    facts(answer, &mut map);
    for item in take_array(&mut map, "output").unwrap_or_default() {
        let mut item = into_object(item);
        match take_text(&mut item, "type").as_deref() {
            Some("message") => {
                if answer.has_text() {
                    answer.push_text("\n");
                }
                answer.push_text(&take_text(&mut item, "content").unwrap_or_default());
            }
            Some("reasoning") => {
                answer.push_reasoning(&take_text(&mut item, "content").unwrap_or_default());
            }
            Some("tool_call") => tool_call(answer, &mut item),
            kind => answer.parts.push_part(json!({ "type": kind, "reason": item.remove("reason") })),
        }
    }
    true
}

/// A call that the server made itself.
fn tool_call(answer: &mut TextAnswer, map: &mut Map<String, Value>) {
    answer.tool_calls.push(ToolCall {
        id: None,
        name: take_text(map, "tool"),
        call_type: map.get("provider_info").and_then(|info| text(info, "type")).map(str::to_owned),
        arguments: map.remove("arguments").and_then(into_text),
        arguments_hash: None,
    });
    if let Some(output) = map.remove("output").and_then(into_text) {
        answer.parts.push_part(json!({ "type": "tool_result", "text_bytes": output.len() }));
    }
}

/// What stands beside the output.
fn facts(answer: &mut TextAnswer, map: &mut Map<String, Value>) {
    if let Some(model) = take_text(map, "model_instance_id") {
        answer.model = Some(model);
    }
    answer.response_id = take_text(map, "response_id").or(answer.response_id.take());
    let Some(stats) = map.remove("stats").filter(Value::is_object) else { return };
    let all = into_object(stats.clone());
    let original = fields(&all, &["input_tokens", "total_output_tokens", "reasoning_output_tokens"]);
    answer.count_tokens(count(&stats, "input_tokens"), count(&stats, "total_output_tokens"), original);
    if let Some(usage) = &mut answer.usage {
        usage.reasoning_tokens = count(&stats, "reasoning_output_tokens");
    }
    let timings = ["tokens_per_second", "time_to_first_token_seconds", "model_load_time_seconds"];
    answer.note("server_timings", some_fields(&all, &timings));
}
