//! What can be seen of a recording while it runs, from other threads, and afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oisp_capture::{AttachedFile, CaptureEvent, CoverageFinding, FileProof, Losses};

use super::budget::MemoryBudget;
use super::counters::{DropReason, StageCounters};
use super::queue::QueueGauge;
use crate::pipeline::{Counters, PipelineCounts};
use crate::summary::{Tally, kind_of};

/// Findings that are kept; all are counted.
const MAX_FINDINGS: usize = 100;
/// Findings that are kept beside them because they are the last.
const MAX_RECENT: usize = 20;
/// Attached files that are kept for people to see.
const MAX_FILES: usize = 1000;
/// Processes that are kept apart; more are not counted one by one.
const MAX_PROCESSES: usize = 65_536;

/// The shared state of a recording.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) capture: StageCounters,
    pub(crate) stages: [Arc<StageCounters>; 2],
    /// Each sink's counters with its queue.
    pub(crate) sinks: Vec<(Arc<StageCounters>, Arc<QueueGauge>)>,
    pub(crate) capture_queue: Arc<QueueGauge>,
    pub(crate) budget: Arc<MemoryBudget>,
    noted: Mutex<Noted>,
}

/// What went by on its way from the source.
#[derive(Debug, Default)]
struct Noted {
    attached: Vec<AttachedFile>,
    /// What was proven of them last, where that is followed.
    proofs: BTreeMap<PathBuf, FileProof>,
    findings: Findings,
    losses: Losses,
    processes: BTreeSet<u32>,
    /// What the stages said last.
    published: (Tally, PipelineCounts),
}

/// What was not seen, or may not have been.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// The first ones.
    pub(crate) kept: Vec<CoverageFinding>,
    /// The last ones, oldest first.
    pub(crate) recent: VecDeque<CoverageFinding>,
    pub(crate) total: u64,
    /// By kind.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl View {
    pub(super) fn new(budget: Arc<MemoryBudget>, counters: Counters, capture_queue: Arc<QueueGauge>) -> Self {
        Self {
            capture: StageCounters::new("capture", "capture events"),
            stages: [counters.interpret, counters.select],
            sinks: Vec::new(),
            capture_queue,
            budget,
            noted: Mutex::default(),
        }
    }

    pub(super) fn add_sink(&mut self, counters: Arc<StageCounters>, queue: Arc<QueueGauge>) {
        self.sinks.push((counters, queue));
    }

    /// Every stage in the order of the data.
    pub(crate) fn all_stages(&self) -> impl Iterator<Item = &StageCounters> {
        std::iter::once(&self.capture)
            .chain(self.stages.iter().map(AsRef::as_ref))
            .chain(self.sinks.iter().map(|(counters, _)| counters.as_ref()))
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = &QueueGauge> {
        std::iter::once(self.capture_queue.as_ref()).chain(self.sinks.iter().map(|(_, queue)| queue.as_ref()))
    }

    /// Events that the sinks of this name took.
    pub(crate) fn written_by(&self, sink: &str) -> u64 {
        let sinks = self.sinks.iter().filter(|(_, queue)| queue.name() == sink);
        sinks.map(|(counters, _)| counters.snapshot().sent).sum()
    }

    pub(crate) fn attached(&self) -> Vec<AttachedFile> {
        self.noted().attached.clone()
    }

    pub(crate) fn findings(&self) -> Findings {
        self.noted().findings.clone()
    }

    /// What the kernel had no room for.
    pub(crate) fn losses(&self) -> Losses {
        self.noted().losses
    }

    /// Processes that are recorded and alive, as far as their start was seen or told.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.noted().processes.iter().copied().collect()
    }

    /// Processes that are recorded from the beginning.
    pub(crate) fn begin_with(&self, processes: &[u32]) {
        self.noted().processes.extend(processes);
    }

    /// What is proven of a probed file; `None` where it cannot be known.
    pub(crate) fn proof(&self, path: &Path) -> Option<FileProof> {
        self.noted().proofs.get(path).cloned()
    }

    /// What the stages have made so far.
    pub(super) fn publish(&self, tally: &Tally, counts: &PipelineCounts) {
        self.noted().published = (tally.clone(), counts.clone());
    }

    pub(super) fn published(&self) -> (Tally, PipelineCounts) {
        self.noted().published.clone()
    }

    /// Takes note of what must not depend on a place in a queue.
    pub(super) fn note(&self, event: &CaptureEvent) {
        if matches!(
            event,
            CaptureEvent::Content(_)
                | CaptureEvent::ConnectionClosed(_)
                | CaptureEvent::ConnectionSocket(_)
                | CaptureEvent::ConnectionPeer(_)
        ) {
            return;
        }
        let mut noted = self.noted();
        match event {
            CaptureEvent::Attached(file) => {
                if noted.attached.len() < MAX_FILES {
                    noted.attached.push(file.clone());
                }
            }
            CaptureEvent::FileProof(proof) => {
                if noted.proofs.len() < MAX_FILES || noted.proofs.contains_key(&proof.path) {
                    noted.proofs.insert(proof.path.clone(), proof.clone());
                }
            }
            CaptureEvent::Coverage(finding) => {
                let findings = &mut noted.findings;
                findings.total += 1;
                *findings.counts.entry(kind_of(&finding.reason)).or_default() += 1;
                if findings.kept.len() < MAX_FINDINGS {
                    findings.kept.push(finding.clone());
                }
                if findings.recent.len() >= MAX_RECENT {
                    findings.recent.pop_front();
                }
                findings.recent.push_back(finding.clone());
            }
            CaptureEvent::Losses(losses) => noted.losses += *losses,
            CaptureEvent::ProcessStarted(started) => {
                if noted.processes.len() < MAX_PROCESSES {
                    noted.processes.insert(started.process.0);
                }
            }
            CaptureEvent::ProcessForked(forked) => {
                if noted.processes.len() < MAX_PROCESSES {
                    noted.processes.insert(forked.child.0);
                }
            }
            CaptureEvent::ProcessExited(exited) => {
                noted.processes.remove(&exited.process.0);
            }
            CaptureEvent::Content(_)
            | CaptureEvent::ConnectionClosed(_)
            | CaptureEvent::ConnectionSocket(_)
            | CaptureEvent::ConnectionPeer(_) => {}
        }
    }

    pub(super) fn log_drops(&self) {
        self.all_stages().for_each(StageCounters::log_drops);
    }

    /// Counts what threads still had that were left behind: received, and neither sent nor dropped.
    pub(super) fn count_left_behind(&self) {
        // What is still in the queue between two stages was sent by the one and not yet received by the other.
        let [interpret, _] = &self.stages;
        let between = self.capture.snapshot().sent.saturating_sub(interpret.snapshot().received);
        interpret.received_many(between);
        for stage in self.all_stages() {
            let snapshot = stage.snapshot();
            let left = snapshot.received.saturating_sub(snapshot.sent + snapshot.dropped_in_all());
            if left > 0 {
                stage.dropped_many(DropReason::DrainDeadline, left);
            }
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Nothing is left half done while it is held.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
