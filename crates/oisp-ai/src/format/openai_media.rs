//! Images, audio, moderation and reranking at OpenAI and those who copied it: requests are JSON or
//! forms; answers are JSON, events, plain text, or bytes of which only the size counts.

use oisp_decode::Headers;
use oisp_event::{RequestType, Role, Usage};
use serde_json::{Map, Value, json};

use super::common::{Content, Messages};
use super::plain_request as plain;
use super::text_answer::{TextAnswer, TextStream, fields, read_whole};
use super::{Format, FormatId, ParsedRequest, ParsedResponse, StreamAccumulator};
use crate::detect::Target;
use crate::json::{count, into_object, take_array, take_text, text};
use crate::providers::Dialect;

pub(super) struct OpenAiMedia;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Image,
    ImageOfImage,
    Speech,
    Transcription,
    Moderation,
    Rerank,
}

const TASKS: &[(&str, Task)] = &[
    ("/images/generations", Task::Image),
    ("/images/edits", Task::ImageOfImage),
    ("/images/variations", Task::ImageOfImage),
    ("/audio/speech", Task::Speech),
    ("/audio/transcriptions", Task::Transcription),
    ("/audio/translations", Task::Transcription),
    ("/moderations", Task::Moderation),
    ("/rerank", Task::Rerank),
];

fn task(path: &str) -> Option<Task> {
    let path = path.trim_end_matches('/');
    TASKS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, task)| *task)
}

impl Format for OpenAiMedia {
    fn id(&self) -> FormatId {
        FormatId::OpenAiMedia
    }

    fn name(&self) -> &'static str {
        "openai_media"
    }

    fn compatible_id(&self) -> &'static str {
        "openai_compatible"
    }

    fn serves_known_host(&self, path: &str) -> bool {
        task(path).is_some()
    }

    fn serves_any_host(&self, path: &str) -> bool {
        task(path).is_some()
    }

    fn is_distinctive(&self, path: &str, _headers: &Headers) -> bool {
        ["/v1/images/", "/v1/audio/"].iter().any(|part| path.contains(part))
    }

    fn reads_forms(&self) -> bool {
        true
    }

    fn recognises_request(&self, body: &Value, target: &Target) -> bool {
        let Some(map) = body.as_object() else { return false };
        let has = |keys: &[&str]| keys.iter().any(|key| map.get(*key).is_some_and(|value| !value.is_null()));
        match task(&target.path) {
            Some(Task::Image) => has(&["prompt"]),
            Some(Task::ImageOfImage) => has(&["prompt", "image", "image[]", "images"]),
            Some(Task::Speech) => has(&["input", "text"]) && has(&["voice", "model"]),
            Some(Task::Transcription) => has(&["file", "url", "file_url", "file_id"]),
            Some(Task::Moderation) => has(&["input"]),
            Some(Task::Rerank) => has(&["query"]) && has(&["documents", "texts"]),
            None => false,
        }
    }

    fn recognises_response(&self, body: &Value) -> bool {
        let first = |key: &str| body.get(key)?.as_array()?.first();
        let image = first("data").is_some_and(|image| {
            ["b64_json", "url"].iter().any(|key| text(image, key).is_some())
                && image.get("embedding").is_none()
        });
        (image && body.get("created").is_some_and(Value::is_number))
            || first("results").is_some_and(|result| result.get("flagged").is_some_and(Value::is_boolean))
    }

    fn accepts_response(&self, body: &Value) -> bool {
        ["data", "results", "images"].iter().any(|key| body.get(*key).is_some_and(Value::is_array))
            || text(body, "text").is_some()
            || body.as_array().and_then(|list| list.first()).is_some_and(|first| first.get("score").is_some())
    }

    fn recognises_stream_event(&self, name: &str, data: &Value) -> bool {
        let kind = text(data, "type").unwrap_or(name);
        ["transcript.text.", "transcription.", "speech.audio.", "image_generation.", "image_edit."]
            .iter()
            .any(|start| kind.starts_with(start))
    }

    fn parse_request(&self, body: Value, target: &Target) -> ParsedRequest {
        let mut map = into_object(body);
        let task = task(&target.path);
        let kind = match task {
            Some(Task::Image | Task::ImageOfImage) => RequestType::Image,
            Some(Task::Speech | Task::Transcription) => RequestType::Audio,
            Some(Task::Moderation) => RequestType::Moderation,
            Some(Task::Rerank) | None => RequestType::Other,
        };
        let mut parsed = plain::begin(kind, take_text(&mut map, "model"));
        plain::note_deployment(&mut parsed, target);
        let mut messages = Messages::default();
        let mut content = Content::default();
        for key in ["instructions", "negative_prompt"] {
            if let Some(text) = take_text(&mut map, key) {
                let mut content = Content::default();
                content.push_owned_text(text);
                messages.push(Role::System, content).name = Some(key.to_owned());
            }
        }
        for key in ["prompt", "query", "text"] {
            if let Some(text) = take_text(&mut map, key) {
                content.push_owned_text(text);
            }
        }
        if let Some(Value::String(_)) = map.get("input") {
            content.push_owned_text(take_text(&mut map, "input").unwrap_or_default());
        }
        for (key, value) in &map {
            push_files(&mut content, key, value);
        }
        if !content.is_empty() {
            messages.push(Role::User, content);
        }
        for key in ["input", "documents", "texts"] {
            plain::push_inputs(&mut messages, map.remove(key).unwrap_or_default());
        }
        messages.finish(&mut parsed);
        parsed.request.streaming = plain::streaming(&map, false);
        plain::note(&mut parsed, &map, OTHER_PARAMETERS);
        let number = |key: &str| {
            map.get(key).and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
        };
        parsed.request.parameters =
            number("temperature").filter(|number: &f64| number.is_finite()).map(|temperature| {
                oisp_event::Parameters { temperature: Some(temperature), ..Default::default() }
            });
        parsed
    }

    fn parse_response(&self, body: Value, _dialect: Dialect) -> ParsedResponse {
        let body = match body {
            // A reranker's bare list.
            Value::Array(list) => json!({ "results": list }),
            body => body,
        };
        read_whole(body, whole).finish()
    }

    fn parse_text(&self, text: &str) -> Option<ParsedResponse> {
        let mut answer = TextAnswer::ended();
        answer.push_text(text);
        Some(answer.finish())
    }

    fn stream(&self, _dialect: Dialect) -> Box<dyn StreamAccumulator> {
        TextStream::boxed(event)
    }
}

