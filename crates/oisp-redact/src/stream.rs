//! Text that is shown while it still comes.
//!
//! A secret may be cut anywhere between two pieces. So text is held back until no text that follows can make it part of a
//! secret, and then let out redacted: all pieces together are what [`Redactor`] makes of the whole text. How long that is
//! the detectors say themselves ([`Catalogue::find_more`]): a decision for which one did not have to look at the end of the
//! text holds whatever follows. Of ordinary text some 90 bytes are held; a private key until its end, a value in quotes until
//! the quote or the line ends. Beyond [`MOST_HELD`] bytes the text is given up: a marker is let out in place of what is held,
//! and nothing of that text any more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use oisp_event::{Completeness, Event, Level, Payload, ToolCall};
use serde_json::json;

use crate::Redacted;
use crate::detect::Search;
use crate::event::{cut_texts, redact_event};
use crate::redactor::{RedactionMode, Redactor, Scrubber};

/// Bytes of one text that are held. Longer than a value in quotes may be (64 KiB): only runs without any end reach it.
const MOST_HELD: usize = 80 << 10;
/// Bytes that are kept of what was let out, for detectors look at what stands before: none more than 256 bytes back.
const CONTEXT: usize = 512;

/// Which texts of an answer the parts in an `ai.streaming_chunk` belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The choice that its content is of.
    pub choice: u64,
    /// For each of its tool calls, which one of the answer's it is.
    pub calls: Vec<u64>,
    /// Whether nothing follows of this choice, and, where it is the first, of the tool calls.
    pub is_last: bool,
}

/// The chunks of one streamed answer on their way through [`Redactor::redact_chunk`].
#[derive(Debug, Default)]
pub struct ChunkRedaction {
    /// Of the chunks before. What one mode holds another cannot judge.
    mode: Option<RedactionMode>,
    texts: BTreeMap<Part, HeldText>,
    next_index: u64,
}

/// A text of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Content(u64),
    Arguments(u64),
}

impl ChunkRedaction {
    /// Bytes held of its texts.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.texts.values().map(|text| text.buffer.len() + size_of::<HeldText>()).sum()
    }

    /// Holds nothing more, for want of room: of the texts nothing will be let out any more.
    pub fn give_up(&mut self) {
        self.texts.values_mut().for_each(HeldText::give_up);
    }
}

impl Redactor {
    /// As [`redact`](Self::redact), for an `ai.streaming_chunk`: its text is held back until it can be judged, and what was
    /// held before is let out with it. Also numbers it. `None` where nothing is left to tell yet.
    #[must_use]
    pub fn redact_chunk(
        &self,
        answer: &mut ChunkRedaction,
        mut event: Event,
        place: &ChunkPlace,
    ) -> Option<Redacted<Event>> {
        let Payload::AiStreamingChunk(chunk) = &mut event.payload else { return Some(self.redact(event)) };
        let content = chunk.delta.content.take();
        let mut calls: Vec<(u64, ToolCall, Option<String>)> = Vec::new();
        for (number, mut call) in place.calls.iter().zip(std::mem::take(&mut chunk.delta.tool_calls)) {
            let arguments = call.arguments.take();
            calls.push((*number, call, arguments));
        }
        if answer.mode.replace(self.mode()).is_some_and(|before| before != self.mode()) {
            answer.give_up();
        }
        let mut scrub = Scrubber::new(self);
        let mut faults = Faults::default();
        let content = if scrub.hides_content() {
            let characters = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
            event.ext.set("content_length", characters(&content));
            let lengths: Vec<usize> = calls.iter().map(|(_, _, arguments)| characters(arguments)).collect();
            if !lengths.is_empty() {
                event.ext.set("arguments_lengths", json!(lengths));
            }
            scrub.changed |= content.is_some() || lengths.iter().any(|length| *length > 0);
            calls.iter_mut().for_each(|(_, _, arguments)| *arguments = None);
            None
        } else {
            if place.is_last && place.choice == 0 {
                answer.add_held_calls(&mut calls);
            }
            let last_of_calls = place.is_last && place.choice == 0;
            let numbers: Vec<u64> = calls.iter().map(|(number, ..)| *number).collect();
            for (place, (number, call, arguments)) in calls.iter_mut().enumerate() {
                // A call may be there twice.
                let is_last = last_of_calls && !numbers[place + 1..].contains(number);
                let text = answer.text(Part::Arguments(*number));
                text.call_id = call.id.clone().or(text.call_id.take());
                let said = arguments.take().unwrap_or_default();
                *arguments = text.push(&said, is_last, self, &mut scrub, &mut faults);
            }
            calls.retain(|(_, call, arguments)| call.name.is_some() || arguments.is_some());
            let said = content.unwrap_or_default();
            let text = answer.text(Part::Content(place.choice));
            text.push(&said, place.is_last, self, &mut scrub, &mut faults)
        };
        let Payload::AiStreamingChunk(chunk) = &mut event.payload else { return None };
        let has_length = scrub.hides_content() && scrub.changed;
        let says_nothing = content.is_none()
            && calls.is_empty()
            && chunk.delta.role.is_none()
            && chunk.finish_reason.is_none()
            && !has_length;
        if says_nothing && !place.is_last {
            return None;
        }
        let numbers: Vec<u64> = calls.iter().map(|(number, ..)| *number).collect();
        let mut all_arguments = Vec::new();
        for (_, call, arguments) in calls {
            chunk.delta.tool_calls.push(call);
            all_arguments.push(arguments);
        }
        chunk.chunk_index = Some(answer.next_index);
        answer.next_index += 1;
        event.ext.oisp_sensor.remove("tool_call_indexes");
        if !numbers.is_empty() {
            event.ext.set("tool_call_indexes", json!(numbers));
        }
        faults.tell(&mut event, self.longest_text());
        redact_event(&mut event, &mut scrub);
        cut_texts(&mut event, self.longest_text());
        // Redacted already, with what stood before it: a detector that sees only this piece of it knows less.
        if let Payload::AiStreamingChunk(chunk) = &mut event.payload {
            chunk.delta.content = content;
            for (call, arguments) in chunk.delta.tool_calls.iter_mut().zip(all_arguments) {
                call.arguments = arguments;
            }
        }
        Some(Redacted::seal(event))
    }
}

