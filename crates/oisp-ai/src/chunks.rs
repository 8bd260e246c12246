//! What a streamed answer adds while it comes, for those who want to see it grow.
//!
//! Nothing of it is there unless it was asked for ([`Limits::streaming_chunks`](crate::Limits::streaming_chunks)). A format
//! says what it has collected so far ([`Progress`]); here is remembered how much of that was told. What a format cannot tell
//! while the answer comes, it tells at the end: the last chunk adds what the whole answer has beyond what was told.
//!
//! Services send a token an event. One chunk holds what came within [`SHORTEST_PAUSE`], or in [`MOST_BYTES`] of the stream:
//! what it costs beyond that is in proportion to the stream, and ten events a second are enough to watch.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use oisp_decode::{ExchangeId, Nanos};
use oisp_event::{AiStreamingChunk, Delta, FinishReason, Role, ToolCall};
use serde_json::{Map, Value, json};

use crate::call::{AiChunk, Detection};
use crate::format::{ParsedResponse, StreamAccumulator};

/// Between two chunks of an answer, unless more than [`MOST_BYTES`] came: 100 ms.
const SHORTEST_PAUSE: u64 = 100_000_000;
/// Bytes of the stream, with all that stands around its text, after which a chunk is told in any case.
const MOST_BYTES: usize = 32 << 10;
/// Choices and tool calls that are told while they come; further ones stand in the response alone.
pub(crate) const MOST_PARTS: usize = 64;

/// How much of an answer was told.
#[derive(Default)]
pub(crate) struct Chunks {
    texts: BTreeMap<u64, Told>,
    calls: Vec<Told>,
    latest: Option<Nanos>,
    /// Of the stream, since the latest chunk.
    bytes: usize,
    events: u64,
    /// Something with content came since then.
    has_news: bool,
    ready: Vec<Draft>,
}

/// What is told next, without what the exchange knows.
#[derive(Debug)]
pub(crate) struct Draft {
    time: Nanos,
    choice: u64,
    delta: Delta,
    call_numbers: Vec<u64>,
    finish_reason: Option<FinishReason>,
    events: u64,
    is_last: bool,
    is_superseded: bool,
}

/// What was told of a text, to see at the end whether it was the beginning of what the answer says.
#[derive(Clone, Default)]
struct Told {
    bytes: usize,
    hash: DefaultHasher,
    is_introduced: bool,
}

impl Told {
    fn tell(&mut self, text: &str) {
        self.bytes += text.len();
        self.hash.write(text.as_bytes());
    }

    /// What `whole` has beyond what was told; `None` if it begins otherwise.
    fn rest<'a>(&self, whole: &'a str) -> Option<&'a str> {
        let (told, rest) = whole.split_at_checked(self.bytes)?;
        let mut hash = DefaultHasher::new();
        hash.write(told.as_bytes());
        (hash.finish() == self.hash.finish()).then_some(rest)
    }
}

/// What an answer says so far: a format names its parts in order, each time from the beginning.
pub(crate) struct Progress<'a> {
    chunks: &'a mut Chunks,
    /// Where each choice's text is.
    at: BTreeMap<u64, usize>,
    /// The new text of each choice.
    texts: BTreeMap<u64, String>,
    next_call: usize,
    calls: Vec<(u64, ToolCall)>,
}

