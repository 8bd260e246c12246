//! Aleph Alpha: `POST /complete`, a prompt as a text or as parts. (`/chat/completions` has OpenAI's shape.)

use oisp_event::{Parameters, RequestType};
use serde_json::{Map, Value};

use super::completion::{self, CompletionStream, Reading, TextPiece};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, common};
use crate::detect::Target;
use crate::json::{count, into_object, owned_text, take_array, text};
use crate::providers::Dialect;

pub(super) struct AlephAlpha;

impl Format for AlephAlpha {
    fn id(&self) -> FormatId {
        FormatId::AlephAlpha
    }

    fn name(&self) -> &'static str {
        "aleph_alpha"
    }

    fn compatible_id(&self) -> &'static str {
        "aleph_alpha"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        path.trim_end_matches('/').ends_with("/complete")
    }

    fn serves_any_host(&self, path: &str) -> bool {
        self.serves_known_host(path)
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        self.owns_request(body, &oisp_decode::Headers::default())
    }

    fn owns_request(&self, body: &Value, _headers: &oisp_decode::Headers) -> bool {
        text(body, "model").is_some()
            && body.get("maximum_tokens").is_some()
            && body.get("prompt").is_some_and(|prompt| prompt.is_string() || prompt.is_array())
    }

    fn recognises_response(&self, body: &Value) -> bool {
        body.get("model_version").is_some()
            && body.get("completions").and_then(Value::as_array).is_some_and(|list| {
                list.iter().all(|completed| completed.get("completion").is_some_and(Value::is_string))
            })
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        matches!(text(data, "type"), Some("stream_chunk" | "stream_summary" | "completion_summary"))
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"completions\"") && beginning.contains("\"completion\"")
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let mut parsed = ParsedRequest::default();
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        match map.remove("prompt").unwrap_or_default() {
            Value::Array(parts) => {
                for mut part in parts {
                    match text(&part, "type") {
                        Some("text") => texts.extend(part.get_mut("data").map(Value::take)),
                        Some("image") => images.extend(text(&part, "data").map(completion::base64_image)),
                        _ => images.push(common::describe_part(&part)),
                    }
                }
            }
            prompt => texts.push(prompt),
        }
        completion::enter_inputs(&mut parsed, RequestType::Completion, texts, images);
        common::set_model_and_streaming(&mut parsed.request, &mut map, target);
        parsed.request.parameters = Some(Parameters {
            max_tokens: map.get("maximum_tokens").and_then(Value::as_u64),
            ..completion::parameters(&map)
        });
        common::enter_other_parameters(
            &mut parsed.extension,
            &map,
            &["top_k", "n", "best_of", "echo", "hosting"],
        );
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        CompletionStream::read_whole(read, body)
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        Box::new(CompletionStream::new(read))
    }
}

/// Reads a body or an event.
fn read(body: Value) -> Reading {
    const COUNTS: [&str; 2] = ["num_tokens_prompt_total", "num_tokens_generated"];
    let mut map = into_object(body);
    let usage: Map<String, Value> =
        COUNTS.iter().filter_map(|key| Some(((*key).to_owned(), map.get(*key)?.clone()))).collect();
    let counted = Value::Object(usage.clone());
    let mut reading = Reading {
        input_tokens: count(&counted, COUNTS[0]),
        output_tokens: count(&counted, COUNTS[1]),
        usage,
        error: common::error_in(&map),
        is_last: map.get("type").is_some_and(|kind| kind == "completion_summary"),
        ..Reading::default()
    };
    common::set_text(
        &mut reading.extension,
        "model_version",
        owned_text(&Value::Object(map.clone()), "model_version"),
    );
    for (index, completed) in take_array(&mut map, "completions").unwrap_or_default().into_iter().enumerate()
    {
        let completed = into_object(completed);
        reading.texts.push(TextPiece::of(index as u64, completed, "completion", "finish_reason"));
    }
    let index = map.get("index").and_then(Value::as_u64).unwrap_or_default();
    match map.get("type").and_then(Value::as_str) {
        Some("stream_chunk") => reading.texts.push(TextPiece::of(index, map, "completion", "finish_reason")),
        Some("stream_summary") => reading.texts.push(TextPiece::of(index, map, "", "finish_reason")),
        _ => {}
    }
    reading
}
