use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use oisp_capture::{CloseCause, ConnectionClosed, ConnectionId, Content, Direction, Nanos, ProcessStarted};
use oisp_config::{Case, Patterns, Setting as _, Settings};
use oisp_correlate::{Clock, Correlator, NoLookup};
use oisp_event::{Event, EventIdGenerator, Host};
use oisp_redact::{HashKey, Redacted, RedactionConfig, RedactionMode, Redactor};

use super::*;
use crate::select::{Selection, Selector};

impl Outcome {
    /// What a recording of these events without any sink comes to.
    pub(crate) fn of_events(events: &[CaptureEvent]) -> Self {
        run(events.to_vec(), Vec::new(), &Setup::default())
    }
}

/// How a test's recording differs from an ordinary one.
struct Setup {
    when_full: WhenFull,
    queues: QueueSizes,
    memory: usize,
    drain_timeout: Duration,
    /// Asks for the end once everything was delivered.
    stop_at_the_end: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            when_full: WhenFull::Wait,
            queues: QueueSizes { capture_events: 16_384, events: 10_000 },
            memory: 8 << 20,
            drain_timeout: Duration::from_secs(60),
            stop_at_the_end: false,
        }
    }
}

/// Delivers what it was given.
struct Given {
    events: VecDeque<CaptureEvent>,
    stop_at_the_end: bool,
}

