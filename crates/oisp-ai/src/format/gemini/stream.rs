//! `GenerateContentResponse` objects, collected: many of a stream, or the one of a whole answer.

use std::collections::BTreeMap;

use oisp_event::{ErrorInfo, FinishReason, Model, ToolCall};
use serde_json::{Map, Value, json};

use super::parts::{self, Part, object};
use super::{partial_arguments, usage};
use crate::chunks::{MOST_PARTS, Progress};
use crate::format::choices::{self, CollectedChoice};
use crate::format::common::{self, Content};
use crate::format::gap_text::{GapText, piece};
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{owned_text, take_array, take_text};

#[derive(Default)]
pub(super) struct GeminiStream {
    candidates: BTreeMap<u64, Candidate>,
    model: Option<String>,
    response_id: Option<String>,
    usage: Option<Value>,
    error: Option<ErrorInfo>,
    blocked: Option<Blocked>,
    gaps: u32,
}

/// The prompt was refused.
struct Blocked {
    reason: String,
    message: Option<String>,
}

#[derive(Default)]
struct Candidate {
    said_text: bool,
    text: GapText,
    thoughts: GapText,
    /// Without text.
    parts: Content,
    calls: Vec<Call>,
    finish: Option<String>,
    finish_message: Option<String>,
    citations: u64,
    grounding: Grounding,
}

#[derive(Default)]
struct Call {
    call: ToolCall,
    /// Built from pieces, where they come one by one.
    arguments: Option<Value>,
    /// More of it is to follow.
    open: bool,
    /// How many gaps there were when it began.
    born: u32,
    damaged: bool,
}

/// How much an answer rests on what was found for it. Later events repeat what earlier ones said, so the most counts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Grounding {
    queries: u64,
    sources: u64,
    supports: u64,
    urls: u64,
}

impl StreamAccumulator for GeminiStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let mut map = object(data);
        if let Some(inner) = map.remove("response").filter(Value::is_object) {
            map = object(inner);
        }
        if let Some(error) = common::error_in(&map).or_else(|| {
            (name == "error").then(|| common::error_of_failed(&Value::Object(map.clone()))).flatten()
        }) {
            self.error.get_or_insert(error);
        }
        for (to, key) in [(&mut self.model, "modelVersion"), (&mut self.response_id, "responseId")] {
            if let Some(text) = take_text(&mut map, key).filter(|text| !text.is_empty()) {
                *to = Some(text);
            }
        }
        // Counts are of the answer so far.
        if let Some(usage) = map.remove("usageMetadata").filter(Value::is_object) {
            self.usage = Some(Value::Object(object(usage)));
        }
        let feedback = Value::Object(object(map.remove("promptFeedback").unwrap_or_default()));
        if let Some(reason) = enumerated(feedback.get("blockReason"), BLOCK_REASONS) {
            self.blocked = Some(Blocked { reason, message: owned_text(&feedback, "blockReasonMessage") });
        }
        let mut content = false;
        for (position, candidate) in
            take_array(&mut map, "candidates").unwrap_or_default().into_iter().enumerate()
        {
            let candidate = object(candidate);
            let index = candidate.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
            content |= self.candidates.entry(index).or_default().take(candidate, self.gaps);
        }
        content
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        for (index, candidate) in self.candidates.iter().take(MOST_PARTS) {
            if candidate.said_text {
                progress.text(*index, candidate.text.whole());
            }
            // One that comes in pieces is told when it is whole.
            for call in candidate.calls.iter().take_while(|call| !call.open).take(MOST_PARTS) {
                let arguments = call.arguments.as_ref().map(Value::to_string);
                let call = &call.call;
                let [id, name, call_type] = [&call.id, &call.name, &call.call_type].map(Option::as_deref);
                let arguments = call.arguments.as_ref().or(arguments.as_ref());
                progress.call(id, name, call_type, arguments.map_or("", String::as_str));
            }
        }
    }

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.error.is_some()
            || self.blocked.is_some()
            || (!self.candidates.is_empty()
                && self.candidates.values().all(|candidate| candidate.finish.is_some()))
    }

    /// There is no end mark, and the counts may come after the last reason to finish.
    fn has_ended(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let response = &mut parsed.response;
        response.model = self.model.map(|id| Model { id });
        response.provider_request_id.clone_from(&self.response_id);
        response.error = self.error;
        let extension = &mut parsed.extension;
        common::set_text(extension, "response_id", self.response_id);
        if let Some(said) = self.usage {
            response.usage = usage::normalise(&said, &usage::COUNTS);
            common::set_text(extension, "service_tier", owned_text(&said, "serviceTier"));
            extension.insert("usage".to_owned(), said);
        }
        let mut left = Left::default();
        let (mut list, mut citations, mut grounding) = (Vec::new(), 0, Vec::new());
        for (index, candidate) in self.candidates {
            citations += candidate.citations;
            grounding.extend(candidate.grounding.described(index));
            if list.is_empty() {
                common::set_text(extension, "finish_message", candidate.finish_message.clone());
            }
            list.push(candidate.finish(index, &mut left));
        }
        choices::write(list, &mut parsed);
        let extension = &mut parsed.extension;
        if let Some(blocked) = self.blocked {
            parsed.response.finish_reason.get_or_insert(FinishReason::ContentFilter);
            let text = blocked.message.unwrap_or_else(|| blocked.reason.clone());
            let refusal = json!({ "choice": 0, "text": text });
            match extension.get_mut("refusal").and_then(Value::as_array_mut) {
                Some(refusals) => refusals.push(refusal),
                None => common::set_array(extension, "refusal", vec![refusal]),
            }
            common::set_text(extension, "block_reason", Some(blocked.reason));
        }
        if citations > 0 {
            extension.insert("citation_count".to_owned(), citations.into());
        }
        common::set_array(extension, "grounding", grounding);
        left.write(&mut parsed);
        parsed
    }
}

