//! What a recording saw and what it did not, for the person who started it.

use std::fmt::Write as _;
use std::time::Duration;

use oisp_capture::{CoverageFinding, CoverageReason, DirectionProof};
use oisp_event::{Event, Payload, SessionAction, Usage};

use crate::runtime::{DropReason, Outcome};

/// Adds up events as they go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    requests: u64,
    responses: u64,
    failed: u64,
    pub(crate) incomplete: u64,
    programs: u64,
    input_tokens: u64,
    output_tokens: u64,
    without_usage: u64,
    mcp_sessions: u64,
    mcp_calls: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, event: &Event) {
        match &event.payload {
            Payload::AiRequest(_) => self.requests += 1,
            Payload::AiResponse(response) => {
                self.responses += 1;
                self.failed += u64::from(response.success == Some(false));
                match &response.usage {
                    Some(Usage { prompt_tokens, completion_tokens, .. }) => {
                        self.input_tokens += prompt_tokens.unwrap_or(0);
                        self.output_tokens += completion_tokens.unwrap_or(0);
                    }
                    None => self.without_usage += 1,
                }
            }
            Payload::ProcessExec(_) => self.programs += 1,
            Payload::AgentSession(session) => {
                self.mcp_sessions += u64::from(session.action == SessionAction::Start);
            }
            Payload::AgentToolResult(_) => {
                self.mcp_calls += u64::from(event.ext.oisp_sensor.contains_key("mcp"));
            }
            Payload::AiStreamingChunk(_)
            | Payload::AiEmbedding(_)
            | Payload::AgentToolCall(_)
            | Payload::ProcessExit(_) => {}
        }
        self.incomplete += u64::from(event.confidence.completeness == oisp_event::Completeness::Partial);
    }
}

/// The summary, in lines. What was lost or not seen comes last, where it is read.
pub(crate) fn text(outcome: &Outcome, destination: Option<&str>) -> String {
    let tally = &outcome.tally;
    let mut lines = String::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{text}");
    };
    line(format!(
        "{} made, {} ({} failed); {} in, {} out{}; {}",
        count(tally.requests, "AI call"),
        count(tally.responses, "answer"),
        tally.failed,
        count(tally.input_tokens, "token"),
        tally.output_tokens,
        match tally.without_usage {
            0 => String::new(),
            number => format!(" ({number} without usage)"),
        },
        count(tally.programs, "program"),
    ));
    if tally.mcp_sessions > 0 || tally.mcp_calls > 0 {
        line(format!(
            "{} of MCP, {} carried out by its servers",
            count(tally.mcp_sessions, "session"),
            count(tally.mcp_calls, "tool call")
        ));
    }
    for file in outcome.view.attached() {
        line(format!(
            "probed {} ({}: {})",
            file.path.display(),
            file.libraries.join(", "),
            file.functions.join(", ")
        ));
        if let Some(proof) = outcome.view.proof(&file.path) {
            line(format!("  {}", describe_proof(proof.sent, proof.received)));
        }
    }
    if let Some(destination) = destination {
        let written = outcome.view.written_by("jsonl");
        line(format!("{} in {destination}", count(written, "event")));
    }
    for warning in warnings(outcome) {
        line(format!("warning: {warning}"));
    }
    lines
}

