//! `chat.completion.chunk` events, collected.

mod chunk;

use std::borrow::Cow;
use std::collections::BTreeMap;

use oisp_event::ToolCall;
use serde_json::{Map, Value};

use super::{Collected, CollectedChoice, finish_reason, output_parts, push_content, reasoning_text};
use crate::chunks::{MOST_PARTS, Progress};
use crate::format::common::{self, Content};
use crate::format::gap_text::{GapText, piece};
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{into_object, into_text, take_array, take_text};
use crate::lean::{self, Object};
use crate::providers::Dialect;
use chunk::Chunk;

pub(super) struct ChatStream {
    dialect: Dialect,
    collected: Collected,
    choices: BTreeMap<u64, ChoiceStream>,
    gaps: u32,
    unknown_events: u64,
}

#[derive(Default)]
struct ChoiceStream {
    said_text: bool,
    text: GapText,
    reasoning: GapText,
    refusal: GapText,
    /// Without text.
    parts: Content,
    finish: Option<String>,
    /// The service never says that it is over.
    has_no_end: bool,
    native: Option<String>,
    calls: Vec<CallStream>,
    /// From the provider's index to the place in `calls`.
    call_at: BTreeMap<u64, usize>,
}

#[derive(Default)]
struct CallStream {
    id: Option<String>,
    name: Option<String>,
    call_type: Option<String>,
    arguments: GapText,
    born: u32,
    /// Its beginning was lost.
    headless: bool,
}

/// The place of a `function_call` of the old kind among the tool calls.
const LEGACY_CALL: u64 = u64::MAX;

impl ChatStream {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            collected: Collected::default(),
            choices: BTreeMap::new(),
            gaps: 0,
            unknown_events: 0,
        }
    }
}

impl StreamAccumulator for ChatStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let mut map = into_object(data);
        if let Some(error) = common::error_in(&map).or_else(|| {
            (name == "error").then(|| common::error_of_failed(&Value::Object(map.clone()))).flatten()
        }) {
            self.collected.error.get_or_insert(error);
        }
        self.collected.take_common(&mut map);
        let Some(choices) = take_array(&mut map, "choices") else {
            // Writer's text completions; nothing marks the last.
            if map.len() == 1
                && let Some(text) = take_text(&mut map, "value")
            {
                let state = self.choices.entry(0).or_default();
                state.said_text = true;
                state.has_no_end = true;
                state.text.push(&text, self.gaps);
                return !text.is_empty();
            }
            self.unknown_events += 1;
            return false;
        };
        let mut content = false;
        for (position, choice) in choices.into_iter().enumerate() {
            let mut choice = into_object(choice);
            if let Some(error) = common::error_in(&choice) {
                self.collected.error.get_or_insert(error);
            }
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
            let state = self.choices.entry(index).or_default();
            if let Some(reason) = finish_reason(&mut choice) {
                state.finish = Some(reason);
            }
            if let Some(reason) = take_text(&mut choice, "native_finish_reason") {
                state.native = Some(reason);
            }
            // Of a text completion, which is the same otherwise.
            if let Some(text) = take_text(&mut choice, "text") {
                state.said_text = true;
                content |= !text.is_empty();
                state.text.push(&text, self.gaps);
            }
            if let Some(delta) = choice.remove("delta").or_else(|| choice.remove("message")) {
                content |= state.delta(into_object(delta), self.gaps);
            }
        }
        content
    }

    fn text_event(&mut self, name: &str, data: &str) -> Option<bool> {
        if name == "error" {
            return None;
        }
        let Object(chunk) = lean::read::<Object<Chunk<'_>>>(data)?;
        Some(self.chunk(chunk))
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        for (index, choice) in self.choices.iter().take(MOST_PARTS) {
            if choice.said_text {
                progress.text(*index, choice.text.whole());
            }
            for call in choice.calls.iter().take(MOST_PARTS) {
                let [id, name, call_type] = [&call.id, &call.name, &call.call_type].map(Option::as_deref);
                progress.call(id, name, call_type, call.arguments.whole());
            }
        }
    }

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.collected.error.is_some()
            || (!self.choices.is_empty()
                && self.choices.values().all(|choice| choice.finish.is_some() || choice.has_no_end))
    }

    /// The end mark `[DONE]` is no JSON and is seen by the reader.
    fn has_ended(&self) -> bool {
        false
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let mut after_gap: Vec<(&str, Vec<Value>)> = vec![
            ("content_after_gap", vec![]),
            ("reasoning_after_gap", vec![]),
            ("refusal_after_gap", vec![]),
            ("arguments_after_gap", vec![]),
        ];
        let mut incomplete_calls = Vec::new();
        let mut first_call = 0;
        for (index, choice) in std::mem::take(&mut self.choices) {
            let mut content = Content::default();
            let mut place = |kind: usize, text: GapText, at: (&str, u64)| {
                let (whole, later) = text.into_parts();
                after_gap[kind].1.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
                whole
            };
            let text = place(0, choice.text, ("choice", index));
            if choice.said_text {
                content.push_owned_text(text);
            }
            content.append_parts(choice.parts);
            let reasoning = place(1, choice.reasoning, ("choice", index));
            let refusal = place(2, choice.refusal, ("choice", index));
            let mut calls = Vec::new();
            for call in choice.calls {
                let number = first_call + calls.len() as u64;
                // Whole JSON cannot be the beginning of other JSON of its kind, so a call whose
                // arguments parse lost nothing in a gap.
                let damaged = call.headless
                    || call.arguments.is_cut()
                    || (call.born < self.gaps
                        && serde_json::from_str::<serde::de::IgnoredAny>(call.arguments.whole()).is_err());
                if damaged {
                    incomplete_calls.push(Value::from(number));
                }
                let arguments = place(3, call.arguments, ("tool_call", number));
                calls.push(ToolCall {
                    id: call.id,
                    name: call.name,
                    call_type: call.call_type,
                    arguments: (!arguments.is_empty()).then_some(arguments),
                    arguments_hash: None,
                });
            }
            first_call += calls.len() as u64;
            self.collected.choices.push(CollectedChoice {
                index,
                content,
                reasoning,
                refusal,
                finish: choice.finish,
                native: choice.native,
                calls,
                ..CollectedChoice::default()
            });
        }
        self.collected.finish(self.dialect, &mut parsed);
        for (key, pieces) in after_gap {
            common::set_array(&mut parsed.extension, key, pieces);
        }
        common::set_array(&mut parsed.extension, "incomplete_tool_calls", incomplete_calls);
        if self.unknown_events > 0 && parsed.response.choices.is_empty() && parsed.response.error.is_none() {
            parsed.unparsed.push("stream_events".to_owned());
        }
        parsed
    }
}

