//! `message_start`, `content_block_*`, `message_delta`, `message_stop`, collected.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Collected, common, error_in, is_tool_use};
use crate::format::gap_text::{GapText, piece};
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{into_object, text};
use crate::lean::{self, Object, Text};

#[derive(Default)]
pub(super) struct MessageStream {
    collected: Collected,
    blocks: BTreeMap<u64, Block>,
    citations: u64,
    gaps: u32,
    stopped: bool,
}

/// A content block. Which of the two texts is used depends on its kind.
#[derive(Default)]
struct Block {
    /// `content_block` of its start; `None` if the start was lost.
    start: Option<Value>,
    born: u32,
    stopped: bool,
    text: GapText,
    input: GapText,
    thinking: GapText,
}

impl StreamAccumulator for MessageStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let index = data.get("index").and_then(Value::as_u64).unwrap_or_default();
        let mut map = into_object(data);
        if let Some(error) = error_in(&map).or_else(|| {
            (name == "error").then(|| common::error_of_failed(&Value::Object(map.clone()))).flatten()
        }) {
            self.collected.error.get_or_insert(error);
            if let Some(id) = map.get("request_id").and_then(Value::as_str) {
                self.collected.request_id = Some(id.to_owned());
            }
            return false;
        }
        match map.get("type").and_then(Value::as_str).unwrap_or(name) {
            "message_start" => {
                let mut message = into_object(map.remove("message").unwrap_or_default());
                self.collected.answered = true;
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
                self.delta(index, kind, |key| text(&delta, key))
            }
            "content_block_stop" => {
                if let Some(block) = self.blocks.get_mut(&index) {
                    block.stopped = true;
                }
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
        let Object(event) = lean::read::<Object<DeltaEvent<'_>>>(data)?;
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

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.stopped || self.collected.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.stopped
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        let [mut content_after, mut reasoning_after, mut arguments_after, mut incomplete] =
            [const { Vec::new() }; 4];
        self.collected.answered |= !self.blocks.is_empty();
        for (index, block) in std::mem::take(&mut self.blocks) {
            let gaps = self.gaps;
            let at = ("block", index);
            let damaged = block.start.is_none() || (!block.stopped && block.born < gaps);
            let kind = match &block.start {
                Some(start) => text(start, "type").unwrap_or_default().to_owned(),
                None if !block.input.is_empty() => "tool_use".to_owned(),
                None if !block.thinking.is_empty() => "thinking".to_owned(),
                None => "text".to_owned(),
            };
            let start = block.start.unwrap_or_else(|| json!({ "type": kind }));
            match kind.as_str() {
                "text" => {
                    let (whole, later) = block.text.into_parts();
                    // Between blocks, too, something may be lost: only what comes before the first gap
                    // is the message's contiguous text.
                    if block.born == 0 {
                        if !(whole.is_empty() && damaged) {
                            self.collected.content.push_owned_text(whole);
                        }
                    } else if !whole.is_empty() {
                        content_after.push(piece(block.born, whole, at));
                    }
                    content_after.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
                }
                "thinking" => {
                    let (whole, later) = block.thinking.into_parts();
                    if block.born > 0 && !whole.is_empty() {
                        reasoning_after.push(piece(block.born, whole, at));
                    } else if !whole.is_empty() {
                        self.collected.reasoning.push(json!({ "choice": 0, "text": whole }));
                    }
                    reasoning_after.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
                }
                kind if is_tool_use(kind) => {
                    let number = self.collected.calls.len() as u64;
                    // Without fragments the input is what the start says, mostly `{}`.
                    let said = !block.input.is_empty();
                    let cut = block.input.is_cut();
                    let (whole, later) = block.input.into_parts();
                    arguments_after
                        .extend(later.into_iter().map(|(gap, text)| piece(gap, text, ("tool_call", number))));
                    let mut call = super::tool_call(start);
                    let whole_json = || serde_json::from_str::<serde::de::IgnoredAny>(&whole).is_ok();
                    if cut || (damaged && !whole_json()) {
                        incomplete.push(Value::from(number));
                        call.arguments = (!whole.is_empty()).then_some(whole);
                    } else if said {
                        call.arguments = Some(whole);
                    }
                    self.collected.calls.push(call);
                }
                _ => self.collected.push_block(start),
            }
        }
        let citations = self.citations;
        let mut parsed = self.collected.finish();
        if citations > 0 {
            parsed.extension.insert("citations".to_owned(), citations.into());
        }
        common::set_array(&mut parsed.extension, "content_after_gap", content_after);
        common::set_array(&mut parsed.extension, "reasoning_after_gap", reasoning_after);
        common::set_array(&mut parsed.extension, "arguments_after_gap", arguments_after);
        common::set_array(&mut parsed.extension, "incomplete_tool_calls", incomplete);
        parsed
    }
}

impl MessageStream {
    fn start(&mut self, index: u64, block: Value) -> bool {
        let gaps = self.gaps;
        let mut new = Block {
            born: gaps,
            text: GapText::born(gaps),
            input: GapText::born(gaps),
            thinking: GapText::born(gaps),
            ..Block::default()
        };
        // A block may begin with content, as some compatible services send it.
        let initial = |key: &str| text(&block, key).unwrap_or_default().to_owned();
        new.text.push(&initial("text"), gaps);
        new.thinking.push(&initial("thinking"), gaps);
        let content =
            !new.text.is_empty() || !new.thinking.is_empty() || text(&block, "type").is_some_and(is_tool_use);
        new.start = Some(block);
        self.blocks.insert(index, new);
        content
    }

    /// Takes a delta of a kind; `piece` gives the text under a key of it.
    fn delta<'a>(&mut self, index: u64, kind: &str, piece: impl Fn(&str) -> Option<&'a str>) -> bool {
        let gaps = self.gaps;
        // A delta without its block's start: the start was lost, and all of it stands after a gap. Text
        // born at 0 does that as soon as there was a gap.
        let block = self.blocks.entry(index).or_default();
        let push = |to: &mut GapText, key: &str| {
            let piece = piece(key).unwrap_or_default();
            to.push(piece, gaps);
            !piece.is_empty()
        };
        match kind {
            "text_delta" => push(&mut block.text, "text"),
            "input_json_delta" => push(&mut block.input, "partial_json"),
            "thinking_delta" => push(&mut block.thinking, "thinking"),
            "citations_delta" => {
                self.citations += 1;
                false
            }
            _ => false,
        }
    }
}

/// Most events of a stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    index: Option<u64>,
    #[serde(borrow)]
    delta: Object<Delta<'a>>,
}

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