impl Candidate {
    /// Takes what an event says; says whether it carries content.
    fn take(&mut self, mut candidate: Map<String, Value>, gaps: u32) -> bool {
        if let Some(reason) = enumerated(candidate.get("finishReason"), FINISH_REASONS) {
            self.finish = Some(reason);
        }
        if let Some(text) = take_text(&mut candidate, "finishMessage").filter(|text| !text.is_empty()) {
            self.finish_message = Some(text);
        }
        let citations = object(candidate.remove("citationMetadata").unwrap_or_default());
        for key in ["citations", "citationSources"] {
            self.citations = self.citations.max(length(&citations, key));
        }
        let urls = object(candidate.remove("urlContextMetadata").unwrap_or_default());
        let found = object(candidate.remove("groundingMetadata").unwrap_or_default());
        for (to, count) in [
            (&mut self.grounding.urls, length(&urls, "urlMetadata")),
            (&mut self.grounding.queries, length(&found, "webSearchQueries")),
            (&mut self.grounding.sources, length(&found, "groundingChunks")),
            (&mut self.grounding.supports, length(&found, "groundingSupports")),
        ] {
            *to = (*to).max(count);
        }
        let mut content = object(candidate.remove("content").unwrap_or_default());
        let mut said = false;
        for part in take_array(&mut content, "parts").unwrap_or_default() {
            said |= self.part(parts::read(part), gaps);
        }
        said
    }

    fn part(&mut self, part: Part, gaps: u32) -> bool {
        match part {
            Part::Text(text) => {
                self.said_text = true;
                self.text.push(&text, gaps);
                !text.is_empty()
            }
            Part::Thought(text) => {
                self.thoughts.push(&text, gaps);
                !text.is_empty()
            }
            Part::Call { call, pieces, continues } => {
                self.call(call, &pieces, continues, gaps);
                true
            }
            other => {
                parts::push(&mut self.parts, other);
                true
            }
        }
    }

