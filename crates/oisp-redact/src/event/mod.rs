//! What each field of an event is, and so what happens to it.
//!
//! Every structure is taken apart without `..`: a field that the event model gains must be named here, and
//! with that somebody has said whether it is structure, a label, content or a path.

mod agent;
mod ai;
mod context;
mod cut;

use std::sync::Arc;

use oisp_event::{
    Completeness, Confidence, Event, EventId, EventIdGenerator, Extension, Payload, ProcessExec, ProcessExit,
    RelatedEvent, Source, Timestamp,
};
use serde_json::{Map, Value, json};

use crate::arguments::redact_arguments;
use crate::json::redact_map;
use crate::redactor::{RedactionMode, Scrubber};

pub(crate) use cut::cut_texts;

/// Something with fields to redact.
trait Redact {
    fn redact(&mut self, scrub: &mut Scrubber<'_>);
}

impl<T: Redact> Redact for Option<T> {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        if let Some(value) = self {
            value.redact(scrub);
        }
    }
}

impl<T: Redact> Redact for Vec<T> {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        for value in self {
            value.redact(scrub);
        }
    }
}

impl<T: Redact> Redact for Box<T> {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        (**self).redact(scrub);
    }
}

/// Shared by all events of a host: copied only where something in it must change.
impl<T: Redact + Clone + PartialEq> Redact for Arc<T> {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let mut copy = T::clone(self);
        copy.redact(scrub);
        if copy != **self {
            *self = Arc::new(copy);
        }
    }
}

/// Redacts an event and writes into it what was done.
pub(crate) fn redact_event(event: &mut Event, scrub: &mut Scrubber<'_>) {
    let Event {
        oisp_version,
        event_id,
        ts: _,
        ts_mono: _,
        payload,
        host,
        actor,
        process,
        source,
        confidence,
        ext,
        related_events,
    } = event;
    // Only this stage writes the profile: an event that has one comes back from a file.
    let earlier = confidence.redaction_profile.take().and_then(|name| name.parse::<RedactionMode>().ok());
    scrub.redacted_before = earlier.is_some();
    scrub.label(oisp_version);
    event_id.redact(scrub);
    payload.redact(scrub);
    host.redact(scrub);
    actor.redact(scrub);
    process.redact(scrub);
    source.redact(scrub);
    confidence.redact(scrub);
    let mut summary = ext.oisp_sensor.remove("redaction");
    if earlier.is_none() {
        summary = None;
    }
    ext.redact(scrub);
    related_events.redact(scrub);
    describe(confidence, ext, earlier, summary, scrub);
}

/// Sets the fields that say what redaction did.
fn describe(
    confidence: &mut Confidence,
    ext: &mut Extension,
    earlier: Option<RedactionMode>,
    summary: Option<Value>,
    scrub: &Scrubber<'_>,
) {
    let profile = earlier.unwrap_or_default().max(scrub.mode());
    let profile = if earlier.is_some() { profile } else { scrub.mode() };
    confidence.redaction_profile = Some(profile.name().to_owned());
    let applied_before = earlier.is_some() && confidence.redaction_applied == Some(true);
    confidence.redaction_applied = Some(scrub.changed || applied_before);
    if scrub.changed && confidence.completeness == Completeness::Full {
        confidence.completeness = Completeness::Redacted;
    }
    let mut counts: Map<String, Value> = Map::new();
    for finding in summary.iter().filter_map(|summary| summary["findings"].as_array()).flatten() {
        // Names are written by this stage alone; anything else in a file read back is not one.
        if let (Some(name), Some(count)) = (finding["type"].as_str(), finding["count"].as_u64())
            && name.len() <= 48
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            counts.insert(name.to_owned(), count.into());
        }
    }
    for (name, count) in scrub.findings() {
        let sum = counts.get(*name).and_then(Value::as_u64).unwrap_or(0).saturating_add(*count);
        counts.insert((*name).to_owned(), sum.into());
    }
    if !counts.is_empty() {
        let findings: Vec<Value> =
            counts.into_iter().map(|(name, count)| json!({"type": name, "count": count})).collect();
        ext.set("redaction", json!({"findings": findings}));
    }
}

impl Redact for Payload {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        match self {
            Self::AiRequest(request) => request.redact(scrub),
            Self::AiResponse(response) => response.redact(scrub),
            Self::AiStreamingChunk(chunk) => chunk.redact(scrub),
            Self::AiEmbedding(embedding) => embedding.redact(scrub),
            Self::AgentToolCall(call) => call.redact(scrub),
            Self::AgentToolResult(result) => result.redact(scrub),
            Self::AgentSession(session) => session.redact(scrub),
            Self::ProcessExec(exec) => exec.redact(scrub),
            Self::ProcessExit(exit) => exit.redact(scrub),
        }
    }
}

impl Redact for ProcessExec {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { exe, args, cwd } = self;
        scrub.program(exe);
        if scrub.hides_content() {
            scrub.hidden_texts(args);
        } else {
            redact_arguments(args, scrub);
        }
        scrub.hidden_text(cwd);
    }
}

impl Redact for ProcessExit {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { exit_code: _, signal: _, signal_name, runtime_ms: _, termination_type: _ } = self;
        scrub.optional_label(signal_name);
    }
}

impl Redact for Source {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { collector, collector_version, capture_method: _, capture_point } = self;
        scrub.label(collector);
        scrub.optional_label(collector_version);
        scrub.optional_label(capture_point);
    }
}

impl Redact for Confidence {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self {
            level: _,
            completeness: _,
            reasons,
            missing,
            limitations,
            process_attribution: _,
            content_source: _,
            ai_detection_method: _,
            // Both are set at the end, by `describe`.
            redaction_applied: _,
            redaction_profile: _,
        } = self;
        scrub.labels(reasons);
        scrub.labels(missing);
        scrub.labels(limitations);
    }
}

impl Redact for Extension {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { oisp_sensor } = self;
        redact_map(oisp_sensor, scrub);
    }
}

impl Redact for RelatedEvent {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let Self { event_id, relationship: _ } = self;
        event_id.redact(scrub);
    }
}

/// An identifier that the sensor made has 26 characters that hold nothing else. One that was read from a
/// file could hold anything: it becomes another, always the same one for the same text.
impl Redact for EventId {
    fn redact(&mut self, scrub: &mut Scrubber<'_>) {
        let text = self.as_str();
        let genuine = text.len() == 26
            && text.starts_with(|first: char| ('0'..='7').contains(&first))
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        if !genuine {
            let mut generator = EventIdGenerator::with_seed(scrub.hash_number(text));
            *self = generator.next(Timestamp::from_unix_nanoseconds(0));
            scrub.changed = true;
        }
    }
}