const OTHER_PARAMETERS: &[&str] = &[
    "n",
    "size",
    "quality",
    "style",
    "background",
    "moderation",
    "output_format",
    "output_compression",
    "partial_images",
    "input_fidelity",
    "aspect_ratio",
    "resolution",
    "width",
    "height",
    "steps",
    "seed",
    "guidance_scale",
    "voice",
    "speed",
    "stream_format",
    "sample_rate",
    "language",
    "response_format",
    "include[]",
    "timestamp_granularities",
    "timestamp_granularities[]",
    "chunking_strategy",
    "diarize",
    "top_n",
    "top_k",
    "return_documents",
    "truncation",
    "user",
];

/// Files of a form, and images in JSON: by type and size, or where they are.
fn push_files(content: &mut Content, key: &str, value: &Value) {
    let key = key.trim_end_matches("[]");
    let is_image = matches!(key, "image" | "images" | "mask" | "image_url" | "input_image");
    match value {
        Value::Array(list) if is_image || list.iter().all(Value::is_object) && key == "file" => {
            list.iter().for_each(|value| push_files(content, key, value));
        }
        Value::String(image) if is_image => content.push_image(plain::describe_image(image)),
        Value::String(url) if matches!(key, "url" | "file_url") => {
            content.push_part(super::common::describe_url("audio", url));
        }
        Value::Object(_) if is_image && text(value, "image_url").is_some() => {
            content.push_image(plain::describe_image(text(value, "image_url").unwrap_or_default()));
        }
        // What a form's reader made of a file.
        Value::Object(map) if map.contains_key("bytes") || map.contains_key("incomplete") => {
            let mut description = map.clone();
            let kind = match text(value, "media_type").and_then(|media| media.split('/').next()) {
                Some("image") => "image",
                Some("audio" | "video") => "audio",
                _ if is_image => "image",
                _ => "file",
            };
            description.insert("type".to_owned(), kind.into());
            match kind {
                "image" => content.push_image(Value::Object(description)),
                _ => content.push_part(Value::Object(description)),
            }
        }
        _ => {}
    }
}

/// Takes an answer that is not streamed.
fn whole(answer: &mut TextAnswer, _name: &str, mut map: Map<String, Value>) -> bool {
    answer.ended = true;
    answer.model = take_text(&mut map, "model");
    answer.response_id = take_text(&mut map, "id");
    let transcript = take_text(&mut map, "text").is_some_and(|text| answer.push_text(&text));
    if transcript {
        for key in ["language", "duration", "task"] {
            answer.note(key, map.remove(key));
        }
        if let Some(segments) = map.get("segments").and_then(Value::as_array) {
            answer.note("segments", Some(segments.len().into()));
        }
    }
    for key in ["data", "images"] {
        for result in take_array(&mut map, key).unwrap_or_default() {
            if result.get("relevance_score").is_some() {
                rank(answer, &result);
            } else {
                image(answer, &result);
            }
        }
    }
    for result in take_array(&mut map, "results").unwrap_or_default() {
        match result.get("flagged").and_then(Value::as_bool) {
            Some(flagged) => moderated(answer, flagged, &result),
            None if result.get("categories").is_some() => {
                let categories = result.get("categories").and_then(Value::as_object);
                let flagged = categories.is_some_and(|map| map.values().any(|value| value == true));
                moderated(answer, flagged, &result);
            }
            None => rank(answer, &result),
        }
    }
    for key in ["size", "quality", "output_format", "background"] {
        answer.note(key, map.remove(key));
    }
    usage(answer, &map);
    transcript
}