impl Progress<'_> {
    /// The next piece of a choice's text.
    pub(crate) fn text(&mut self, choice: u64, piece: &str) {
        if self.chunks.texts.len() >= MOST_PARTS && !self.chunks.texts.contains_key(&choice) {
            return;
        }
        let told = self.chunks.texts.entry(choice).or_default();
        let at = self.at.entry(choice).or_default();
        let known = told.bytes.saturating_sub(*at).min(piece.len());
        *at += piece.len();
        let Some(new) = piece.get(known..).filter(|new| !new.is_empty()) else { return };
        told.tell(new);
        self.texts.entry(choice).or_default().push_str(new);
    }

    /// The next block of a choice's text, which a line feed joins to the one before.
    pub(crate) fn block(&mut self, choice: u64, text: &str) {
        if self.at.contains_key(&choice) {
            self.text(choice, "\n");
        }
        self.text(choice, text);
    }

    /// The next tool call; `arguments` as far as they came.
    pub(crate) fn call(
        &mut self,
        id: Option<&str>,
        name: Option<&str>,
        call_type: Option<&str>,
        arguments: &str,
    ) {
        let number = self.next_call;
        self.next_call += 1;
        if number >= MOST_PARTS {
            return;
        }
        if number >= self.chunks.calls.len() {
            self.chunks.calls.resize_with(number + 1, Told::default);
        }
        let told = &mut self.chunks.calls[number];
        let new = arguments.get(told.bytes..).unwrap_or_default();
        if new.is_empty() && told.is_introduced {
            return;
        }
        told.tell(new);
        let is_first = !std::mem::replace(&mut told.is_introduced, true);
        let call = ToolCall {
            id: id.map(str::to_owned),
            name: name.filter(|_| is_first).map(str::to_owned),
            call_type: call_type.filter(|_| is_first).map(str::to_owned),
            arguments: (!new.is_empty()).then(|| new.to_owned()),
            arguments_hash: None,
        };
        self.calls.push((number as u64, call));
    }
}

