//! Texts that continue a prompt, whole or in pieces: what the formats of that kind share.
//!
//! A whole answer is a stream of one event.

use std::collections::BTreeMap;

use oisp_event::{Choice, ErrorInfo, Message, Parameters, RequestType, Role, Usage};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::common::{self, Content, Messages};
use super::gap_text::{GapText, piece};
use super::{ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::call::Embedding;
use crate::chunks::{MOST_PARTS, Progress};
use crate::detect::Target;
use crate::json::{as_text, into_object, take_text};

/// What one body or event says.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) texts: Vec<TextPiece>,
    pub(super) images: Vec<Value>,
    pub(super) model: Option<String>,
    pub(super) response_id: Option<String>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// The counts as they were said.
    pub(super) usage: Map<String, Value>,
    pub(super) error: Option<ErrorInfo>,
    pub(super) extension: Map<String, Value>,
    /// No event follows.
    pub(super) is_last: bool,
}

/// A piece of one of the texts.
#[derive(Default)]
pub(super) struct TextPiece {
    pub(super) index: u64,
    pub(super) text: Option<String>,
    /// Why it ended, if it did.
    pub(super) finish: Option<String>,
}

impl TextPiece {
    /// Of an object with these keys.
    pub(super) fn of(index: u64, mut map: Map<String, Value>, text: &str, finish: &str) -> Self {
        Self { index, text: take_text(&mut map, text), finish: take_text(&mut map, finish) }
    }
}

/// Collects an answer's events.
pub(super) struct CompletionStream {
    read: fn(Value) -> Reading,
    answer: Answer,
    texts: BTreeMap<u64, Text>,
    counts: [Option<u64>; 2],
    usage: Map<String, Value>,
    gaps: u32,
    ended: bool,
}

#[derive(Default)]
struct Text {
    said: bool,
    text: GapText,
    finish: Option<String>,
}

impl CompletionStream {
    pub(super) fn new(read: fn(Value) -> Reading) -> Self {
        Self {
            read,
            answer: Answer::default(),
            texts: BTreeMap::new(),
            counts: [None; 2],
            usage: Map::new(),
            gaps: 0,
            ended: false,
        }
    }

    /// Reads a whole answer.
    pub(super) fn read_whole(read: fn(Value) -> Reading, body: Value) -> ParsedResponse {
        let mut stream = Box::new(Self::new(read));
        stream.event("", body);
        stream.finish()
    }
}

impl StreamAccumulator for CompletionStream {
    fn event(&mut self, _name: &str, data: Value) -> bool {
        let reading = (self.read)(data);
        let mut content = false;
        for piece in reading.texts {
            let state = self.texts.entry(piece.index).or_default();
            if let Some(text) = piece.text {
                state.said = true;
                content |= !text.is_empty();
                state.text.push(&text, self.gaps);
            }
            state.finish = piece.finish.or(state.finish.take());
        }
        for image in reading.images {
            content = true;
            self.answer.content.push_image(image);
        }
        let answer = &mut self.answer;
        answer.model = reading.model.or(answer.model.take());
        answer.response_id = reading.response_id.or(answer.response_id.take());
        answer.error = answer.error.take().or(reading.error);
        answer.extension.extend(reading.extension);
        // Counts grow while the answer does: a later one overwrites an earlier one.
        for (to, said) in self.counts.iter_mut().zip([reading.input_tokens, reading.output_tokens]) {
            *to = said.or(*to);
        }
        self.usage.extend(reading.usage.into_iter().filter(|(_, value)| !value.is_null()));
        self.ended |= reading.is_last;
        content
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        for (index, text) in self.texts.iter().take(MOST_PARTS) {
            progress.text(*index, text.text.whole());
        }
    }

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.ended
            || self.answer.error.is_some()
            || (!self.texts.is_empty() && self.texts.values().all(|text| text.finish.is_some()))
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn finish(self: Box<Self>) -> ParsedResponse {
        let Self { mut answer, texts, counts: [input, output], usage, .. } = *self;
        let normalised = Usage {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.and_then(|input| input.checked_add(output?)),
            ..Usage::default()
        };
        answer.usage = (normalised != Usage::default()).then_some(normalised);
        if !usage.is_empty() {
            answer.extension.insert("usage".to_owned(), Value::Object(usage));
        }
        let (_, images, parts) = std::mem::take(&mut answer.content).into_parts();
        answer.finish_reason = texts.values().find_map(|text| text.finish.clone());
        let mut parsed = answer.finish();
        let mut after_gap = Vec::new();
        for (index, Text { said, text, finish }) in texts {
            let (whole, later) = text.into_parts();
            after_gap.extend(later.into_iter().map(|(gap, text)| piece(gap, text, ("choice", index))));
            let message = if said {
                Message::text(Role::Assistant, whole)
            } else {
                Message { role: Role::Assistant, ..Message::default() }
            };
            parsed.response.choices.push(Choice {
                index,
                message: Some(message),
                finish_reason: finish.as_deref().map(common::finish_reason),
            });
        }
        if images > 0 {
            let message = Message {
                role: Role::Assistant,
                has_images: Some(true),
                image_count: Some(images),
                ..Message::default()
            };
            parsed.response.choices.push(Choice { message: Some(message), ..Choice::default() });
        }
        common::set_array(&mut parsed.extension, "parts", parts);
        common::set_array(&mut parsed.extension, "content_after_gap", after_gap);
        parsed
    }
}