/// Takes an event of a stream.
fn event(answer: &mut TextAnswer, name: &str, mut map: Map<String, Value>) -> bool {
    let kind = take_text(&mut map, "type").unwrap_or_else(|| name.to_owned());
    match kind.as_str() {
        "transcript.text.delta" => take_text(&mut map, "delta").is_some_and(|text| answer.push_text(&text)),
        // Mistral's name for it.
        "transcription.text.delta" => take_text(&mut map, "text").is_some_and(|text| answer.push_text(&text)),
        "transcript.text.done" | "transcription.done" => {
            answer.ended = true;
            answer.model = take_text(&mut map, "model");
            if let Some(text) = take_text(&mut map, "text") {
                answer.replace_text(&text);
            }
            usage(answer, &map);
            false
        }
        "speech.audio.delta" => {
            let bytes = map.get("audio").and_then(Value::as_str).map_or(0, str::len) as u64;
            let known = answer.extension.get("encoded_audio_bytes").and_then(Value::as_u64).unwrap_or(0);
            answer.note("encoded_audio_bytes", Some(known.saturating_add(bytes).into()));
            true
        }
        "speech.audio.done" => {
            answer.ended = true;
            usage(answer, &map);
            false
        }
        "image_generation.partial_image" | "image_edit.partial_image" => true,
        "image_generation.completed" | "image_edit.completed" => {
            answer.ended = true;
            usage(answer, &map);
            for key in ["size", "quality", "output_format", "background"] {
                answer.note(key, map.get(key).cloned());
            }
            image(answer, &Value::Object(map));
            true
        }
        _ => false,
    }
}

fn image(answer: &mut TextAnswer, result: &Value) {
    let encoded = text(result, "b64_json").or_else(|| text(result, "b64"));
    let description = match (encoded, text(result, "url").or(result.as_str())) {
        (Some(encoded), _) => json!({ "type": "image", "encoded_bytes": encoded.len() }),
        (None, Some(url)) => plain::describe_image(url),
        (None, None) => json!({ "type": "image" }),
    };
    answer.parts.push_image(description);
    if let Some(prompt) = text(result, "revised_prompt").filter(|prompt| !prompt.is_empty()) {
        answer.push_choice(prompt);
        answer.note("content_is", Some("revised_prompt".into()));
    }
}

fn moderated(answer: &mut TextAnswer, flagged: bool, result: &Value) {
    let categories: Vec<&String> = result
        .get("categories")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| **value == Value::Bool(true))
        .map(|(name, _)| name)
        .collect();
    push(answer, "moderation", json!({ "flagged": flagged, "categories": categories }));
}

fn rank(answer: &mut TextAnswer, result: &Value) {
    let score = result.get("relevance_score").or_else(|| result.get("score"));
    push(answer, "ranking", json!({ "index": result.get("index"), "score": score }));
}

fn push(answer: &mut TextAnswer, key: &str, value: Value) {
    match answer.extension.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => drop(answer.extension.insert(key.to_owned(), Value::Array(vec![value]))),
    }
}

/// Tokens, under either pair of names; a duration is no count of tokens and is kept as it is.
fn usage(answer: &mut TextAnswer, map: &Map<String, Value>) {
    let Some(usage) = map.get("usage").filter(|usage| usage.is_object()) else {
        if let Some(meta) = map.get("meta").and_then(Value::as_object) {
            answer.extension.extend(fields(meta, &["billed_units", "tokens"]));
        }
        return;
    };
    let either = |a: &str, b: &str| count(usage, a).or_else(|| count(usage, b));
    let prompt = either("input_tokens", "prompt_tokens");
    let output = either("output_tokens", "completion_tokens");
    let normalised = Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: count(usage, "total_tokens").or_else(|| prompt?.checked_add(output?)),
        cached_tokens: usage.get("input_tokens_details").and_then(|details| count(details, "cached_tokens")),
        ..Usage::default()
    };
    answer.usage = (normalised != Usage::default()).then_some(normalised);
    answer.extension.insert("usage".to_owned(), usage.clone());
}
