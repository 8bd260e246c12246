//! `POST /v2/chat`.

use oisp_event::RequestType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{COMPATIBLE, OTHER_PARAMETERS, count_documents, ends_with, push_citation, take_usage};
use crate::chunks::Progress;
use crate::detect::Target;
use crate::format::answer::Answer;
use crate::format::blocks::{Blocks, DeltaEvent, Opening};
use crate::format::common::{self, Messages};
use crate::format::openai_chat::{push_message, tool_call, tool_definition};
use crate::format::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, completion};
use crate::json::{as_text, into_object, into_text, owned_text, take_array, take_text, text};
use crate::lean::{self, Object, Skipped, Text};
use crate::providers::Dialect;

pub(in crate::format) struct CohereV2;

impl Format for CohereV2 {
    fn id(&self) -> FormatId {
        FormatId::CohereV2
    }

    fn name(&self) -> &'static str {
        "cohere_v2"
    }

    fn compatible_id(&self) -> &'static str {
        COMPATIBLE
    }

    fn serves_known_host(&self, path: &str) -> bool {
        ends_with(path, "/v2/chat")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        common::has_messages(body) && text(body, "model").is_some()
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("message").is_some_and(Value::is_object) && text(body, "finish_reason").is_some()
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        text(data, "type").is_some_and(|kind| EVENTS.contains(&kind))
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("message-start")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let mut messages = Messages::default();
        for mut message in take_array(&mut map, "messages").unwrap_or_default() {
            documents_as_text(&mut message);
            push_message(&mut messages, message, &mut parsed.unparsed);
        }
        messages.finish(&mut parsed);
        let request = &mut parsed.request;
        request.request_type = RequestType::Chat;
        common::set_model_and_streaming(request, &mut map, target);
        for tool in take_array(&mut map, "tools").unwrap_or_default() {
            request.tools.push(tool_definition(&tool).0);
        }
        request.tools_count = Some(request.tools.len() as u64);
        request.tool_choice = map.remove("tool_choice").and_then(into_text);
        request.parameters = Some(completion::parameters(&map));
        count_documents(&map, &mut parsed.extension);
        common::enter_other_parameters(&mut parsed.extension, &map, OTHER_PARAMETERS);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let mut map = into_object(body);
        let mut answer = Answer { response_id: take_text(&mut map, "id"), ..Answer::default() };
        let mut message = into_object(map.remove("message").unwrap_or_default());
        answer.answered = true;
        match message.remove("content") {
            Some(Value::String(said)) => answer.content.push_owned_text(said),
            Some(Value::Array(parts)) => parts.into_iter().for_each(|part| push_part(&mut answer, part)),
            _ => {}
        }
        answer.push_reasoning(take_text(&mut message, "tool_plan").unwrap_or_default());
        answer.calls =
            take_array(&mut message, "tool_calls").unwrap_or_default().into_iter().map(tool_call).collect();
        for cited in take_array(&mut message, "citations").unwrap_or_default() {
            push_citation(&mut answer, &cited);
        }
        take_end(&mut answer, &mut map);
        answer.finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(ChatStream::default())
    }
}

const EVENTS: [&str; 11] = [
    "message-start",
    "content-start",
    "content-delta",
    "content-end",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "tool-call-end",
    "citation-start",
    "citation-end",
    "message-end",
];

/// A tool's result is mostly given as documents: their data is its text.
fn documents_as_text(message: &mut Value) {
    if text(message, "role") != Some("tool") {
        return;
    }
    for part in message.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(data) = part.get("document").and_then(|document| as_text(document.get("data")?)) {
            *part = json!({ "type": "text", "text": data });
        }
    }
}

fn push_part(answer: &mut Answer, mut part: Value) {
    match text(&part, "type") {
        Some("text") => {
            if let Some(said) = part.get_mut("text").map(Value::take).and_then(into_text) {
                answer.content.push_owned_text(said);
            }
        }
        Some("thinking") => answer.push_reasoning(owned_text(&part, "thinking").unwrap_or_default()),
        _ => answer.content.push_part(common::describe_part(&part)),
    }
}

/// Takes what ends a message: beside a whole one, in the last event of a stream.
fn take_end(answer: &mut Answer, map: &mut Map<String, Value>) {
    answer.finish_reason = take_text(map, "finish_reason").or(answer.finish_reason.take());
    take_usage(answer, map.remove("usage"));
    answer.error = answer.error.take().or_else(|| common::error_in(map));
}

/// Contents, tool calls and the plan are numbered each for themselves; here they stand in one row, in this order.
const FIRST_CALL: u64 = 1 << 32;
const PLAN: u64 = 1 << 31;

#[derive(Default)]
struct ChatStream {
    answer: Answer,
    blocks: Blocks,
    ended: bool,
}