impl ChunkRedaction {
    fn text(&mut self, part: Part) -> &mut HeldText {
        match self.texts.entry(part) {
            Entry::Occupied(text) => text.into_mut(),
            Entry::Vacant(place) => place.insert(HeldText::default()),
        }
    }

    /// The calls whose arguments are held and are not in the chunk, to be let out with it.
    fn add_held_calls(&self, calls: &mut Vec<(u64, ToolCall, Option<String>)>) {
        for (part, text) in &self.texts {
            let Part::Arguments(number) = part else { continue };
            if text.holds() && !calls.iter().any(|(known, ..)| known == number) {
                let call = ToolCall { id: text.call_id.clone(), ..ToolCall::default() };
                calls.push((*number, call, None));
            }
        }
        calls.sort_by_key(|(number, ..)| *number);
    }
}

/// What went wrong with the texts of a chunk.
#[derive(Default)]
struct Faults {
    given_up: bool,
    cut: bool,
}

impl Faults {
    fn tell(&self, event: &mut Event, longest_text: usize) {
        let confidence = &mut event.confidence;
        if self.given_up {
            confidence.limitations.push("streamed_text_given_up".to_owned());
        }
        if self.cut {
            confidence.limitations.push(format!("texts_cut_at_{longest_text}_bytes"));
        }
        if self.given_up || self.cut {
            confidence.lower_to(Level::Medium);
            confidence.completeness = Completeness::Partial;
        }
    }
}

/// One text that still grows.
#[derive(Debug, Default)]
struct HeldText {
    /// The end of what was let out, and what is held.
    buffer: String,
    /// Where the latter begins.
    held_from: usize,
    /// How much there was when it was searched last.
    searched: usize,
    search: Search,
    /// Bytes that were let out.
    let_out: usize,
    /// Nothing more of it is let out.
    is_given_up: bool,
    /// Of arguments: the call's.
    call_id: Option<String>,
}

impl HeldText {
    fn holds(&self) -> bool {
        self.held_from < self.buffer.len()
    }

    /// Takes what comes next; gives what can be let out.
    fn push(
        &mut self,
        piece: &str,
        is_last: bool,
        redactor: &Redactor,
        scrub: &mut Scrubber<'_>,
        faults: &mut Faults,
    ) -> Option<String> {
        if self.is_given_up {
            faults.given_up |= !piece.is_empty();
            return None;
        }
        self.buffer.push_str(piece);
        let held = self.buffer.len() - self.held_from;
        // What is held long is not searched again for every few bytes.
        if !is_last && (self.buffer.len() - self.searched) * 16 < held {
            return None;
        }
        let end = redactor.catalogue().find_more(&self.buffer, &mut self.search, is_last);
        self.searched = self.buffer.len();
        let mut out = String::new();
        if end > self.held_from {
            let ready = self.search.findings.partition_point(|finding| finding.range.end <= end);
            let findings: Vec<_> = self.search.findings.drain(..ready).collect();
            let part = self.held_from..end;
            out = redactor.without(&self.buffer, part, &findings, |name| scrub.note(name));
            self.held_from = end;
            let spare = self.buffer.floor_char_boundary(end.saturating_sub(CONTEXT));
            // Moving the rest for a few bytes would cost more than it saves.
            if spare > CONTEXT || is_last {
                self.buffer.drain(..spare);
                self.search.drop_front(spare);
                self.held_from -= spare;
                self.searched = self.buffer.len();
            }
        }
        if self.buffer.len() - self.held_from > MOST_HELD {
            let held = &self.buffer[self.held_from..];
            out.push_str(&redactor.marker("held_text", held));
            scrub.note("held_text");
            faults.given_up = true;
            self.give_up();
        }
        let room = redactor.longest_text().saturating_sub(self.let_out);
        if out.len() > room {
            out.truncate(out.floor_char_boundary(room));
            faults.cut = true;
            // Nothing behind a cut: the text would have a hole.
            self.let_out = redactor.longest_text();
        } else {
            self.let_out += out.len();
        }
        if is_last {
            // What would follow could not be judged any more.
            self.give_up();
        }
        (!out.is_empty()).then_some(out)
    }

    fn give_up(&mut self) {
        let call_id = self.call_id.take();
        *self = Self { is_given_up: true, call_id, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