impl ChoiceStream {
    /// Takes a delta; says whether it carries content.
    fn delta(&mut self, mut delta: Map<String, Value>, gaps: u32) -> bool {
        let mut content = false;
        match delta.remove("content") {
            Some(Value::String(text)) => {
                self.said_text = true;
                content |= !text.is_empty();
                self.text.push(&text, gaps);
            }
            Some(value @ (Value::Array(_) | Value::Object(_))) => {
                let (mut parts, mut reasoning) = (Content::default(), String::new());
                push_content(&mut parts, value, Some(&mut reasoning));
                if let Some(text) = parts.take_text() {
                    self.said_text = true;
                    self.text.push(&text, gaps);
                }
                self.reasoning.push(&reasoning, gaps);
                self.parts.append_parts(parts);
                content = true;
            }
            _ => {}
        }
        if let Some(text) = reasoning_text(&mut delta) {
            content = true;
            self.reasoning.push(&text, gaps);
        }
        if let Some(text) = take_text(&mut delta, "refusal").filter(|text| !text.is_empty()) {
            content = true;
            self.refusal.push(&text, gaps);
        }
        output_parts(&mut self.parts, &mut delta);
        for call in take_array(&mut delta, "tool_calls").unwrap_or_default() {
            content = true;
            self.call(into_object(call), None, gaps);
        }
        if let Some(function @ Value::Object(_)) = delta.remove("function_call") {
            content = true;
            let call = [("function".to_owned(), function), ("type".to_owned(), "function".into())];
            self.call(call.into_iter().collect(), Some(LEGACY_CALL), gaps);
        }
        content
    }

    /// Takes a fragment of a tool call.
    fn call(&mut self, mut fragment: Map<String, Value>, index: Option<u64>, gaps: u32) {
        let id = take_text(&mut fragment, "id");
        let call_type = take_text(&mut fragment, "type");
        let custom = fragment.contains_key("custom");
        let mut inner = into_object(
            fragment.remove("function").or_else(|| fragment.remove("custom")).unwrap_or_default(),
        );
        let arguments = inner.remove(if custom { "input" } else { "arguments" }).and_then(into_text);
        let fragment = Fragment {
            index: index.or_else(|| fragment.get("index").and_then(Value::as_u64)),
            id: id.map(Cow::Owned),
            call_type: call_type.map(Cow::Owned),
            name: take_text(&mut inner, "name").map(Cow::Owned),
            arguments: arguments.map(Cow::Owned),
        };
        self.fragment(fragment, gaps);
    }

    fn fragment(&mut self, fragment: Fragment<'_>, gaps: u32) {
        let Fragment { index, id, call_type, name, arguments } = fragment;
        let id = id.filter(|id| !id.is_empty());
        let name = name.filter(|name| !name.is_empty());
        let known = match index {
            Some(index) => self.call_at.get(&index).copied(),
            // Services that send no index send each call whole, or its fragments in a row.
            None if id.is_some() => None,
            None => self.calls.len().checked_sub(1),
        };
        // Some services number every call 0: another id with a name is another call.
        let known = known.filter(|at| {
            let other = matches!((&id, &self.calls[*at].id), (Some(new), Some(old)) if new != old);
            !(name.is_some() && other)
        });
        let at = known.unwrap_or_else(|| {
            let headless = gaps > 0 && id.is_none() && name.is_none();
            // What follows a lost beginning is kept apart like all text after a gap.
            let arguments = if headless { GapText::default() } else { GapText::born(gaps) };
            self.calls.push(CallStream { arguments, born: gaps, headless, ..CallStream::default() });
            self.calls.len() - 1
        });
        if let Some(index) = index {
            self.call_at.insert(index, at);
        }
        let call = &mut self.calls[at];
        for (to, text) in [(&mut call.id, id), (&mut call.name, name), (&mut call.call_type, call_type)] {
            if to.is_none() {
                *to = text.map(Cow::into_owned);
            }
        }
        if let Some(arguments) = arguments {
            call.arguments.push(&arguments, gaps);
        }
    }
}

/// What a chunk says of a tool call.
struct Fragment<'a> {
    index: Option<u64>,
    id: Option<Cow<'a, str>>,
    call_type: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    arguments: Option<Cow<'a, str>>,
}