/// Everything that the person must know did not work.
pub(crate) fn warnings(outcome: &Outcome) -> Vec<String> {
    let tally = &outcome.tally;
    let mut warnings = Vec::new();
    let losses = outcome.view.losses();
    if losses.ring_full_bytes > 0 {
        warnings.push(format!(
            "{} lost in {} because the kernel's ring was full",
            count(losses.ring_full_bytes, "byte"),
            count(losses.ring_full_records, "record")
        ));
    }
    if losses.unreadable_bytes > 0 {
        warnings
            .push(format!("{} could not be read from the process", count(losses.unreadable_bytes, "byte")));
    }
    if losses.over_limit_bytes > 0 {
        warnings.push(format!(
            "{} lost of calls larger than 1 MiB (the beginning of each was read)",
            count(losses.over_limit_bytes, "byte")
        ));
    }
    if losses.calls > 0 {
        warnings.push(format!("{} of TLS functions could not be followed", count(losses.calls, "call")));
    }
    if losses.processes > 0 {
        warnings.push(format!("{} not recorded: too many at once", count(losses.processes, "process")));
    }
    if losses.lifecycle_records > 0 {
        warnings.push(format!(
            "{} of processes and connections lost because the kernel's ring was full",
            count(losses.lifecycle_records, "notice")
        ));
    }
    if losses.malformed_records > 0 {
        warnings
            .push(format!("{} from the kernel not understood", count(losses.malformed_records, "record")));
    }
    if outcome.counts.bytes_missing > 0 {
        warnings.push(format!(
            "{} missing in connections; events that they belong to say so and have a lower confidence",
            count(outcome.counts.bytes_missing, "byte")
        ));
    }
    if tally.incomplete > 0 {
        warnings.push(format!("{} incomplete (see `confidence`)", count(tally.incomplete, "event")));
    }
    if outcome.counts.not_interpreted > 0 {
        warnings.push(format!(
            "{} turned to WebSocket or a tunnel, which this version does not interpret: AI calls on it are not in the events",
            count(outcome.counts.not_interpreted, "connection")
        ));
    }
    if outcome.counts.other > 0 {
        warnings.push(format!(
            "{} spoke something else than HTTP, or was joined in the middle of a message",
            count(outcome.counts.other, "connection")
        ));
    }
    if outcome.counts.gave_way > 0 {
        warnings.push(format!(
            "{} gave way because the memory for all buffers was used up (memory.limit): messages are cut, marked \
             `memory_limit`",
            count(outcome.counts.gave_way, "connection")
        ));
    }
    if outcome.counts.addresses_forgotten > 0 {
        warnings.push(format!(
            "{} too many open at once: their events have no addresses",
            count(outcome.counts.addresses_forgotten, "connection")
        ));
    }
    for stage in outcome.view.all_stages() {
        for (reason, number) in stage.snapshot().dropped {
            if !reason.is_wanted() && reason != DropReason::SinkFailed {
                warnings.push(format!(
                    "{} {} dropped at {}: {}",
                    number,
                    stage.unit(),
                    stage.name(),
                    reason.explanation()
                ));
            }
        }
    }
    let findings = outcome.view.findings();
    for finding in &findings.kept {
        warnings.push(describe(finding));
    }
    let untold = findings.total.saturating_sub(findings.kept.len() as u64);
    if untold > 0 {
        warnings.push(format!("{} more of this kind", count(untold, "finding")));
    }
    if outcome.needs_probes && outcome.view.attached().is_empty() {
        warnings.push(
            "no TLS library was found to probe: what was encrypted was not seen (see `oisp-sensor tls`)"
                .to_owned(),
        );
    }
    let refused: u64 = outcome
        .view
        .sinks
        .iter()
        .filter_map(|(counters, _)| counters.snapshot().dropped.get(&DropReason::SinkFailed).copied())
        .sum();
    if refused > 0 {
        warnings.push(format!("{} could not be written", count(refused, "event")));
    }
    warnings.extend(outcome.sink_errors.iter().map(ToString::to_string));
    warnings.extend(outcome.failures.iter().cloned());
    if outcome.cut_short {
        warnings
            .push("the time for draining was over (shutdown.drain_timeout): see what was dropped".to_owned());
    }
    if let Some(error) = &outcome.capture_error {
        warnings.push(format!("the recording ended early: {error}"));
    }
    warnings
}

/// What is known of a probed file by what went through it.
pub(crate) fn describe_proof(sent: DirectionProof, received: DirectionProof) -> &'static str {
    use DirectionProof::{Nothing, Proven};
    match (sent, received) {
        (Nothing, Nothing) => "probed, but nothing was seen of it yet",
        (_, Nothing) => "sent only: nothing received was seen of it yet",
        (Nothing, _) => "received only: nothing sent was seen of it yet",
        (Proven, Proven) => "both directions proven",
        (Proven, _) => "sent is proven; received was seen, not proven",
        (_, Proven) => "received is proven; sent was seen, not proven",
        _ => "both directions seen, neither proven to be the content of connections",
    }
}

