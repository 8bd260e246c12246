//! An answer of one text, as the services' own interfaces give it: collected whole or from a stream.

use oisp_event::{Choice, ErrorInfo, FinishReason, Message, Model, Role, ToolCall, Usage};
use serde_json::{Map, Value, json};

use super::common::{self, Content};
use super::gap_text::{GapText, piece};
use super::{ParsedResponse, StreamAccumulator};
use crate::chunks::{MOST_PARTS, Progress};
use crate::json::into_object;

/// What has been read of the answer so far.
#[derive(Debug, Default)]
pub(super) struct TextAnswer {
    pub(super) model: Option<String>,
    pub(super) response_id: Option<String>,
    /// The original finish reason.
    pub(super) finish: Option<String>,
    pub(super) tool_calls: Vec<ToolCall>,
    /// Images and other things beside the text.
    pub(super) parts: Content,
    pub(super) usage: Option<Usage>,
    pub(super) error: Option<ErrorInfo>,
    pub(super) extension: Map<String, Value>,
    /// Whether it said that nothing follows.
    pub(super) ended: bool,
    /// Nothing marks its end but that of the body.
    pub(super) has_no_end: bool,
    said_text: bool,
    text: GapText,
    reasoning: GapText,
    further: Vec<String>,
    gaps: u32,
}

impl TextAnswer {
    /// One that needs no end of its own.
    pub(super) fn ended() -> Self {
        Self { ended: true, ..Self::default() }
    }

    /// Appends to the text; says whether there was any.
    pub(super) fn push_text(&mut self, text: &str) -> bool {
        self.said_text = true;
        self.text.push(text, self.gaps);
        !text.is_empty()
    }

    /// The whole text, in place of what was collected.
    pub(super) fn replace_text(&mut self, text: &str) -> bool {
        self.text = GapText::born(self.gaps);
        self.push_text(text)
    }

    /// Appends to the reasoning; says whether there was any.
    pub(super) fn push_reasoning(&mut self, text: &str) -> bool {
        self.reasoning.push(text, self.gaps);
        !text.is_empty()
    }

    pub(super) fn has_reasoning(&self) -> bool {
        !self.reasoning.is_empty()
    }

    /// The text of a further choice.
    pub(super) fn push_choice(&mut self, text: &str) {
        if self.said_text {
            self.further.push(text.to_owned());
        } else {
            self.push_text(text);
        }
    }

    pub(super) fn has_text(&self) -> bool {
        self.said_text
    }

    /// Notes what the schema has no field for, if it is there.
    pub(super) fn note(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.extension.insert(key.to_owned(), value);
        }
    }

    /// Input and output tokens, with the original of the counts. A later report replaces an earlier one.
    pub(super) fn count_tokens(
        &mut self,
        prompt: Option<u64>,
        completion: Option<u64>,
        original: Map<String, Value>,
    ) {
        if prompt.is_none() && completion.is_none() {
            return;
        }
        self.usage = Some(Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.zip(completion).and_then(|(prompt, output)| prompt.checked_add(output)),
            ..Usage::default()
        });
        self.extension.insert("usage".to_owned(), Value::Object(original));
    }

    fn is_empty(&self) -> bool {
        !self.said_text
            && self.reasoning.is_empty()
            && self.tool_calls.is_empty()
            && self.parts.is_empty()
            && self.finish.is_none()
    }

    pub(super) fn finish(self) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let is_empty = self.is_empty();
        let understood = !is_empty || self.ended || self.error.is_some() || self.usage.is_some();
        let (response, extension) = (&mut parsed.response, &mut parsed.extension);
        *extension = self.extension;
        response.model = self.model.filter(|id| !id.is_empty()).map(|id| Model { id });
        response.provider_request_id.clone_from(&self.response_id);
        common::set_text(extension, "response_id", self.response_id);
        response.error = self.error;
        response.usage = self.usage;
        // Ollama stops, whether it asks for tools or not.
        let meaning = |finish: &str| match common::finish_reason(finish) {
            FinishReason::Stop if !self.tool_calls.is_empty() => FinishReason::ToolCalls,
            other => other,
        };
        response.finish_reason = self.finish.as_deref().map(meaning);
        common::set_text(extension, "finish_reason", self.finish);
        let (text, later) = self.text.into_parts();
        let (reasoning, reasoning_later) = self.reasoning.into_parts();
        let pieces = |later: Vec<(u32, String)>| {
            later.into_iter().map(|(gap, text)| piece(gap, text, ("choice", 0))).collect()
        };
        common::set_array(extension, "content_after_gap", pieces(later));
        common::set_array(extension, "reasoning_after_gap", pieces(reasoning_later));
        if !reasoning.is_empty() {
            extension.insert("reasoning".to_owned(), json!([{ "choice": 0, "text": reasoning }]));
        }
        if !is_empty {
            let (_, images, parts) = self.parts.into_parts();
            let mut message = match self.said_text {
                true => Message::text(Role::Assistant, text),
                false => Message { role: Role::Assistant, ..Message::default() },
            };
            if images > 0 {
                message.has_images = Some(true);
                message.image_count = Some(images);
            }
            let parts = parts.into_iter().map(|part| {
                let mut part = into_object(part);
                part.insert("choice".to_owned(), 0.into());
                Value::Object(part)
            });
            common::set_array(extension, "parts", parts.collect());
            response.tool_calls_count = Some(self.tool_calls.len() as u64);
            response.tool_calls = self.tool_calls;
            response.choices.push(choice(0, message, response.finish_reason));
            for (index, text) in (1..).zip(self.further) {
                response.choices.push(choice(index, Message::text(Role::Assistant, text), None));
            }
        }
        if !understood {
            parsed.unparsed.push("stream_events".to_owned());
        }
        parsed
    }
}

