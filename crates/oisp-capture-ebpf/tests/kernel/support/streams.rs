//! Content put together again, by connection and direction, to be compared with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use oisp_capture::{CaptureEvent, ConnectionClosed, ConnectionId, Content, MonotonicNanos};
use oisp_testkit::transcript::sha256_hex;

use super::client::{Direction, ObjectTruth, Truth};

pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::Sent, Direction::Received];

/// What was delivered of a connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    streams: [Stream; 2],
    pub(crate) closed: Vec<ConnectionClosed>,
    pub(crate) functions: BTreeSet<&'static str>,
}

/// One direction of it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// In their order, none overlapping.
    pieces: Vec<(u64, Bytes)>,
    /// Bytes delivered of each call, which share their time.
    calls: BTreeMap<MonotonicNanos, u64>,
}

impl Stream {
    fn push(&mut self, content: &Content) {
        assert!(!content.bytes.is_empty(), "content without bytes");
        assert!(
            content.offset >= self.end(),
            "content at {} after content up to {}: a byte was delivered twice or out of order",
            content.offset,
            self.end()
        );
        *self.calls.entry(content.time).or_default() += content.bytes.len() as u64;
        self.pieces.push((content.offset, content.bytes.clone()));
    }

    /// Where the last byte delivered ends.
    pub(crate) fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |(offset, bytes)| offset + bytes.len() as u64)
    }

    /// Bytes delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// What is missing before `end`.
    pub(crate) fn gaps(&self, end: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut position = 0;
        for (offset, bytes) in &self.pieces {
            gaps.push(position..*offset);
            position = offset + bytes.len() as u64;
        }
        gaps.push(position..end);
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }

    /// All bytes up to the last delivered; none may be missing before it.
    pub(crate) fn whole(&self) -> Vec<u8> {
        assert_eq!(self.gaps(self.end()), []);
        self.pieces.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }

    /// Every byte delivered is the truth's at its place.
    pub(crate) fn assert_part_of(&self, truth: &[u8]) {
        for (offset, bytes) in &self.pieces {
            let start = usize::try_from(*offset).unwrap();
            let expected = truth.get(start..start + bytes.len()).expect("nothing beyond the truth's end");
            assert!(expected == bytes, "{} bytes at {offset} are not the truth's", bytes.len());
        }
    }

    /// Bytes delivered of the largest call.
    pub(crate) fn largest_call(&self) -> u64 {
        self.calls.values().copied().max().unwrap_or(0)
    }
}

impl Connection {
    pub(crate) fn stream(&self, direction: Direction) -> &Stream {
        &self.streams[place(direction)]
    }

    /// Where its closing notice says that a direction ended.
    pub(crate) fn end(&self, direction: Direction) -> u64 {
        let [closed] = self.closed[..] else { panic!("closed {} times", self.closed.len()) };
        match direction {
            Direction::Sent => closed.sent_end,
            Direction::Received => closed.received_end,
        }
    }
}

fn place(direction: Direction) -> usize {
    match direction {
        Direction::Sent => 0,
        Direction::Received => 1,
    }
}

/// All connections of a recording that OpenSSL made. The client's servers use rustls over ring, whose records are captured
/// as well: they are the other ends of these, or of connections that a test is not about.
pub(crate) fn connections(events: &[CaptureEvent]) -> BTreeMap<ConnectionId, Connection> {
    let mut connections: BTreeMap<ConnectionId, Connection> = BTreeMap::new();
    let of_ring: BTreeSet<ConnectionId> = events
        .iter()
        .filter_map(|event| match event {
            CaptureEvent::Content(content) if content.function.starts_with("ring") => {
                Some(content.connection)
            }
            _ => None,
        })
        .collect();
    for event in events {
        match event {
            CaptureEvent::Content(content) => {
                let connection = connections.entry(content.connection).or_default();
                assert!(connection.closed.is_empty(), "content after the connection's end");
                connection.functions.insert(content.function);
                connection.streams[place(content.direction)].push(content);
            }
            CaptureEvent::ConnectionClosed(closed) => {
                connections.entry(closed.connection).or_default().closed.push(*closed);
            }
            _ => {}
        }
    }
    connections.retain(|id, _| !of_ring.contains(id));
    connections
}

/// Each object with its connection: objects at one address of one process follow each other. There must be as many of
/// one as of the other.
pub(crate) fn matched<'a>(
    truths: &'a [Truth],
    connections: &'a BTreeMap<ConnectionId, Connection>,
) -> Vec<(&'a ObjectTruth, &'a Connection)> {
    let mut uses: BTreeMap<(u32, u64), Vec<&Connection>> = BTreeMap::new();
    for (id, connection) in connections {
        // By process, address and birth.
        uses.entry((id.process.0, id.object)).or_default().push(connection);
    }
    let mut uses: BTreeMap<_, _> = uses.into_iter().map(|(key, list)| (key, list.into_iter())).collect();
    let pairs = truths
        .iter()
        .flat_map(|truth| &truth.objects)
        .map(|object| {
            let next = uses.get_mut(&(object.pid, object.address)).and_then(Iterator::next);
            (object, next.unwrap_or_else(|| panic!("no connection for {object:?}")))
        })
        .collect();
    assert!(uses.values_mut().all(|list| list.next().is_none()), "connections that no object made");
    pairs
}

/// Both directions of every object were captured from first to last byte, and nothing else was.
pub(crate) fn assert_whole(truths: &[Truth], events: &[CaptureEvent]) {
    assert!(!truths.is_empty(), "no program said what it did");
    for (object, connection) in matched(truths, &connections(events)) {
        for direction in DIRECTIONS {
            let bytes = connection.stream(direction).whole();
            assert_eq!(bytes.len() as u64, object.total(direction), "{direction:?} {object:?}");
            assert_eq!(sha256_hex(&bytes), object.sha256(direction), "{direction:?} {object:?}");
            assert_eq!(connection.end(direction), object.total(direction), "{direction:?} {object:?}");
        }
    }
}
