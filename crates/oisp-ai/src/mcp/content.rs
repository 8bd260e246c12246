//! What a tool, a resource or a prompt gave: texts as they are, of media what they are and not what is in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::json::{self, bare_url, text};

/// Parts of one result that are described; their texts are read all the same.
const MOST_PARTS: usize = 256;

/// A part of a result that is not plain text, for `ext.oisp_sensor`.
pub type McpContentPart = Value;

/// A result's parts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Content {
    /// The texts, joined by line breaks; `None` without any.
    pub(crate) text: Option<String>,
    /// What else there is.
    pub(crate) parts: Vec<McpContentPart>,
    /// Parts of kinds that are not known, and those beyond the bound.
    pub(crate) not_read: u64,
}

impl Content {
    /// Reads a `content` array, or `contents` of a resource.
    pub(crate) fn of(items: Vec<Value>) -> Self {
        let mut content = Self::default();
        for item in items {
            content.take(item);
        }
        content
    }

    fn take(&mut self, item: Value) {
        let Value::Object(mut map) = item else {
            self.not_read += 1;
            return;
        };
        let kind = json::take_text(&mut map, "type");
        match kind.as_deref() {
            Some("text") => match json::take_text(&mut map, "text") {
                Some(text) => self.push_text(text),
                None => self.not_read += 1,
            },
            Some(kind @ ("image" | "audio")) => self.push(media(kind, &map)),
            Some("resource_link") => self.push(link(&map)),
            Some("resource") => match map.remove("resource") {
                Some(Value::Object(resource)) => self.resource(resource),
                _ => self.not_read += 1,
            },
            // As `resources/read` gives them.
            None if map.contains_key("uri") => self.resource(map),
            _ => self.not_read += 1,
        }
    }

    fn resource(&mut self, mut resource: Map<String, Value>) {
        let mut description = json!({ "type": "resource" });
        name(&mut description, &resource);
        if let Some(text) = json::take_text(&mut resource, "text") {
            description["bytes"] = text.len().into();
            self.push_text(text);
        } else if let Some(blob) = resource.get("blob").and_then(Value::as_str) {
            description["bytes"] = decoded_bytes(blob).into();
        }
        self.push(description);
    }

    fn push_text(&mut self, more: String) {
        match &mut self.text {
            Some(text) => {
                text.push('\n');
                text.push_str(&more);
            }
            None => self.text = Some(more),
        }
    }

    fn push(&mut self, part: Value) {
        if self.parts.len() < MOST_PARTS {
            self.parts.push(part);
        } else {
            self.not_read += 1;
        }
    }
}

fn media(kind: &str, map: &Map<String, Value>) -> Value {
    let mut description = json!({ "type": kind });
    if let Some(media_type) = map.get("mimeType").and_then(Value::as_str) {
        description["media_type"] = media_type.into();
    }
    if let Some(data) = map.get("data").and_then(Value::as_str) {
        description["bytes"] = decoded_bytes(data).into();
        if let Ok(content) = STANDARD.decode(data) {
            description["sha256"] = hexadecimal(&Sha256::digest(&content)).into();
        }
    }
    description
}

fn link(map: &Map<String, Value>) -> Value {
    let mut description = json!({ "type": "resource_link" });
    name(&mut description, map);
    if let Some(size) = map.get("size").and_then(Value::as_u64) {
        description["bytes"] = size.into();
    }
    description
}

fn name(description: &mut Value, map: &Map<String, Value>) {
    let map = Value::Object(
        ["uri", "name", "mimeType"]
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), map.get(*key)?.clone())))
            .collect(),
    );
    if let Some(uri) = text(&map, "uri") {
        description["uri"] = bare_url(uri).into();
    }
    if let Some(name) = text(&map, "name") {
        description["name"] = name.into();
    }
    if let Some(media_type) = text(&map, "mimeType") {
        description["media_type"] = media_type.into();
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that a text in base64 stands for.
fn decoded_bytes(base64: &str) -> u64 {
    let padding = base64.bytes().rev().take(2).take_while(|byte| *byte == b'=').count() as u64;
    (base64.len() as u64 / 4 * 3).saturating_sub(padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_joined_and_media_are_described_without_their_content() {
        let content = Content::of(vec![
            json!({"type": "text", "text": "a"}),
            json!({"type": "image", "mimeType": "image/png", "data": "aGVsbG8="}),
            json!({"type": "resource", "resource": {"uri": "file:///x?token=secret", "text": "b"}}),
            json!({"type": "resource_link", "uri": "https://h/y", "name": "y", "size": 7}),
            json!({"type": "hologram"}),
            json!(3),
        ]);
        assert_eq!(content.text.as_deref(), Some("a\nb"));
        assert_eq!(content.not_read, 2);
        assert_eq!(
            content.parts,
            [
                json!({"type": "image", "media_type": "image/png", "bytes": 5,
                    "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}),
                json!({"type": "resource", "uri": "file:///x", "bytes": 1}),
                json!({"type": "resource_link", "uri": "https://h/y", "name": "y", "bytes": 7}),
            ]
        );
    }
}
