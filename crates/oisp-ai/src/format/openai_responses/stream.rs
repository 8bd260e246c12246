//! `response.*` events, collected; also those of the realtime interface.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::output::{Facts, Output, is_client_call, tool_call};
use crate::chunks::{MOST_PARTS, Progress};
use crate::format::common;
use crate::format::gap_text::{GapText, piece};
use crate::format::{ParsedResponse, StreamAccumulator};
use crate::json::{into_object, owned_text, take_array, text};
use crate::lean::{self, Object, Skipped, Text as Read};
use crate::providers::Dialect;

pub(super) struct ResponseStream {
    dialect: Dialect,
    facts: Facts,
    /// By their place in the output.
    items: BTreeMap<u64, Item>,
    place_of: BTreeMap<String, u64>,
    /// The output as the last event gives it, where it does.
    output: Option<Vec<Value>>,
    gaps: u32,
    /// Of the next event, if it is numbered.
    next_number: Option<u64>,
    /// Since the last event.
    gap_is_known: bool,
    /// A gap was told of at all.
    has_gap: bool,
    lost_events: u64,
    /// Of generated audio, as it is encoded.
    audio_bytes: usize,
    ended: bool,
    unknown_events: u64,
}

/// An item of the output on its way.
#[derive(Default)]
struct Item {
    /// As its first event has it; `None` if that was lost.
    start: Option<Value>,
    /// Gaps before that.
    born: u32,
    /// As its last event has it.
    whole: Option<Value>,
    texts: BTreeMap<(Kind, u64), Text>,
    annotations: Vec<Value>,
}

#[derive(Default)]
struct Text {
    born: u32,
    /// An event gave it as a whole.
    is_whole: bool,
    text: GapText,
}

/// Which text of an item an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Output,
    Refusal,
    Transcript,
    Reasoning,
    Summary,
    Arguments,
    Code,
    Command,
}

impl Kind {
    /// By the name in an event's: the kind, the key of its number, and that of its whole text.
    fn of(what: &str) -> Option<(Self, &'static str, &'static str)> {
        Some(match what {
            "output_text" | "text" => (Self::Output, "content_index", "text"),
            "refusal" => (Self::Refusal, "content_index", "refusal"),
            "output_audio_transcript" | "audio_transcript" | "audio.transcript" => {
                (Self::Transcript, "content_index", "transcript")
            }
            "reasoning_text" | "reasoning" => (Self::Reasoning, "content_index", "text"),
            "reasoning_summary_text" | "reasoning_summary" => (Self::Summary, "summary_index", "text"),
            "function_call_arguments" | "mcp_call_arguments" | "mcp_call.arguments" => {
                (Self::Arguments, "", "arguments")
            }
            "custom_tool_call_input" => (Self::Arguments, "", "input"),
            "code_interpreter_call_code" | "code_interpreter_call.code" => (Self::Code, "", "code"),
            "shell_call_command" => (Self::Command, "command_index", "command"),
            _ => return None,
        })
    }
}

/// Most events of a stream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeltaEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Read<'a>,
    sequence_number: Option<u64>,
    #[serde(borrow)]
    item_id: Option<Read<'a>>,
    output_index: Option<u64>,
    content_index: Option<u64>,
    summary_index: Option<u64>,
    command_index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Read<'a>>,
    #[serde(default, rename = "logprobs")]
    _logprobs: Skipped,
    #[serde(default, rename = "obfuscation")]
    _obfuscation: Skipped,
}

impl ResponseStream {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            facts: Facts::default(),
            items: BTreeMap::new(),
            place_of: BTreeMap::new(),
            output: None,
            gaps: 0,
            next_number: None,
            gap_is_known: false,
            has_gap: false,
            lost_events: 0,
            audio_bytes: 0,
            ended: false,
            unknown_events: 0,
        }
    }
}

