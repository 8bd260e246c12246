//! Text Generation Inference: `POST /generate`, `/generate_stream`, and the same bodies at `/`, at
//! SageMaker's `/invocations`, and at Hugging Face's `/models/{model}`.

use oisp_decode::Headers;
use oisp_event::{RequestType, Role};
use serde_json::{Map, Value};

use super::common::{Content, Messages};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator, invocations, vectors};
use crate::detect::Target;
use crate::json::{count, into_object, take_text, text};
use crate::providers::Dialect;
use crate::thin::{Thinning, number_count};

pub(super) struct HuggingFaceTgi;

impl Format for HuggingFaceTgi {
    fn id(&self) -> FormatId {
        FormatId::HuggingFaceTgi
    }

    fn name(&self) -> &'static str {
        "huggingface_tgi"
    }

    fn compatible_id(&self) -> &'static str {
        "huggingface_tgi"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        let trimmed = path.trim_end_matches('/');
        self.serves_any_host(path)
            || trimmed.is_empty()
            || trimmed.ends_with("/invocations")
            || invocations::is_at(path)
            || trimmed.contains("/models/")
    }

    /// `/` and `/invocations` are everybody's: there the body alone decides.
    fn serves_any_host(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.ends_with("/generate") && !path.ends_with("/api/generate")
            || path.ends_with("/generate_stream")
            || embeds(path)
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        path.trim_end_matches('/').ends_with("/generate_stream")
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        if embeds(&target.path) {
            // Others with such a path name a model.
            let inputs = body.get("inputs").is_some_and(|inputs| inputs.is_string() || inputs.is_array());
            return inputs && body.get("model").is_none() && body.get("input_type").is_none();
        }
        let parameters = body.get("parameters").is_none_or(|value| value.is_object() || value.is_null());
        let inputs = body.get("inputs").is_some_and(|inputs| {
            inputs.is_string()
                || !self.serves_any_host(&target.path) && (inputs.is_array() || inputs.is_object())
        });
        inputs && parameters
    }

    fn owns_request(&self, body: &Value, _headers: &Headers) -> bool {
        owns(body)
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let answer = body.as_array().and_then(|list| list.first()).unwrap_or(body);
        text(answer, "generated_text").is_some()
    }

    fn accepts_response(&self, body: &Value) -> bool {
        let answer = body.as_array().and_then(|list| list.first()).unwrap_or(body);
        body.is_array() && answer.is_array()
            || TEXTS.iter().any(|key| text(answer, key).is_some())
            || number_count(answer).is_some()
            || (text(answer, "label").is_some() || body.is_array() && answer.is_object())
    }

    fn recognises_stream_event(&self, _name: &str, data: &Value) -> bool {
        data.get("token").is_some_and(|token| text(token, "text").is_some() && token.get("id").is_some())
    }

    fn may_begin_response(&self, beginning: &str) -> bool {
        beginning.contains("\"generated_text\"")
    }

    fn thinning(&self) -> Option<Thinning> {
        Some(Thinning::Numbers)
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let embeds = target.path.contains("/feature-extraction") || embeds(&target.path);
        let kind = match embeds {
            true => RequestType::Embedding,
            // Sound that is sent is transcribed or classified.
            false if text(&body["inputs"], "media_type").is_some_and(|kind| kind.starts_with("audio/")) => {
                RequestType::Audio
            }
            // What a model of the hub does is its own affair.
            false if target.path.contains("/models/") && !owns(&body) => RequestType::Other,
            false => RequestType::Completion,
        };
        let mut map = into_object(body);
        let model = take_text(&mut map, "model").or_else(|| model_of(&target.path));
        let mut parsed = plain::begin(kind, model);
        plain::note_deployment(&mut parsed, target);
        let mut messages = Messages::default();
        match map.remove("inputs").unwrap_or_default() {
            Value::String(text) => plain::push_text(&mut messages, Role::User, text),
            Value::Object(map) => push_named(&mut messages, map),
            inputs => plain::push_inputs(&mut messages, inputs),
        }
        messages.finish(&mut parsed);
        let streams = target.path.trim_end_matches('/').ends_with("/generate_stream")
            || invocations::is_streaming(&target.path);
        parsed.request.streaming = if streams { Some(true) } else { plain::streaming(&map, false) };
        let parameters = into_object(map.remove("parameters").unwrap_or_default());
        parsed.request.parameters = Some(plain::parameters(&parameters, &["max_new_tokens"], "stop"));
        let known =
            ["max_new_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "stop"];
        plain::note_others(&mut parsed, &parameters, &known);
        plain::note(&mut parsed, &map, &["options"]);
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let Value::Array(list) = body else {
            if let Some(dimensions) = number_count(&body) {
                return embedding(&[serde_json::json!({ "embedding": body })], Some(dimensions));
            }
            return read_whole(body, take).finish();
        };
        let is_vector = |value: &Value| value.is_array() || number_count(value).is_some();
        if list.first().is_some_and(is_vector) && !list.iter().any(holds_object) {
            return embedding(&list, None);
        }
        let mut list = list.into_iter().flat_map(|value| match value {
            Value::Array(inner) => inner,
            value => vec![value],
        });
        let mut answer = read_whole(list.next().unwrap_or_default(), take);
        for other in list {
            if let Some(text) = TEXTS.iter().find_map(|key| text(&other, key)) {
                answer.push_choice(text);
            }
        }
        if answer.has_text() {
            return answer.finish();
        }
        // Labels with scores and the like.
        answer.ended = true;
        let mut parsed = answer.finish();
        parsed.unparsed.push("output".to_owned());
        parsed
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(take)
    }
}

