//! What was said in a realtime conversation since the last call, and its settings.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Event;
use crate::findings::Findings;
use crate::json::{into_object, text};

/// What the next call of the realtime interface is about.
#[derive(Default)]
pub(super) struct Conversation {
    /// The settings that a call has where it says nothing else, with the lengths of their texts.
    session: BTreeMap<String, (usize, Value)>,
    session_bytes: usize,
    /// Items since the last call, with the lengths of their texts.
    items: Vec<(usize, Value)>,
    item_bytes: usize,
    /// Items of the client that the service has not repeated yet.
    not_repeated: u32,
    audio_bytes: usize,
    has_dropped: bool,
}

/// Bytes of JSON that a session's settings may have; every call repeats them.
const MOST_SET: usize = 256 << 10;
/// Bytes of JSON that a conversation keeps between two calls.
const MOST_HELD: usize = 1 << 20;
const MOST_ITEMS: usize = 256;

/// What a session sets for its calls.
const SETTINGS: &[&str] = &[
    "model",
    "instructions",
    "tools",
    "tool_choice",
    "temperature",
    "max_output_tokens",
    "modalities",
    "output_modalities",
    "reasoning",
    "parallel_tool_calls",
];

impl Conversation {
    /// Bytes that it keeps.
    pub(super) fn held(&self) -> usize {
        self.session_bytes + self.item_bytes
    }

    /// Keeps nothing of what was said so far.
    pub(super) fn give_up(&mut self) {
        *self = Self { has_dropped: self.has_dropped || self.held() > 0, ..Self::default() };
    }

    /// Takes an event that is of no response.
    pub(super) fn event(&mut self, mut event: Event<'_>) {
        let bytes = event.bytes;
        match event.kind {
            "session.update" | "session.created" | "session.updated" => {
                let session =
                    into_object(event.value.get_mut("session").map(Value::take).unwrap_or_default());
                for (key, value) in session {
                    if !value.is_null() && (key == "id" || SETTINGS.contains(&key.as_str())) {
                        self.set(key, value);
                    }
                }
            }
            "conversation.item.create" => {
                self.not_repeated = self.not_repeated.saturating_add(1);
                self.hold(bytes, event.value.get_mut("item").map(Value::take).unwrap_or_default());
            }
            // The first is the older name of the second.
            "conversation.item.created" | "conversation.item.added" => {
                let item = event.value.get_mut("item").map(Value::take).unwrap_or_default();
                let is_of_model =
                    text(&item, "type") == Some("function_call") || text(&item, "role") == Some("assistant");
                if is_of_model && text(&item, "status") == Some("in_progress") {
                    return;
                }
                if self.not_repeated > 0 {
                    self.not_repeated -= 1;
                } else if !is_of_model {
                    self.hold(bytes, item);
                }
            }
            "conversation.item.input_audio_transcription.completed" => {
                let id = text(&event.value, "item_id");
                let said = text(&event.value, "transcript").unwrap_or_default();
                if said.len() > MOST_HELD.saturating_sub(self.item_bytes) {
                    self.has_dropped = true;
                    return;
                }
                let item = self.items.iter_mut().find(|(_, item)| id.is_some() && text(item, "id") == id);
                let content = item.and_then(|(_, item)| item.get_mut("content")?.as_array_mut());
                if let Some(part) =
                    content.and_then(|parts| parts.first_mut()).filter(|part| part.is_object())
                {
                    part["transcript"] = said.into();
                    self.item_bytes += said.len();
                }
            }
            "input_audio_buffer.append" => {
                let bytes = text(&event.value, "audio").map_or(0, str::len);
                self.audio_bytes = self.audio_bytes.saturating_add(bytes);
            }
            "input_audio_buffer.clear" => self.audio_bytes = 0,
            _ => {}
        }
    }

    fn set(&mut self, key: String, value: Value) {
        let bytes = value.to_string().len();
        let before = self.session.get(&key).map_or(0, |(bytes, _)| *bytes);
        if bytes > MOST_SET.saturating_sub(self.session_bytes - before) {
            self.has_dropped = true;
            return;
        }
        self.session_bytes = self.session_bytes - before + bytes;
        self.session.insert(key, (bytes, value));
    }

    fn hold(&mut self, bytes: usize, item: Value) {
        if bytes > MOST_HELD.saturating_sub(self.item_bytes) || self.items.len() >= MOST_ITEMS {
            self.has_dropped = true;
            return;
        }
        self.item_bytes += bytes;
        self.items.push((bytes, item));
    }

    /// What a call asks: what it says itself, the session's settings, and the items since the last one.
    pub(super) fn body(
        &mut self,
        mut asked: Map<String, Value>,
        findings: &mut Findings,
        extension: &mut Map<String, Value>,
    ) -> Map<String, Value> {
        for key in SETTINGS {
            if let Some((_, setting)) = self.session.get(*key).filter(|_| !asked.contains_key(*key)) {
                asked.insert((*key).to_owned(), setting.clone());
            }
        }
        if let Some((_, id)) = self.session.get("id") {
            extension.insert("session_id".to_owned(), id.clone());
        }
        if !asked.contains_key("input") {
            let items = std::mem::take(&mut self.items).into_iter().map(|(_, item)| item).collect();
            self.item_bytes = 0;
            asked.insert("input".to_owned(), Value::Array(items));
        }
        if self.audio_bytes > 0 {
            let bytes = std::mem::take(&mut self.audio_bytes);
            extension.insert("input_audio".to_owned(), json!({ "encoded_bytes": bytes }));
        }
        if std::mem::take(&mut self.has_dropped) {
            findings.partial("conversation_over_limit");
            findings.missing("request_body");
        }
        asked
    }
}