    /// A call arrives whole, unless it says that more follows.
    fn call(&mut self, call: ToolCall, pieces: &[Value], continues: bool, gaps: u32) {
        let goes_on = call.name.is_none() && self.calls.last().is_some_and(|last| last.open);
        if !goes_on {
            let damaged = call.name.is_none() && gaps > 0;
            self.calls.push(Call { call, born: gaps, damaged, ..Call::default() });
        }
        let Some(last) = self.calls.last_mut() else { return };
        last.open = continues;
        last.damaged |= last.born < gaps;
        if last.damaged && goes_on {
            // What comes after a gap may belong to a piece that was lost.
            return;
        }
        for piece in pieces {
            let arguments = last.arguments.get_or_insert(Value::Null);
            last.damaged |= !partial_arguments::add(arguments, piece);
        }
    }

    fn finish(self, index: u64, left: &mut Left) -> CollectedChoice {
        let mut content = Content::default();
        let text = left.place("content_after_gap", self.text, index);
        if self.said_text {
            content.push_owned_text(text);
        }
        content.append_parts(self.parts);
        let reasoning = left.place("reasoning_after_gap", self.thoughts, index);
        let calls: Vec<ToolCall> = self
            .calls
            .into_iter()
            .map(|mut call| {
                if call.damaged || call.open {
                    left.incomplete.push(left.calls.into());
                }
                left.calls += 1;
                if let Some(arguments) = call.arguments.filter(|_| call.call.arguments.is_none()) {
                    call.call.arguments = Some(arguments.to_string());
                }
                call.call
            })
            .collect();
        let finish = self.finish;
        // The service says STOP of an answer that asks for tools.
        let asks = !calls.is_empty() && finish.as_deref() == Some("STOP");
        CollectedChoice {
            index,
            content,
            reasoning,
            meaning: asks.then_some(FinishReason::ToolCalls),
            finish,
            calls,
            ..CollectedChoice::default()
        }
    }
}

/// What gaps left of texts and calls.
#[derive(Default)]
struct Left {
    calls: u64,
    incomplete: Vec<Value>,
    pieces: BTreeMap<&'static str, Vec<Value>>,
}

impl Left {
    /// Keeps what came after a gap apart; gives what came before it.
    fn place(&mut self, key: &'static str, text: GapText, choice: u64) -> String {
        let (whole, later) = text.into_parts();
        let pieces = later.into_iter().map(|(gap, text)| piece(gap, text, ("choice", choice)));
        self.pieces.entry(key).or_default().extend(pieces);
        whole
    }

    fn write(self, parsed: &mut ParsedResponse) {
        for (key, pieces) in self.pieces {
            common::set_array(&mut parsed.extension, key, pieces);
        }
        common::set_array(&mut parsed.extension, "incomplete_tool_calls", self.incomplete);
    }
}

impl Grounding {
    fn described(self, choice: u64) -> Option<Value> {
        (self != Self::default()).then(|| {
            json!({
                "choice": choice,
                "search_queries": self.queries,
                "sources": self.sources,
                "supports": self.supports,
                "urls": self.urls,
            })
        })
    }
}

/// The numbers that both of the services give the same names; clients may ask for numbers (`enum-encoding=int`).
const FINISH_REASONS: &[&str] =
    &["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"];
const BLOCK_REASONS: &[&str] =
    &["BLOCKED_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"];

/// A name, or a number by its name where that is certain; `None` for what is not specified.
fn enumerated(value: Option<&Value>, names: &[&str]) -> Option<String> {
    let name = match value? {
        Value::String(name) => name.clone(),
        value => {
            let number = usize::try_from(value.as_u64()?).ok()?;
            names.get(number).map_or_else(|| number.to_string(), |name| (*name).to_owned())
        }
    };
    (!name.is_empty() && !name.ends_with("_UNSPECIFIED")).then_some(name)
}

fn length(map: &Map<String, Value>, key: &str) -> u64 {
    map.get(key).and_then(Value::as_array).map_or(0, Vec::len) as u64
}
