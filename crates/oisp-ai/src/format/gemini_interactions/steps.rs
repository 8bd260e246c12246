//! The steps of an interaction, collected: each whole, or from its start, its deltas and its stop.

use std::collections::BTreeMap;

use oisp_event::{ErrorInfo, FinishReason, Model, ToolCall};
use serde_json::{Map, Value, json};

use crate::chunks::{MOST_PARTS, Progress};
use crate::format::choices::{self, CollectedChoice};
use crate::format::common::{self, Content};
use crate::format::gap_text::{GapText, piece};
use crate::format::gemini::parts::{self, Part};
use crate::format::gemini::usage::{self, Counts};
use crate::format::google_path;
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{bare_url, into_object, into_text, owned_text, take_array, take_text, text};

const COUNTS: Counts = Counts {
    prompt: "total_input_tokens",
    tool_use: "total_tool_use_tokens",
    output: "total_output_tokens",
    thoughts: "total_thought_tokens",
    total: "total_tokens",
    cached: "total_cached_tokens",
};

#[derive(Default)]
pub(super) struct InteractionStream {
    steps: BTreeMap<u64, Step>,
    model: Option<String>,
    id: Option<String>,
    status: Option<String>,
    service_tier: Option<String>,
    usage: Option<Value>,
    error: Option<ErrorInfo>,
    citations: u64,
    gaps: u32,
    ended: bool,
}

#[derive(Default)]
struct Step {
    /// Of its start; `None` if that was lost.
    kind: Option<String>,
    /// What its start says beside its content.
    start: Map<String, Value>,
    text: GapText,
    thoughts: GapText,
    /// As JSON text, in fragments.
    arguments: GapText,
    /// Without text.
    parts: Content,
    born: u32,
    /// How many gaps there were when it stopped.
    stopped: Option<u32>,
}

