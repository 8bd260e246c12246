//! Requests that are a prompt with parameters: what those of several formats share.

use oisp_event::{Model, Parameters, RequestType, Role};
use serde_json::{Map, Value, json};

use super::ParsedRequest;
use super::common::{self, Content, Messages};
use super::invocations;
use crate::detect::Target;
use crate::json;

/// A request of a kind, for a model.
pub(super) fn begin(request_type: RequestType, model: Option<String>) -> ParsedRequest {
    let mut parsed = ParsedRequest::default();
    parsed.request.request_type = request_type;
    parsed.request.model = model.filter(|id| !id.is_empty()).map(|id| Model { id });
    parsed
}

/// Adds a message of one text; an empty one says nothing.
pub(super) fn push_text(messages: &mut Messages, role: Role, text: String) {
    if !text.is_empty() {
        let mut content = Content::default();
        content.push_owned_text(text);
        messages.push(role, content);
    }
}

/// Adds inputs as messages of the user: a text, tokens, an object of text and images, or a list of those.
pub(super) fn push_inputs(messages: &mut Messages, inputs: Value) {
    match inputs {
        Value::Null => {}
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_number) => {
            messages.push(Role::User, tokens(list.len() as u64));
        }
        Value::Array(list) => list.into_iter().for_each(|input| push_input(messages, input)),
        input => push_input(messages, input),
    }
}

fn push_input(messages: &mut Messages, input: Value) {
    let mut content = Content::default();
    match input {
        Value::String(text) => content.push_owned_text(text),
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_number) => {
            content = tokens(list.len() as u64);
        }
        Value::Array(list) => {
            let texts_or_parts = list.into_iter().map(|part| match part {
                Value::String(text) => json!({ "text": text }),
                part => part,
            });
            texts_or_parts.for_each(|part| push_part(&mut content, part));
        }
        Value::Object(mut map) => match map.remove("content") {
            Some(Value::Array(parts)) => parts.into_iter().for_each(|part| push_part(&mut content, part)),
            Some(Value::String(text)) => content.push_owned_text(text),
            _ => push_part(&mut content, Value::Object(map)),
        },
        Value::Number(_) | Value::Bool(_) | Value::Null => return,
    }
    messages.push(Role::User, content);
}

/// A part in any of the shapes that multimodal services use: `text`, `image`, `image_url`,
/// `image_base64`, `video` …
fn push_part(content: &mut Content, mut part: Value) {
    let is_text = part.get("type").is_none_or(|kind| kind == "text");
    if let Some(Value::String(text)) = part.get_mut("text").filter(|_| is_text) {
        content.push_owned_text(std::mem::take(text));
        return;
    }
    if let (Some("tokens"), Some(count)) = (json::text(&part, "type"), json::count(&part, "count")) {
        content.push_part(json!({ "type": "tokens", "count": count }));
        return;
    }
    let image = ["image_url", "image_base64", "image", "data_url", "url"].iter().find_map(|key| {
        let value = part.get(*key)?;
        value.as_str().or_else(|| value.get("url")?.as_str())
    });
    match image {
        Some(url) => content.push_image(describe_image(url)),
        None => content.push_part(common::describe_part(&part)),
    }
}

/// An image given as URL, data URL or bare base64.
pub(super) fn describe_image(image: &str) -> Value {
    if image.starts_with("data:") || image.contains("://") {
        common::describe_url("image", image)
    } else {
        json!({ "type": "image", "encoded_bytes": image.len() })
    }
}

fn tokens(count: u64) -> Content {
    let mut content = Content::default();
    content.push_part(json!({ "type": "tokens", "count": count }));
    content
}

/// The parameters that the schema has a field for; `max_tokens` names the key of that one.
pub(super) fn parameters(map: &Map<String, Value>, max_tokens: &[&str], stop: &str) -> Parameters {
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    Parameters {
        temperature: number("temperature"),
        top_p: number("top_p"),
        max_tokens: max_tokens.iter().find_map(|key| map.get(*key).and_then(Value::as_u64)),
        frequency_penalty: number("frequency_penalty"),
        presence_penalty: number("presence_penalty"),
        stop: common::stop_list(map.get(stop)),
    }
}

/// Notes every parameter but the named ones under `parameters` of the extension.
pub(super) fn note_others(parsed: &mut ParsedRequest, map: &Map<String, Value>, but: &[&str]) {
    const MOST: usize = 64;
    let keys: Vec<&str> =
        map.keys().map(String::as_str).filter(|key| !but.contains(key)).take(MOST).collect();
    note(parsed, map, &keys);
}

/// Notes the named parameters under `parameters` of the extension.
pub(super) fn note(parsed: &mut ParsedRequest, map: &Map<String, Value>, keys: &[&str]) {
    common::enter_other_parameters(&mut parsed.extension, map, keys);
}

/// Notes what a path names in place of a model (Azure, watsonx), and the version of the API.
pub(super) fn note_deployment(parsed: &mut ParsedRequest, target: &Target) {
    for (key, text) in [
        ("deployment", target.segment_after("deployments").or_else(|| invocations::endpoint(target))),
        ("api_version", target.query_value("api-version").or_else(|| target.query_value("version"))),
    ] {
        common::set_text(&mut parsed.extension, key, text);
    }
}

/// Whether a stream is asked for, where the body may leave it to the default.
pub(super) fn streaming(map: &Map<String, Value>, default: bool) -> Option<bool> {
    match map.get("stream") {
        None | Some(Value::Null) => Some(default),
        // A form has nothing but texts.
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_bool(),
    }
}
