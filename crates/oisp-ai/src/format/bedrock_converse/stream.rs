//! `messageStart`, `contentBlock*`, `messageStop`, `metadata`, collected. Converse names its frames so; Nova's chunks name
//! their one key so.

use serde_json::{Map, Value};

use super::{Answer, blocks, take_metadata};
use crate::chunks::Progress;
use crate::format::answer::citation;
use crate::format::anthropic_messages::{push_block, tool_call};
use crate::format::blocks::{Blocks, Opening};
use crate::format::common::{self, Content};
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{into_object, take_text, text};

const EVENTS: [&str; 6] =
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];

/// Whether an event is one of them.
pub(super) fn is_event(name: &str, data: &Value) -> bool {
    let said = |name: &str, data: &Value| match name {
        "metadata" => data.get("usage").is_some(),
        name => EVENTS.contains(&name) && data.is_object(),
    };
    said(name, data) || EVENTS.iter().any(|key| data.get(*key).is_some_and(|inner| said(key, inner)))
}

#[derive(Default)]
pub(super) struct ConverseStream {
    answer: Answer,
    blocks: Blocks,
    stopped: bool,
    ended: bool,
}

impl StreamAccumulator for ConverseStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let mut map = into_object(data);
        if EVENTS.contains(&name) {
            return self.named(name, map);
        }
        let mut content = false;
        for key in EVENTS {
            if let Some(inner @ Value::Object(_)) = map.remove(key) {
                content |= self.named(key, into_object(inner));
            }
        }
        if let Some(error) = common::error_in(&map) {
            self.answer.error.get_or_insert(error);
        }
        content
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        self.blocks.progress(progress);
    }

    fn gap(&mut self) {
        self.blocks.gap();
    }

    fn is_complete(&self) -> bool {
        self.stopped || self.ended || self.answer.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn finish(self: Box<Self>) -> ParsedResponse {
        self.blocks.finish_answer(self.answer)
    }
}

impl ConverseStream {
    fn named(&mut self, name: &str, mut map: Map<String, Value>) -> bool {
        let index = map.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or_default();
        match name {
            "messageStart" => {
                self.answer.answered = true;
                false
            }
            "contentBlockStart" => {
                let mut start = into_object(map.remove("start").unwrap_or_default());
                match start.remove("toolUse") {
                    Some(call) => {
                        self.blocks.start(index, Opening::Call(tool_call(blocks::tool_use(call))));
                        true
                    }
                    None if start.is_empty() => false,
                    None => {
                        let mut content = Content::default();
                        push_block(&mut content, blocks::as_anthropic(Value::Object(start)));
                        self.blocks.start(index, Opening::Part(content));
                        false
                    }
                }
            }
            "contentBlockDelta" => {
                let delta = map.remove("delta").unwrap_or_default();
                self.delta(index, delta)
            }
            "contentBlockStop" => {
                self.blocks.stop(index);
                false
            }
            "messageStop" => {
                self.answer.finish_reason = take_text(&mut map, "stopReason");
                take_metadata(&mut self.answer, &mut map);
                self.stopped = true;
                false
            }
            _ => {
                take_metadata(&mut self.answer, &mut map);
                self.ended = self.stopped;
                false
            }
        }
    }

    fn delta(&mut self, index: u64, mut delta: Value) -> bool {
        if let Some(said) = text(&delta, "text") {
            return self.blocks.text(index, said);
        }
        if let Some(call) = delta.get("toolUse") {
            return self.blocks.input(index, text(call, "input").unwrap_or_default());
        }
        if let Some(thought) = delta.get("reasoningContent") {
            return self.blocks.thinking(index, text(thought, "text").unwrap_or_default());
        }
        if let Some(cited) = delta.get_mut("citation").map(Value::take) {
            self.answer.citations.push(citation(&blocks::citation(cited), None));
        }
        false
    }
}