/// Enters what is to be continued or embedded, each text as a message of the user, with images beside the first.
pub(super) fn enter_inputs(
    parsed: &mut ParsedRequest,
    request_type: RequestType,
    texts: impl IntoIterator<Item = Value>,
    images: impl IntoIterator<Item = Value>,
) {
    let mut messages = Messages::default();
    let mut described = Content::default();
    images.into_iter().for_each(|image| described.push_image(image));
    for text in texts {
        let mut content = std::mem::take(&mut described);
        if let Some(text) = as_text(&text) {
            content.push_owned_text(text);
        }
        messages.push(Role::User, content);
    }
    if !described.is_empty() {
        messages.push(Role::User, described);
    }
    messages.finish(parsed);
    parsed.request.request_type = request_type;
}

/// An image given as base64, by its size.
pub(super) fn base64_image(text: &str) -> Value {
    match text.strip_prefix("data:") {
        Some(_) => common::describe_url("image", text),
        None => json!({ "type": "image", "encoded_bytes": text.len() }),
    }
}

/// A request with a `prompt` and what it is to be completed with; `others` names its further parameters.
pub(super) fn parse_prompt(body: Value, target: &Target, others: &[&str]) -> ParsedRequest {
    let mut map = into_object(body);
    let mut parsed = ParsedRequest::default();
    enter_inputs(&mut parsed, RequestType::Completion, map.remove("prompt"), None);
    common::set_model_and_streaming(&mut parsed.request, &mut map, target);
    parsed.request.parameters = Some(parameters(&map));
    common::enter_other_parameters(&mut parsed.extension, &map, others);
    parsed
}

/// The parameters of a body whose makers name them each in their own way.
pub(super) fn parameters(map: &Map<String, Value>) -> Parameters {
    let find = |keys: &[&str]| keys.iter().find_map(|key| map.get(*key).filter(|value| !value.is_null()));
    Parameters {
        temperature: find(&["temperature"]).and_then(Value::as_f64),
        top_p: find(&["top_p", "topP", "p"]).and_then(Value::as_f64),
        max_tokens: find(&[
            "max_tokens",
            "maxTokens",
            "max_tokens_to_sample",
            "max_gen_len",
            "maxTokenCount",
            "max_new_tokens",
        ])
        .and_then(Value::as_u64),
        frequency_penalty: find(&["frequency_penalty"]).and_then(Value::as_f64),
        presence_penalty: find(&["presence_penalty"]).and_then(Value::as_f64),
        stop: common::stop_list(find(&["stop_sequences", "stopSequences", "stop"])),
    }
}

/// The size of a list of vectors: their number, and the numbers in each where all have the same.
pub(super) fn embedding_of<'a>(vectors: impl IntoIterator<Item = &'a Value>) -> Embedding {
    let mut embedding = Embedding::default();
    for vector in vectors {
        let length = vector.as_array().map(|numbers| numbers.len() as u64);
        embedding.dimensions = match embedding.count {
            0 => length,
            _ => embedding.dimensions.filter(|known| length == Some(*known)),
        };
        embedding.count += 1;
    }
    embedding
}