pub(crate) fn describe(finding: &CoverageFinding) -> String {
    let file =
        finding.file.as_ref().map_or("what is mapped as code".to_owned(), |path| path.display().to_string());
    let process = finding.process.map_or(String::new(), |process| format!(" in process {}", process.0));
    match &finding.reason {
        CoverageReason::AttachedLate { latency } => format!(
            "{file} was opened{process} and probed {:.1} ms later; what went over it before was not seen",
            Duration::from_nanos(*latency).as_secs_f64() * 1000.0
        ),
        CoverageReason::AttachFailed { error } => format!("{file}{process} could not be probed: {error}"),
        CoverageReason::Unreadable { error } => {
            format!("{file}{process} could not be examined for TLS: {error}")
        }
        CoverageReason::ForeignArchitecture => {
            format!("{file}{process} is for another CPU and cannot be probed")
        }
        CoverageReason::MappingNoticesLost { count: lost } => {
            format!("{} of opened libraries lost: one may not be probed", count(*lost, "notice"))
        }
        CoverageReason::MappingsNotFollowed { error } => {
            format!("libraries that are opened later{process} will not be noticed: {error}")
        }
        CoverageReason::SandboxedProcess => {
            let process =
                finding.process.map_or("a process".to_owned(), |process| format!("process {}", process.0));
            format!(
                "{file} is not probed: {process} uses it in a seccomp sandbox, and this kernel (6.11 to 6.13) would kill \
                 it at a probe; TLS of every program that uses this file is not seen. Linux 6.14 mends it"
            )
        }
        CoverageReason::SocketsNotFollowed { error } => format!(
            "addresses of connections are not told, and what agents and their tool servers write to each other is not seen: \
             sockets cannot be followed, which needs Linux 6.3 ({error})"
        ),
        CoverageReason::PipesNotFollowed => format!(
            "{file}{process} was started with pipes as its standard input and output: if it is a tool server (MCP), what it \
             was asked and answered was not seen; record with --pipes to see it"
        ),
        CoverageReason::WrongMatch { library, error } => format!(
            "{file}: what was taken for {library} is something else ({error}); its probes were removed, and its TLS is \
             not seen"
        ),
        CoverageReason::NotLocated { library, error } => {
            format!("{file}{process} has {library}, whose functions were not found, and is not seen: {error}")
        }
        CoverageReason::NotJoined { connections } => format!(
            "{} seen without the other direction{process}, because the socket was not known: AI calls on them may lack \
             their answers, and answers their calls",
            count(*connections, "connection")
        ),
        CoverageReason::ContentUnplaced { records, bytes } => format!(
            "{} of content{process} ({}) dropped: no open connection that it fits into",
            count(*records, "record"),
            count(*bytes, "byte")
        ),
    }
}

/// The kind of a finding, for counting.
pub(crate) fn kind_of(reason: &CoverageReason) -> &'static str {
    match reason {
        CoverageReason::AttachedLate { .. } => "attached_late",
        CoverageReason::AttachFailed { .. } => "attach_failed",
        CoverageReason::Unreadable { .. } => "unreadable",
        CoverageReason::ForeignArchitecture => "foreign_architecture",
        CoverageReason::MappingNoticesLost { .. } => "mapping_notices_lost",
        CoverageReason::MappingsNotFollowed { .. } => "mappings_not_followed",
        CoverageReason::SandboxedProcess => "sandboxed_process",
        CoverageReason::SocketsNotFollowed { .. } => "sockets_not_followed",
        CoverageReason::PipesNotFollowed => "pipes_not_followed",
        CoverageReason::WrongMatch { .. } => "wrong_match",
        CoverageReason::NotLocated { .. } => "not_located",
        CoverageReason::NotJoined { .. } => "not_joined",
        CoverageReason::ContentUnplaced { .. } => "content_unplaced",
    }
}

