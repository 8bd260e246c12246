//! `POST /v1/generate`; Bedrock's models of that kind answer the same.

use serde_json::Value;

use super::{COMPATIBLE, OTHER_PARAMETERS, ends_with, usage};
use crate::detect::Target;
use crate::format::common;
use crate::format::completion::{self, CompletionStream, Reading, TextPiece};
use crate::format::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::json::{into_object, owned_text, take_text, text};
use crate::providers::Dialect;

pub(in crate::format) struct CohereGenerate;

impl Format for CohereGenerate {
    fn id(&self) -> FormatId {
        FormatId::CohereGenerate
    }

    fn name(&self) -> &'static str {
        "cohere_generate"
    }

    fn compatible_id(&self) -> &'static str {
        COMPATIBLE
    }

    fn serves_known_host(&self, path: &str) -> bool {
        ends_with(path, "/v1/generate")
    }

    /// Others have the path, and bodies with a prompt.
    fn serves_any_host(&self, _path: &str) -> bool {
        false
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        text(body, "prompt").is_some()
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("generations").is_some_and(Value::is_array)
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        data.get("is_finished").is_some_and(Value::is_boolean)
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        completion::parse_prompt(body, target, OTHER_PARAMETERS)
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        CompletionStream::read_whole(read, body)
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(CompletionStream::new(read))
    }
}

/// Whether a body or an event is of a generated text.
pub(in crate::format) fn is_generation(body: &Value) -> bool {
    body.get("generations").is_some_and(Value::is_array)
        || body.get("is_finished").is_some_and(Value::is_boolean)
}

/// Reads a body, or one of `{"text","is_finished":false}` and `{"is_finished":true,"finish_reason","response"}`.
pub(in crate::format) fn read(body: Value) -> Reading {
    let mut map = into_object(body);
    let mut reading = Reading { error: common::error_in(&map), ..Reading::default() };
    reading.is_last = map.get("is_finished").and_then(Value::as_bool) == Some(true);
    if reading.error.is_none() && reading.is_last && map.contains_key("err") {
        reading.error =
            Some(oisp_event::ErrorInfo { message: take_text(&mut map, "err"), ..Default::default() });
    }
    // Its texts came before, piece by piece.
    let repeated = map.remove("response").map(into_object);
    let whole = repeated.is_none();
    let mut inner = repeated.unwrap_or_else(|| map.clone());
    reading.response_id = take_text(&mut inner, "id");
    let generations = crate::json::take_array(&mut inner, "generations").unwrap_or_default();
    for (position, generation) in generations.into_iter().enumerate() {
        let index = generation.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
        let mut piece = TextPiece::of(index, into_object(generation), "text", "finish_reason");
        piece.text = piece.text.filter(|_| whole);
        reading.texts.push(piece);
    }
    if reading.texts.is_empty() {
        let index = map.get("index").and_then(Value::as_u64).unwrap_or_default();
        reading.texts.push(TextPiece::of(index, map, "text", "finish_reason"));
    }
    if let Some(meta) = inner.remove("meta").filter(Value::is_object) {
        let counts = usage(&meta).unwrap_or_default();
        (reading.input_tokens, reading.output_tokens) = (counts.prompt_tokens, counts.completion_tokens);
        let kept = super::into_pairs(meta);
        reading.usage = kept.filter(|(key, _)| matches!(key.as_str(), "billed_units" | "tokens")).collect();
    }
    reading.model = owned_text(&Value::Object(inner), "model");
    reading
}
