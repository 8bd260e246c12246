//! Converse's content blocks in the words of Anthropic's messages.

use serde_json::{Map, Value, json};

use crate::json::{into_object, into_text, text};

/// A list of blocks; a single text stays as it is.
pub(super) fn all_as_anthropic(content: Value) -> Value {
    match content {
        Value::Array(blocks) => Value::Array(blocks.into_iter().map(as_anthropic).collect()),
        other => other,
    }
}

/// `{"text": …}` as `{"type":"text","text": …}`, and so on. What has no counterpart keeps its name as its type.
pub(super) fn as_anthropic(block: Value) -> Value {
    // A block has one key; a stream pads with another.
    let Some((kind, inner)) = into_object(block).into_iter().find(|(key, _)| key != "p") else {
        return Value::Null;
    };
    match kind.as_str() {
        "text" => json!({ "type": "text", "text": inner }),
        "json" => json!({ "type": "text", "text": into_text(inner) }),
        "image" => image(inner),
        "toolUse" => tool_use(inner),
        "toolResult" => {
            let mut inner = into_object(inner);
            let is_error = inner.get("status").and_then(Value::as_str) == Some("error");
            json!({
                "type": "tool_result",
                "tool_use_id": inner.remove("toolUseId"),
                "content": all_as_anthropic(inner.remove("content").unwrap_or_default()),
                "is_error": is_error,
            })
        }
        "reasoningContent" => reasoning(inner),
        "citationsContent" => cited_text(inner),
        "guardContent" => guarded(inner),
        _ => named(&kind, inner),
    }
}

/// A tool call, whole or the start of one.
pub(super) fn tool_use(inner: Value) -> Value {
    let mut inner = into_object(inner);
    json!({
        "type": text_or(&inner, "type", "tool_use"),
        "id": inner.remove("toolUseId"),
        "name": inner.remove("name"),
        "input": inner.remove("input"),
    })
}

/// `{"title","source","location":{"web":{"url"}}}`: where it points to, flat.
pub(super) fn citation(mut cited: Value) -> Value {
    let location = into_object(cited.get_mut("location").map(Value::take).unwrap_or_default());
    let mut flat = Map::new();
    for key in ["title", "source"] {
        if let Some(found) = text(&cited, key) {
            flat.insert(key.to_owned(), found.into());
        }
    }
    if let Some((kind, place)) = location.into_iter().next() {
        flat.extend(into_object(place));
        flat.insert("type".to_owned(), kind.into());
    }
    Value::Object(flat)
}

fn text_or(map: &Map<String, Value>, key: &str, usual: &str) -> String {
    map.get(key).and_then(Value::as_str).unwrap_or(usual).to_owned()
}

fn named(kind: &str, inner: Value) -> Value {
    let mut inner = into_object(inner);
    inner.insert("type".to_owned(), kind.into());
    Value::Object(inner)
}

fn image(inner: Value) -> Value {
    let mut inner = into_object(inner);
    let media_type = format!("image/{}", text_or(&inner, "format", ""));
    let mut source = into_object(inner.remove("source").unwrap_or_default());
    let source = match source.get("s3Location").and_then(|place| text(place, "uri")) {
        Some(uri) => json!({ "url": uri }),
        None => json!({ "media_type": media_type, "data": source.remove("bytes") }),
    };
    json!({ "type": "image", "source": source })
}

fn reasoning(inner: Value) -> Value {
    let mut inner = into_object(inner);
    match inner.remove("reasoningText") {
        Some(mut said) => json!({ "type": "thinking", "thinking": said.get_mut("text").map(Value::take) }),
        None => named("redacted_thinking", Value::Object(inner)),
    }
}

/// Generated text with its sources: `{"content":[{"text"}],"citations":[…]}`.
fn cited_text(inner: Value) -> Value {
    let mut inner = into_object(inner);
    let content = inner.remove("content").unwrap_or_default();
    let pieces = content.as_array().into_iter().flatten().filter_map(|piece| text(piece, "text"));
    let said: Vec<&str> = pieces.collect();
    let citations = match inner.remove("citations") {
        Some(Value::Array(citations)) => citations.into_iter().map(citation).collect(),
        _ => Vec::new(),
    };
    json!({ "type": "text", "text": said.concat(), "citations": citations })
}

/// What a guardrail is to look at is part of the prompt like any other.
fn guarded(inner: Value) -> Value {
    let mut inner = into_object(inner);
    match (inner.remove("text"), inner.remove("image")) {
        (Some(mut said), _) => json!({ "type": "text", "text": said.get_mut("text").map(Value::take) }),
        (None, Some(found)) => image(found),
        (None, None) => named("guardContent", Value::Object(inner)),
    }
}
