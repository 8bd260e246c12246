//! `POST /v1/chat`, and the same body as Bedrock invokes it.

use oisp_event::{RequestType, Role, ToolCall, ToolDefinition, ToolType};
use serde_json::{Value, json};

use super::{COMPATIBLE, OTHER_PARAMETERS, count_documents, ends_with, push_citation, take_usage};
use crate::bedrock;
use crate::chunks::Progress;
use crate::detect::Target;
use crate::format::answer::Answer;
use crate::format::common::{self, Content, Messages};
use crate::format::gap_text::{GapText, piece};
use crate::format::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, completion};
use crate::json::{as_text, into_object, owned_text, take_array, take_text, text};
use crate::providers::Dialect;

pub(in crate::format) struct CohereV1;

impl Format for CohereV1 {
    fn id(&self) -> FormatId {
        FormatId::CohereV1
    }

    fn name(&self) -> &'static str {
        "cohere_v1"
    }

    fn compatible_id(&self) -> &'static str {
        COMPATIBLE
    }

    fn serves_known_host(&self, path: &str) -> bool {
        ends_with(path, "/v1/chat") || bedrock::may_invoke(path, "cohere")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        const FIELDS: [&str; 4] = ["model", "chat_history", "preamble", "tool_results"];
        text(body, "message").is_some()
            && (bedrock::is_invoke(&target.path)
                || is_message_alone(body)
                || FIELDS.iter().any(|key| body.get(key).is_some()))
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "text").is_some()
            && ["generation_id", "response_id", "chat_history"].iter().any(|key| body.get(key).is_some())
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        text(data, "event_type").is_some_and(|kind| EVENTS.contains(&kind))
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("stream-start") && beginning.contains("event_type")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        let text_of = |text: Option<String>| {
            let mut content = Content::default();
            text.into_iter().for_each(|text| content.push_owned_text(text));
            content
        };
        if let Some(preamble) = take_text(&mut map, "preamble").filter(|text| !text.is_empty()) {
            messages.push(Role::System, text_of(Some(preamble)));
        }
        for turn in take_array(&mut map, "chat_history").unwrap_or_default() {
            push_turn(&mut messages, turn, &mut parsed.unparsed);
        }
        for result in take_array(&mut map, "tool_results").unwrap_or_default() {
            push_result(&mut messages, &result);
        }
        if let Some(message) = take_text(&mut map, "message").filter(|text| !text.is_empty()) {
            messages.push(Role::User, text_of(Some(message)));
        }
        messages.finish(&mut parsed);
        let request = &mut parsed.request;
        request.request_type = RequestType::Chat;
        common::set_model_and_streaming(request, &mut map, target);
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            request.tools.push(ToolDefinition {
                name: owned_text(&tool, "name"),
                tool_type: Some(ToolType::Function),
                description: owned_text(&tool, "description"),
            });
        }
        request.tools_count = Some(request.tools.len() as u64);
        request.parameters = Some(completion::parameters(&map));
        common::set_text(&mut parsed.extension, "conversation_id", take_text(&mut map, "conversation_id"));
        // A connector's options may hold what is searched for, so only ids are taken.
        let connectors = take_array(&mut map, "connectors").unwrap_or_default();
        let ids = connectors.iter().filter_map(|found| owned_text(found, "id").map(Value::String)).collect();
        common::set_array(&mut parsed.extension, "connectors", ids);
        count_documents(&map, &mut parsed.extension);
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut answer = Answer::default();
        take_whole(&mut answer, body);
        answer.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(ChatStream::default())
    }
}

const EVENTS: [&str; 9] = [
    "stream-start",
    "search-queries-generation",
    "search-results",
    "text-generation",
    "citation-generation",
    "tool-calls-chunk",
    "tool-calls-generation",
    "stream-end",
    "stream-error",
];

/// A message alone asks for the usual model.
fn is_message_alone(body: &Value) -> bool {
    body.as_object().is_some_and(|map| map.keys().all(|key| matches!(key.as_str(), "message" | "stream")))
}

fn push_turn(messages: &mut Messages, turn: Value, unparsed: &mut Vec<String>) {
    let mut turn = into_object(turn);
    let original = take_text(&mut turn, "role").unwrap_or_default();
    let role = match original.to_ascii_uppercase().as_str() {
        "CHATBOT" => Role::Assistant,
        "USER" => Role::User,
        "SYSTEM" => Role::System,
        "TOOL" => {
            for result in take_array(&mut turn, "tool_results").unwrap_or_default() {
                push_result(messages, &result);
            }
            return;
        }
        other => {
            messages.original_role(other);
            unparsed.push("message_role".to_owned());
            Role::User
        }
    };
    for call in take_array(&mut turn, "tool_calls").unwrap_or_default() {
        messages.tool_call(serde_json::to_value(tool_call(call)).unwrap_or_default());
    }
    let mut content = Content::default();
    take_text(&mut turn, "message").into_iter().for_each(|text| content.push_owned_text(text));
    messages.push(role, content);
}