fn choice(index: u64, message: Message, finish_reason: Option<FinishReason>) -> Choice {
    Choice { index, message: Some(message), finish_reason }
}

/// Takes an event of the stream, by its name and JSON; says whether it carries content.
pub(super) type Take = fn(&mut TextAnswer, &str, Map<String, Value>) -> bool;

/// Takes most events from their text, as [`StreamAccumulator::text_event`].
pub(super) type TakeText = fn(&mut TextAnswer, &str) -> Option<bool>;

/// A stream whose events add up to a [`TextAnswer`].
pub(super) struct TextStream {
    answer: TextAnswer,
    take: Take,
    take_text: Option<TakeText>,
}

impl TextStream {
    pub(super) fn boxed(take: Take) -> Box<dyn StreamAccumulator> {
        Box::new(Self { answer: TextAnswer::default(), take, take_text: None })
    }

    pub(super) fn with_text(take: Take, take_text: TakeText) -> Box<dyn StreamAccumulator> {
        Box::new(Self { answer: TextAnswer::default(), take, take_text: Some(take_text) })
    }
}

impl StreamAccumulator for TextStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let map = into_object(data);
        if let Some(error) = common::error_in(&map) {
            self.answer.error.get_or_insert(error);
        }
        (self.take)(&mut self.answer, name, map)
    }

    fn text_event(&mut self, _name: &str, data: &str) -> Option<bool> {
        self.take_text.and_then(|take| take(&mut self.answer, data))
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        if self.answer.said_text {
            progress.text(0, self.answer.text.whole());
        }
        for call in self.answer.tool_calls.iter().take(MOST_PARTS) {
            let [id, name, call_type] = [&call.id, &call.name, &call.call_type].map(Option::as_deref);
            progress.call(id, name, call_type, call.arguments.as_deref().unwrap_or_default());
        }
    }

    fn gap(&mut self) {
        self.answer.gaps = self.answer.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.answer.ended || self.answer.has_no_end || self.answer.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.answer.ended
    }

    fn finish(self: Box<Self>) -> ParsedResponse {
        self.answer.finish()
    }
}

/// Reads a body that is the whole answer.
pub(super) fn read_whole(body: Value, take: Take) -> TextAnswer {
    let map = into_object(body);
    let mut answer = TextAnswer { error: common::error_in(&map), ..TextAnswer::default() };
    take(&mut answer, "", map);
    answer
}

/// The named fields that are there, as they are.
pub(super) fn fields(map: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    keys.iter()
        .filter_map(|key| {
            let value = map.get(*key).filter(|value| !value.is_null())?;
            Some(((*key).to_owned(), value.clone()))
        })
        .collect()
}

/// As [`fields`]; `None` if none is there.
pub(super) fn some_fields(map: &Map<String, Value>, keys: &[&str]) -> Option<Value> {
    Some(fields(map, keys)).filter(|fields| !fields.is_empty()).map(Value::Object)
}