impl StreamAccumulator for InteractionStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let mut map = into_object(data);
        if let Some(error) = common::error_in(&map).or_else(|| {
            (name == "error").then(|| common::error_of_failed(&Value::Object(map.clone()))).flatten()
        }) {
            self.error.get_or_insert(error);
            return false;
        }
        let index = map.get("index").and_then(Value::as_u64).unwrap_or_default();
        let kind = take_text(&mut map, "event_type").or_else(|| take_text(&mut map, "type"));
        let kind = kind.unwrap_or_else(|| name.to_owned());
        match kind.as_str() {
            "step.start" | "content.start" => {
                let step = map.remove("step").or_else(|| map.remove("content")).unwrap_or_default();
                self.start(index, into_object(step))
            }
            "step.delta" | "content.delta" => {
                self.delta(index, into_object(map.remove("delta").unwrap_or_default()))
            }
            "step.stop" | "content.stop" => {
                let gaps = self.gaps;
                if let Some(step) = self.steps.get_mut(&index) {
                    step.stopped = Some(gaps);
                }
                false
            }
            "interaction.status_update" => {
                self.status = take_text(&mut map, "status").or(self.status.take());
                false
            }
            _ => {
                self.ended |= matches!(kind.as_str(), "interaction.completed" | "interaction.complete");
                let mut interaction = into_object(map.remove("interaction").unwrap_or_default());
                self.take_common(&mut interaction);
                // The last event repeats the steps, if it has them at all.
                if self.steps.is_empty() && self.gaps == 0 {
                    self.take_steps(&mut interaction);
                }
                false
            }
        }
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        for step in self.steps.values().take(MOST_PARTS).take_while(|step| step.born == 0) {
            progress.text(0, step.text.whole());
            if step.stopped.is_none() {
                break;
            }
        }
    }

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
    }

    fn is_complete(&self) -> bool {
        self.ended || self.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        let mut parsed = ParsedResponse::default();
        let mut choice = CollectedChoice::default();
        let [mut content_after, mut reasoning_after, mut arguments_after, mut incomplete] =
            [const { Vec::new() }; 4];
        let mut said: Option<String> = None;
        let answered = !self.steps.is_empty();
        for (index, mut step) in std::mem::take(&mut self.steps) {
            let at = ("step", index);
            // Between steps, too, something may be lost: what begins after a gap is kept apart.
            for (text, after, to) in [
                (std::mem::take(&mut step.text), &mut content_after, said.get_or_insert_default()),
                (std::mem::take(&mut step.thoughts), &mut reasoning_after, &mut choice.reasoning),
            ] {
                let (whole, later) = text.into_parts();
                if step.born > 0 && !whole.is_empty() {
                    after.push(piece(step.born, whole, at));
                } else {
                    to.push_str(&whole);
                }
                after.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
            }
            let kind = match step.kind.take() {
                Some(kind) => kind,
                None if !step.arguments.is_empty() => "function_call".to_owned(),
                None => String::new(),
            };
            choice.content.append_parts(step.parts);
            if is_call(&kind) {
                let number = choice.calls.len() as u64;
                let cut = step.arguments.is_cut();
                let (whole, later) = step.arguments.into_parts();
                arguments_after
                    .extend(later.into_iter().map(|(gap, text)| piece(gap, text, ("tool_call", number))));
                let mut call = tool_call(&kind, &mut step.start);
                let whole_json = || serde_json::from_str::<serde::de::IgnoredAny>(&whole).is_ok();
                let lost = step.stopped.unwrap_or(self.gaps) > step.born;
                if cut || (lost && !whole_json()) {
                    incomplete.push(Value::from(number));
                    // What the start says stands for what follows it.
                    call.arguments = None;
                }
                if !whole.is_empty() {
                    call.arguments = Some(whole);
                }
                choice.calls.push(call);
            } else if kind.ends_with("_result") {
                choice.content.push_part(json!({
                    "type": kind,
                    "tool_use_id": text(&Value::Object(step.start.clone()), "call_id"),
                    "json_bytes": step.start.get("result").map_or(0, |result| result.to_string().len()),
                }));
            }
        }
        if let Some(text) = said.filter(|text| !text.is_empty()) {
            choice.content.push_owned_text(text);
        }
        choice.meaning = self.status.as_deref().and_then(meaning);
        let response = &mut parsed.response;
        response.model = self.model.map(|id| Model { id: google_path::bare_model(&id) });
        response.provider_request_id.clone_from(&self.id);
        response.error = self.error;
        // Until it has ended, its status says nothing about why.
        let (ending, status) =
            if choice.meaning.is_some() { (self.status, None) } else { (None, self.status) };
        common::set_text(&mut parsed.extension, "status", status);
        if answered {
            choice.finish = ending;
            choices::write(vec![choice], &mut parsed);
        } else {
            parsed.response.finish_reason = choice.meaning;
            common::set_text(&mut parsed.extension, "finish_reason", ending);
        }
        let extension = &mut parsed.extension;
        common::set_text(extension, "response_id", self.id);
        common::set_text(extension, "service_tier", self.service_tier);
        if let Some(usage) = self.usage {
            parsed.response.usage = usage::normalise(&usage, &COUNTS);
            extension.insert("usage".to_owned(), usage);
        }
        if self.citations > 0 {
            extension.insert("citation_count".to_owned(), self.citations.into());
        }
        common::set_array(extension, "content_after_gap", content_after);
        common::set_array(extension, "reasoning_after_gap", reasoning_after);
        common::set_array(extension, "arguments_after_gap", arguments_after);
        common::set_array(extension, "incomplete_tool_calls", incomplete);
        parsed
    }
}

impl InteractionStream {
    /// Takes an answer that is not streamed.
    pub(super) fn whole(&mut self, body: Value) {
        let mut map = into_object(body);
        self.error = common::error_in(&map);
        self.take_common(&mut map);
        self.take_steps(&mut map);
    }

    fn take_common(&mut self, map: &mut Map<String, Value>) {
        for (to, key) in [
            (&mut self.model, "model"),
            (&mut self.id, "id"),
            (&mut self.status, "status"),
            (&mut self.service_tier, "service_tier"),
        ] {
            if let Some(text) = take_text(map, key).filter(|text| !text.is_empty()) {
                *to = Some(text);
            }
        }
        if let Some(usage) = map.remove("usage").filter(Value::is_object) {
            self.usage = Some(usage);
        }
    }

    fn take_steps(&mut self, map: &mut Map<String, Value>) {
        let steps = take_array(map, "steps").or_else(|| take_array(map, "outputs")).unwrap_or_default();
        for (index, step) in (0..).zip(steps) {
            let step = into_object(step);
            if step.get("type").and_then(Value::as_str) != Some("user_input") {
                self.start(index, step);
                if let Some(step) = self.steps.get_mut(&index) {
                    step.stopped = Some(0);
                }
            }
        }
    }

