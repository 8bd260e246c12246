//! A recording as it runs: the source in a thread of its own, the stages in another, each sink in one more, and this one
//! that supervises them.
//!
//! ```text
//! source --[capture queue]--> stages --[a queue for each sink]--> sink
//! ```
//!
//! Every queue is bounded in items and draws its bytes from the [`MemoryBudget`]. A source that is the world never
//! waits: what has no place is dropped and counted, content before what is essential. A source that can wait (a
//! recording) does, and with it the stages wait for their sinks; else they never do.
//!
//! The end goes with the data: the source ends first, then each receiver takes what is left. When that was asked for and
//! takes longer than the drain timeout, the rest is counted as dropped.

mod budget;
mod counters;
mod queue;
mod sinks;
mod view;
mod worker;

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use oisp_capture::{CaptureError, CaptureEvent, CaptureSource, ProcessId, Stop};
use oisp_export::{Sink, SinkError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use budget::{Holder, MemoryBudget};
pub(crate) use counters::{DropReason, StageCounters};
pub(crate) use queue::WhenFull;
pub(crate) use view::View;
pub(crate) use worker::{Command, Described, Live};

use crate::allocator;
use crate::pipeline::{Pipeline, PipelineCounts};
use crate::summary::Tally;
use queue::{Importance, QueueSender, queue};
use sinks::SinkWorker;
use worker::StageWorker;

/// How often drops are written to the log.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes in buffers from which free memory is given back to the kernel at the end of an interval.
const TRIM_FROM: usize = 4 << 20;
/// Commands that wait for the stages; who has more to say is told that they are busy.
const MAX_COMMANDS: usize = 64;
/// How often a source that was asked to end is looked at.
const SOURCE_INTERVAL: Duration = Duration::from_millis(50);
/// What threads get to come to an end after the drain timeout, before they are left behind.
const GRACE: Duration = Duration::from_millis(500);

/// What is to run.
pub(crate) struct Job {
    pub(crate) source: Box<dyn CaptureSource + Send>,
    pub(crate) when_full: WhenFull,
    pub(crate) pipeline: Pipeline,
    /// Sees every capture event before the stages do.
    pub(crate) tap: Option<Box<dyn Tap>>,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    /// Ends the source.
    pub(crate) stop: Stop,
    /// The process whose end is the end of the recording.
    pub(crate) watched: Option<ProcessId>,
    pub(crate) queues: QueueSizes,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) draining: Draining,
    /// Whether files have to be probed for anything to be seen.
    pub(crate) needs_probes: bool,
}

/// Something beside the pipeline that is shown every capture event, in its order.
pub(crate) trait Tap: Send {
    fn event(&mut self, event: &CaptureEvent);
    /// Nothing more is there at once: says when it wants to be called again.
    fn idle(&mut self) -> Option<Duration>;
    /// What went wrong, if anything did.
    fn finish(self: Box<Self>) -> Result<(), String>;
}

/// Places in the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueSizes {
    pub(crate) capture_events: usize,
    pub(crate) events: usize,
}

/// Whether somebody asked for the end, and how long draining may take then. Clones share it.
///
/// An end that nobody asked for (the recorded process has ended, the source is exhausted) takes as long as it takes.
#[derive(Clone, Debug)]
pub(crate) struct Draining(Arc<(AtomicU64, AtomicBool)>);

impl Draining {
    pub(crate) fn new(timeout: Duration) -> Self {
        let shared = Self(Arc::default());
        shared.set_timeout(timeout);
        shared
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.0.0.store(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Somebody waits for the end.
    pub(crate) fn ask(&self) {
        self.0.1.store(true, Ordering::Relaxed);
    }

    fn is_asked(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.0.load(Ordering::Relaxed))
    }
}

/// A recording that runs.
pub(crate) struct Running {
    view: Arc<View>,
    commands: Sender<Command>,
    stop: Stop,
    /// Requested when every thread has ended.
    ended: Stop,
    /// Set when what is left shall be dropped.
    abandoned: Arc<AtomicBool>,
    draining: Draining,
    needs_probes: bool,
    source: JoinHandle<Result<(), CaptureError>>,
    /// What went wrong with the tap, if anything did.
    stages: JoinHandle<Option<String>>,
    sinks: Vec<JoinHandle<Option<SinkError>>>,
}

/// What came of a recording.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) view: Arc<View>,
    pub(crate) counts: PipelineCounts,
    pub(crate) tally: Tally,
    /// What sinks said first.
    pub(crate) sink_errors: Vec<SinkError>,
    pub(crate) capture_error: Option<CaptureError>,
    /// What else went wrong.
    pub(crate) failures: Vec<String>,
    /// Whether the drain timeout ended it.
    pub(crate) cut_short: bool,
    /// Whether files had to be probed for anything to be seen.
    pub(crate) needs_probes: bool,
}