impl Chunks {
    /// An event of the stream was taken.
    pub(crate) fn event(
        &mut self,
        time: Nanos,
        bytes: usize,
        has_content: bool,
        accumulator: &dyn StreamAccumulator,
    ) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.has_news |= has_content;
        let pause = self.latest.map(|latest| time.0.saturating_sub(latest.0));
        if self.has_news && (pause.is_none_or(|pause| pause >= SHORTEST_PAUSE) || self.bytes >= MOST_BYTES) {
            self.look(time, accumulator);
        }
    }

    /// Takes what is to be told.
    pub(crate) fn take(&mut self) -> Vec<Draft> {
        std::mem::take(&mut self.ready)
    }

    /// What was added since the last look.
    pub(crate) fn look(&mut self, time: Nanos, accumulator: &dyn StreamAccumulator) {
        self.has_news = false;
        let mut progress = Progress {
            chunks: self,
            at: BTreeMap::new(),
            texts: BTreeMap::new(),
            next_call: 0,
            calls: Vec::new(),
        };
        accumulator.progress(&mut progress);
        let Progress { mut texts, calls, .. } = progress;
        if !calls.is_empty() {
            texts.entry(0).or_default();
        }
        let mut calls = Some(calls);
        for (choice, text) in texts {
            let calls = if choice == 0 { calls.take().unwrap_or_default() } else { Vec::new() };
            self.tell(time, choice, text, calls, None);
        }
    }

    /// The answer is over: what was not told yet, of each choice.
    pub(crate) fn end(mut self, time: Nanos, parsed: &ParsedResponse) -> Vec<Draft> {
        let response = &parsed.response;
        let mut last: BTreeMap<u64, (String, Option<FinishReason>, bool)> = BTreeMap::new();
        for choice in response.choices.iter().take(MOST_PARTS) {
            let content = choice.message.as_ref().and_then(|message| message.content.as_ref()?.as_str());
            let told = self.texts.entry(choice.index).or_default();
            let rest = told.rest(content.unwrap_or_default());
            last.insert(
                choice.index,
                (rest.unwrap_or_default().to_owned(), choice.finish_reason, rest.is_none()),
            );
        }
        // Of those that are gone from the whole answer.
        let gone: Vec<u64> = self.texts.keys().copied().filter(|choice| !last.contains_key(choice)).collect();
        last.extend(gone.into_iter().map(|choice| (choice, (String::new(), None, true))));
        if !self.calls.is_empty() || !response.tool_calls.is_empty() {
            last.entry(0).or_default();
        }
        let mut calls = Vec::new();
        let mut is_superseded = self.calls.len() > response.tool_calls.len();
        self.calls
            .resize_with(response.tool_calls.len().min(MOST_PARTS).max(self.calls.len()), Told::default);
        for (number, (call, told)) in (0_u64..).zip(response.tool_calls.iter().zip(&self.calls)) {
            let rest = told.rest(call.arguments.as_deref().unwrap_or_default());
            is_superseded |= rest.is_none();
            let rest = rest.unwrap_or_default();
            if told.is_introduced && rest.is_empty() {
                continue;
            }
            let new = ToolCall {
                id: call.id.clone(),
                name: call.name.clone().filter(|_| !told.is_introduced),
                call_type: call.call_type.clone().filter(|_| !told.is_introduced),
                arguments: (!rest.is_empty()).then(|| rest.to_owned()),
                arguments_hash: None,
            };
            calls.push((number, new));
        }
        let mut calls = Some(calls);
        for (choice, (text, finish_reason, is_other)) in last {
            let first = choice == 0;
            let calls = if first { calls.take().unwrap_or_default() } else { Vec::new() };
            self.tell(time, choice, text, calls, Some((finish_reason, is_other || (first && is_superseded))));
        }
        self.ready
    }

    fn tell(
        &mut self,
        time: Nanos,
        choice: u64,
        text: String,
        calls: Vec<(u64, ToolCall)>,
        end: Option<(Option<FinishReason>, bool)>,
    ) {
        let told = self.texts.entry(choice).or_default();
        let is_first = !std::mem::replace(&mut told.is_introduced, true);
        let (call_numbers, tool_calls) = calls.into_iter().unzip();
        self.latest = Some(time);
        self.bytes = 0;
        // The last goes with what the last look gave.
        let before = self.ready.iter_mut().rev().find(|draft| end.is_some() && draft.choice == choice);
        if let (Some(draft), Some((finish_reason, is_superseded))) = (before, end) {
            draft.time = time;
            if !text.is_empty() {
                draft.delta.content.get_or_insert_default().push_str(&text);
            }
            draft.delta.tool_calls.extend::<Vec<_>>(tool_calls);
            draft.call_numbers.extend::<Vec<_>>(call_numbers);
            draft.finish_reason = finish_reason;
            draft.events += std::mem::take(&mut self.events);
            draft.is_last = true;
            draft.is_superseded = is_superseded;
            return;
        }
        self.ready.push(Draft {
            time,
            choice,
            delta: Delta {
                content: (!text.is_empty()).then_some(text),
                role: is_first.then_some(Role::Assistant),
                tool_calls,
            },
            call_numbers,
            finish_reason: end.and_then(|(finish_reason, _)| finish_reason),
            events: std::mem::take(&mut self.events),
            is_last: end.is_some(),
            is_superseded: end.is_some_and(|(_, is_superseded)| is_superseded),
        });
    }
}

impl Draft {
    /// As an event of its exchange.
    pub(crate) fn of(self, exchange: ExchangeId, detection: Detection, asked: Nanos) -> AiChunk {
        let Self { time, choice, delta, call_numbers, finish_reason, events, is_last, is_superseded } = self;
        let mut extension = Map::new();
        let since = time.0.saturating_sub(asked.0);
        extension.insert("timing".to_owned(), json!({ "time_ns": time.0, "since_request_ns": since }));
        extension.insert("stream_events".to_owned(), events.into());
        if choice > 0 {
            extension.insert("choice".to_owned(), choice.into());
        }
        if !call_numbers.is_empty() {
            extension.insert("tool_call_indexes".to_owned(), call_numbers.clone().into());
        }
        if is_superseded {
            // The whole answer is not what its pieces said: it stands in the response.
            extension.insert("superseded".to_owned(), Value::Bool(true));
        }
        let chunk = AiStreamingChunk { delta, finish_reason, ..AiStreamingChunk::default() };
        AiChunk { exchange, chunk, detection, time, choice, call_numbers, is_last, extension }
    }
}