impl StreamAccumulator for ResponseStream {
    fn event(&mut self, name: &str, data: Value) -> bool {
        let mut event = into_object(data);
        self.number(event.get("sequence_number").and_then(Value::as_u64));
        let kind = match event.get("type").and_then(Value::as_str) {
            Some(kind) => kind.to_owned(),
            None => name.to_owned(),
        };
        let Some(kind) = kind.strip_prefix("response.") else {
            return self.other_event(&kind, event);
        };
        match kind {
            "created" | "in_progress" | "queued" => {
                self.facts.take(&mut into_object(event.remove("response").unwrap_or_default()));
                false
            }
            "completed" | "incomplete" | "failed" | "cancelled" | "done" => {
                let mut response = into_object(event.remove("response").unwrap_or_default());
                self.output = take_array(&mut response, "output").filter(|items| !items.is_empty());
                self.facts.take(&mut response);
                self.facts.end(kind);
                self.ended = true;
                false
            }
            "output_item.added" => {
                let item = event.remove("item").unwrap_or_default();
                let place = self.place(&event, Some(&item));
                let known = self.items.entry(place).or_default();
                // A call that comes whole has content; a message begins empty.
                let content = text(&item, "type").is_some_and(|kind| kind.ends_with("_call"));
                known.born = self.gaps;
                known.start = Some(item);
                content
            }
            "output_item.done" => {
                let item = event.remove("item").unwrap_or_default();
                let place = self.place(&event, Some(&item));
                let known = self.items.entry(place).or_default();
                let content = known.texts.is_empty();
                known.texts = BTreeMap::new();
                known.whole = Some(item);
                content
            }
            "content_part.added" | "content_part.done" => self.part(kind, &mut event, "content_index"),
            "reasoning_summary_part.added" | "reasoning_summary_part.done" => {
                self.part(kind, &mut event, "summary_index")
            }
            "output_text.annotation.added" => {
                let place = self.place(&event, None);
                if let Some(annotation) = event.remove("annotation") {
                    self.items.entry(place).or_default().annotations.push(annotation);
                }
                false
            }
            "output_audio.delta" | "audio.delta" => {
                let bytes = event.get("delta").and_then(Value::as_str).map_or(0, str::len);
                self.audio_bytes = self.audio_bytes.saturating_add(bytes);
                bytes > 0
            }
            _ => self.text_step(kind, &event),
        }
    }

    fn text_event(&mut self, _name: &str, data: &str) -> Option<bool> {
        let Object(event) = lean::read::<Object<DeltaEvent<'_>>>(data)?;
        let what = event.kind.0.strip_prefix("response.")?.strip_suffix(".delta")?;
        let (kind, index, _) = Kind::of(what)?;
        let index = match index {
            "content_index" => event.content_index,
            "summary_index" => event.summary_index,
            "command_index" => event.command_index,
            _ => None,
        };
        self.number(event.sequence_number);
        let place = self.known_place(event.output_index, event.item_id.as_ref().map(|id| &*id.0));
        let delta = event.delta.as_ref().map_or("", |delta| &delta.0);
        Some(self.delta(place, kind, index.unwrap_or_default(), delta))
    }

    fn progress(&self, progress: &mut Progress<'_>) {
        for (expected, (place, item)) in (0..).zip(&self.items).take(MOST_PARTS) {
            // What a gap may have torn is told when the answer is over.
            if self.gaps > 0 || *place != expected || !item.progress(progress) {
                return;
            }
        }
    }

    fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
        self.gap_is_known = true;
        self.has_gap = true;
    }

    fn is_complete(&self) -> bool {
        self.ended || self.facts.error.is_some()
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn finish(mut self: Box<Self>) -> ParsedResponse {
        let mut output = Output::default();
        let mut after = AfterGap::default();
        let collected_is_more = self.items.values().all(|item| item.whole.is_some())
            && self.output.as_ref().is_none_or(|items| items.len() < self.items.len());
        let from_end = self.output.take().filter(|_| !collected_is_more);
        let is_whole = from_end.is_some() || (self.ended && collected_is_more && self.gaps == 0);
        match from_end {
            Some(items) => items.into_iter().for_each(|item| output.push(item)),
            None => self.assemble(&mut output, &mut after),
        }
        if self.audio_bytes > 0 {
            output.content.push_part(json!({ "type": "audio", "encoded_bytes": self.audio_bytes }));
        }
        let nothing = !output.has_items && self.facts.id.is_none() && self.facts.error.is_none();
        let mut parsed = self.facts.finish(output, self.dialect);
        for (key, values) in [
            ("content_after_gap", after.content),
            ("reasoning_after_gap", after.reasoning),
            ("refusal_after_gap", after.refusals),
            ("arguments_after_gap", after.arguments),
            ("incomplete_tool_calls", after.incomplete_calls),
        ] {
            common::set_array(&mut parsed.extension, key, values);
        }
        // Perplexity leaves numbers out; with all of the answer here that means nothing.
        if self.lost_events > 0 && (self.has_gap || !is_whole) {
            parsed.extension.insert("lost_events".to_owned(), self.lost_events.into());
            parsed.is_incomplete = !is_whole;
        }
        if nothing && self.unknown_events > 0 {
            parsed.unparsed.push("stream_events".to_owned());
        }
        parsed
    }
}