impl Outcome {
    /// Whether something went wrong that is not a mere loss.
    pub(crate) fn has_failed(&self) -> bool {
        self.capture_error.is_some() || !self.sink_errors.is_empty() || !self.failures.is_empty()
    }
}

/// Requests a stop when its last clone is gone.
struct EndSignal(Stop);

impl Drop for EndSignal {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// Ends the recording when its thread panics: nothing would be seen of what it goes on to capture.
struct Alarm(Stop);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.request();
        }
    }
}

/// Starts everything.
pub(crate) fn start(job: Job) -> io::Result<Running> {
    let Job {
        source,
        when_full,
        pipeline,
        tap,
        sinks,
        stop,
        watched,
        queues,
        budget,
        draining,
        needs_probes,
    } = job;
    let ended = Stop::new()?;
    let signal = Arc::new(EndSignal(ended.clone()));
    let abandoned = Arc::new(AtomicBool::new(false));
    let (to_stages, from_source) = queue("capture", queues.capture_events, &budget, Holder::CaptureQueue);
    let mut view = View::new(Arc::clone(&budget), pipeline.counters().clone(), to_stages.gauge());

    let mut sink_threads = Vec::new();
    let mut to_sinks = Vec::new();
    for sink in sinks {
        let (sender, receiver) = queue(sink.name(), queues.events, &budget, Holder::EventQueues);
        let counters = Arc::new(StageCounters::new(format!("export:{}", sink.name()), "events"));
        view.add_sink(Arc::clone(&counters), sender.gauge());
        to_sinks.push((sender, Arc::clone(&counters)));
        let worker =
            SinkWorker { sink, receiver, counters, abandoned: Arc::clone(&abandoned), stop: stop.clone() };
        let signal = Arc::clone(&signal);
        let alarm = Alarm(stop.clone());
        sink_threads.push(named("sink", move || {
            let (_signal, _alarm) = (signal, alarm);
            worker.run()
        })?);
    }

    let view = Arc::new(view);
    let (commands, from_outside) = crossbeam_channel::bounded(MAX_COMMANDS);
    let worker = StageWorker {
        pipeline,
        tap,
        receiver: from_source,
        commands: from_outside,
        to_sinks,
        when_full,
        view: Arc::clone(&view),
        abandoned: Arc::clone(&abandoned),
    };
    let stages = {
        let signal = Arc::clone(&signal);
        let alarm = Alarm(stop.clone());
        named("stages", move || {
            let (_signal, _alarm) = (signal, alarm);
            worker.run()
        })?
    };
    let source = {
        let (stop, view) = (stop.clone(), Arc::clone(&view));
        named("capture", move || {
            let _signal = signal;
            capture(source, &stop, &to_stages, when_full, &view, watched)
        })?
    };
    Ok(Running {
        view,
        commands,
        stop,
        ended,
        abandoned,
        draining,
        needs_probes,
        source,
        stages,
        sinks: sink_threads,
    })
}

fn named<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// The source's thread.
fn capture(
    mut source: Box<dyn CaptureSource + Send>,
    stop: &Stop,
    queue: &QueueSender<CaptureEvent>,
    when_full: WhenFull,
    view: &View,
    watched: Option<ProcessId>,
) -> Result<(), CaptureError> {
    let counters = &view.capture;
    source.run(stop, &mut |event| {
        counters.received();
        view.note(&event);
        // Not behind a queue, where the notice may find no place.
        if matches!(&event, CaptureEvent::ProcessExited(exited) if Some(exited.process) == watched) {
            stop.request();
        }
        let (weight, importance) = match &event {
            CaptureEvent::Content(content) => (content.bytes.len(), Importance::Content),
            _ => (0, Importance::Essential),
        };
        match queue.put(event, weight + size_of::<CaptureEvent>(), importance, when_full) {
            Ok(()) => counters.sent(),
            Err(reason) => counters.dropped(reason),
        }
    })
}

impl Running {
    /// What can be seen of it from outside.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// Where commands go.
    pub(crate) fn commands(&self) -> Sender<Command> {
        self.commands.clone()
    }