impl CaptureSource for Given {
    fn run(&mut self, stop: &Stop, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError> {
        self.events.drain(..).for_each(deliver);
        if self.stop_at_the_end {
            stop.request();
        }
        Ok(())
    }
}

fn pipeline(budget: &Arc<MemoryBudget>) -> Pipeline {
    let ids = EventIdGenerator::with_seed(1);
    let correlator = Correlator::new(Host::default(), Clock::with_difference(0), Box::new(NoLookup), ids);
    let key = HashKey::ephemeral().expect("random bytes");
    let redactor = Redactor::new(RedactionConfig { mode: RedactionMode::Safe, key });
    let selector = Selector::new(Selection::from(&Settings::default()));
    Pipeline::new(correlator, selector, Arc::new(redactor), Arc::clone(budget))
}

fn begin(events: Vec<CaptureEvent>, sinks: Vec<Box<dyn Sink>>, setup: &Setup) -> Running {
    let budget = Arc::new(MemoryBudget::new(setup.memory));
    start(Job {
        source: Box::new(Given { events: events.into(), stop_at_the_end: setup.stop_at_the_end }),
        when_full: setup.when_full,
        pipeline: pipeline(&budget),
        tap: None,
        sinks,
        stop: Stop::new().expect("a descriptor"),
        watched: None,
        queues: setup.queues,
        budget,
        draining: {
            let draining = Draining::new(setup.drain_timeout);
            if setup.stop_at_the_end {
                draining.ask();
            }
            draining
        },
        needs_probes: true,
    })
    .expect("threads")
}

fn run(events: Vec<CaptureEvent>, sinks: Vec<Box<dyn Sink>>, setup: &Setup) -> Outcome {
    begin(events, sinks, setup).wait().expect("waiting")
}

/// Keeps the types of events; waits at the first until it is let go.
struct Gate {
    open: Arc<Mutex<()>>,
    taken: Arc<Mutex<Vec<&'static str>>>,
}

impl Sink for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    fn write(&mut self, event: &Redacted<Event>) -> Result<(), SinkError> {
        let _open = self.open.lock().expect("no panic");
        self.taken.lock().expect("no panic").push(event.payload.event_type());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

type Taken = Arc<Mutex<Vec<&'static str>>>;

fn gate(open: &Arc<Mutex<()>>) -> (Vec<Box<dyn Sink>>, Taken) {
    let taken = Taken::default();
    (vec![Box::new(Gate { open: Arc::clone(open), taken: Arc::clone(&taken) })], taken)
}

fn started(number: u32) -> CaptureEvent {
    CaptureEvent::ProcessStarted(ProcessStarted {
        process: ProcessId(number),
        parent: ProcessId(1),
        uid: 0,
        gid: 0,
        filename: "/bin/true".into(),
        executable: "/bin/true".into(),
        arguments: Vec::new(),
        arguments_truncated: false,
        working_directory: None,
        time: Nanos(u64::from(number)),
    })
}

fn connection(object: u64) -> ConnectionId {
    ConnectionId { process: ProcessId(1), object, born: Nanos(1) }
}

fn sent(object: u64, offset: u64, bytes: &[u8]) -> CaptureEvent {
    CaptureEvent::Content(Content {
        connection: connection(object),
        thread: 1,
        direction: Direction::Sent,
        offset,
        bytes: Bytes::copy_from_slice(bytes),
        time: Nanos(1),
        function: "SSL_write",
    })
}

fn assert_conserved(outcome: &Outcome) {
    for stage in outcome.view.all_stages() {
        let snapshot = stage.snapshot();
        let passed = snapshot.sent + snapshot.dropped_in_all();
        assert_eq!(snapshot.received, passed, "{}: {snapshot:?}", stage.name());
    }
    let [interpret, select] = &outcome.view.stages;
    assert_eq!(outcome.view.capture.snapshot().sent, interpret.snapshot().received);
    for (sink, _) in &outcome.view.sinks {
        assert_eq!(select.snapshot().sent, sink.snapshot().received);
    }
}

#[test]
fn everything_that_a_waiting_source_has_reaches_every_sink_through_tiny_queues() {
    let (mut sinks, first) = gate(&Arc::default());
    let (more, second) = gate(&Arc::default());
    sinks.extend(more);
    let queues = QueueSizes { capture_events: 2, events: 2 };
    let events = (0..5000).map(started).collect();
    let outcome = run(events, sinks, &Setup { queues, ..Setup::default() });
    assert_eq!(first.lock().expect("no panic").len(), 5000);
    assert_eq!(second.lock().expect("no panic").len(), 5000);
    assert_conserved(&outcome);
    assert_eq!(outcome.view.budget.used(), 0, "all memory was given back");
}

#[test]
fn stuck_sink_blocks_no_stage_and_what_it_misses_is_counted() {
    let open = Arc::new(Mutex::new(()));
    let (sinks, taken) = gate(&open);
    let guard = open.lock().expect("no panic");
    let queues = QueueSizes { capture_events: 20_000, events: 100 };
    let setup = Setup { when_full: WhenFull::Drop, queues, ..Setup::default() };
    let running = begin((0..10_000).map(started).collect(), sinks, &setup);
    let view = running.view();
    // The stages come to their end though the sink stands still.
    while view.stages[0].snapshot().sent < 10_000 {
        thread::yield_now();
    }
    drop(guard);
    let outcome = running.wait().expect("waiting");
    assert_conserved(&outcome);
    let sink = outcome.view.sinks[0].0.snapshot();
    assert_eq!(sink.received, 10_000);
    assert!(sink.dropped[&DropReason::QueueFull] >= 9_800, "{sink:?}");
    assert_eq!(taken.lock().expect("no panic").len() as u64, sink.sent);
}

#[test]
fn deadline_ends_a_recording_whose_sink_is_stuck_and_the_rest_is_counted() {
    let open = Arc::new(Mutex::new(()));
    let (sinks, _) = gate(&open);
    let guard = open.lock().expect("no panic");
    let drain_timeout = Duration::from_millis(10);
    let setup = Setup { stop_at_the_end: true, drain_timeout, ..Setup::default() };
    let outcome = run((0..1000).map(started).collect(), sinks, &setup);
    assert!(outcome.cut_short);
    assert_conserved(&outcome);
    let dropped: u64 = outcome
        .view
        .all_stages()
        .filter_map(|stage| stage.snapshot().dropped.get(&DropReason::DrainDeadline).copied())
        .sum();
    assert_eq!((outcome.view.sinks[0].0.snapshot().sent, dropped), (0, 1000));
    drop(guard);
}

#[test]
fn connections_that_hold_too_much_give_way_and_the_bound_is_kept() {
    let head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\
        Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{\"model\":\"m\",\"messages\":[";
    let piece = vec![b' '; 16 << 10];
    let mut events = Vec::new();
    for object in 0..40 {
        events.push(sent(object, 0, head));
    }
    // Each grows to 656 KiB: 26 MiB together.
    for round in 0..40_u64 {
        for object in 0..40 {
            events.push(sent(object, head.len() as u64 + round * piece.len() as u64, &piece));
        }
    }
    let setup =
        Setup { memory: 4 << 20, queues: QueueSizes { capture_events: 8, events: 8 }, ..Setup::default() };
    let (sinks, taken) = gate(&Arc::default());
    let running = begin(events, sinks, &setup);
    let view = running.view();
    let outcome = running.wait().expect("waiting");
    assert!(outcome.counts.gave_way > 0);
    assert_eq!(taken.lock().expect("no panic").len() as u64, view.sinks[0].0.snapshot().sent);
    // What waits in the queue and one piece beyond the bound at most.
    assert!(view.budget.highest() <= (4 << 20) + (256 << 10), "{}", view.budget.highest());
    assert_conserved(&outcome);
}

#[test]
fn half_a_request_of_a_process_that_is_excluded_meanwhile_is_not_told() {
    let budget = Arc::new(MemoryBudget::new(8 << 20));
    let mut pipeline = pipeline(&budget);
    let head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\
        Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"model\":\"m\",\"messages\":[";
    let mut told = Vec::new();
    pipeline.handle(&sent(1, 0, head), &mut told);
    let mut settings = Settings::default();
    settings.include.user = Patterns::from_text("nobody-has-this-name", &Case::Sensitive).expect("patterns");
    pipeline.set_selection(Selection::from(&settings));
    pipeline.finish(&mut told);
    assert!(told.is_empty(), "{} events", told.len());
    assert_eq!(budget.used(), 0);
}

#[test]
fn connection_without_a_word_costs_its_place_until_it_is_closed() {
    let closed = CaptureEvent::ConnectionClosed(ConnectionClosed {
        connection: connection(1),
        sent_end: 4,
        received_end: 0,
        time: Nanos(3),
        cause: CloseCause::Released,
    });
    let outcome = run(vec![sent(1, 0, b"GET "), closed], Vec::new(), &Setup::default());
    assert_eq!(outcome.view.budget.used(), 0);
    assert_eq!(outcome.counts.silent, 1);
}
