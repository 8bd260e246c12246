//! The stages in their thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use oisp_capture::CaptureEvent;
use oisp_event::Event;
use oisp_redact::{Redacted, Redactor};

use super::counters::{DropReason, StageCounters};
use super::queue::{Importance, QueueReceiver, QueueSender, WhenFull};
use super::sinks::{Shared, Weighed};
use super::{Tap, View};
use crate::pipeline::{Limits, Pipeline};
use crate::select::Selection;
use crate::summary::Tally;

/// Events handled before looking for commands: under a load that never lets the queue run empty, they must still come.
const EVENTS_BETWEEN_COMMANDS: u32 = 64;

/// How often an idle thread looks whether memory is short, while much of it is in use.
const RELIEF_INTERVAL: Duration = Duration::from_millis(100);

/// What can be asked of the stages while they run.
pub(crate) enum Command {
    /// Go on with other settings, from the next event on.
    Apply(Box<Live>),
    /// Say how you are.
    Describe(Sender<Described>),
}

/// What can change while the stages run.
pub(crate) struct Live {
    pub(crate) limits: Limits,
    pub(crate) selection: Selection,
    pub(crate) redactor: Arc<Redactor>,
}

/// What the stages know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    pub(crate) open_connections: usize,
    /// Processes with open connections: id and name.
    pub(crate) processes: Vec<(u32, Option<String>)>,
}

pub(super) struct StageWorker {
    pub(super) pipeline: Pipeline,
    pub(super) tap: Option<Box<dyn Tap>>,
    pub(super) receiver: QueueReceiver<CaptureEvent>,
    pub(super) commands: Receiver<Command>,
    pub(super) to_sinks: Vec<(QueueSender<Shared>, Arc<StageCounters>)>,
    pub(super) when_full: WhenFull,
    pub(super) view: Arc<View>,
    pub(super) abandoned: Arc<AtomicBool>,
}

impl StageWorker {
    /// Runs to the end of the queue; gives what went wrong with the tap.
    pub(super) fn run(mut self) -> Option<String> {
        let mut tally = Tally::default();
        let mut events = Vec::new();
        let mut since_commands = 0;
        loop {
            since_commands += 1;
            if since_commands >= EVENTS_BETWEEN_COMMANDS {
                since_commands = 0;
                self.view.publish(&tally, self.pipeline.counts());
                self.obey();
            }
            let event = match self.receiver.try_take() {
                Ok(event) => event,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.view.publish(&tally, self.pipeline.counts());
                    let mut at_most = self.tap.as_mut().and_then(|tap| tap.idle());
                    if self.view.budget.is_tight() {
                        // Whoever is refused cannot wake this thread.
                        at_most = Some(at_most.unwrap_or(RELIEF_INTERVAL).min(RELIEF_INTERVAL));
                    }
                    self.receiver.wait_with(&self.commands, at_most);
                    self.obey();
                    if self.view.budget.is_short() {
                        self.pipeline.relieve(&mut events);
                        self.hand_on(&mut events, &mut tally);
                    }
                    continue;
                }
            };
            if self.abandoned.load(Ordering::Relaxed) {
                let counters = &self.pipeline.counters().interpret;
                counters.received();
                counters.dropped(DropReason::DrainDeadline);
                continue;
            }
            if let Some(tap) = &mut self.tap {
                tap.event(&event);
            }
            self.pipeline.handle(&event, &mut events);
            self.hand_on(&mut events, &mut tally);
        }
        let is_abandoned = self.abandoned.load(Ordering::Relaxed);
        if !is_abandoned {
            self.pipeline.finish(&mut events);
            self.hand_on(&mut events, &mut tally);
        }
        let tap_error = self.tap.take().and_then(|tap| match is_abandoned {
            // Without its end it is known to be cut short.
            true => Some("the raw recording is not complete: the time for draining was over".to_owned()),
            false => tap.finish().err(),
        });
        self.view.publish(&tally, self.pipeline.counts());
        tap_error
    }

    fn hand_on(&self, events: &mut Vec<Redacted<Event>>, tally: &mut Tally) {
        for event in events.drain(..) {
            tally.add(&event);
            self.tell(event);
        }
    }

    fn tell(&self, event: Redacted<Event>) {
        if self.to_sinks.is_empty() {
            return;
        }
        let Weighed { event, weight } = Weighed::new(event);
        for (queue, counters) in &self.to_sinks {
            counters.received();
            if let Err(reason) = queue.put(Arc::clone(&event), weight, Importance::Content, self.when_full) {
                counters.dropped(reason);
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Apply(live) => {
                    let Live { limits, selection, redactor } = *live;
                    self.pipeline.set_limits(limits);
                    self.pipeline.set_selection(selection);
                    self.pipeline.set_redactor(redactor);
                }
                Command::Describe(answer) => {
                    let described = Described {
                        open_connections: self.pipeline.open_connections(),
                        processes: self.pipeline.processes(),
                    };
                    // Whoever asked may have given up.
                    let _ = answer.send(described);
                }
            }
        }
    }
}
