//! `message_start`, `content_block_*`, `message_delta`, `message_stop`, collected.

use serde::Deserialize;
use serde_json::Value;

use super::{Collected, common, is_tool_use};
use crate::chunks::Progress;
use crate::format::answer::citation;
use crate::format::blocks::{Blocks, DeltaEvent, Opening};
use crate::format::common::Content;
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{into_object, text};
use crate::lean::{self, Object, Text};

#[derive(Default)]
pub(super) struct MessageStream {
    collected: Collected,
    blocks: Blocks,
    stopped: bool,
}

impl StreamAccumulator for MessageStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let index = data.get("index").and_then(Value::as_u64).unwrap_or_default();
        let mut map = into_object(data);
        let answer = &mut self.collected.answer;
        if let Some(error) = common::error_in(&map).or_else(|| {
            (name == "error").then(|| common::error_of_failed(&Value::Object(map.clone()))).flatten()
        }) {
            answer.error.get_or_insert(error);
            if let Some(id) = map.get("request_id").and_then(Value::as_str) {
                answer.request_id = Some(id.to_owned());
            }
            return false;
        }
        match map.get("type").and_then(Value::as_str).unwrap_or(name) {
            "message_start" => {
                let mut message = into_object(map.remove("message").unwrap_or_default());
                answer.answered = true;
                self.collected.take_common(&mut message);
                self.collected.take_stop(&mut message);
                false
            }
            "content_block_start" => {
                let block = map.remove("content_block").unwrap_or_default();
                self.start(index, block)
            }
            "content_block_delta" => {
                let delta = map.remove("delta").unwrap_or_default();
                let kind = text(&delta, "type").unwrap_or_default();
                if let Some(cited) = delta.get("citation").filter(|_| kind == "citations_delta") {
                    self.collected.answer.citations.push(citation(cited, None));
                }
                self.delta(index, kind, |key| text(&delta, key))
            }
            "content_block_stop" => {
                self.blocks.stop(index);
                false
            }
            "message_delta" => {
                let mut delta = into_object(map.remove("delta").unwrap_or_default());
                self.collected.take_stop(&mut delta);
                self.collected.take_common(&mut map);
                false
            }
            "message_stop" => {
                self.stopped = true;
                false
            }
            // `ping`, and whatever may be added: the documentation asks to ignore unknown events.
            _ => false,
        }
    }

    fn text_event(&mut self, name: &str, data: &str) -> Option<bool> {
        if name == "error" {
            return None;
        }
        let Object(event) = lean::read::<Object<DeltaEvent<'_, Delta<'_>>>>(data)?;
        let Object(delta) = event.delta;
        (event.kind.0 == "content_block_delta").then(|| {
            self.delta(event.index.unwrap_or_default(), &delta.kind.0, |key| {
                let text = match key {
                    "text" => &delta.text,
                    "partial_json" => &delta.partial_json,
                    _ => &delta.thinking,
                };
                text.as_ref().map(|text| &*text.0)
            })
        })
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        self.blocks.progress(progress);
    }

    fn gap(&mut self) {
        self.blocks.gap();
    }

    fn is_complete(&self) -> bool {
        self.stopped || self.collected.answer.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.stopped
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        let losses = self.blocks.finish(&mut self.collected.answer);
        let mut parsed = self.collected.finish();
        losses.enter(&mut parsed);
        parsed
    }
}

impl MessageStream {
    fn start(&mut self, index: u64, block: Value) -> bool {
        // A block may begin with content, as some compatible services send it.
        let initial = |key: &str| text(&block, key).unwrap_or_default().to_owned();
        let (said, thought) = (initial("text"), initial("thinking"));
        for cited in block.get("citations").and_then(Value::as_array).into_iter().flatten() {
            self.collected.answer.citations.push(citation(cited, None));
        }
        let (opening, is_call) = match text(&block, "type") {
            Some("text") => (Opening::Text, false),
            Some("thinking") => (Opening::Thinking, false),
            Some(kind) if is_tool_use(kind) => (Opening::Call(super::tool_call(block)), true),
            _ => {
                let mut content = Content::default();
                super::push_block(&mut content, block);
                (Opening::Part(content), false)
            }
        };
        self.blocks.start(index, opening);
        let said = self.blocks.text(index, &said);
        self.blocks.thinking(index, &thought) || said || is_call
    }

    /// Takes a delta of a kind; `piece` gives the text under a key of it.
    fn delta<'a>(&mut self, index: u64, kind: &str, piece: impl Fn(&str) -> Option<&'a str>) -> bool {
        let piece = |key: &str| piece(key).unwrap_or_default();
        match kind {
            "text_delta" => self.blocks.text(index, piece("text")),
            "input_json_delta" => self.blocks.input(index, piece("partial_json")),
            "thinking_delta" => self.blocks.thinking(index, piece("thinking")),
            _ => false,
        }
    }
}

/// What most events of a stream say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
}
