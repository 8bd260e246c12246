//! The generator as a source: the same traffic for a seed, its rates, its ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use oisp_capture::generator::{
    CallTruth, Delivery, Generator, GeneratorConfig, GeneratorConfigError, GeneratorPace, GeneratorRate,
    GeneratorStatistics, Service, Sizes,
};
use oisp_capture::{
    CaptureEvent, CaptureSource, CloseCause, ConnectionId, Direction, Nanos, ProcessId, Stop,
};

fn small(seed: u64) -> GeneratorConfig {
    GeneratorConfig {
        seed,
        prompt_bytes: Sizes::new(1, 100, 5_000).unwrap(),
        answer_bytes: Sizes::new(1, 100, 1_000).unwrap(),
        calls: Some(60),
        ..GeneratorConfig::default()
    }
}

struct Run {
    events: Vec<CaptureEvent>,
    truth: Vec<CallTruth>,
    statistics: GeneratorStatistics,
}

fn run(config: GeneratorConfig) -> Run {
    let stop = Stop::new().unwrap();
    run_until(config, &stop, usize::MAX)
}

/// Runs, and asks it to stop at the event of this number.
fn run_until(config: GeneratorConfig, stop: &Stop, last: usize) -> Run {
    let truth = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&truth);
    let mut generator =
        Generator::new(config).unwrap().with_truth(move |call| sink.lock().unwrap().push(call));
    let mut events = Vec::new();
    generator
        .run(stop, &mut |event| {
            events.push(event);
            if events.len() == last {
                stop.request();
            }
        })
        .unwrap();
    let statistics = generator.statistics();
    drop(generator);
    Run { events, truth: Arc::into_inner(truth).unwrap().into_inner().unwrap(), statistics }
}

#[test]
fn seed_decides_every_event_and_what_is_told_of_it() {
    let lossy = |seed| run(GeneratorConfig { lost: 0.1, ..small(seed) });
    let (one, same, other) = (lossy(7), lossy(7), lossy(8));
    assert_eq!(one.events, same.events);
    assert_eq!(one.truth, same.truth);
    assert_eq!(one.statistics, same.statistics);
    assert_ne!(one.events, other.events);
}

#[test]
fn losses_take_records_away_and_change_nothing_else() {
    let (whole, lossy) = (run(small(3)), run(GeneratorConfig { lost: 0.2, ..small(3) }));
    let delivered: HashSet<_> = lossy.events.iter().map(|event| format!("{event:?}")).collect();
    let mut lost = 0;
    for event in &whole.events {
        match event {
            CaptureEvent::Content(_) => lost += u64::from(!delivered.contains(&format!("{event:?}"))),
            event => assert!(delivered.contains(&format!("{event:?}")), "{event:?}"),
        }
    }
    assert!(lost > 0);
    assert_eq!(lossy.statistics.records_lost, lost);
    assert_eq!(lossy.statistics.content_bytes, whole.statistics.content_bytes);
}

#[test]
fn offsets_have_no_gap_but_lost_ones_and_ends_tell_every_byte() {
    for lost in [0.0, 0.1, 1.0] {
        let run = run(GeneratorConfig { lost, ..small(4) });
        let mut ends: HashMap<(ConnectionId, Direction), u64> = HashMap::new();
        let (mut gaps, mut told, mut delivered) = (0, 0, 0);
        let mut at = |connection, direction, offset, length| {
            let end = ends.entry((connection, direction)).or_default();
            assert!(*end <= offset, "bytes come once and in order");
            gaps += offset - *end;
            *end = offset + length;
        };
        for event in &run.events {
            match event {
                CaptureEvent::Content(content) => {
                    delivered += 1;
                    at(content.connection, content.direction, content.offset, content.bytes.len() as u64);
                    assert!(content.bytes.len() <= 16 << 10);
                }
                CaptureEvent::ConnectionClosed(closed) => {
                    assert_eq!(closed.cause, CloseCause::Released);
                    at(closed.connection, Direction::Sent, closed.sent_end, 0);
                    at(closed.connection, Direction::Received, closed.received_end, 0);
                }
                CaptureEvent::Losses(losses) => told += losses.content_bytes(),
                _ => {}
            }
        }
        assert_eq!((gaps, told), (run.statistics.bytes_lost, run.statistics.bytes_lost));
        assert_eq!(delivered, run.statistics.records_delivered);
        assert_eq!(lost > 0.0, gaps > 0);
        if lost == 1.0 {
            assert_eq!((delivered, gaps), (0, run.statistics.content_bytes));
        }
    }
}

#[test]
fn time_never_goes_back_and_connections_belong_to_processes_that_run() {
    let run = run(GeneratorConfig { connections: 7, processes: 2, connections_per_process: 3, ..small(5) });
    let mut last = Nanos(0);
    let mut running: BTreeMap<ProcessId, HashSet<ConnectionId>> = BTreeMap::new();
    let mut open = HashSet::new();
    let mut seen = HashSet::new();
    for event in &run.events {
        let time = event.time().unwrap_or(last);
        assert!(last <= time);
        last = time;
        match event {
            CaptureEvent::ProcessForked(forked) => {
                assert!(running.insert(forked.child, HashSet::new()).is_none());
            }
            CaptureEvent::ProcessStarted(started) => assert!(running.contains_key(&started.process)),
            CaptureEvent::Content(content) => {
                assert!(running.contains_key(&content.connection.process));
                if open.insert(content.connection) {
                    assert!(seen.insert(content.connection), "a connection comes once");
                    assert_eq!(content.offset, 0);
                }
            }
            CaptureEvent::ConnectionClosed(closed) => assert!(open.remove(&closed.connection)),
            CaptureEvent::ProcessExited(exited) => {
                assert!(running.remove(&exited.process).is_some());
                assert!(!open.iter().any(|connection| connection.process == exited.process));
            }
            CaptureEvent::Attached(_)
            | CaptureEvent::FileProof(_)
            | CaptureEvent::ConnectionSocket(_)
            | CaptureEvent::ConnectionPeer(_)
            | CaptureEvent::Coverage(_)
            | CaptureEvent::Losses(_) => {}
        }
        assert!(open.len() <= 7);
    }
    assert!(running.is_empty() && open.is_empty());
    assert_eq!(seen.len() as u64, run.statistics.connections);
}