    /// Waits for its end; once somebody asked for it, no longer than the drain timeout. That begins when the source has
    /// ended: taking the probes away takes its own time, for which the source gets as long.
    pub(crate) fn wait(self) -> io::Result<Outcome> {
        let mut is_stopped = false;
        let (mut asked, mut drains): (Option<Instant>, Option<Instant>) = (None, None);
        let mut cut_short = false;
        while !self.ended.is_requested() {
            let mut left = LOG_INTERVAL;
            let timeout = self.draining.timeout();
            is_stopped |= self.stop.is_requested();
            if asked.is_none() && is_stopped && self.draining.is_asked() {
                asked = Some(Instant::now());
            }
            if let Some(asked) = asked
                && drains.is_none()
            {
                if self.source.is_finished() || asked.elapsed() >= timeout {
                    drains = Some(Instant::now());
                } else {
                    left = left.min(timeout.saturating_sub(asked.elapsed())).min(SOURCE_INTERVAL);
                }
            }
            if let Some(since) = drains {
                if since.elapsed() >= timeout + GRACE {
                    break;
                }
                if since.elapsed() >= timeout && !cut_short {
                    cut_short = true;
                    self.abandoned.store(true, Ordering::Relaxed);
                }
                let next = if cut_short { timeout + GRACE } else { timeout };
                left = left.min(next.saturating_sub(since.elapsed()));
            }
            self.wait_for_news(left.max(Duration::from_millis(1)), !is_stopped)?;
            self.view.log_drops();
            // Worth the walk only where much was in use.
            if self.view.budget.take_peak() > TRIM_FROM {
                allocator::trim();
            }
        }
        let all_ended = self.ended.is_requested();
        Ok(self.finish(all_ended, cut_short))
    }

    /// Until the end, the request for it, or the time is over.
    fn wait_for_news(&self, at_most: Duration, for_the_request: bool) -> io::Result<()> {
        let timeout =
            Timespec { tv_sec: at_most.as_secs().cast_signed(), tv_nsec: at_most.subsec_nanos().into() };
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.ended.as_fd(), PollFlags::IN)];
        if for_the_request {
            descriptors.push(PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN));
        }
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// `all_ended`: every thread is past its last word. Otherwise one that has not ended is left behind, and what it
    /// still had is counted.
    fn finish(self, all_ended: bool, cut_short: bool) -> Outcome {
        let capture_error = match ended(self.source, all_ended) {
            Ended::Normally(result) => result.err(),
            Ended::Panicked => Some(panicked("the capture's")),
            Ended::NotYet => Some(CaptureError::Source {
                what: "ending the recording",
                reason: "the source did not end in time; what it had last is missing".to_owned(),
            }),
        };
        let mut failures = Vec::new();
        match ended(self.stages, all_ended) {
            Ended::Normally(tap_error) => failures.extend(tap_error),
            Ended::Panicked => {
                failures.push("the stages failed: events are missing (see the log)".to_owned())
            }
            Ended::NotYet => {}
        }
        let mut sink_errors = Vec::new();
        for sink in self.sinks {
            match ended(sink, all_ended) {
                Ended::Normally(error) => sink_errors.extend(error),
                Ended::Panicked => {
                    failures.push("a sink failed: events are missing (see the log)".to_owned())
                }
                // What it did not write is counted as left behind.
                Ended::NotYet => {}
            }
        }
        self.view.count_left_behind();
        self.view.log_drops();
        for stage in self.view.all_stages() {
            let snapshot = stage.snapshot();
            let (received, sent, dropped) = (snapshot.received, snapshot.sent, snapshot.dropped_in_all());
            tracing::debug!(stage = stage.name(), received, sent, dropped, "stage ended");
        }
        let (tally, counts) = self.view.published();
        Outcome {
            view: self.view,
            counts,
            tally,
            sink_errors,
            capture_error,
            failures,
            cut_short,
            needs_probes: self.needs_probes,
        }
    }
}

enum Ended<T> {
    Normally(T),
    Panicked,
    NotYet,
}

fn ended<T>(thread: JoinHandle<T>, all_ended: bool) -> Ended<T> {
    if !all_ended && !thread.is_finished() {
        return Ended::NotYet;
    }
    thread.join().map_or(Ended::Panicked, Ended::Normally)
}

fn panicked(whose: &str) -> CaptureError {
    CaptureError::Source { what: "recording", reason: format!("{whose} thread panicked") }
}

#[cfg(test)]
mod tests;
