//! What a recording saw and what it did not, for the person who started it.

use std::fmt::Write as _;
use std::time::Duration;

use oisp_capture::{CoverageFinding, CoverageReason};
use oisp_event::{Event, Payload, Usage};

use crate::recording::Outcome;

/// Adds up events as they go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    requests: u64,
    responses: u64,
    failed: u64,
    incomplete: u64,
    programs: u64,
    input_tokens: u64,
    output_tokens: u64,
    without_usage: u64,
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
            Payload::ProcessExit(_) => {}
        }
        self.incomplete += u64::from(event.confidence.completeness == oisp_event::Completeness::Partial);
    }
}

/// The summary, in lines. What was lost or not seen comes last, where it is read.
pub(crate) fn text(tally: &Tally, outcome: &Outcome, destination: Option<&str>) -> String {
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
    for file in &outcome.attached {
        let functions: Vec<&str> = file.functions.iter().map(|function| function.name).collect();
        line(format!(
            "probed {} ({}: {})",
            file.path.display(),
            file.libraries.join(", "),
            functions.join(", ")
        ));
    }
    if let Some(destination) = destination {
        line(format!("{} in {destination}", count(outcome.events_written, "event")));
    }
    for warning in warnings(tally, outcome) {
        line(format!("warning: {warning}"));
    }
    lines
}

/// Everything that the person must know did not work.
pub(crate) fn warnings(tally: &Tally, outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    let losses = &outcome.statistics.losses;
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
    for finding in &outcome.findings {
        warnings.push(describe(finding));
    }
    let untold = outcome.findings_total.saturating_sub(outcome.findings.len() as u64);
    if untold > 0 {
        warnings.push(format!("{} more of this kind", count(untold, "finding")));
    }
    if outcome.attached.is_empty() {
        warnings.push(
            "no TLS library was found to probe: what was encrypted was not seen (see `oisp-sensor tls`)"
                .to_owned(),
        );
    }
    if outcome.events_refused > 0 {
        warnings.push(format!("{} could not be written", count(outcome.events_refused, "event")));
    }
    if let Some(error) = &outcome.sink_error {
        warnings.push(error.to_string());
    }
    if let Some(error) = &outcome.capture_error {
        warnings.push(format!("the recording ended early: {error}"));
    }
    warnings
}

fn describe(finding: &CoverageFinding) -> String {
    let file = finding.file.as_ref().map_or("a file".to_owned(), |path| path.display().to_string());
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
    use oisp_capture::{Losses, Nanos, ProcessId};
    use oisp_capture_ebpf::CaptureStatistics;

    fn outcome() -> Outcome {
        Outcome {
            statistics: CaptureStatistics::default(),
            attached: vec![oisp_capture_ebpf::AttachedFile {
                path: "/lib/libssl.so.3".into(),
                libraries: vec!["OpenSSL"],
                functions: Vec::new(),
            }],
            counts: crate::pipeline::PipelineCounts::default(),
            findings: Vec::new(),
            findings_total: 0,
            events_written: 4,
            events_refused: 0,
            sink_error: None,
            capture_error: None,
        }
    }

    #[test]
    fn complete_recording_has_no_warnings() {
        assert_eq!(warnings(&Tally::default(), &outcome()), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_loss_is_told() {
        let mut lossy = outcome();
        lossy.statistics.losses = Losses {
            ring_full_records: 1,
            ring_full_bytes: 2,
            unreadable_bytes: 3,
            over_limit_bytes: 4,
            calls: 5,
            processes: 6,
            lifecycle_records: 7,
            malformed_records: 8,
        };
        lossy.counts.bytes_missing = 9;
        lossy.counts.other = 1;
        lossy.counts.not_interpreted = 1;
        lossy.attached.clear();
        lossy.events_refused = 1;
        lossy.findings = vec![CoverageFinding {
            process: Some(ProcessId(12)),
            file: Some("/opt/libssl.so".into()),
            reason: CoverageReason::AttachedLate { latency: 3_100_000 },
            time: Nanos(0),
        }];
        lossy.findings_total = 3;
        let warnings = warnings(&Tally { incomplete: 1, ..Tally::default() }, &lossy);
        assert_eq!(warnings.len(), 15, "{warnings:#?}");
        assert!(warnings.contains(
            &"/opt/libssl.so was opened in process 12 and probed 3.1 ms later; what went over it before was not seen"
                .to_owned()
        ));
        assert!(warnings.contains(&"6 processes not recorded: too many at once".to_owned()));
        assert!(warnings.contains(&"2 findings more of this kind".to_owned()));
    }
}
