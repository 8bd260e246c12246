//! Raw recordings with everything that makes their events: host, clocks, identifiers, and what the host answered.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oisp_capture::raw::{RawHeader, RawReadError, RawReader, RawWriteError, RawWriter};
use oisp_capture::{CaptureEvent, ReplaySource, ReplaySpeed, monotonic_now};
use oisp_event::{EventIdGenerator, Host};
use serde_json::{Map, Value};

use crate::{Clock, Correlator, LookupAnswer, ProcessLookup, RecordingLookup, ReplayedAnswers, host_facts};

/// In the header's `more`: the seed of the events' identifiers, in hexadecimal digits.
const ID_SEED: &str = "event_id_seed";

/// Writes a raw recording while the events are handled.
///
/// Each event is given to [`RawRecorder::event`] before it is handled, so that the answers that it asks the host for
/// come behind it. A failure ends the raw recording and nothing else: it is told by [`RawRecorder::failure`] and
/// [`RawRecorder::finish`].
pub struct RawRecorder<W: Write = File> {
    writer: Arc<Mutex<RawWriter<W>>>,
    failure: Option<RawWriteError>,
}

impl RawRecorder {
    /// Makes the file, and the correlator of this host whose questions to `lookup` are recorded. `more` is kept in the
    /// header.
    ///
    /// # Errors
    /// When the file cannot be made or written, and when there is one and `replace` does not allow to remove it.
    pub fn create(
        path: &Path,
        replace: bool,
        more: Map<String, Value>,
        lookup: impl ProcessLookup + 'static,
    ) -> Result<(Self, Correlator), RawWriteError> {
        let (host, clock, ids) = (host_facts(), Clock::of_host(), EventIdGenerator::new());
        let header = header(&host, clock, &ids, more);
        let writer =
            if replace { RawWriter::replace(path, &header) } else { RawWriter::create(path, &header) }?;
        let recorder = Self::new(writer);
        let lookup = recorder.lookup(lookup);
        Ok((recorder, Correlator::new(host, clock, lookup, ids)))
    }
}

impl<W: Write + Send + 'static> RawRecorder<W> {
    fn new(writer: RawWriter<W>) -> Self {
        Self { writer: Arc::new(Mutex::new(writer)), failure: None }
    }

    fn lookup(&self, host: impl ProcessLookup + 'static) -> Box<dyn ProcessLookup> {
        Box::new(RecordingLookup::new(host, Arc::clone(&self.writer)))
    }

    /// Takes an event that is about to be handled.
    pub fn event(&mut self, event: &CaptureEvent) {
        let result = self.writer().event(event);
        self.keep(result);
    }

    /// How long until [`RawRecorder::flush`] should be called if no event comes; `None` when nothing waits.
    #[must_use]
    pub fn flush_due(&self) -> Option<Duration> {
        self.writer().flush_due()
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        let result = self.writer().flush();
        self.keep(result);
    }

    /// Writes the end; gives how many records and bytes were written.
    ///
    /// # Errors
    /// The first thing that went wrong, now or earlier.
    pub fn finish(mut self) -> Result<(u64, u64), RawWriteError> {
        let mut writer = self.writer();
        let result = writer.finish();
        let written = (writer.records(), writer.bytes_written());
        drop(writer);
        self.keep(result);
        self.failure.map_or(Ok(written), Err)
    }

    /// The first thing that went wrong.
    #[must_use]
    pub fn failure(&self) -> Option<&RawWriteError> {
        self.failure.as_ref()
    }

    fn keep(&mut self, result: Result<(), RawWriteError>) {
        if let Err(error) = result
            // What comes after a failure is only its consequence.
            && self.failure.is_none()
        {
            self.failure = Some(error);
        }
    }

    fn writer(&self) -> MutexGuard<'_, RawWriter<W>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What replays a raw recording.
pub struct Replay {
    /// Its events.
    pub source: ReplaySource<LookupAnswer>,
    /// The correlator for them: the recorded host's.
    pub correlator: Correlator,
    /// How well the questions were those of the recording.
    pub answers: ReplayedAnswers,
}