#[test]
fn rates_hold_in_the_generators_time() {
    let calls = run(GeneratorConfig {
        rate: GeneratorRate { calls_per_second: Some(100.0), ..GeneratorRate::default() },
        calls: None,
        duration: Some(Duration::from_secs(4)),
        ..small(6)
    });
    assert_eq!(calls.statistics.calls, 400);
    let start = GeneratorConfig::default().start;
    let end = calls.events.iter().filter_map(CaptureEvent::time).max().unwrap();
    assert!((4_000_000_000..4_500_000_000).contains(&(end.0 - start.0)), "{end:?}");
    let bytes = run(GeneratorConfig {
        rate: GeneratorRate { content_bytes_per_second: Some(1e6), ..GeneratorRate::default() },
        calls: None,
        duration: Some(Duration::from_secs(10)),
        ..small(6)
    });
    let made = bytes.statistics.content_bytes;
    assert!((9_000_000..11_000_000).contains(&made), "{made}");
}

#[test]
fn call_that_is_due_at_the_end_of_time_never_comes() {
    let rate = GeneratorRate { calls_per_second: Some(f64::MIN_POSITIVE), ..GeneratorRate::default() };
    let run = run(GeneratorConfig { rate, start: Nanos(1 << 62), ..small(13) });
    assert_eq!(run.statistics.calls, 1);
}

#[test]
fn services_and_shares_are_as_asked_for() {
    let run = run(GeneratorConfig {
        services: vec![(Service::OpenAi, 0), (Service::Anthropic, 1)],
        streamed: 1.0,
        tool_calls: 0.0,
        ..small(9)
    });
    assert_eq!(run.truth.len(), 60);
    for call in &run.truth {
        assert_eq!((call.service, call.streamed, call.tool_calls.len()), (Service::Anthropic, true, 0));
        assert!((1..=1000).contains(&call.answer.len()));
    }
}

#[test]
fn stopped_generator_closes_its_connections_and_tells_which_calls_were_cut_short() {
    let stop = Stop::new().unwrap();
    let run = run_until(GeneratorConfig { calls: None, streamed: 1.0, ..small(10) }, &stop, 500);
    let ended = run.events.iter().filter(|event| {
        matches!(event, CaptureEvent::ConnectionClosed(closed) if closed.cause == CloseCause::RecordingEnded)
    });
    let cut = run.truth.iter().filter(|call| call.response == Delivery::CutShort).count();
    assert!(cut > 0 && ended.count() >= cut);
    assert_eq!(run.truth.len() as u64, run.statistics.calls);
}

#[test]
fn paced_generator_waits_and_a_stop_ends_its_wait() {
    // A call in eleven days: only a stop ends it.
    let rate = GeneratorRate { calls_per_second: Some(1e-6), ..GeneratorRate::default() };
    let config =
        GeneratorConfig { rate, pace: GeneratorPace::RealTime, connections: 2, streamed: 0.0, ..small(11) };
    let stop = Stop::new().unwrap();
    let other = stop.clone();
    let stopper = thread::spawn(move || other.request());
    let run = run_until(config, &stop, usize::MAX);
    stopper.join().unwrap();
    assert!(run.statistics.calls <= 1);
    assert!(run.events.len() < 100);
}

#[test]
fn paced_generator_delivers_the_same_events_as_an_unpaced_one() {
    let rate = GeneratorRate { calls_per_second: Some(2000.0), ..GeneratorRate::default() };
    let config = GeneratorConfig { rate, ..small(12) };
    let unpaced = run(config.clone());
    let paced = run(GeneratorConfig { pace: GeneratorPace::RealTime, ..config });
    assert_eq!(paced.events, unpaced.events);
}

#[test]
fn traffic_that_cannot_be_is_refused_by_name() {
    let default = GeneratorConfig::default;
    for (config, name) in [
        (GeneratorConfig { lost: 1.5, ..default() }, "lost"),
        (GeneratorConfig { streamed: f64::NAN, ..default() }, "streamed"),
        (GeneratorConfig { connections: 0, ..default() }, "connections"),
        (GeneratorConfig { record_bytes: 0, ..default() }, "record_bytes"),
        (GeneratorConfig { start: Nanos(u64::MAX), ..default() }, "start"),
        (GeneratorConfig { answer_bytes: Sizes::always(u64::MAX), ..default() }, "answer_bytes"),
        (
            GeneratorConfig {
                rate: GeneratorRate { calls_per_second: Some(0.0), ..GeneratorRate::default() },
                ..default()
            },
            "calls_per_second",
        ),
    ] {
        let error = Generator::new(config).err().expect(name);
        assert!(error.to_string().contains(name), "{error}");
    }
    let nobody = GeneratorConfig { services: vec![(Service::OpenAi, 0)], ..default() };
    assert_eq!(Generator::new(nobody).err(), Some(GeneratorConfigError::NoService));
    assert!(Sizes::new(5, 4, 6).is_none() && Sizes::new(0, 4, 6).is_none());
}
