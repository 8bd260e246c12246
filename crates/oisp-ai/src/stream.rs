//! A streamed response, collected by the format that its events turn out to be.

use oisp_decode::Nanos;
use oisp_event::ErrorInfo;
use serde_json::Value;

use crate::Limits;
use crate::bedrock::Additions;
use crate::chunks::{Chunks, Draft};
use crate::findings::Findings;
use crate::format::{self, FormatId, ParsedResponse, StreamAccumulator};
use crate::framing::{Frame, Framer, Framing};
use crate::json;
use crate::lean;
use crate::providers::Dialect;

/// Reads one stream.
pub(crate) struct StreamReader {
    framer: Framer,
    /// Bytes that may stand in the collector.
    taken: usize,
    gaps: u32,
    over_limit: bool,
    broken: bool,
    pub(crate) collector: Collector,
}

/// What the events of a stream add up to.
pub(crate) struct Collector {
    limits: Limits,
    expected: Option<FormatId>,
    dialect: Dialect,
    accumulator: Option<(FormatId, Box<dyn StreamAccumulator>)>,
    gaps: u32,
    /// `[DONE]` was seen.
    done: bool,
    /// The framing told of it.
    failure: Option<ErrorInfo>,
    unread_events: u64,
    additions: Additions,
    replaced_characters: bool,
    /// Where what comes is told at once.
    chunks: Option<Box<Chunks>>,
    pub(crate) times: StreamTimes,
}

/// When the stream's events came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamTimes {
    pub(crate) chunks: u64,
    pub(crate) first_content: Option<Nanos>,
    pub(crate) longest_gap: Option<u64>,
    last: Option<Nanos>,
}

impl StreamTimes {
    fn event(&mut self, time: Nanos) {
        self.chunks += 1;
        if let Some(last) = self.last {
            let gap = time.0.saturating_sub(last.0);
            self.longest_gap = Some(self.longest_gap.map_or(gap, |longest| longest.max(gap)));
        }
        self.last = Some(time);
    }
}

impl StreamReader {
    pub(crate) fn new(
        framing: Framing,
        expected: Option<FormatId>,
        dialect: Dialect,
        limits: Limits,
    ) -> Self {
        Self {
            framer: Framer::new(framing, &limits),
            taken: 0,
            gaps: 0,
            over_limit: false,
            broken: false,
            collector: Collector::new(expected, dialect, limits),
        }
    }

    pub(crate) fn push(&mut self, time: Nanos, bytes: &[u8]) {
        if self.over_limit || self.broken {
            return;
        }
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > self.collector.limits.body_bytes {
            self.give_up();
            return;
        }
        let collector = &mut self.collector;
        self.broken = self.framer.push(bytes, &mut |frame| collector.event(time, frame)).is_err();
    }

    /// Bytes are missing here. The event that they are in is lost; reading goes on at the next that is certain.
    pub(crate) fn gap(&mut self) {
        self.framer.gap();
        self.gaps = self.gaps.saturating_add(1);
        self.collector.gap();
    }

    /// Takes nothing more; what was collected stays.
    pub(crate) fn give_up(&mut self) -> bool {
        !std::mem::replace(&mut self.over_limit, true)
    }

    pub(crate) fn buffered(&self) -> usize {
        self.taken
    }

    /// Whether the end mark was seen: whatever the transport says, the answer is whole.
    pub(crate) fn has_ended(&self) -> bool {
        self.gaps == 0 && !self.over_limit && !self.broken && self.collector.has_ended()
    }

    /// What the stream said; `None` if no event of a known format was in it.
    pub(crate) fn finish(
        mut self,
        findings: &mut Findings,
        time: Nanos,
    ) -> Option<(FormatId, ParsedResponse)> {
        if !self.over_limit && !self.broken {
            let parsed_bytes = self.collector.limits.parsed_bytes;
            let collector = &mut self.collector;
            let finished = self.framer.finish(&mut |frame| {
                // The end of the last event may be cut off; it counts if it is whole JSON.
                if frame.data == DONE || json::parse_text(&frame.data, parsed_bytes).is_ok() {
                    collector.event(time, frame);
                }
            });
            // An answer that has its end needs no other; without one, that is told below.
            self.broken = finished.is_err() && !self.collector.is_complete();
        }
        if self.over_limit {
            findings.partial("message_over_limit");
            findings.limitation(&format!("stream_cut_at_{}_bytes", self.collector.limits.body_bytes));
            findings.missing("response_body");
        }
        if self.gaps > 0 {
            findings.partial("stream_resynchronised_after_gap");
            findings.missing("response_body");
        }
        if self.broken && self.gaps == 0 {
            findings.partial("stream_framing_broken");
            findings.missing("response_body");
        }
        let ends_unsaid = self.gaps == 0 && !self.over_limit && !self.broken;
        self.collector.finish(findings, ends_unsaid)
    }
}

/// The end mark that many services send in place of an event.
const DONE: &str = "[DONE]";