impl ResponseStream {
    /// Events are numbered without holes, so a hole is a loss.
    fn number(&mut self, number: Option<u64>) {
        let expected = self.next_number;
        self.next_number = number.map(|number| number.saturating_add(1));
        if let (Some(expected), Some(number)) = (expected, number)
            && number > expected
        {
            self.lost_events = self.lost_events.saturating_add(number - expected);
            if !self.gap_is_known {
                self.gaps = self.gaps.saturating_add(1);
            }
        }
        self.gap_is_known = false;
    }

    fn other_event(&mut self, kind: &str, mut event: Map<String, Value>) -> bool {
        if kind == "error" || event.get("error").is_some_and(|error| !error.is_null()) {
            // What stands there is no type of error.
            event.remove("type");
            if let Some(error) = common::error_of_failed(&Value::Object(event)) {
                self.facts.error.get_or_insert(error);
            }
            return false;
        }
        self.unknown_events += 1;
        false
    }

    /// The place of the item that an event is about. Some services give every item the same number or another id in
    /// each event.
    fn place(&mut self, event: &Map<String, Value>, item: Option<&Value>) -> u64 {
        let given = event.get("output_index").and_then(Value::as_u64);
        let id = match item {
            Some(item) => text(item, "id"),
            None => event.get("item_id").and_then(Value::as_str),
        };
        let mut place = self.known_place(given, id);
        if item.is_some() && id.is_none_or(|id| !self.place_of.contains_key(id)) {
            if self.items.get(&place).is_some_and(|known| known.whole.is_some()) {
                place = self.last_place().unwrap_or_default().saturating_add(1);
            }
            if let Some(id) = id {
                self.place_of.insert(id.to_owned(), place);
            }
        }
        place
    }

    /// That of the item with this id, else the one given, else the last.
    fn known_place(&self, given: Option<u64>, id: Option<&str>) -> u64 {
        let known = id.and_then(|id| self.place_of.get(id)).copied();
        known.or(given).or_else(|| self.last_place()).unwrap_or_default()
    }

    fn last_place(&self) -> Option<u64> {
        self.items.last_key_value().map(|(place, _)| *place)
    }

    fn part(&mut self, event_kind: &str, event: &mut Map<String, Value>, index: &str) -> bool {
        let place = self.place(event, None);
        let index = event.get(index).and_then(Value::as_u64).unwrap_or_default();
        let part = event.remove("part").unwrap_or_default();
        let (kind, key) = match text(&part, "type") {
            Some("refusal") => (Kind::Refusal, "refusal"),
            Some("reasoning_text") => (Kind::Reasoning, "text"),
            Some("summary_text") => (Kind::Summary, "text"),
            Some("audio" | "output_audio") => (Kind::Transcript, "transcript"),
            _ => (Kind::Output, "text"),
        };
        let said = text(&part, key).unwrap_or_default();
        let item = self.items.entry(place).or_default();
        if event_kind.ends_with(".added") {
            let mut begun = Text { born: self.gaps, is_whole: false, text: GapText::born(self.gaps) };
            begun.text.push(said, self.gaps);
            item.texts.entry((kind, index)).or_insert(begun);
            return !said.is_empty();
        }
        item.whole_text(kind, index, said, self.gaps)
    }