/// `{"call":{"name","parameters"},"outputs":[…]}`: there are no ids, so the tool's name stands for the call.
fn push_result(messages: &mut Messages, result: &Value) {
    let mut content = Content::default();
    result.get("outputs").and_then(as_text).into_iter().for_each(|text| content.push_owned_text(text));
    let written = messages.push(Role::Tool, content);
    written.name = result.get("call").and_then(|call| owned_text(call, "name"));
}

fn tool_call(call: Value) -> ToolCall {
    let mut map = into_object(call);
    ToolCall {
        id: take_text(&mut map, "id").filter(|id| !id.is_empty()),
        name: take_text(&mut map, "name"),
        arguments: map.get("parameters").and_then(as_text),
        ..ToolCall::default()
    }
}

/// Takes a whole answer: a body, or what ends a stream.
fn take_whole(answer: &mut Answer, body: Value) {
    let mut map = into_object(body);
    answer.answered = true;
    if let Some(said) = take_text(&mut map, "text") {
        answer.content = Content::default();
        answer.content.push_owned_text(said);
    }
    answer.request_id = take_text(&mut map, "response_id").or(answer.request_id.take());
    answer.response_id = take_text(&mut map, "generation_id").or(answer.response_id.take());
    answer.finish_reason = take_text(&mut map, "finish_reason").or(answer.finish_reason.take());
    if let Some(calls) = take_array(&mut map, "tool_calls") {
        answer.calls = calls.into_iter().map(tool_call).collect();
    }
    if let Some(citations) = take_array(&mut map, "citations") {
        answer.citations = Default::default();
        citations.iter().for_each(|cited| push_citation(answer, cited));
    }
    for (from, to) in [("search_queries", "search_queries"), ("search_results", "search_results")] {
        if let Some(found) = map.get(from).and_then(Value::as_array).filter(|found| !found.is_empty()) {
            answer.extension.insert(to.to_owned(), json!({ "count": found.len() }));
        }
    }
    answer.error = answer.error.take().or_else(|| common::error_in(&map));
    take_usage(answer, map.remove("meta"));
}

#[derive(Default)]
struct ChatStream {
    answer: Answer,
    said: GapText,
    gaps: u32,
    /// The last event has the whole answer once more.
    whole: bool,
    ended: bool,
}

impl StreamAccumulator for ChatStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let kind = owned_text(&data, "event_type").unwrap_or_else(|| name.to_owned());
        let mut map = into_object(data);
        match kind.as_str() {
            "stream-start" => {
                self.answer.answered = true;
                self.answer.response_id = take_text(&mut map, "generation_id");
                false
            }
            "text-generation" => {
                self.answer.answered = true;
                let piece = take_text(&mut map, "text").unwrap_or_default();
                self.said.push(&piece, self.gaps);
                !piece.is_empty()
            }
            // The calls follow whole.
            "tool-calls-chunk" => true,
            "tool-calls-generation" => {
                self.answer.answered = true;
                let calls = take_array(&mut map, "tool_calls").unwrap_or_default();
                self.answer.calls.extend(calls.into_iter().map(tool_call));
                true
            }
            "citation-generation" => {
                for cited in take_array(&mut map, "citations").unwrap_or_default() {
                    push_citation(&mut self.answer, &cited);
                }
                false
            }
            "stream-end" => {
                self.answer.finish_reason = take_text(&mut map, "finish_reason");
                if let Some(response @ Value::Object(_)) = map.remove("response") {
                    self.whole = text(&response, "text").is_some();
                    take_whole(&mut self.answer, response);
                }
                self.ended = true;
                false
            }
            "stream-error" => {
                let message = take_text(&mut map, "err").or_else(|| take_text(&mut map, "message"));
                let error = oisp_event::ErrorInfo {
                    error_type: take_text(&mut map, "finish_reason"),
                    message,
                    ..Default::default()
                };
                self.answer.error.get_or_insert(error);
                self.ended = true;
                false
            }
            _ => {
                self.answer.error = self.answer.error.take().or_else(|| common::error_in(&map));
                false
            }
        }
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        progress.text(0, self.said.whole());
    }

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.ended || self.answer.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        let (said, later) = self.said.into_parts();
        if self.whole {
            return self.answer.finish();
        }
        if !said.is_empty() {
            self.answer.content.push_owned_text(said);
        }
        let mut parsed = self.answer.finish();
        let later = later.into_iter().map(|(gap, text)| piece(gap, text, ("block", 0))).collect();
        common::set_array(&mut parsed.extension, "content_after_gap", later);
        parsed
    }
}
