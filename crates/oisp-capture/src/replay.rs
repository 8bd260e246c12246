//! A raw recording as a capture source.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::raw::{RawHeader, RawReadError, RawReader, RawRecord};
use crate::{
    CaptureError, CaptureEvent, CaptureSource, CloseCause, ConnectionClosed, ConnectionId, Direction,
    MonotonicNanos, Stop,
};

/// Connections that are remembered, to close them at the end. The kernel side remembers 32,768; a file could name any
/// number, and of more than this the first are closed.
const MAX_OPEN: usize = 262_144;
/// Without waiting, the request to stop is looked for every so many records.
const LOOK_FOR_STOP: u64 = 64;

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplaySpeed {
    /// As fast as the events are taken.
    Unpaced,
    /// So many times as fast as it was recorded.
    Times(SpeedFactor),
}

impl ReplaySpeed {
    /// As it was recorded.
    pub const RECORDED: Self = Self::Times(SpeedFactor(1.0));
}

/// What was to be a [`ReplaySpeed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a speed: give a number above 0 (1 is as recorded, 10 ten times as fast), or `max`")]
pub struct UnknownSpeed(String);

impl std::str::FromStr for ReplaySpeed {
    type Err = UnknownSpeed;

    fn from_str(text: &str) -> Result<Self, UnknownSpeed> {
        if text == "max" {
            return Ok(Self::Unpaced);
        }
        let factor = text.parse().ok().and_then(SpeedFactor::new);
        factor.map(Self::Times).ok_or_else(|| UnknownSpeed(text.to_owned()))
    }
}

/// A number of times that is positive and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeedFactor(f64);

impl SpeedFactor {
    /// `None` when it is not a positive number.
    #[must_use]
    pub fn new(factor: f64) -> Option<Self> {
        (factor.is_finite() && factor > 0.0).then_some(Self(factor))
    }
}

/// Delivers the events of a raw recording.
///
/// What the host answered because of an event is handed to `answer` before that event is delivered: whoever handles
/// the event, on whatever thread, finds the answers there.
///
/// Connections that are open when it is stopped, or when the recording ends early, are closed as
/// [`CloseCause::RecordingEnded`].
pub struct ReplaySource<A, R = BufReader<File>> {
    reader: RawReader<A, R>,
    speed: ReplaySpeed,
    answer: Box<dyn FnMut(A) + Send>,
    /// Of every open connection, how far each direction is known.
    open: BTreeMap<ConnectionId, (u64, u64)>,
    last: MonotonicNanos,
    delivered: u64,
}

impl<A: DeserializeOwned, R: Read> ReplaySource<A, R> {
    /// A source of the records that `reader` has left.
    pub fn new(reader: RawReader<A, R>, speed: ReplaySpeed, answer: impl FnMut(A) + Send + 'static) -> Self {
        let last = reader.header().started;
        Self { reader, speed, answer: Box::new(answer), open: BTreeMap::new(), last, delivered: 0 }
    }

    /// What the recording begins with.
    #[must_use]
    pub fn header(&self) -> &RawHeader {
        self.reader.header()
    }

    /// Events of the recording that were delivered; without the ends of connections that had none.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    fn deliver_all(
        &mut self,
        stop: &Stop,
        deliver: &mut dyn FnMut(CaptureEvent),
    ) -> Result<(), CaptureError> {
        let mut pace = Pace { speed: self.speed, begun: None };
        // An event is held until the record after its answers is read.
        let mut held: Option<CaptureEvent> = None;
        loop {
            let record = self.reader.next();
            if let Some(Ok(RawRecord::Answer(answer))) = record {
                (self.answer)(answer);
                continue;
            }
            if let Some(event) = held.take() {
                if pace.wait(stop, event.time(), self.delivered)? {
                    return Ok(());
                }
                self.deliver(event, deliver);
            }
            match record {
                Some(Ok(RawRecord::Event(event))) => held = Some(event),
                Some(Ok(RawRecord::Answer(_))) => {}
                None => return Ok(()),
                Some(Err(error)) => return Err(capture_error(&error)),
            }
        }
    }

    fn deliver(&mut self, event: CaptureEvent, deliver: &mut dyn FnMut(CaptureEvent)) {
        match &event {
            CaptureEvent::Content(content) => {
                let (sent, received) = self.open.entry(content.connection).or_default();
                let end = match content.direction {
                    Direction::Sent => sent,
                    Direction::Received => received,
                };
                *end = (*end).max(content.offset.saturating_add(content.bytes.len() as u64));
            }
            CaptureEvent::ConnectionClosed(closed) => {
                self.open.remove(&closed.connection);
            }
            _ => {}
        }
        if let Some(time) = event.time() {
            self.last = self.last.max(time);
        }
        self.delivered += 1;
        deliver(event);
        if self.open.len() > MAX_OPEN
            && let Some((connection, ends)) = self.open.pop_first()
        {
            deliver(ended(connection, ends, self.last));
        }
    }
}

impl<A: DeserializeOwned, R: Read> CaptureSource for ReplaySource<A, R> {
    fn run(&mut self, stop: &Stop, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError> {
        let result = self.deliver_all(stop, deliver);
        for (connection, ends) in std::mem::take(&mut self.open) {
            deliver(ended(connection, ends, self.last));
        }
        result
    }
}

fn ended(connection: ConnectionId, (sent, received): (u64, u64), time: MonotonicNanos) -> CaptureEvent {
    CaptureEvent::ConnectionClosed(ConnectionClosed {
        connection,
        sent_end: sent,
        received_end: received,
        time,
        cause: CloseCause::RecordingEnded,
    })
}

fn capture_error(error: &RawReadError) -> CaptureError {
    CaptureError::Source { what: "replaying a raw recording", reason: error.to_string() }
}

/// When events are due.
struct Pace {
    speed: ReplaySpeed,
    /// The first event's time, and when it was delivered.
    begun: Option<(MonotonicNanos, Instant)>,
}

impl Pace {
    /// Waits until an event of `time` is due; says whether the source was asked to stop.
    fn wait(
        &mut self,
        stop: &Stop,
        time: Option<MonotonicNanos>,
        delivered: u64,
    ) -> Result<bool, CaptureError> {
        let (ReplaySpeed::Times(SpeedFactor(factor)), Some(time)) = (self.speed, time) else {
            return Ok(delivered.is_multiple_of(LOOK_FOR_STOP) && stop.is_requested());
        };
        let now = Instant::now();
        let (first, begun) = *self.begun.get_or_insert((time, now));
        let after = Duration::from_nanos(time.0.saturating_sub(first.0)).as_secs_f64() / factor;
        // A time so far away that it has no number never comes.
        let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
        let due = begun.checked_add(after).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX)));
        if due <= now {
            return Ok(delivered.is_multiple_of(LOOK_FOR_STOP) && stop.is_requested());
        }
        stop.wait_until(due)
    }
}