    /// A step may begin with content.
    fn start(&mut self, index: u64, mut start: Map<String, Value>) -> bool {
        let gaps = self.gaps;
        let kind = take_text(&mut start, "type").unwrap_or_default();
        if let Some(error) = start
            .get("error")
            .and_then(|error| common::error_of_failed(error).filter(|_| kind == "model_output"))
        {
            self.error.get_or_insert(error);
        }
        let mut step = Step {
            born: gaps,
            text: GapText::born(gaps),
            thoughts: GapText::born(gaps),
            arguments: GapText::born(gaps),
            ..Step::default()
        };
        let mut content = is_call(&kind);
        for key in ["content", "summary"] {
            let items = match start.remove(key) {
                Some(Value::Array(items)) => items,
                Some(item @ Value::Object(_)) => vec![item],
                _ => Vec::new(),
            };
            for item in items {
                let mut item = into_object(item);
                let inner = take_text(&mut item, "type").unwrap_or_default();
                let inner = if kind == "thought" { "thought_summary".to_owned() } else { inner };
                content |= step.content(&inner, item, gaps, &mut self.citations);
            }
        }
        // In the first form of this API contents stood in the place of steps.
        if matches!(kind.as_str(), "text" | "image" | "audio" | "video" | "document") {
            content |= step.content(&kind, std::mem::take(&mut start), gaps, &mut self.citations);
        }
        step.kind = Some(kind);
        step.start = start;
        self.steps.insert(index, step);
        content
    }

    fn delta(&mut self, index: u64, mut delta: Map<String, Value>) -> bool {
        let gaps = self.gaps;
        let kind = take_text(&mut delta, "type").unwrap_or_default();
        // A delta without its step's start: the start was lost. Text born at 0 stands apart after any gap.
        let step = self.steps.entry(index).or_default();
        step.content(&kind, delta, gaps, &mut self.citations)
    }
}

impl Step {
    /// Takes a content or a delta; says whether it carries anything.
    fn content(&mut self, kind: &str, mut map: Map<String, Value>, gaps: u32, citations: &mut u64) -> bool {
        *citations += map.get("annotations").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        match kind {
            "text" => {
                let text = take_text(&mut map, "text").unwrap_or_default();
                self.text.push(&text, gaps);
                !text.is_empty()
            }
            "thought_summary" | "thought" => {
                let inner = map.remove("content").map(into_object).unwrap_or(map);
                let Some(Value::String(text)) = inner.get("text") else { return false };
                self.thoughts.push(text, gaps);
                !text.is_empty()
            }
            "arguments_delta" => {
                let text = take_text(&mut map, "arguments").unwrap_or_default();
                self.arguments.push(&text, gaps);
                true
            }
            "thought_signature" | "text_annotation_delta" => false,
            // Calls and results of the service's own tools come whole: the delta completes what the start says.
            kind if is_call(kind) || kind.ends_with("_result") => {
                self.kind.get_or_insert_with(|| kind.to_owned());
                self.start.extend(map.into_iter().filter(|(_, value)| !value.is_null()));
                true
            }
            kind => {
                parts::push(&mut self.parts, content_part(kind, map));
                true
            }
        }
    }
}

pub(super) fn is_call(kind: &str) -> bool {
    kind.ends_with("_call")
}

/// A call; one of the service's own tools has no name but its kind.
pub(super) fn tool_call(kind: &str, map: &mut Map<String, Value>) -> ToolCall {
    ToolCall {
        id: take_text(map, "id").filter(|id| !id.is_empty()),
        name: take_text(map, "name")
            .or_else(|| kind.strip_suffix("_call").filter(|name| *name != "function").map(str::to_owned)),
        call_type: Some(kind.to_owned()),
        arguments: map.remove("arguments").and_then(into_text),
        arguments_hash: None,
    }
}

/// A content: text, or anything else by its type and size.
pub(super) fn content_part(kind: &str, mut map: Map<String, Value>) -> Part {
    if let ("text" | "", Some(text)) = (kind, take_text(&mut map, "text")) {
        return Part::Text(text);
    }
    let map = Value::Object(map);
    let mut description = json!({ "type": kind });
    if let Some(media_type) = owned_text(&map, "mime_type") {
        description["media_type"] = media_type.into();
    }
    if let Some(data) = text(&map, "data") {
        description["encoded_bytes"] = data.len().into();
    }
    if let Some(url) = text(&map, "uri") {
        description["url"] = bare_url(url).into();
    }
    if description.as_object().is_some_and(|description| description.len() == 1) {
        description["json_bytes"] = map.to_string().len().into();
    }
    if kind == "image" { Part::Image(description) } else { Part::Other(description) }
}

/// What a status means for why the answer ended; `None` while it has not.
fn meaning(status: &str) -> Option<FinishReason> {
    Some(match status {
        "queued" | "in_progress" | "created" => return None,
        "completed" => FinishReason::Stop,
        "requires_action" => FinishReason::ToolCalls,
        "budget_exceeded" => FinishReason::Length,
        "failed" => FinishReason::Error,
        _ => FinishReason::Other,
    })
}
