//! The content blocks of a streamed answer: begun, continued and ended by events that name them by number.

use std::collections::BTreeMap;

use oisp_event::ToolCall;
use serde::Deserialize;
use serde_json::Value;

use super::ParsedResponse;
use super::answer::Answer;
use super::common::{self, Content};
use super::gap_text::{GapText, piece};
use crate::chunks::{MOST_PARTS, Progress};
use crate::lean::{Object, Text};

/// The blocks so far.
#[derive(Default)]
pub(super) struct Blocks {
    blocks: BTreeMap<u64, Block>,
    gaps: u32,
}

/// What the start of a block says it is.
pub(super) enum Opening {
    Text,
    Thinking,
    Call(ToolCall),
    /// Whole with its start.
    Part(Content),
}

/// A content block. Which of the texts is used depends on its kind.
#[derive(Default)]
struct Block {
    /// `None` where no start was seen: it was lost, or there is none of its kind.
    opening: Option<Opening>,
    born: u32,
    /// How many gaps there had been when its end was seen.
    stopped: Option<u32>,
    text: GapText,
    input: GapText,
    thinking: GapText,
}

/// An event that continues a block, in a stream whose events name what they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "D: Deserialize<'de>"))]
pub(super) struct DeltaEvent<'a, D> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    pub(super) index: Option<u64>,
    pub(super) delta: Object<D>,
}

/// What was lost of the blocks, for the extension.
pub(super) struct Losses([(&'static str, Vec<Value>); 4]);

impl Losses {
    pub(super) fn enter(self, parsed: &mut ParsedResponse) {
        for (key, values) in self.0 {
            common::set_array(&mut parsed.extension, key, values);
        }
    }
}

impl Blocks {
    pub(super) fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    /// Begins a block.
    pub(super) fn start(&mut self, index: u64, opening: Opening) {
        let gaps = self.gaps;
        let new = Block {
            opening: Some(opening),
            born: gaps,
            text: GapText::born(gaps),
            input: GapText::born(gaps),
            thinking: GapText::born(gaps),
            ..Block::default()
        };
        self.blocks.insert(index, new);
    }

    pub(super) fn stop(&mut self, index: u64) {
        if let Some(block) = self.blocks.get_mut(&index) {
            block.stopped = Some(self.gaps);
        }
    }

    /// Continues a block's text; says whether there is any.
    pub(super) fn text(&mut self, index: u64, text: &str) -> bool {
        let gaps = self.gaps;
        self.block(index).text.push(text, gaps);
        !text.is_empty()
    }

    /// Continues a block's reasoning; says whether there is any.
    pub(super) fn thinking(&mut self, index: u64, text: &str) -> bool {
        let gaps = self.gaps;
        self.block(index).thinking.push(text, gaps);
        !text.is_empty()
    }

    /// Continues a tool call's arguments; says whether there are any.
    pub(super) fn input(&mut self, index: u64, text: &str) -> bool {
        let gaps = self.gaps;
        self.block(index).input.push(text, gaps);
        !text.is_empty()
    }

    /// Names what they say so far, each text up to where it is followed by others without a gap.
    pub(super) fn progress(&self, progress: &mut Progress<'_>) {
        let mut texts_follow = true;
        for block in self.blocks.values().take(MOST_PARTS) {
            let is_text = match &block.opening {
                Some(Opening::Text) => true,
                None => block.input.is_empty() && block.thinking.is_empty(),
                Some(_) => false,
            };
            if is_text && texts_follow && block.born == 0 {
                let text = block.text.whole();
                if !text.is_empty() {
                    progress.block(0, text);
                }
                texts_follow = block.stopped.is_some() && !text.is_empty();
            }
            let call = match &block.opening {
                Some(Opening::Call(call)) => call,
                None if !block.input.is_empty() => &ToolCall::default(),
                _ => continue,
            };
            let [id, name, call_type] = [&call.id, &call.name, &call.call_type].map(Option::as_deref);
            progress.call(id, name, call_type, block.input.whole());
        }
    }

    /// A delta without its block's start: the start was lost, and all of it stands after a gap. Text born at 0 does that
    /// as soon as there was a gap.
    fn block(&mut self, index: u64) -> &mut Block {
        self.blocks.entry(index).or_default()
    }

    /// The answer with what its blocks said, where these are all of it.
    pub(super) fn finish_answer(self, mut answer: Answer) -> ParsedResponse {
        let losses = self.finish(&mut answer);
        let mut parsed = answer.finish();
        losses.enter(&mut parsed);
        parsed
    }

    /// Moves the blocks to the answer, and gives what could not be joined to it.
    pub(super) fn finish(self, answer: &mut Answer) -> Losses {
        let [mut content_after, mut reasoning_after, mut arguments_after, mut incomplete] =
            [const { Vec::new() }; 4];
        answer.answered |= !self.blocks.is_empty();
        for (index, block) in self.blocks {
            let at = ("block", index);
            let damaged = block.opening.is_none() || block.born < block.stopped.unwrap_or(self.gaps);
            let opening = block.opening.unwrap_or_else(|| {
                if !block.input.is_empty() {
                    Opening::Call(ToolCall::default())
                } else if !block.thinking.is_empty() {
                    Opening::Thinking
                } else {
                    Opening::Text
                }
            });
            match opening {
                Opening::Text => {
                    let (whole, later) = block.text.into_parts();
                    // Between blocks, too, something may be lost: only what comes before the first gap
                    // is the message's contiguous text.
                    if block.born == 0 {
                        if !(whole.is_empty() && damaged) {
                            answer.content.push_owned_text(whole);
                        }
                    } else if !whole.is_empty() {
                        content_after.push(piece(block.born, whole, at));
                    }
                    content_after.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
                }
                Opening::Thinking => {
                    let (whole, later) = block.thinking.into_parts();
                    if block.born > 0 && !whole.is_empty() {
                        reasoning_after.push(piece(block.born, whole, at));
                    } else {
                        answer.push_reasoning(whole);
                    }
                    reasoning_after.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
                }
                Opening::Call(mut call) => {
                    let number = answer.calls.len() as u64;
                    // Without fragments the input is what the start says, mostly `{}`.
                    let said = !block.input.is_empty();
                    let cut = block.input.is_cut();
                    let (whole, later) = block.input.into_parts();
                    arguments_after
                        .extend(later.into_iter().map(|(gap, text)| piece(gap, text, ("tool_call", number))));
                    // Whole JSON cannot be the beginning of other JSON of its kind.
                    let whole_json = || serde_json::from_str::<serde::de::IgnoredAny>(&whole).is_ok();
                    if cut || (damaged && !whole_json()) {
                        incomplete.push(Value::from(number));
                        call.arguments = (!whole.is_empty()).then_some(whole);
                    } else if said {
                        call.arguments = Some(whole);
                    }
                    answer.calls.push(call);
                }
                Opening::Part(content) => answer.content.append_parts(content),
            }
        }
        Losses([
            ("content_after_gap", content_after),
            ("reasoning_after_gap", reasoning_after),
            ("arguments_after_gap", arguments_after),
            ("incomplete_tool_calls", incomplete),
        ])
    }
}
