//! OpenAI's assistants: `POST .../threads`, `.../threads/{id}/messages`, `.../threads/{id}/runs`,
//! `.../threads/{id}/runs/{id}/submit_tool_outputs`, `.../threads/runs`.
//!
//! What is asked comes with a message, which model answers with the run; without a stream the text is only in a later list
//! of messages.

use oisp_event::{RequestType, Role};
use serde_json::{Map, Value};

use super::common::{self, Content, Messages};
use super::openai_chat::{self, usage};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, read_whole};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{into_object, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct OpenAiAssistants;

impl Format for OpenAiAssistants {
    fn id(&self) -> FormatId {
        FormatId::OpenAiAssistants
    }

    fn name(&self) -> &'static str {
        "openai_assistants"
    }

    fn compatible_id(&self) -> &'static str {
        "openai_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let Some((_, rest)) = path.split_once("/threads") else { return false };
        rest.is_empty()
            || ["/messages", "/runs", "/submit_tool_outputs"].iter().any(|end| rest.ends_with(end))
    }

    /// The word is a common one.
    fn serves_any_host(&self, _path: &str) -> bool {
        false
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        body.is_object()
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "object").is_some_and(|kind| kind == "thread" || kind.starts_with("thread."))
    }

    fn recognises_stream_event(&self, name: &str, _data: &Value) -> bool {
        name.starts_with("thread.")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = plain::begin(RequestType::Chat, take_text(&mut map, "model"));
        let mut messages = Messages::default();
        for key in ["instructions", "additional_instructions"] {
            plain::push_text(&mut messages, Role::System, take_text(&mut map, key).unwrap_or_default());
        }
        let mut thread = into_object(map.remove("thread").unwrap_or_default());
        let said = [
            take_array(&mut map, "messages"),
            take_array(&mut thread, "messages"),
            take_array(&mut map, "additional_messages"),
        ];
        for message in said.into_iter().flatten().flatten() {
            openai_chat::push_message(&mut messages, message, &mut parsed.unparsed);
        }
        for mut result in take_array(&mut map, "tool_outputs").unwrap_or_default() {
            let mut content = Content::default();
            openai_chat::push_content(
                &mut content,
                result.get_mut("output").map(Value::take).unwrap_or_default(),
                None,
            );
            messages.push(Role::Tool, content).tool_call_id = owned_text(&result, "tool_call_id");
        }
        if map.contains_key("role") {
            openai_chat::push_message(&mut messages, Value::Object(map.clone()), &mut parsed.unparsed);
        }
        messages.finish(&mut parsed);
        let request = &mut parsed.request;
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            request.tools.push(openai_chat::tool_definition(&tool).0);
        }
        request.tools_count = Some(request.tools.len() as u64);
        request.streaming = plain::streaming(&map, false);
        request.parameters = Some(openai_chat::parameters(&map));
        let path = target.path.trim_end_matches('/');
        let thread = target.segment_after("threads").filter(|_| !path.ends_with("/threads/runs"));
        common::set_text(&mut parsed.extension, "conversation_id", thread);
        common::set_text(&mut parsed.extension, "assistant_id", take_text(&mut map, "assistant_id"));
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut answer = read_whole(body, |answer, _, map| {
            facts(answer, &map);
            false
        });
        answer.ended = true;
        answer.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(event)
    }
}

fn event(answer: &mut TextAnswer, name: &str, map: Map<String, Value>) -> bool {
    match name {
        "thread.message.delta" => {
            let mut content = false;
            let parts = map.get("delta").and_then(|delta| delta.get("content")?.as_array());
            for part in parts.into_iter().flatten() {
                let said = part.get("text").and_then(|said| text(said, "value"));
                content |= said.is_some_and(|said| answer.push_text(said));
            }
            content
        }
        _ if name.starts_with("thread.run.step") => false,
        _ if name.starts_with("thread.run.") => {
            facts(answer, &map);
            answer.ended |=
                !matches!(name, "thread.run.created" | "thread.run.queued" | "thread.run.in_progress");
            false
        }
        _ => false,
    }
}

/// What a run says of itself.
fn facts(answer: &mut TextAnswer, map: &Map<String, Value>) {
    let run = Value::Object(map.clone());
    answer.response_id = owned_text(&run, "id").or(answer.response_id.take());
    if text(&run, "object") != Some("thread.run") {
        return;
    }
    answer.model = owned_text(&run, "model").or(answer.model.take());
    answer.note("conversation_id", run.get("thread_id").cloned());
    answer.note("assistant_id", run.get("assistant_id").cloned());
    answer.note("usage", run.get("usage").filter(|usage| usage.is_object()).cloned());
    let status = owned_text(&run, "status");
    answer.note("status", status.clone().map(Value::from));
    answer.finish = status.filter(|status| !matches!(status.as_str(), "queued" | "in_progress"));
    if let Some(failed) = run.get("last_error").filter(|error| error.is_object()) {
        answer.error = common::error_of_failed(failed);
    }
    let action = run.get("required_action").and_then(|action| action.get("submit_tool_outputs"));
    if let Some(calls) = action.and_then(|action| action.get("tool_calls")?.as_array()) {
        answer.tool_calls = calls.iter().cloned().map(openai_chat::tool_call).collect();
    }
    if let Some(counted) = run.get("usage").filter(|usage| usage.is_object()) {
        answer.usage = usage::normalise(counted, Dialect::default(), &mut answer.extension);
    }
}
