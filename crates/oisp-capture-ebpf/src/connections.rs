//! The connections that user space has heard of and that are still open.

use std::collections::BTreeMap;
use std::ops::Bound;

use oisp_capture::{CloseCause, ConnectionClosed, ConnectionId, Direction, MonotonicNanos, Nanos, ProcessId};

/// More than the kernel's table holds; a process that never gives its connection objects back reaches it.
const MAX_OPEN: usize = 65_536;

/// Open connections, with how far each was heard.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    ends: BTreeMap<ConnectionId, [u64; 2]>,
}

impl OpenConnections {
    /// Content was delivered. Gives the connections that are over because of it: an earlier use of the same object, or
    /// the oldest of too many.
    pub(crate) fn heard(
        &mut self,
        connection: ConnectionId,
        direction: Direction,
        end: u64,
        time: MonotonicNanos,
    ) -> Vec<ConnectionClosed> {
        let mut over = Vec::new();
        if !self.ends.contains_key(&connection) {
            let object = |born| ConnectionId { born, ..connection };
            let earlier: Vec<ConnectionId> =
                self.ends.range(object(Nanos(0))..=object(Nanos(u64::MAX))).map(|(id, _)| *id).collect();
            over.extend(earlier.into_iter().filter_map(|id| self.close(id, time, CloseCause::Released)));
            if self.ends.len() >= MAX_OPEN {
                over.extend(self.close_oldest(time));
            }
        }
        let ends = self.ends.entry(connection).or_default();
        ends[index(direction)] = ends[index(direction)].max(end);
        over
    }

    /// Whether a connection was heard and is not over.
    pub(crate) fn is_open(&self, connection: ConnectionId) -> bool {
        self.ends.contains_key(&connection)
    }

    /// A connection is over, as far as it was heard.
    pub(crate) fn close(
        &mut self,
        connection: ConnectionId,
        time: MonotonicNanos,
        cause: CloseCause,
    ) -> Option<ConnectionClosed> {
        let [sent_end, received_end] = self.ends.remove(&connection)?;
        Some(ConnectionClosed { connection, sent_end, received_end, time, cause })
    }

    /// The open connections of a process.
    pub(crate) fn of_process(&self, process: ProcessId) -> Vec<ConnectionId> {
        let first = ConnectionId { process, object: 0, born: Nanos(0) };
        self.ends
            .range((Bound::Included(first), Bound::Unbounded))
            .map(|(id, _)| *id)
            .take_while(|id| id.process == process)
            .collect()
    }

    /// All that are open.
    pub(crate) fn all(&self) -> Vec<ConnectionId> {
        self.ends.keys().copied().collect()
    }

    /// Closes a quarter at once, so that finding the oldest costs little for each.
    fn close_oldest(&mut self, time: MonotonicNanos) -> Vec<ConnectionClosed> {
        let mut ids = self.all();
        ids.sort_by_key(|id| id.born);
        ids.truncate(MAX_OPEN / 4);
        ids.into_iter().filter_map(|id| self.close(id, time, CloseCause::Released)).collect()
    }
}

pub(crate) fn index(direction: Direction) -> usize {
    match direction {
        Direction::Sent => 0,
        Direction::Received => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(process: u32, object: u64, born: u64) -> ConnectionId {
        ConnectionId { process: ProcessId(process), object, born: Nanos(born) }
    }

    #[test]
    fn object_in_use_again_closes_its_earlier_connection_where_it_was_last_heard() {
        let mut open = OpenConnections::default();
        assert_eq!(open.heard(id(1, 7, 10), Direction::Sent, 100, Nanos(11)), []);
        assert_eq!(open.heard(id(1, 7, 10), Direction::Received, 50, Nanos(12)), []);
        assert_eq!(open.heard(id(2, 7, 15), Direction::Sent, 5, Nanos(15)), []);
        let over = open.heard(id(1, 7, 20), Direction::Sent, 1, Nanos(21));
        assert_eq!(over.len(), 1);
        assert_eq!((over[0].connection, over[0].sent_end, over[0].received_end), (id(1, 7, 10), 100, 50));
        assert_eq!(open.of_process(ProcessId(1)), [id(1, 7, 20)]);
        assert_eq!(open.of_process(ProcessId(2)), [id(2, 7, 15)]);
    }

    #[test]
    fn connections_that_are_never_given_back_are_bounded_and_the_oldest_are_closed() {
        let mut open = OpenConnections::default();
        let mut closed = Vec::new();
        for number in 0..MAX_OPEN as u64 + 10 {
            closed.extend(open.heard(id(1, number, number), Direction::Sent, 1, Nanos(number)));
        }
        assert_eq!(closed.len(), MAX_OPEN / 4);
        assert_eq!(closed[0].connection, id(1, 0, 0));
        assert!(open.all().len() < MAX_OPEN);
    }
}
