//! A recording: the capture in a thread of its own, the stages and the sink in this one.

use std::thread;

use crossbeam_channel::bounded;
use oisp_capture::{CaptureError, CaptureEvent, CaptureSource, CoverageFinding, ProcessId, Stop};
use oisp_capture_ebpf::{AttachedFile, CaptureStatistics, EbpfCapture};
use oisp_event::Event;
use oisp_export::{Sink, SinkError};
use oisp_redact::Redacted;

use crate::pipeline::{Pipeline, PipelineCounts};

/// Capture events between the two threads: at most 16 KiB each. When the stages cannot keep up, the capture waits
/// here, the kernel's ring fills, and the kernel counts what it has no room for.
const QUEUE: usize = 512;
/// Findings that are kept for the summary; all are counted.
const MAX_FINDINGS: usize = 100;

/// What came of a recording.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) statistics: CaptureStatistics,
    pub(crate) attached: Vec<AttachedFile>,
    pub(crate) counts: PipelineCounts,
    pub(crate) findings: Vec<CoverageFinding>,
    pub(crate) findings_total: u64,
    pub(crate) events_written: u64,
    pub(crate) events_refused: u64,
    pub(crate) sink_error: Option<SinkError>,
    pub(crate) capture_error: Option<CaptureError>,
}

/// Runs a capture until it is asked to stop or the watched process ends, and writes its events.
///
/// `each` sees every event that was handed to the sink.
pub(crate) fn run(
    mut capture: EbpfCapture,
    stop: &Stop,
    watched: Option<ProcessId>,
    mut pipeline: Pipeline,
    sink: &mut dyn Sink,
    mut each: impl FnMut(&Redacted<Event>),
) -> std::io::Result<Outcome> {
    let (sender, receiver) = bounded::<CaptureEvent>(QUEUE);
    let mut writer = Writer { sink, written: 0, refused: 0, error: None };
    let mut findings = Vec::new();
    let mut findings_total = 0;
    let capture_stop = stop.clone();
    let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || {
        let error = capture
            .run(&capture_stop, &mut |event| {
                // The receiver is gone only when the other thread panicked: then there is nobody to deliver to.
                let _ = sender.send(event);
            })
            .err();
        (capture.statistics().clone(), capture.attached_files().to_vec(), error)
    })?;
    let mut events = Vec::new();
    loop {
        // Flushed when there is nothing more to do at once: promptly, and in large pieces under load.
        let event = match receiver.try_recv() {
            Ok(event) => event,
            Err(_) => {
                writer.flush();
                match receiver.recv() {
                    Ok(event) => event,
                    Err(_) => break,
                }
            }
        };
        match &event {
            CaptureEvent::Coverage(finding) => {
                findings_total += 1;
                if findings.len() < MAX_FINDINGS {
                    findings.push(finding.clone());
                }
            }
            CaptureEvent::ProcessExited(exited) if Some(exited.process) == watched => stop.request(),
            _ => {}
        }
        pipeline.handle(&event, &mut events);
        for event in events.drain(..) {
            each(&event);
            writer.write(&event);
        }
        if matches!(writer.error, Some(SinkError::BrokenPipe)) {
            stop.request();
        }
    }
    writer.flush();
    let (statistics, attached, capture_error) =
        thread.join().map_err(|_| std::io::Error::other("the capture thread panicked"))?;
    Ok(Outcome {
        statistics,
        attached,
        counts: pipeline.counts().clone(),
        findings,
        findings_total,
        events_written: writer.written,
        events_refused: writer.refused,
        sink_error: writer.error,
        capture_error,
    })
}

/// Writes to the sink and counts what it does not take.
struct Writer<'s> {
    sink: &'s mut dyn Sink,
    written: u64,
    refused: u64,
    /// The first error; the later ones are counted.
    error: Option<SinkError>,
}

impl Writer<'_> {
    fn write(&mut self, event: &Redacted<Event>) {
        match self.sink.write(event) {
            Ok(()) => self.written += 1,
            Err(error) => {
                self.refused += 1;
                self.error.get_or_insert(error);
            }
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.sink.flush() {
            self.error.get_or_insert(error);
        }
    }
}