impl Collector {
    pub(crate) fn new(expected: Option<FormatId>, dialect: Dialect, limits: Limits) -> Self {
        Self {
            limits,
            expected,
            dialect,
            accumulator: None,
            gaps: 0,
            done: false,
            failure: None,
            unread_events: 0,
            additions: Additions::default(),
            replaced_characters: false,
            chunks: limits.streaming_chunks.then(Box::default),
            times: StreamTimes::default(),
        }
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self, time: Nanos, frame: &Frame<'_>) {
        self.times.event(time);
        if frame.data == DONE {
            self.done = true;
            return;
        }
        if frame.data.is_empty() {
            return;
        }
        self.replaced_characters |= frame.data.contains('\u{fffd}');
        if let Some((_, accumulator)) = &mut self.accumulator
            && !frame.is_truncated
            && !frame.is_failure
            && lean::is_small(&frame.data, self.limits.parsed_bytes)
            && let Some(content) = accumulator.text_event(frame.name, &frame.data)
        {
            if content {
                self.times.first_content.get_or_insert(time);
            }
            self.note_progress(time, frame.data.len(), content);
            return;
        }
        let parsed = (!frame.is_truncated)
            .then(|| json::parse_text(&frame.data, self.limits.parsed_bytes).ok())
            .flatten();
        let Some(mut value) = parsed else {
            self.unread_events += 1;
            return;
        };
        self.additions.take(&mut value);
        if frame.is_failure {
            let error = format::error_of_failed(&value).unwrap_or_default();
            let kind = error.error_type.clone().or_else(|| Some(frame.name.to_owned()));
            self.failure.get_or_insert(ErrorInfo { error_type: kind, ..error });
            return;
        }
        self.take(time, frame.name, value, frame.data.len());
    }

    /// Takes the next event, where it is read already.
    pub(crate) fn value(&mut self, time: Nanos, name: &str, value: Value, bytes: usize) {
        self.times.event(time);
        self.take(time, name, value, bytes);
    }

    /// What is to be told of the answer before it is complete.
    pub(crate) fn take_chunks(&mut self) -> Vec<Draft> {
        self.chunks.as_mut().map(|chunks| chunks.take()).unwrap_or_default()
    }

    fn note_progress(&mut self, time: Nanos, bytes: usize, content: bool) {
        if let (Some(chunks), Some((_, accumulator))) = (&mut self.chunks, &self.accumulator) {
            chunks.event(time, bytes, content, &**accumulator);
        }
    }

    fn take(&mut self, time: Nanos, name: &str, value: Value, bytes: usize) {
        if self.accumulator.is_none() {
            // An error may come first and is of no format.
            let format =
                format::of_stream(&value, name, self.expected).map(format::Format::id).or(self.expected);
            let Some(format) = format else {
                self.unread_events += 1;
                return;
            };
            let mut accumulator = format::of(format).stream(self.dialect);
            (0..self.gaps).for_each(|_| accumulator.gap());
            self.accumulator = Some((format, accumulator));
        }
        let mut content = false;
        if let Some((_, accumulator)) = &mut self.accumulator {
            content = accumulator.event(name, value);
        }
        if content {
            self.times.first_content.get_or_insert(time);
        }
        self.note_progress(time, bytes, content);
    }

    pub(crate) fn gap(&mut self) {
        self.gaps = self.gaps.saturating_add(1);
        if let Some((_, accumulator)) = &mut self.accumulator {
            accumulator.gap();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.accumulator.as_ref().is_some_and(|(_, accumulator)| self.done || accumulator.has_ended())
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.done
            || self.failure.is_some()
            || self.accumulator.as_ref().is_some_and(|(_, accumulator)| accumulator.is_complete())
    }

    /// What the events said. `ends_unsaid`: nothing else tells yet why an answer without its end has none.
    pub(crate) fn finish(
        self,
        findings: &mut Findings,
        ends_unsaid: bool,
    ) -> Option<(FormatId, ParsedResponse)> {
        if self.unread_events > 0 {
            findings.partial("stream_events_not_read");
        }
        if self.replaced_characters {
            // May be the model's own: no reason to think less of the event.
            findings.reason("replacement_characters");
        }
        let complete = self.is_complete();
        let time = self.times.last.unwrap_or_default();
        let mut chunks = self.chunks;
        if let (Some(chunks), Some((_, accumulator))) = (&mut chunks, &self.accumulator) {
            chunks.look(time, &**accumulator);
        }
        let (format, mut parsed) = match (self.accumulator, self.expected) {
            (Some((format, accumulator)), _) => (format, accumulator.finish()),
            (None, Some(format)) if self.failure.is_some() => (format, ParsedResponse::default()),
            (None, _) => return None,
        };
        if let Some(failure) = self.failure {
            parsed.response.error.get_or_insert(failure);
        }
        self.additions.enter(&mut parsed.response, &mut parsed.extension);
        if parsed.is_incomplete {
            findings.partial("stream_events_lost");
            findings.missing("response_body");
        }
        if !complete && ends_unsaid {
            findings.partial("stream_ended_early");
            findings.missing("response_body");
        }
        parsed.chunks = chunks.map(|chunks| chunks.end(time, &parsed)).unwrap_or_default();
        Some((format, parsed))
    }
}