impl StreamAccumulator for ChatStream {
    fn event(&mut self, name: &str, mut data: Value) -> bool {
        let index = data.get("index").and_then(Value::as_u64).unwrap_or_default();
        let call = FIRST_CALL.saturating_add(index);
        let id = owned_text(&data, "id");
        let kind = owned_text(&data, "type").unwrap_or_else(|| name.to_owned());
        let mut delta = into_object(data.get_mut("delta").map(Value::take).unwrap_or_default());
        let mut message = into_object(delta.remove("message").unwrap_or_default());
        let content = message.remove("content").unwrap_or_default();
        let mut calls = match message.remove("tool_calls") {
            Some(Value::Array(mut calls)) if !calls.is_empty() => calls.swap_remove(0),
            Some(calls) => calls,
            None => Value::Null,
        };
        match kind.as_str() {
            "message-start" => {
                self.answer.answered = true;
                self.answer.response_id = id;
                false
            }
            "content-start" => {
                let opening = if text(&content, "type") == Some("thinking") {
                    Opening::Thinking
                } else {
                    Opening::Text
                };
                self.blocks.start(index, opening);
                self.content(index, text(&content, "text"), text(&content, "thinking"))
            }
            "content-delta" => self.content(index, text(&content, "text"), text(&content, "thinking")),
            "content-end" => {
                self.blocks.stop(index);
                false
            }
            "tool-plan-delta" => {
                self.blocks.thinking(PLAN, text(&Value::Object(message), "tool_plan").unwrap_or_default())
            }
            "tool-call-start" => {
                let arguments = calls
                    .get_mut("function")
                    .and_then(Value::as_object_mut)
                    .and_then(|function| take_text(function, "arguments"));
                let mut opened = tool_call(calls);
                opened.arguments = None;
                self.blocks.start(call, Opening::Call(opened));
                self.blocks.input(call, &arguments.unwrap_or_default());
                true
            }
            "tool-call-delta" => {
                let function = calls.get("function").unwrap_or(&Value::Null);
                self.blocks.input(call, text(function, "arguments").unwrap_or_default())
            }
            "tool-call-end" => {
                self.blocks.stop(call);
                false
            }
            "citation-start" => {
                match message.remove("citations") {
                    Some(Value::Array(list)) => {
                        list.iter().for_each(|cited| push_citation(&mut self.answer, cited));
                    }
                    Some(cited) => push_citation(&mut self.answer, &cited),
                    None => {}
                }
                false
            }
            "message-end" => {
                take_end(&mut self.answer, &mut delta);
                self.ended = true;
                false
            }
            _ => {
                let map = into_object(data);
                self.answer.error = self.answer.error.take().or_else(|| common::error_in(&map));
                false
            }
        }
    }

    fn text_event(&mut self, _name: &str, data: &str) -> Option<bool> {
        let Object(event) = lean::read::<Object<DeltaEvent<'_, Delta<'_>>>>(data)?;
        let Object(delta) = event.delta;
        let Object(message) = delta.message;
        let index = event.index.unwrap_or_default();
        match (&*event.kind.0, message.content, message.tool_calls) {
            ("content-delta", Some(Object(content)), None) => {
                let [said, thought] =
                    [&content.text, &content.thinking].map(|text| text.as_ref().map(|text| &*text.0));
                Some(self.content(index, said, thought))
            }
            ("tool-call-delta", None, Some(Object(call))) => {
                let Object(function) = call.function;
                Some(self.blocks.input(FIRST_CALL.saturating_add(index), &function.arguments.0))
            }
            _ => None,
        }
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        self.blocks.progress(progress);
    }

    fn gap(&mut self) {
        self.blocks.gap();
    }

    fn is_complete(&self) -> bool {
        self.ended || self.answer.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn finish(self: Box<Self>) -> ParsedResponse {
        self.blocks.finish_answer(self.answer)
    }
}

impl ChatStream {
    fn content(&mut self, index: u64, said: Option<&str>, thought: Option<&str>) -> bool {
        match (said, thought) {
            (_, Some(thought)) if !thought.is_empty() => self.blocks.thinking(index, thought),
            (Some(said), _) => self.blocks.text(index, said),
            _ => false,
        }
    }
}

/// What most events of a stream say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    #[serde(borrow)]
    message: Object<DeltaMessage<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaMessage<'a> {
    #[serde(borrow)]
    content: Option<Object<DeltaContent<'a>>>,
    #[serde(borrow)]
    tool_calls: Option<Object<DeltaCall<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaContent<'a> {
    #[serde(default, rename = "type")]
    _kind: Skipped,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaCall<'a> {
    #[serde(borrow)]
    function: Object<DeltaFunction<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaFunction<'a> {
    #[serde(borrow)]
    arguments: Text<'a>,
}
