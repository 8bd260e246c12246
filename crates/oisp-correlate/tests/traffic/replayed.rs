//! A raw recording gives the events that the recording gave.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

use oisp_capture::generator::{Generator, GeneratorConfig, Sizes};
use oisp_capture::raw::{RawHeader, RawReader, RawRecord, RawWriter};
use oisp_capture::{CaptureEvent, CaptureSource, ProcessId, ReplaySource, ReplaySpeed, Stop};
use oisp_correlate::{
    CallOrigin, Clock, Correlator, LookupAnswer, ProcessFacts, ProcessLookup, RecordingLookup,
    ReplayedAnswers, ReplayedStatistics,
};
use oisp_event::{Event, EventIdGenerator, Host};

use crate::stages::Stages;

/// A host that never answers twice the same, so that right answers can only come from the recording.
#[derive(Default)]
struct Restless {
    asked: AtomicU32,
}

impl ProcessLookup for Restless {
    fn process(&self, process: ProcessId) -> Option<ProcessFacts> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        (!asked.is_multiple_of(3)).then(|| ProcessFacts {
            parent: (process.0 > 1).then_some(ProcessId(process.0 / 2)),
            name: Some(format!("name {asked}")),
            user: Some((1000, asked)),
            ..ProcessFacts::default()
        })
    }

    fn user_name(&self, _uid: u32) -> Option<String> {
        Some(format!("user {}", self.asked.fetch_add(1, Ordering::Relaxed)))
    }
}

struct Pipeline {
    stages: Stages,
    correlator: Correlator,
    events: Vec<Event>,
}

impl Pipeline {
    fn new(difference: i128, lookup: Box<dyn ProcessLookup>) -> Self {
        let (clock, ids) = (Clock::with_difference(difference), EventIdGenerator::with_seed(1));
        let correlator = Correlator::new(Host::default(), clock, lookup, ids);
        Self { stages: Stages::default(), correlator, events: Vec::new() }
    }

    fn handle(&mut self, event: &CaptureEvent) {
        match event {
            CaptureEvent::ProcessStarted(started) => {
                self.events.push(self.correlator.process_started(started))
            }
            CaptureEvent::ProcessForked(forked) => self.correlator.process_forked(*forked),
            CaptureEvent::ProcessExited(exited) => self.events.push(self.correlator.process_exited(exited)),
            _ => {}
        }
        let calls = self.stages.handle(event);
        let connection = match event {
            CaptureEvent::Content(content) => content.connection,
            CaptureEvent::ConnectionClosed(closed) => closed.connection,
            _ => return,
        };
        let origin = CallOrigin { connection, thread: 1, function: "SSL_write", socket: None };
        self.events.extend(calls.into_iter().flat_map(|call| self.correlator.ai_event(origin, call)));
    }
}

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for File {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn replayed_events_are_the_recorded_ones_though_the_host_would_answer_otherwise() {
    let config = GeneratorConfig {
        lost: 0.01,
        calls: Some(80),
        connections_per_process: 2,
        prompt_bytes: Sizes::new(1, 100, 2_000).unwrap(),
        answer_bytes: Sizes::new(1, 100, 1_000).unwrap(),
        ..GeneratorConfig::default()
    };
    let header = RawHeader {
        sensor_version: "0".to_owned(),
        host: serde_json::Value::Null,
        wall_minus_monotonic_ns: 1_769_860_800_000_000_000,
        started: config.start,
        more: serde_json::Map::new(),
    };
    let file = File::default();
    let writer = Arc::new(Mutex::new(RawWriter::new(file.clone(), &header).unwrap()));
    let lookup = RecordingLookup::new(Restless::default(), Arc::clone(&writer));
    let mut recorded = Pipeline::new(header.wall_minus_monotonic_ns.into(), Box::new(lookup));
    let stop = Stop::new().unwrap();
    Generator::new(config)
        .unwrap()
        .run(&stop, &mut |event| {
            // As if the recording had begun late, so that processes have to be asked for.
            if matches!(&event, CaptureEvent::ProcessStarted(started) if !started.process.0.is_multiple_of(3))
                || matches!(&event, CaptureEvent::ProcessForked(forked) if !forked.child.0.is_multiple_of(3))
            {
                return;
            }
            writer.lock().unwrap().event(&event).unwrap();
            recorded.handle(&event);
        })
        .unwrap();
    writer.lock().unwrap().finish().unwrap();

    let bytes = file.0.lock().unwrap().clone();
    let reader = RawReader::<LookupAnswer, _>::new(&*bytes).unwrap();
    let answers = ReplayedAnswers::default();
    let difference = i128::from(reader.header().wall_minus_monotonic_ns);
    let mut replayed = Pipeline::new(difference, Box::new(answers.lookup()));
    let given = answers.clone();
    let mut source = ReplaySource::new(reader, ReplaySpeed::Unpaced, move |answer| given.push(answer));
    // The source is ahead of whoever asks, as in the sensor.
    let (sender, receiver) = sync_channel(16);
    thread::scope(|scope| {
        scope.spawn(move || source.run(&stop, &mut |event| sender.send(event).unwrap()).unwrap());
        receiver.iter().for_each(|event| replayed.handle(&event));
    });
    assert!(recorded.events.len() > 160);
    assert_eq!(recorded.events.len(), replayed.events.len());
    for (recorded, replayed) in recorded.events.iter().zip(&replayed.events) {
        assert_eq!(recorded, replayed);
    }
    let statistics = answers.statistics();
    assert!(statistics.answered > 10, "{statistics:?}");
    assert_eq!(statistics, ReplayedStatistics { answered: statistics.answered, ..Default::default() });
}

#[test]
fn recording_that_another_program_wrote_by_the_documentation_is_read() {
    // The fuzz targets' seeds are made by a script that knows docs/raw-format.md only.
    let seed = include_bytes!("../../../../fuzz/seeds/raw/whole");
    let records: Vec<_> = RawReader::<LookupAnswer, _>::new(&seed[1..])
        .unwrap()
        .map(|record| record.expect("whole"))
        .filter_map(|record| match record {
            RawRecord::Answer(answer) => Some(answer),
            RawRecord::Event(_) => None,
        })
        .collect();
    let facts = ProcessFacts {
        parent: Some(ProcessId(1)),
        executable: Some("/a".into()),
        arguments: vec!["a".to_owned()],
        working_directory: None,
        user: Some((0, 0)),
        name: Some("b".to_owned()),
    };
    assert_eq!(
        records,
        [
            LookupAnswer::Process(ProcessId(7), None),
            LookupAnswer::Process(ProcessId(7), Some(facts)),
            LookupAnswer::UserName(0, Some("root".to_owned())),
            LookupAnswer::UserName(1, None),
        ]
    );
}
