//! The parts that a content is made of.

use oisp_event::ToolCall;
use serde_json::{Map, Value, json};

use crate::format::common::Content;
use crate::json::{as_text, bare_url, into_object, into_text, owned_text, take_text, text};

/// A part of a content.
#[derive(Debug)]
pub(in crate::format) enum Part {
    Text(String),
    Thought(String),
    Call {
        call: ToolCall,
        /// The pieces of its arguments that this part brings, where they come one by one.
        pieces: Vec<Value>,
        /// Whether more of it follows.
        continues: bool,
    },
    Result {
        id: Option<String>,
        name: Option<String>,
        text: Option<String>,
        failed: bool,
    },
    Image(Value),
    Other(Value),
}

/// An object with keys in camelCase: the services take both spellings, and clients mix them.
pub(in crate::format) fn object(value: Value) -> Map<String, Value> {
    let map = into_object(value);
    if !map.keys().any(|key| key.contains('_')) {
        return map;
    }
    map.into_iter().map(|(key, value)| (camel_case(&key), value)).collect()
}

/// An object with keys in snake_case, as most services spell parameters.
pub(in crate::format) fn snake_case_object(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (snake_case(key), value.clone())).collect()
}

fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

fn snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Reads a part.
pub(in crate::format) fn read(value: Value) -> Part {
    if let Value::String(text) = value {
        return Part::Text(text);
    }
    let mut map = object(value);
    let is_thought = map.get("thought").and_then(Value::as_bool) == Some(true);
    if let Some(text) = take_text(&mut map, "text") {
        return if is_thought { Part::Thought(text) } else { Part::Text(text) };
    }
    for (key, read) in READERS {
        if let Some(value) = map.remove(*key).filter(Value::is_object) {
            return read(object(value));
        }
    }
    let kind = map.keys().find(|key| !BESIDE.contains(&key.as_str())).map_or("unknown", String::as_str);
    let bytes = map.get(kind).map_or(0, |value| value.to_string().len());
    Part::Other(json!({ "type": kind, "json_bytes": bytes }))
}

/// Adds a part that is no tool call and no tool result to a content; anything of those two is only described.
pub(in crate::format) fn push(content: &mut Content, part: Part) {
    match part {
        Part::Text(text) => content.push_owned_text(text),
        Part::Thought(text) => content.push_part(json!({ "type": "thinking", "text_bytes": text.len() })),
        Part::Image(description) => content.push_image(description),
        Part::Other(description) => content.push_part(description),
        Part::Call { call, .. } => content.push_part(json!({ "type": "functionCall", "name": call.name })),
        Part::Result { name, .. } => content.push_part(json!({ "type": "functionResponse", "name": name })),
    }
}

/// What stands in a part beside its content.
const BESIDE: &[&str] = &["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];

type Reader = fn(Map<String, Value>) -> Part;

const READERS: &[(&str, Reader)] = &[
    ("functionCall", function_call),
    ("functionResponse", function_response),
    ("inlineData", inline_data),
    ("fileData", file_data),
    ("executableCode", executable_code),
    ("codeExecutionResult", code_execution_result),
];

/// Arguments are a JSON object; they become its text.
fn function_call(mut map: Map<String, Value>) -> Part {
    let pieces = match map.remove("partialArgs") {
        Some(Value::Array(pieces)) => pieces,
        _ => Vec::new(),
    };
    Part::Call {
        call: ToolCall {
            id: take_text(&mut map, "id").filter(|id| !id.is_empty()),
            name: take_text(&mut map, "name").filter(|name| !name.is_empty()),
            call_type: Some("function_call".to_owned()),
            arguments: map.remove("args").and_then(into_text),
            arguments_hash: None,
        },
        pieces,
        continues: map.get("willContinue").and_then(Value::as_bool) == Some(true),
    }
}

/// A result is an object; one that says nothing but `output`, `result` or `error` is what that says.
fn function_response(mut map: Map<String, Value>) -> Part {
    let response = map.remove("response").unwrap_or_default();
    let only = response.as_object().filter(|response| response.len() == 1);
    let said = only.and_then(|response| {
        ["output", "result", "error"].iter().find_map(|key| response.get(*key).map(|value| (*key, value)))
    });
    let failed = said.is_some_and(|(key, _)| key == "error");
    let text = match said {
        Some((_, value)) => as_text(value),
        None => into_text(response),
    };
    Part::Result {
        id: take_text(&mut map, "id").filter(|id| !id.is_empty()),
        name: take_text(&mut map, "name"),
        text,
        failed,
    }
}

/// Content in the body itself: its type and size.
fn inline_data(map: Map<String, Value>) -> Part {
    let media_type = map.get("mimeType").and_then(Value::as_str).unwrap_or_default();
    let bytes = map.get("data").and_then(Value::as_str).map_or(0, str::len);
    media(media_type, json!({ "media_type": media_type, "encoded_bytes": bytes }))
}

/// Content that is elsewhere: its type and where.
fn file_data(map: Map<String, Value>) -> Part {
    let media_type = map.get("mimeType").and_then(Value::as_str).unwrap_or_default();
    let url = map.get("fileUri").and_then(Value::as_str).unwrap_or_default();
    media(media_type, json!({ "media_type": media_type, "url": bare_url(url) }))
}

fn media(media_type: &str, mut description: Value) -> Part {
    let kind = media_type.split('/').next().unwrap_or_default();
    match kind {
        "image" | "audio" | "video" => description["type"] = kind.into(),
        _ => description["type"] = "file".into(),
    }
    if kind == "image" { Part::Image(description) } else { Part::Other(description) }
}

/// Code that the model wrote and the service ran.
fn executable_code(map: Map<String, Value>) -> Part {
    let map = Value::Object(map);
    Part::Other(json!({
        "type": "executable_code",
        "language": owned_text(&map, "language"),
        "text": text(&map, "code"),
    }))
}

fn code_execution_result(map: Map<String, Value>) -> Part {
    let map = Value::Object(map);
    Part::Other(json!({
        "type": "code_execution_result",
        "outcome": owned_text(&map, "outcome"),
        "text": text(&map, "output"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_key_are_the_same_key() {
        for (snake, camel) in [("inline_data", "inlineData"), ("text", "text"), ("top_k", "topK")] {
            assert_eq!(camel_case(snake), camel);
            assert_eq!(camel_case(camel), camel);
            assert_eq!(snake_case(camel), snake);
            assert_eq!(snake_case(snake), snake);
        }
    }

    #[test]
    fn no_part_that_is_not_text_gives_its_bytes_away() {
        for part in [
            json!({ "inlineData": { "mimeType": "image/png", "data": "SECRET" } }),
            json!({ "inline_data": { "mime_type": "audio/wav", "data": "SECRET" } }),
            json!({ "fileData": { "mimeType": "application/pdf", "fileUri": "https://h/x?key=SECRET" } }),
            json!({ "somethingNew": { "data": "SECRET" }, "thoughtSignature": "SECRET" }),
        ] {
            let read = read(part);
            assert!(!format!("{read:?}").contains("SECRET"), "{read:?}");
        }
    }
}