/// `1 event`, `2 events`, `3 processes`.
fn count(number: u64, noun: &str) -> String {
    let ending = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use oisp_capture::{AttachedFile, CaptureEvent, Losses, Nanos, ProcessId};
    use oisp_export::SinkError;

    fn attached() -> CaptureEvent {
        CaptureEvent::Attached(AttachedFile {
            path: "/lib/libssl.so.3".into(),
            libraries: vec!["OpenSSL".to_owned()],
            functions: Vec::new(),
            time: Nanos(0),
        })
    }

    #[test]
    fn complete_recording_has_no_warnings() {
        let outcome = Outcome::of_events(&[attached()]);
        assert_eq!(warnings(&outcome), Vec::<String>::new());
    }

    #[test]
    fn what_is_proven_of_each_probed_file_is_told_as_it_was_last_known() {
        use DirectionProof::{Nothing, Proven, Seen};
        let proof = |sent, received| {
            let path = "/lib/libssl.so.3".into();
            CaptureEvent::FileProof(oisp_capture::FileProof { path, sent, received, time: Nanos(1) })
        };
        let told = |events: &[CaptureEvent]| {
            let text = text(&Outcome::of_events(events), None);
            text.lines().find(|line| line.starts_with("  ")).map(str::to_owned)
        };
        assert_eq!(told(&[attached()]), None, "not known");
        let nothing = proof(Nothing, Nothing);
        let expected = "  probed, but nothing was seen of it yet";
        assert_eq!(told(&[attached(), nothing.clone()]).as_deref(), Some(expected));
        let sent = told(&[attached(), nothing.clone(), proof(Seen, Nothing)]);
        assert_eq!(sent.as_deref(), Some("  sent only: nothing received was seen of it yet"));
        let both = told(&[attached(), nothing, proof(Seen, Nothing), proof(Proven, Proven)]);
        assert_eq!(both.as_deref(), Some("  both directions proven"));
    }

    #[test]
    fn connections_without_their_other_direction_and_content_without_a_connection_are_told() {
        let finding = |process: Option<u32>, reason| {
            let process = process.map(ProcessId);
            CaptureEvent::Coverage(CoverageFinding { process, file: None, reason, time: Nanos(0) })
        };
        let events = [
            attached(),
            finding(Some(12), CoverageReason::NotJoined { connections: 2 }),
            finding(None, CoverageReason::ContentUnplaced { records: 1, bytes: 300 }),
        ];
        let warnings = warnings(&Outcome::of_events(&events));
        assert_eq!(warnings.len(), 2, "{warnings:#?}");
        assert!(warnings[0].starts_with("2 connections seen without the other direction in process 12"));
        assert!(warnings[1].starts_with("1 record of content (300 bytes) dropped"));
    }

    #[test]
    fn every_kind_of_loss_is_told() {
        let losses = Losses {
            ring_full_records: 1,
            ring_full_bytes: 2,
            unreadable_bytes: 3,
            over_limit_bytes: 4,
            calls: 5,
            processes: 6,
            lifecycle_records: 7,
            malformed_records: 8,
        };
        let finding = CoverageFinding {
            process: Some(ProcessId(12)),
            file: Some("/opt/libssl.so".into()),
            reason: CoverageReason::AttachedLate { latency: 3_100_000 },
            time: Nanos(0),
        };
        let mut events = vec![CaptureEvent::Losses(losses)];
        events.extend(std::iter::repeat_n(CaptureEvent::Coverage(finding), 102));
        let mut lossy = Outcome::of_events(&events);
        lossy.counts.bytes_missing = 9;
        lossy.counts.other = 1;
        lossy.counts.not_interpreted = 1;
        lossy.counts.gave_way = 1;
        lossy.counts.addresses_forgotten = 1;
        lossy.tally.incomplete = 1;
        lossy.cut_short = true;
        lossy.sink_errors = vec![SinkError::BrokenPipe];
        lossy.view.capture.dropped_many(DropReason::QueueFull, 10);
        lossy.view.capture.dropped_many(DropReason::Excluded, 10);
        let warnings = warnings(&lossy);
        assert_eq!(warnings.len(), 118, "{warnings:#?}");
        assert!(warnings.contains(
            &"/opt/libssl.so was opened in process 12 and probed 3.1 ms later; what went over it before was not seen"
                .to_owned()
        ));
        assert!(warnings.contains(&"6 processes not recorded: too many at once".to_owned()));
        assert!(warnings.contains(&"2 findings more of this kind".to_owned()));
        assert!(
            warnings
                .contains(&"10 capture events dropped at capture: the queue behind it was full".to_owned())
        );
    }
}
