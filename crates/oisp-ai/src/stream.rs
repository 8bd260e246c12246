//! A streamed response: server-sent events, collected by the format that they turn out to be.

use oisp_decode::{Nanos, SseEvent, SseParser};

use crate::Limits;
use crate::findings::Findings;
use crate::format::{self, FormatId, ParsedResponse, StreamAccumulator};
use crate::json;
use crate::providers::Dialect;

/// Reads one stream.
pub(crate) struct StreamReader {
    limits: Limits,
    expected: Option<FormatId>,
    dialect: Dialect,
    parser: SseParser,
    scratch: Vec<SseEvent>,
    resync: Option<Resync>,
    gaps: u32,
    accumulator: Option<(FormatId, Box<dyn StreamAccumulator>)>,
    /// Bytes that may stand in the accumulator.
    collected: usize,
    over_limit: bool,
    /// `[DONE]` was seen.
    done: bool,
    unread_events: u64,
    replaced_characters: bool,
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

impl StreamReader {
    pub(crate) fn new(expected: Option<FormatId>, dialect: Dialect, limits: Limits) -> Self {
        Self {
            limits,
            expected,
            dialect,
            parser: SseParser::new(),
            scratch: Vec::new(),
            resync: None,
            gaps: 0,
            accumulator: None,
            collected: 0,
            over_limit: false,
            done: false,
            unread_events: 0,
            replaced_characters: false,
            times: StreamTimes::default(),
        }
    }

    pub(crate) fn push(&mut self, time: Nanos, bytes: &[u8]) {
        if self.over_limit {
            return;
        }
        let bytes = match &mut self.resync {
            None => bytes,
            Some(resync) => match resync.find(bytes) {
                Some(rest) => {
                    self.resync = None;
                    rest
                }
                None => return,
            },
        };
        self.collected = self.collected.saturating_add(bytes.len());
        if self.collected > self.limits.body_bytes {
            self.give_up();
            return;
        }
        let mut events = std::mem::take(&mut self.scratch);
        self.parser.push(bytes, &mut events);
        for event in events.drain(..) {
            self.event(time, &event);
        }
        self.scratch = events;
    }

    /// Bytes are missing here. The event that they are in is lost; reading goes on after the next empty
    /// line.
    pub(crate) fn gap(&mut self) {
        self.parser = SseParser::new();
        self.resync = Some(Resync::default());
        self.gaps = self.gaps.saturating_add(1);
        if let Some((_, accumulator)) = &mut self.accumulator {
            accumulator.gap();
        }
    }

    /// Takes nothing more; what was collected stays.
    pub(crate) fn give_up(&mut self) -> bool {
        self.parser = SseParser::new();
        !std::mem::replace(&mut self.over_limit, true)
    }

    pub(crate) fn buffered(&self) -> usize {
        self.collected
    }

    /// Whether the end mark was seen: whatever the transport says, the answer is whole.
    pub(crate) fn has_ended(&self) -> bool {
        self.gaps == 0
            && !self.over_limit
            && self.accumulator.as_ref().is_some_and(|(_, accumulator)| self.done || accumulator.has_ended())
    }

    fn is_complete(&self) -> bool {
        self.done || self.accumulator.as_ref().is_some_and(|(_, accumulator)| accumulator.is_complete())
    }

    /// What the stream said; `None` if no event of a known format was in it.
    pub(crate) fn finish(
        mut self,
        findings: &mut Findings,
        time: Nanos,
    ) -> Option<(FormatId, ParsedResponse)> {
        if self.resync.is_none()
            && let Some(event) = self.parser.finish()
            // The closing empty line may be cut off; the event counts if it is whole JSON.
            && json::parse_text(&event.data, self.limits.parsed_bytes).is_ok()
        {
            self.event(time, &event);
        }
        if self.over_limit {
            findings.partial("message_over_limit");
            findings.limitation(&format!("stream_cut_at_{}_bytes", self.limits.body_bytes));
            findings.missing("response_body");
        }
        if self.gaps > 0 {
            findings.partial("stream_resynchronised_after_gap");
            findings.missing("response_body");
        }
        if self.unread_events > 0 {
            findings.partial("stream_events_not_read");
        }
        if self.replaced_characters {
            // May be the model's own: no reason to think less of the event.
            findings.reason("replacement_characters");
        }
        let complete = self.is_complete();
        let (format, accumulator) = self.accumulator?;
        if !complete && self.gaps == 0 && !self.over_limit {
            findings.partial("stream_ended_early");
            findings.missing("response_body");
        }
        Some((format, accumulator.finish()))
    }

    fn event(&mut self, time: Nanos, event: &SseEvent) {
        let times = &mut self.times;
        times.chunks += 1;
        if let Some(last) = times.last {
            let gap = time.0.saturating_sub(last.0);
            times.longest_gap = Some(times.longest_gap.map_or(gap, |longest| longest.max(gap)));
        }
        times.last = Some(time);
        let data = event.data.trim_end();
        if data == "[DONE]" {
            self.done = true;
            return;
        }
        if data.is_empty() {
            return;
        }
        self.replaced_characters |= data.contains('\u{fffd}');
        let Ok(value) = json::parse_text(data, self.limits.parsed_bytes) else {
            self.unread_events += 1;
            return;
        };
        if self.accumulator.is_none() {
            // An error may come first and is of no format.
            let format = format::of_stream(&value, self.expected).map(format::Format::id).or(self.expected);
            let Some(format) = format else {
                self.unread_events += 1;
                return;
            };
            let mut accumulator = format::of(format).stream(self.dialect);
            (0..self.gaps).for_each(|_| accumulator.gap());
            self.accumulator = Some((format, accumulator));
        }
        if let Some((_, accumulator)) = &mut self.accumulator
            && accumulator.event(&event.event, value)
        {
            self.times.first_content.get_or_insert(time);
        }
    }
}

/// Looks for the next empty line, wherever in a line it starts and however the bytes are cut.
#[derive(Debug, Default)]
struct Resync {
    /// A line has ended and nothing of the next was seen.
    at_line_start: bool,
    after_cr: bool,
}

impl Resync {
    /// The bytes after the empty line, once it is found.
    fn find<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        for (position, byte) in bytes.iter().enumerate() {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' if self.at_line_start => {
                    // The LF of a CRLF that ends here is an empty line to the parser: harmless.
                    return Some(&bytes[position + 1..]);
                }
                b'\n' | b'\r' => self.at_line_start = true,
                _ => self.at_line_start = false,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_after_the_next_empty_line_however_cut() {
        for (text, rest) in [
            ("lost\"}\n\ndata: 1\n\n", "data: 1\n\n"),
            ("lost\r\n\r\ndata: 1", "\ndata: 1"),
            ("lost\r\rdata: 1", "data: 1"),
            ("\n\ndata: 1", "data: 1"),
            ("\ndata: 0\n\ndata: 1", "data: 1"),
        ] {
            for cut in 0..text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                let mut resync = Resync::default();
                let found = match resync.find(first) {
                    Some(rest) => [rest, second].concat(),
                    None => resync.find(second).unwrap().to_vec(),
                };
                assert_eq!(String::from_utf8(found).unwrap(), rest, "{text:?} cut at {cut}");
            }
        }
        assert!(Resync::default().find(b"no end\nof an event\n").is_none());
    }
}
