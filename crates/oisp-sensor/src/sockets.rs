//! The sockets of connections, where they are known.

use std::collections::BTreeMap;
use std::ops::Bound;

use oisp_capture::{ConnectionId, Nanos, ProcessId, SocketEnds};

/// Sockets that are remembered: as many as a source has connections open.
const MAX_SOCKETS: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Sockets {
    ends: BTreeMap<ConnectionId, SocketEnds>,
}

impl Sockets {
    pub(crate) fn of(&self, connection: &ConnectionId) -> Option<SocketEnds> {
        self.ends.get(connection).copied()
    }

    /// A connection uses this socket, or it is not known any more which. Gives how many open connections had to be
    /// forgotten for it.
    pub(crate) fn note(
        &mut self,
        connection: ConnectionId,
        ends: Option<SocketEnds>,
        is_open: impl Fn(&ConnectionId) -> bool,
    ) -> u64 {
        let Some(ends) = ends else {
            self.ends.remove(&connection);
            return 0;
        };
        // Notices of ends may find no place in a queue, so that some stay.
        let is_full = self.ends.len() >= MAX_SOCKETS && !self.ends.contains_key(&connection);
        let forgotten = if is_full { self.forget_oldest(is_open) } else { 0 };
        self.ends.insert(connection, ends);
        forgotten
    }

    /// A connection is over.
    pub(crate) fn closed(&mut self, connection: &ConnectionId) {
        self.ends.remove(connection);
    }

    /// A process is gone, and all its connections.
    pub(crate) fn process_exited(&mut self, process: ProcessId) {
        let ids: Vec<ConnectionId> = of_process(&self.ends, process).collect();
        for id in ids {
            self.ends.remove(&id);
        }
    }

    /// A quarter at once, so that finding the oldest costs little for each; those that are not open go first.
    fn forget_oldest(&mut self, is_open: impl Fn(&ConnectionId) -> bool) -> u64 {
        let mut ids: Vec<(bool, ConnectionId)> = self.ends.keys().map(|id| (is_open(id), *id)).collect();
        ids.sort_unstable_by_key(|(is_open, id)| (*is_open, id.born, *id));
        ids.truncate(MAX_SOCKETS / 4);
        for (_, id) in &ids {
            self.ends.remove(id);
        }
        ids.iter().filter(|(is_open, _)| *is_open).count() as u64
    }
}

/// What is kept of a process's connections, without a look at the others.
pub(crate) fn of_process<T>(
    map: &BTreeMap<ConnectionId, T>,
    process: ProcessId,
) -> impl Iterator<Item = ConnectionId> {
    let first = ConnectionId { process, object: 0, born: Nanos(0) };
    map.range((Bound::Included(first), Bound::Unbounded))
        .map(|(id, _)| *id)
        .take_while(move |id| id.process == process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn id(process: u32, number: u64) -> ConnectionId {
        ConnectionId { process: ProcessId(process), object: number, born: Nanos(number) }
    }

    fn ends(port: u16) -> SocketEnds {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        SocketEnds { local: address(port), remote: address(443) }
    }

    #[test]
    fn socket_that_changes_is_known_by_its_last_notice_also_when_many_are_remembered() {
        let mut sockets = Sockets::default();
        for number in 0..MAX_SOCKETS as u64 {
            assert_eq!(sockets.note(id(1, number), Some(ends(1)), |_| true), 0);
        }
        assert_eq!(sockets.note(id(1, 5), Some(ends(2)), |_| true), 0);
        assert_eq!(sockets.of(&id(1, 5)), Some(ends(2)));
        assert_eq!(sockets.note(id(1, 5), None, |_| true), 0);
        assert_eq!(sockets.of(&id(1, 5)), None);
    }

    #[test]
    fn one_too_many_makes_the_oldest_give_way_those_that_are_over_first_and_open_ones_are_counted() {
        let most = MAX_SOCKETS as u64;
        let filled = || {
            let mut sockets = Sockets::default();
            for number in 0..most {
                sockets.note(id(1, number), Some(ends(1)), |_| true);
            }
            sockets
        };
        let mut sockets = filled();
        // The newer half is over.
        assert_eq!(sockets.note(id(1, most), Some(ends(1)), |id| id.object < most / 2), 0);
        assert_eq!(sockets.of(&id(1, 0)), Some(ends(1)));
        assert_eq!(sockets.of(&id(1, most / 2)), None);
        assert_eq!(sockets.of(&id(1, most)), Some(ends(1)));
        let mut sockets = filled();
        assert_eq!(sockets.note(id(1, most), Some(ends(1)), |_| true), most / 4);
        assert_eq!(sockets.of(&id(1, most / 4 - 1)), None);
        assert_eq!(sockets.of(&id(1, most / 4)), Some(ends(1)));
    }

    #[test]
    fn exit_of_a_process_forgets_its_sockets_and_no_others() {
        let mut sockets = Sockets::default();
        for process in 1..4 {
            sockets.note(id(process, 7), Some(ends(1)), |_| true);
        }
        sockets.process_exited(ProcessId(2));
        let left = [1, 2, 3].map(|process| sockets.of(&id(process, 7)).is_some());
        assert_eq!(left, [true, false, true]);
    }
}
