//! Replicate: `POST .../predictions` with an `input` that each model shapes as it likes.

use oisp_event::{ErrorInfo, RequestType, Role};
use serde_json::{Map, Value, json};

use super::common::{Content, Messages};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole, some_fields};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{as_text, count, into_object, take_text, text};
use crate::providers::Dialect;

pub(super) struct Replicate;

impl Format for Replicate {
    fn id(&self) -> FormatId {
        FormatId::Replicate
    }

    fn name(&self) -> &'static str {
        "replicate"
    }

    fn compatible_id(&self) -> &'static str {
        "replicate"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        path.trim_end_matches('/').ends_with("/predictions")
    }

    fn serves_any_host(&self, _path: &str) -> bool {
        false
    }

    fn fetches_answer(&self, path: &str) -> bool {
        super::common::is_member(path, "predictions")
    }

    fn recognises_request(&self, body: &Value, _target: &Target) -> bool {
        body.get("input").is_some_and(Value::is_object)
    }

    fn recognises_response(&self, body: &Value) -> bool {
        text(body, "id").is_some()
            && text(body, "status").is_some()
            && body.get("urls").is_some_and(Value::is_object)
            && body.get("input").is_some()
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let path = target.path.split_once("/models/").map(|(_, rest)| rest);
        let model = path.and_then(|rest| rest.strip_suffix("/predictions")).map(str::to_owned);
        let model = model.or_else(|| take_text(&mut map, "model")).or_else(|| take_text(&mut map, "version"));
        let mut input = into_object(map.remove("input").unwrap_or_default());
        // What a model makes is not said; a prompt for text and one for an image look the same.
        let mut parsed = plain::begin(RequestType::Other, model);
        let mut messages = Messages::default();
        for (key, role) in [
            ("system_prompt", Role::System),
            ("system_instruction", Role::System),
            ("prompt", Role::User),
            ("negative_prompt", Role::User),
            ("text", Role::User),
        ] {
            if let Some(text) = take_text(&mut input, key).filter(|text| !text.is_empty()) {
                let mut content = Content::default();
                content.push_owned_text(text);
                if key == "prompt" {
                    push_media(&mut content, &input);
                }
                let message = messages.push(role, content);
                if key == "negative_prompt" {
                    message.name = Some(key.to_owned());
                }
            }
        }
        plain::push_inputs(&mut messages, input.remove("messages").unwrap_or_default());
        messages.finish(&mut parsed);
        parsed.request.streaming = plain::streaming(&map, false);
        let limits = ["max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens"];
        parsed.request.parameters = Some(plain::parameters(&input, &limits, "stop_sequences"));
        // Texts may be content: only what surely is none is noted.
        input.retain(|_, value| value.is_number() || value.is_boolean());
        plain::note_others(&mut parsed, &input, &["temperature", "top_p"]);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        read_whole(body, take).finish()
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(take)
    }
}

fn push_media(content: &mut Content, input: &Map<String, Value>) {
    for key in ["image", "images", "image_input", "input_image", "input_images"] {
        match input.get(key) {
            Some(Value::String(url)) => content.push_image(plain::describe_image(url)),
            Some(Value::Array(list)) => {
                list.iter()
                    .filter_map(Value::as_str)
                    .for_each(|url| content.push_image(plain::describe_image(url)));
            }
            _ => {}
        }
    }
}

fn take(answer: &mut TextAnswer, _name: &str, mut map: Map<String, Value>) -> bool {
    answer.response_id = take_text(&mut map, "id");
    answer.model = take_text(&mut map, "model").filter(|model| !model.is_empty());
    answer.note("version", map.remove("version"));
    let status = take_text(&mut map, "status").unwrap_or_default();
    answer.ended = true;
    if matches!(status.as_str(), "failed" | "canceled" | "aborted") {
        let message = map.get("error").and_then(as_text);
        answer.error = Some(ErrorInfo { error_type: Some(status.clone()), message, ..ErrorInfo::default() });
    }
    answer.note("status", Some(status.into()));
    let content = match map.remove("output").unwrap_or_default() {
        Value::Null => false,
        Value::String(text) => output(answer, &text),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let mut content = false;
            for text in list.iter().filter_map(Value::as_str) {
                content |= output(answer, text);
            }
            content
        }
        other => {
            let bytes = other.to_string().len();
            answer.parts.push_part(json!({ "type": "output", "json_bytes": bytes }));
            true
        }
    };
    let metrics = map.remove("metrics").unwrap_or_default();
    let all = into_object(metrics.clone());
    let original = fields(&all, &["input_token_count", "output_token_count"]);
    answer.count_tokens(
        count(&metrics, "input_token_count"),
        count(&metrics, "output_token_count"),
        original,
    );
    let timings = ["predict_time", "total_time", "time_to_first_token", "tokens_per_second"];
    answer.note("server_timings", some_fields(&all, &timings));
    content
}

/// A piece of text, or where a file is.
fn output(answer: &mut TextAnswer, text: &str) -> bool {
    let is_file = text.starts_with("data:")
        || text.starts_with("https://replicate.delivery/")
        || text.starts_with("https://pbxt.replicate.delivery/");
    if is_file {
        answer.parts.push_part(super::common::describe_url("file", text));
        return true;
    }
    answer.push_text(text)
}