/// Inputs by name (`question` and `context`), or what a body that is no JSON is.
fn push_named(messages: &mut Messages, map: Map<String, Value>) {
    if map.contains_key("media_type") && map.contains_key("incomplete") {
        let mut content = Content::default();
        let is_image = map["media_type"].as_str().is_some_and(|kind| kind.starts_with("image/"));
        let mut description = map;
        description.insert("type".to_owned(), if is_image { "image" } else { "audio" }.into());
        match is_image {
            true => content.push_image(Value::Object(description)),
            false => content.push_part(Value::Object(description)),
        }
        messages.push(Role::User, content);
        return;
    }
    for (name, value) in map {
        match value {
            Value::String(text) => {
                let mut content = Content::default();
                content.push_owned_text(text);
                messages.push(Role::User, content).name = Some(name);
            }
            value => plain::push_inputs(messages, value),
        }
    }
}

/// Whether the parameters are those of generating text and of nothing else.
fn owns(body: &Value) -> bool {
    let generates = |parameters: &Map<String, Value>| {
        ["max_new_tokens", "return_full_text", "do_sample", "best_of", "decoder_input_details"]
            .iter()
            .any(|key| parameters.contains_key(*key))
    };
    text(body, "inputs").is_some() && body.get("parameters").and_then(Value::as_object).is_some_and(generates)
}

/// Text Embeddings Inference, its sibling.
fn embeds(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path.ends_with("/embed") && !path.ends_with("/api/embed")
}

/// Where the pipelines put their text.
const TEXTS: &[&str] = &["generated_text", "summary_text", "translation_text", "answer", "text"];

/// The model of `/models/{owner}/{name}` and what may follow it.
fn model_of(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/models/")?;
    let end = rest.find("/pipeline/").or_else(|| rest.find("/v1/")).unwrap_or(rest.len());
    let model = rest[..end].trim_end_matches('/');
    (!model.is_empty()).then(|| percent_encoding::percent_decode_str(model).decode_utf8_lossy().into_owned())
}

/// Whether a list of lists ends in objects and not in numbers.
fn holds_object(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.first().is_some_and(holds_object),
        value => value.is_object() && number_count(value).is_none(),
    }
}

fn embedding(vectors: &[Value], only: Option<u64>) -> ParsedResponse {
    let mut answer = TextAnswer::ended().finish();
    let mut measured = vectors::measure(vectors);
    measured.dimensions = only.or(measured.dimensions);
    answer.embedding = Some(measured);
    answer
}

/// Takes an event, or the one object of an answer that is not streamed.
fn take(answer: &mut TextAnswer, _name: &str, mut map: Map<String, Value>) -> bool {
    let mut content = false;
    if let Some(token) = map.get("token").filter(|token| token.is_object())
        && token.get("special").and_then(Value::as_bool) != Some(true)
        && let Some(text) = text(token, "text")
    {
        content = answer.push_text(text);
    }
    if let Some(whole) = TEXTS.iter().find_map(|key| take_text(&mut map, key)) {
        answer.replace_text(&whole);
        answer.ended = true;
    }
    answer.model = take_text(&mut map, "model").or(answer.model.take());
    let Some(details) = map.get_mut("details").map(Value::take).filter(Value::is_object) else {
        return content;
    };
    answer.finish = text(&details, "finish_reason").map(str::to_owned);
    let prompt = count(&details, "input_length")
        .or_else(|| details.get("prefill").and_then(Value::as_array).map(|list| list.len() as u64))
        .filter(|tokens| *tokens > 0);
    let original = fields(&into_object(details.clone()), &["input_length", "generated_tokens"]);
    answer.count_tokens(prompt, count(&details, "generated_tokens"), original);
    content
}