    /// `response.<what>.delta` and `response.<what>.done`.
    fn text_step(&mut self, kind: &str, event: &Map<String, Value>) -> bool {
        let Some((what, step)) = kind.rsplit_once('.') else {
            self.unknown_events += 1;
            return false;
        };
        // How far a server's tool is: what came of it is in its item.
        let Some((kind, index, key)) = Kind::of(what) else { return false };
        let index = event.get(index).and_then(Value::as_u64).unwrap_or_default();
        let said = |key: &str| event.get(key).and_then(Value::as_str);
        match step {
            "delta" => {
                let place = self.place(event, None);
                self.delta(place, kind, index, said("delta").unwrap_or_default())
            }
            "done" | "added" => match said(key) {
                Some(said) => {
                    let place = self.place(event, None);
                    let gaps = self.gaps;
                    let item = self.items.entry(place).or_default();
                    if step == "added" {
                        let begun = Text { born: gaps, is_whole: false, text: GapText::born(gaps) };
                        item.texts.entry((kind, index)).or_insert(begun).text.push(said, gaps);
                        return !said.is_empty();
                    }
                    item.whole_text(kind, index, said, gaps)
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Appends to a text of the item at this place.
    fn delta(&mut self, place: u64, kind: Kind, index: u64, delta: &str) -> bool {
        let item = self.items.entry(place).or_default();
        if item.whole.is_some() {
            return false;
        }
        // The first text begins with its item, others with their part. Text whose beginning was not seen is as if born at
        // 0: as soon as there was a gap, all of it stands behind that.
        let begins = item.start.is_some() && item.texts.is_empty();
        let born = if begins { item.born } else { 0 };
        let text = item.texts.entry((kind, index)).or_insert_with(|| Text {
            born,
            is_whole: false,
            text: GapText::born(born),
        });
        text.text.push(delta, self.gaps);
        !delta.is_empty()
    }

    /// Puts the output together from what the events said, joining nothing over a gap.
    fn assemble(&mut self, output: &mut Output, after: &mut AfterGap) {
        let gaps = self.gaps;
        let mut expected = 0;
        let mut is_broken = false;
        for (place, item) in std::mem::take(&mut self.items) {
            // The message's text is contiguous up to here, or not any more.
            is_broken |= gaps > 0 && place != expected;
            expected = place.saturating_add(1);
            let call = output.calls.len();
            let mut read = Output::default();
            let mut is_damaged = false;
            let mut is_call_incomplete = false;
            if let Some(whole) = item.whole {
                read.push(whole);
            } else {
                let assembled = item.assembled(place, call, (gaps, self.ended), after);
                (is_damaged, is_call_incomplete) = (assembled.is_damaged, assembled.is_call_incomplete);
                read.push(assembled.item);
            }
            if is_broken {
                let at = ("item", place);
                let gap = gaps;
                let text = read.content.take_text();
                after.content.extend(text.map(|text| piece(gap, text, at)));
                for (to, from) in
                    [(&mut after.reasoning, &mut read.reasoning), (&mut after.refusals, &mut read.refusals)]
                {
                    let texts = from.drain(..).filter_map(|entry| owned_text(&entry, "text"));
                    to.extend(texts.map(|text| piece(gap, text, at)));
                }
            } else {
                if let Some(text) = read.content.take_text() {
                    output.content.push_owned_text(text);
                }
                output.reasoning.append(&mut read.reasoning);
                output.refusals.append(&mut read.refusals);
            }
            output.append(read);
            if is_call_incomplete && output.calls.len() > call {
                after.incomplete_calls.push(call.into());
            }
            is_broken |= is_damaged;
        }
    }
}

/// What stands behind a gap, for the extension.
#[derive(Default)]
struct AfterGap {
    content: Vec<Value>,
    reasoning: Vec<Value>,
    refusals: Vec<Value>,
    arguments: Vec<Value>,
    incomplete_calls: Vec<Value>,
}

impl Item {
    /// Names what it says so far; says whether that is all of it.
    fn progress(&self, progress: &mut Progress<'_>) -> bool {
        let Some(item) = self.whole.as_ref().or(self.start.as_ref()) else { return false };
        if is_client_call(item) {
            let call = tool_call(item.clone());
            let [id, name, call_type] = [&call.id, &call.name, &call.call_type].map(Option::as_deref);
            let said = self.texts.get(&(Kind::Arguments, 0)).map(|text| text.text.whole());
            let whole = call.arguments.as_deref().filter(|_| self.whole.is_some());
            progress.call(id, name, call_type, whole.or(said).unwrap_or_default());
            return true;
        }
        if text(item, "type") != Some("message") {
            return true;
        }
        if self.whole.is_some() {
            for part in item.get("content").and_then(Value::as_array).into_iter().flatten().take(MOST_PARTS) {
                if let ("output_text", Some(text)) =
                    (text(part, "type").unwrap_or_default(), text(part, "text"))
                {
                    progress.block(0, text);
                }
            }
            return true;
        }
        // The next begins where this one has its end.
        if let Some(text) = self.texts.get(&(Kind::Output, 0)).filter(|text| !text.text.is_empty()) {
            progress.block(0, text.text.whole());
        }
        false
    }

    fn whole_text(&mut self, kind: Kind, index: u64, said: &str, gaps: u32) -> bool {
        if self.whole.is_some() {
            return false;
        }
        let text = self.texts.entry((kind, index)).or_default();
        let is_news = text.text.is_empty() && !said.is_empty();
        let mut whole = GapText::born(gaps);
        whole.push(said, gaps);
        *text = Text { born: gaps, is_whole: true, text: whole };
        is_news
    }

    /// What is known of an item whose last event did not come.
    fn assembled(
        self,
        place: u64,
        call: usize,
        (gaps, ended): (u32, bool),
        after: &mut AfterGap,
    ) -> Assembled {
        let is_headless = self.start.is_none();
        let mut is_damaged = gaps > self.born || (is_headless && gaps > 0);
        let mut is_call_whole = false;
        let kind = match self.texts.keys().next() {
            Some((Kind::Reasoning | Kind::Summary, _)) => "reasoning",
            Some((Kind::Arguments, _)) => "function_call",
            Some((Kind::Code, _)) => "code_interpreter_call",
            Some((Kind::Command, _)) => "shell_call",
            _ => "message",
        };
        let mut item = into_object(self.start.unwrap_or_else(|| json!({ "type": kind })));
        let is_function = item.get("type").and_then(Value::as_str) == Some("function_call");
        let is_custom = item.get("type").and_then(Value::as_str) == Some("custom_tool_call");
        let [mut content, mut summary, mut commands] = [const { Vec::new() }; 3];
        let mut is_cut = false;
        let mut before = (None, 0);
        for ((kind, index), text) in self.texts {
            let number = if before.0 == Some(kind) { before.1 } else { 0 };
            before = (Some(kind), number + 1);
            let is_listed = !matches!(kind, Kind::Arguments | Kind::Code);
            is_cut |= gaps > 0 && is_listed && index != number;
            is_cut |= !text.is_whole && text.born != self.born;
            let is_torn = text.text.is_cut() || (!text.is_whole && gaps > text.born);
            let (whole, later) = text.text.into_parts();
            let (behind, at) = match kind {
                Kind::Output | Kind::Transcript => (&mut after.content, ("item", place)),
                Kind::Refusal => (&mut after.refusals, ("item", place)),
                Kind::Reasoning | Kind::Summary => (&mut after.reasoning, ("item", place)),
                Kind::Arguments | Kind::Code | Kind::Command => {
                    (&mut after.arguments, ("tool_call", call as u64))
                }
            };
            if is_cut && !whole.is_empty() {
                behind.push(piece(text.born, whole, at));
            } else if !(whole.is_empty() && is_torn) {
                match kind {
                    Kind::Output => content.push(json!({ "type": "output_text", "text": whole })),
                    Kind::Transcript => content.push(json!({ "type": "output_audio", "transcript": whole })),
                    Kind::Refusal => content.push(json!({ "type": "refusal", "refusal": whole })),
                    Kind::Reasoning => content.push(json!({ "type": "reasoning_text", "text": whole })),
                    Kind::Summary => summary.push(json!({ "type": "summary_text", "text": whole })),
                    Kind::Command => commands.push(Value::String(whole)),
                    Kind::Code => _ = item.insert("code".to_owned(), whole.into()),
                    Kind::Arguments => {
                        // Whole JSON cannot be the beginning of other JSON of its kind.
                        let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(&whole).is_ok();
                        is_call_whole = text.is_whole || (is_function && is_json());
                        let key = if is_custom { "input" } else { "arguments" };
                        item.insert(key.to_owned(), whole.into());
                    }
                }
            }
            behind.extend(later.into_iter().map(|(gap, text)| piece(gap, text, at)));
            is_cut |= is_torn;
        }
        is_damaged |= is_cut;
        let is_call_incomplete = (is_headless && gaps > 0) || (!is_call_whole && (is_damaged || !ended));
        if let Some(part) = content.iter_mut().find(|part| text(part, "type") == Some("output_text"))
            && !self.annotations.is_empty()
        {
            part["annotations"] = Value::Array(self.annotations);
        }
        for (key, list) in [("content", content), ("summary", summary)] {
            common::set_array(&mut item, key, list);
        }
        if !commands.is_empty() {
            item.insert("action".to_owned(), json!({ "commands": commands }));
        }
        Assembled { item: Value::Object(item), is_damaged, is_call_incomplete }
    }
}

struct Assembled {
    item: Value,
    /// Something of it may be missing.
    is_damaged: bool,
    /// The same of a call's arguments.
    is_call_incomplete: bool,
}