/// Opens a raw recording to replay it.
///
/// # Errors
/// When it cannot be opened, is not a raw recording, or not one of a known version.
pub fn replay(path: &Path, speed: ReplaySpeed) -> Result<Replay, RawReadError> {
    let reader = RawReader::<LookupAnswer>::open(path)?;
    let header = reader.header();
    let host: Host = serde_json::from_value(header.host.clone()).map_err(|error| RawReadError::Damaged {
        records: 0,
        offset: 0,
        reason: format!("its facts of the host cannot be understood: {error}"),
    })?;
    let clock = Clock::with_difference(header.wall_minus_monotonic_ns.into());
    let seed = header.more.get(ID_SEED).and_then(Value::as_str);
    let seed = seed.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    let ids = seed.map_or_else(EventIdGenerator::new, EventIdGenerator::with_seed);
    let answers = ReplayedAnswers::default();
    let correlator = Correlator::new(host, clock, Box::new(answers.lookup()), ids);
    let given = answers.clone();
    let source = ReplaySource::new(reader, speed, move |answer| given.push(answer));
    Ok(Replay { source, correlator, answers })
}

fn header(host: &Host, clock: Clock, ids: &EventIdGenerator, mut more: Map<String, Value>) -> RawHeader {
    more.insert(ID_SEED.to_owned(), format!("{:x}", ids.seed()).into());
    RawHeader {
        sensor_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: serde_json::to_value(host).unwrap_or_default(),
        // 63 bits last until the year 2262.
        wall_minus_monotonic_ns: i64::try_from(clock.difference()).unwrap_or(i64::MAX),
        started: monotonic_now(),
        more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostLookup;
    use oisp_capture::{CaptureSource as _, Nanos, ProcessExited, ProcessId, Stop, WaitStatus};

    fn exited(process: u32, time: u64) -> ProcessExited {
        ProcessExited { process: ProcessId(process), status: WaitStatus(0), time: Nanos(time) }
    }

    #[test]
    fn events_of_this_host_come_again_with_their_identifiers_and_times() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.raw");
        let (mut recorder, mut correlator) =
            RawRecorder::create(&path, false, Map::new(), HostLookup).expect("a new file");
        let own = std::process::id();
        let notices = [exited(own, 5_000_000), exited(u32::MAX, 6_000_000), exited(own, 7_000_000)];
        let mut events = Vec::new();
        for notice in notices {
            recorder.event(&CaptureEvent::ProcessExited(notice));
            events.push(correlator.process_exited(&notice));
        }
        assert!(recorder.flush_due().is_some() || recorder.failure().is_none());
        recorder.flush();
        let (records, bytes) = recorder.finish().expect("room on the disk");
        assert!(records > 3 && bytes > 100);
        assert!(events[0].process.as_ref().is_some_and(|process| process.exe.is_some()));

        let mut again = Vec::new();
        let Replay { mut source, mut correlator, answers } =
            replay(&path, ReplaySpeed::Unpaced).expect("a recording");
        source
            .run(&Stop::new().expect("a descriptor"), &mut |event| match event {
                CaptureEvent::ProcessExited(notice) => again.push(correlator.process_exited(&notice)),
                other => panic!("nobody recorded {other:?}"),
            })
            .expect("whole");
        assert_eq!(again, events);
        let statistics = answers.statistics();
        assert_eq!((statistics.unanswered, statistics.out_of_order), (0, 0));
        assert_eq!(statistics.answered + 3, records);
    }

    #[test]
    fn failure_of_the_raw_recording_is_told_and_handling_goes_on() {
        struct Broken(bool);
        impl Write for Broken {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                if self.0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
            }
            fn flush(&mut self) -> std::io::Result<()> {
                self.0 = true;
                Ok(())
            }
        }
        let header =
            header(&Host::default(), Clock::with_difference(0), &EventIdGenerator::new(), Map::new());
        let mut recorder = RawRecorder::new(RawWriter::new(Broken(false), &header).expect("works at first"));
        let lookup = recorder.lookup(HostLookup);
        let event = CaptureEvent::ProcessExited(exited(1, 1));
        recorder.event(&event);
        recorder.flush();
        assert!(recorder.failure().is_none());
        recorder.event(&event);
        recorder.flush();
        assert!(matches!(recorder.failure(), Some(RawWriteError::Write(_))));
        assert!(lookup.process(ProcessId(std::process::id())).is_some());
        recorder.event(&event);
        assert!(matches!(recorder.finish(), Err(RawWriteError::Write(_))));
    }
}
