//! Half-connections joined to connections.
//!
//! A library that is followed where it seals and opens records shows a key, and a key serves one direction. Which two
//! belong together is not in the process's memory for all to see; but both use one socket. Pure: takes content and which
//! socket a half uses, gives content and ends of connections; the time is what it is told.
//!
//! - A half-connection has an id of the form of a connection's: process, address of the AEAD context, when its key was first
//!   seen there.
//! - What is heard of a half before its socket is known is held, bounded in bytes and time. Beyond the bound it is a
//!   connection of its own that has one direction.
//! - What is received is held until what is sent on the same socket is known, too: nobody answers before being asked, and
//!   a server's answer comes soon enough.
//! - Another key in the same direction of a socket goes on where the one before ended (key update). The same key seen
//!   anew has lost records in between, nobody knows how many: another connection begins.
//! - `close_notify` ends one direction. The other may go on; when it was the received one, for [`LINGER`] only.

mod tally;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use oisp_capture::{
    CloseCause, ConnectionClosed, ConnectionId, ConnectionSocket, Content, Direction, MonotonicNanos, Nanos,
    ProcessId, SocketEnds,
};

use crate::connections::index;
use crate::sockets::SocketIdentity;
use tally::Tally;
pub(crate) use tally::{JoinNews, JoinStatistics};
use waiting::Waiting;

/// What may be held of all halves together, with what each piece takes besides its bytes.
const MAX_HELD_BYTES: usize = 4 << 20;
/// How long it is held.
const HOLD: u64 = 2_000_000_000;
/// How long a connection whose socket has ended, or whose other end has said that it is done, is kept for what comes late.
const LINGER: u64 = 1_000_000_000;
/// More than the kernel's table holds.
const MAX_HALVES: usize = 65_536;
/// Earlier halves on a context that are looked at when another key is seen there: the ones before were when those were.
const MAX_EARLIER: usize = 16;

/// A half uses a socket, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketUse {
    pub(crate) half: ConnectionId,
    pub(crate) generation: u32,
    pub(crate) direction: Direction,
    pub(crate) socket: SocketIdentity,
    pub(crate) time: MonotonicNanos,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The socket of a connection; before its first content.
    Socket(ConnectionSocket),
    /// Content of a connection.
    Content(Content),
    /// A connection is over. Where each of its halves ends may be known better: see [`HalfEnd`].
    Closed(ConnectionClosed, Vec<HalfEnd>),
    /// Nothing more is expected of a half: another key follows it, or nothing but evidence was heard of it.
    Forgotten(ForgottenHalf),
}

/// A half that is over without an end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForgottenHalf {
    pub(crate) half: ConnectionId,
    pub(crate) generation: u32,
    pub(crate) direction: Direction,
}

/// A half of a connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfEnd {
    pub(crate) half: ConnectionId,
    pub(crate) generation: u32,
    pub(crate) direction: Direction,
    place: Place,
}

impl HalfEnd {
    /// The position in the connection that is this one in the half.
    pub(crate) fn position(&self, in_half: u64) -> u64 {
        self.place.position(in_half).unwrap_or(self.place.base)
    }
}

/// All half-connections and what they were joined to.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    halves: BTreeMap<ConnectionId, Half>,
    connections: BTreeMap<ConnectionId, Joined>,
    /// The connection that goes over a socket now.
    by_socket: BTreeMap<(ProcessId, SocketIdentity), ConnectionId>,
    /// Halves that may use a socket, and by which alone it is not decided.
    likely: BTreeMap<(ProcessId, SocketIdentity, usize), ConnectionId>,
    waiting: Waiting,
    /// Connections that will be over when nothing more is heard of them, by when that is looked at.
    lingering: BTreeSet<(MonotonicNanos, ConnectionId)>,
    tally: Tally,
    /// Halves and connections looked at besides those that something was just heard of.
    #[cfg(test)]
    looked_at: u64,
}

#[derive(Debug)]
struct Half {
    direction: Direction,
    generation: u32,
    place: Option<Place>,
    /// The position behind what was heard.
    heard: u64,
    likely: Option<SocketIdentity>,
    /// An alert ended it.
    is_notified: bool,
}

/// Where a half is in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    connection: ConnectionId,
    /// This position of the half is…
    start: u64,
    /// …this one of the connection.
    base: u64,
}

impl Place {
    fn position(&self, in_half: u64) -> Option<u64> {
        Some(self.base + in_half.checked_sub(self.start)?)
    }
}

#[derive(Debug)]
struct Joined {
    socket: Option<SocketIdentity>,
    /// The halves that it is made of now.
    halves: [Option<ConnectionId>; 2],
    /// The positions behind what was delivered.
    ends: [u64; 2],
    is_over: [bool; 2],
    /// Whether it was an alert that ended the direction: no key follows then.
    is_notified: [bool; 2],
    /// When it was last heard of.
    heard: MonotonicNanos,
    /// Its place in [`Halves::lingering`].
    lingers_until: Option<MonotonicNanos>,
    was_joined: bool,
    was_told: bool,
}

type Deliver<'a> = &'a mut dyn FnMut(Output);

impl Halves {
    /// What was joined so far.
    pub(crate) fn statistics(&self) -> JoinStatistics {
        self.tally.statistics
    }

    /// What is to be told of that now, or at the end.
    pub(crate) fn news(&mut self, now: MonotonicNanos, is_end: bool) -> Option<JoinNews> {
        self.tally.news(now, is_end)
    }

    /// The connection that a half is part of, where that is decided.
    pub(crate) fn connection_of(&self, half: &ConnectionId) -> Option<ConnectionId> {
        Some(self.halves.get(half)?.place?.connection)
    }

    /// Content of the half `content.connection`.
    pub(crate) fn content(&mut self, generation: u32, content: Content, deliver: Deliver<'_>) {
        let (id, time) = (content.connection, content.time);
        self.meet(id, generation, content.direction, time, deliver);
        let half = self.halves.get_mut(&id).filter(|half| half.direction == content.direction);
        let Some(half) = half else {
            // A key that serves both directions is nothing that TLS has; what it says would go among another's.
            self.tally.dropped(id.process, content.bytes.len());
            return;
        };
        half.heard = half.heard.max(content.offset + content.bytes.len() as u64);
        self.waiting.push(content);
        if half.place.is_some() {
            self.release(&id, false, deliver);
        }
        while self.waiting.bytes() > MAX_HELD_BYTES
            && let Some((_, oldest)) = self.waiting.oldest()
        {
            self.look();
            self.give_up_waiting(&oldest, deliver);
        }
    }

    /// A half uses this socket. `kernel_end` gives how far a half came by the kernel's account.
    pub(crate) fn bound(
        &mut self,
        it: &SocketUse,
        kernel_end: &dyn Fn(&ConnectionId, u32, Direction) -> Option<u64>,
        deliver: Deliver<'_>,
    ) {
        let SocketUse { half: id, generation, direction, socket, time } = *it;
        self.meet(id, generation, direction, time, deliver);
        if self.halves.get(&id).is_none_or(|half| half.place.is_some() || half.direction != direction) {
            // What was said of it once holds: its content was delivered under that name.
            return;
        }
        self.join(id, socket, time, kernel_end, deliver);
    }

    /// A half may use this socket; that alone does not decide it. It does where the other direction of the socket is known
    /// and lacks this one, or is as likely.
    pub(crate) fn likely(&mut self, it: &SocketUse, deliver: Deliver<'_>) {
        let SocketUse { half: id, generation, direction, socket, time } = *it;
        self.meet(id, generation, direction, time, deliver);
        let Some(half) = self.halves.get_mut(&id) else { return };
        if half.place.is_some() || half.direction != direction {
            return;
        }
        let known = half.likely.replace(socket);
        let key = |socket| (id.process, socket, index(direction));
        if let Some(known) = known.filter(|known| *known != socket)
            && self.likely.get(&key(known)) == Some(&id)
        {
            self.likely.remove(&key(known));
        }
        self.likely.insert(key(socket), id);
        self.join_likely(id.process, socket, time, deliver);
    }

    /// A half's direction has ended with an alert, at this position.
    pub(crate) fn ended(&mut self, id: &ConnectionId, end: u64, time: MonotonicNanos, deliver: Deliver<'_>) {
        let Some(half) = self.halves.get_mut(id) else { return };
        half.is_notified = true;
        half.heard = half.heard.max(end);
        if let Some(place) = half.place {
            let direction = half.direction;
            self.direction_is_notified(&place.connection, direction, place.position(end), time, deliver);
        }
    }

    /// The socket of a half has ended; what was received over it may still be opened.
    pub(crate) fn socket_ended(&mut self, id: &ConnectionId, time: MonotonicNanos) {
        let Some(connection) = self.connection_of(id) else { return };
        let Some(joined) = self.connections.get_mut(&connection) else { return };
        joined.heard = joined.heard.max(time);
        if let Some(socket) = joined.socket
            && self.by_socket.get(&(connection.process, socket)) == Some(&connection)
        {
            self.by_socket.remove(&(connection.process, socket));
        }
        self.linger(&connection);
    }

    /// It is now this late.
    pub(crate) fn passed(&mut self, time: MonotonicNanos, deliver: Deliver<'_>) {
        while let Some((since, id)) = self.waiting.oldest()
            && time.0.saturating_sub(since.0) >= HOLD
        {
            self.look();
            self.give_up_waiting(&id, deliver);
        }
        while let Some((due, connection)) = self.lingering.first().copied()
            && due <= time
        {
            self.look();
            self.lingering.pop_first();
            let Some(joined) = self.connections.get_mut(&connection) else { continue };
            joined.lingers_until = None;
            // What was heard meanwhile puts it off.
            if lingers_until(joined.heard) <= time {
                self.close(&connection, time, CloseCause::Released, deliver);
            } else {
                self.linger(&connection);
            }
        }
    }

    /// A process has ended or become another program.
    pub(crate) fn process_gone(&mut self, process: ProcessId, time: MonotonicNanos, deliver: Deliver<'_>) {
        let first = ConnectionId { process, object: 0, born: Nanos(0) };
        let of_process = |id: &&ConnectionId| id.process == process;
        let from = (Bound::Included(first), Bound::Unbounded);
        let halves: Vec<_> =
            self.halves.range(from).map(|(id, _)| id).take_while(of_process).copied().collect();
        self.end_all(&halves, time, CloseCause::ProcessGone, deliver);
    }

    /// The recording ends.
    pub(crate) fn finish(&mut self, time: MonotonicNanos, deliver: Deliver<'_>) {
        let halves: Vec<_> = self.halves.keys().copied().collect();
        self.end_all(&halves, time, CloseCause::RecordingEnded, deliver);
    }

    fn end_all(
        &mut self,
        halves: &[ConnectionId],
        time: MonotonicNanos,
        cause: CloseCause,
        deliver: Deliver<'_>,
    ) {
        let mut waiting: Vec<_> =
            halves.iter().filter_map(|id| Some((self.waiting.since(id)?, *id))).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            self.give_up_waiting(&id, deliver);
        }
        for id in halves {
            match self.connection_of(id) {
                Some(connection) => self.close(&connection, time, cause, deliver),
                None => self.forget(id, deliver),
            }
        }
    }

    /// Makes a half known. What had its context before is over.
    fn meet(
        &mut self,
        id: ConnectionId,
        generation: u32,
        direction: Direction,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        if self.halves.contains_key(&id) {
            return;
        }
        if self.halves.len() >= MAX_HALVES {
            let mut ids: Vec<_> = self.halves.keys().copied().collect();
            ids.sort_by_key(|id| id.born);
            ids.truncate(MAX_HALVES / 4);
            self.end_all(&ids, time, CloseCause::Released, deliver);
        }
        let object = |born| ConnectionId { born, ..id };
        let earlier = self.halves.range(object(Nanos(0))..object(id.born)).rev();
        let earlier: Vec<ConnectionId> = earlier.take(MAX_EARLIER).map(|(id, _)| *id).collect();
        for earlier in earlier.into_iter().rev() {
            self.look();
            let Some(half) = self.halves.get(&earlier) else { continue };
            let is_same_key = half.generation == generation && half.direction == direction;
            let (direction, place) = (half.direction, half.place);
            match place {
                // Its own kind goes on, and it is not known after how much: see `join`, which knows it by its socket.
                Some(place) if !is_same_key || self.is_without_socket(&place.connection) => {
                    self.direction_is_over(&place.connection, direction, None, time, deliver);
                }
                // Only evidence was heard of it.
                None if self.waiting.since(&earlier).is_none() => self.forget(&earlier, deliver),
                Some(_) | None => {}
            }
        }
        let half = Half { direction, generation, place: None, heard: 0, likely: None, is_notified: false };
        self.halves.insert(id, half);
    }

    /// Joins a half that has no place yet to what goes over a socket.
    fn join(
        &mut self,
        id: ConnectionId,
        socket: SocketIdentity,
        time: MonotonicNanos,
        kernel_end: &dyn Fn(&ConnectionId, u32, Direction) -> Option<u64>,
        deliver: Deliver<'_>,
    ) {
        let Some(half) = self.halves.get(&id).filter(|half| half.place.is_none()) else { return };
        let (direction, generation) = (half.direction, half.generation);
        let way = index(direction);
        let mut base = 0;
        let mut mate = None;
        let present = self.by_socket.get(&(id.process, socket)).copied();
        let connection = match present.and_then(|present| Some((present, self.connections.get(&present)?))) {
            None => id,
            Some((present, joined)) => match joined.halves[way] {
                None => present,
                Some(former) => {
                    let is_same_key = former.object == id.object
                        && self.halves.get(&former).is_some_and(|former| former.generation == generation);
                    if is_same_key || joined.is_notified[way] {
                        mate = joined.halves[1 - way].filter(|_| is_same_key);
                        id
                    } else {
                        base = joined.ends[way].max(self.end_of(&former, kernel_end));
                        present
                    }
                }
            },
        };
        if connection == id {
            if let Some(mate) = mate {
                // What was heard of it so far belongs to the connection that ends.
                self.release(&mate, true, deliver);
            }
            let mut moving = None;
            if let Some(mate) = mate
                && let Some(half) = self.halves.get_mut(&mate)
            {
                // It goes on in the new connection from where it was heard.
                half.place = None;
                moving = Some((mate, half.heard, index(half.direction)));
            }
            if let Some(present) = present {
                self.close(&present, time, CloseCause::Released, deliver);
            }
            self.open(id, Some(socket), time, deliver);
            if let Some((mate, start, way)) = moving
                && let Some(half) = self.halves.get_mut(&mate)
                && let Some(joined) = self.connections.get_mut(&id)
            {
                half.place = Some(Place { connection: id, start, base: 0 });
                joined.halves[way] = Some(mate);
            }
        }
        self.place(id, Place { connection, start: 0, base });
        let former = self.connections.get(&connection).and_then(|joined| joined.halves[way]);
        if let Some(former) = former.filter(|former| self.waiting.since(former).is_some()) {
            // It is forgotten below: what is held of it is told now or never.
            self.release(&former, true, deliver);
        }
        if let Some(joined) = self.connections.get_mut(&connection) {
            if let Some(former) = joined.halves[way].replace(id).filter(|former| *former != id) {
                self.forget(&former, deliver);
            }
            if let Some(joined) = self.connections.get_mut(&connection) {
                joined.ends[way] = joined.ends[way].max(base);
                joined.is_over[way] = false;
                joined.heard = joined.heard.max(time);
                // The key before was over, not what the other end has to say. A socket that has ended takes no key.
                if direction == Direction::Received
                    && let Some(due) = joined.lingers_until.take()
                {
                    self.lingering.remove(&(due, connection));
                }
                if joined.halves.iter().all(Option::is_some) && !joined.was_joined {
                    joined.was_joined = true;
                    self.tally.statistics.joined += 1;
                }
            }
        }
        self.release(&id, false, deliver);
        if let Some(half) = self.halves.get(&id)
            && half.is_notified
        {
            let end = Place { connection, start: 0, base }.position(half.heard);
            self.direction_is_notified(&connection, direction, end, time, deliver);
        }
        self.join_likely(id.process, socket, time, deliver);
    }

    /// Joins the halves that may use a socket, where something else speaks for it.
    fn join_likely(
        &mut self,
        process: ProcessId,
        socket: SocketIdentity,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        let likely = [0, 1].map(|way| self.likely.get(&(process, socket, way)).copied());
        let present =
            self.by_socket.get(&(process, socket)).and_then(|present| self.connections.get(present));
        let is_lacking = match present {
            Some(joined) => joined.halves.map(|half| half.is_none()),
            None => [likely[1].is_some(), likely[0].is_some()],
        };
        // What was sent first: it is what a connection begins with.
        for way in [0, 1] {
            if let Some(id) = likely[way].filter(|_| is_lacking[way]) {
                // Not a key that follows another, so nothing has to be known of the end of one.
                self.join(id, socket, time, &|_, _, _| None, deliver);
            }
        }
    }

    fn place(&mut self, id: ConnectionId, place: Place) {
        let Some(half) = self.halves.get_mut(&id) else { return };
        half.place = Some(place);
        if let Some(socket) = half.likely.take() {
            let key = (id.process, socket, index(half.direction));
            if self.likely.get(&key) == Some(&id) {
                self.likely.remove(&key);
            }
        }
    }

    fn open(
        &mut self,
        id: ConnectionId,
        socket: Option<SocketIdentity>,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        // One that began with this half and goes on without it: whoever uses a key again that another followed.
        self.close(&id, time, CloseCause::Released, deliver);
        if let Some(socket) = socket {
            self.by_socket.insert((id.process, socket), id);
        }
        let joined = Joined {
            socket,
            halves: [None; 2],
            ends: [0; 2],
            is_over: [false; 2],
            is_notified: [false; 2],
            heard: time,
            lingers_until: None,
            was_joined: false,
            was_told: false,
        };
        self.connections.insert(id, joined);
    }

    /// Delivers what is held of a half's connection, in the order in which it came; what was received waits for what was
    /// sent, unless it is not to.
    fn release(&mut self, id: &ConnectionId, at_once: bool, deliver: Deliver<'_>) {
        let Some(connection) = self.connection_of(id) else { return };
        let Some(joined) = self.connections.get(&connection) else { return };
        // What was delivered once is not waited with any more.
        let is_ready = joined.halves[index(Direction::Sent)].is_some()
            || joined.ends[index(Direction::Received)] > 0
            || joined.socket.is_none();
        if !is_ready && !at_once {
            return;
        }
        let mut pieces = Vec::new();
        for half_id in joined.halves.into_iter().flatten() {
            let Some(place) = self.halves.get(&half_id).and_then(|half| half.place) else { continue };
            let taken = self.waiting.take(&half_id);
            pieces.extend(taken.into_iter().map(|(arrival, content)| (arrival, place, content)));
        }
        pieces.sort_by_key(|(arrival, ..)| *arrival);
        let Some(joined) = self.connections.get_mut(&connection) else { return };
        for (_, place, mut content) in pieces {
            if let Some(socket) = joined.socket.filter(|_| !joined.was_told) {
                joined.was_told = true;
                let ends = Some(SocketEnds { local: socket.local, remote: socket.remote });
                deliver(Output::Socket(ConnectionSocket { connection, ends, time: content.time }));
            }
            // What came before the connection began anew belongs to the one before, which is over.
            let Some(offset) = place.position(content.offset) else {
                self.tally.dropped(content.connection.process, content.bytes.len());
                continue;
            };
            content.connection = connection;
            content.offset = offset;
            let end = &mut joined.ends[index(content.direction)];
            *end = (*end).max(offset + content.bytes.len() as u64);
            joined.heard = joined.heard.max(content.time);
            deliver(Output::Content(content));
        }
    }

    /// Delivers what is held of a half, whatever is known.
    fn give_up_waiting(&mut self, id: &ConnectionId, deliver: Deliver<'_>) {
        if self.connection_of(id).is_none() {
            let time = self.waiting.since(id).unwrap_or_default();
            let Some(half) = self.halves.get(id) else { return self.drop_held(id) };
            let (way, is_notified, direction, heard) =
                (index(half.direction), half.is_notified, half.direction, half.heard);
            self.tally.one_sided(id.process);
            self.open(*id, None, time, deliver);
            self.place(*id, Place { connection: *id, start: 0, base: 0 });
            if let Some(joined) = self.connections.get_mut(id) {
                joined.halves[way] = Some(*id);
            }
            self.release(id, true, deliver);
            let time = self.connections.get(id).map_or(time, |joined| joined.heard);
            if is_notified {
                self.direction_is_notified(id, direction, Some(heard), time, deliver);
            } else if self.serves_another(id) {
                self.direction_is_over(id, direction, None, time, deliver);
            }
            return;
        }
        self.release(id, true, deliver);
        // In any case: what is held is bounded.
        self.drop_held(id);
    }

    /// Nothing is dropped without being counted.
    fn drop_held(&mut self, id: &ConnectionId) {
        for (_, content) in self.waiting.take(id) {
            self.tally.dropped(id.process, content.bytes.len());
        }
    }

    fn is_without_socket(&self, connection: &ConnectionId) -> bool {
        self.connections.get(connection).is_some_and(|joined| joined.socket.is_none())
    }

    /// Whether the context of a half has had another key since.
    fn serves_another(&self, id: &ConnectionId) -> bool {
        let last = ConnectionId { born: Nanos(u64::MAX), ..*id };
        self.halves.range((Bound::Excluded(*id), Bound::Included(last))).next().is_some()
    }

    fn direction_is_notified(
        &mut self,
        connection: &ConnectionId,
        direction: Direction,
        end: Option<u64>,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        if let Some(joined) = self.connections.get_mut(connection) {
            joined.is_notified[index(direction)] = true;
        }
        self.direction_is_over(connection, direction, end, time, deliver);
    }

    fn direction_is_over(
        &mut self,
        connection: &ConnectionId,
        direction: Direction,
        end: Option<u64>,
        time: MonotonicNanos,
        deliver: Deliver<'_>,
    ) {
        let Some(joined) = self.connections.get_mut(connection) else { return };
        let way = index(direction);
        joined.is_over[way] = true;
        joined.heard = joined.heard.max(time);
        joined.ends[way] = joined.ends[way].max(end.unwrap_or(0));
        let other = 1 - way;
        if joined.is_over[other] || (joined.halves[other].is_none() && joined.socket.is_none()) {
            self.close(connection, time, CloseCause::Released, deliver);
        } else if direction == Direction::Received {
            self.linger(connection);
        }
    }

    /// Soon a connection is over, if nothing more is heard of it.
    fn linger(&mut self, connection: &ConnectionId) {
        let Some(joined) = self.connections.get_mut(connection) else { return };
        if joined.lingers_until.is_none() {
            let due = lingers_until(joined.heard);
            joined.lingers_until = Some(due);
            self.lingering.insert((due, *connection));
        }
    }

    fn close(
        &mut self,
        connection: &ConnectionId,
        time: MonotonicNanos,
        cause: CloseCause,
        deliver: Deliver<'_>,
    ) {
        let halves = self.connections.get(connection).map_or([None; 2], |joined| joined.halves);
        for id in halves.iter().flatten() {
            if self.connection_of(id) == Some(*connection) {
                self.release(id, true, deliver);
            }
        }
        let Some(joined) = self.connections.remove(connection) else { return };
        if let Some(due) = joined.lingers_until {
            self.lingering.remove(&(due, *connection));
        }
        if let Some(socket) = joined.socket
            && self.by_socket.get(&(connection.process, socket)) == Some(connection)
        {
            self.by_socket.remove(&(connection.process, socket));
        }
        let mut ends = Vec::new();
        for id in joined.halves.into_iter().flatten() {
            let Some(half) = self.halves.get(&id) else { continue };
            // One that has moved on to another connection stays.
            if let Some(place) = half.place.filter(|place| place.connection == *connection) {
                let (generation, direction) = (half.generation, half.direction);
                ends.push(HalfEnd { half: id, generation, direction, place });
                self.remove(&id);
            }
        }
        let [sent_end, received_end] = joined.ends;
        let closed = ConnectionClosed { connection: *connection, sent_end, received_end, time, cause };
        deliver(Output::Closed(closed, ends));
    }

    fn forget(&mut self, id: &ConnectionId, deliver: Deliver<'_>) {
        let Some(Half { generation, direction, .. }) = self.remove(id) else { return };
        deliver(Output::Forgotten(ForgottenHalf { half: *id, generation, direction }));
    }

    fn remove(&mut self, id: &ConnectionId) -> Option<Half> {
        let half = self.halves.remove(id)?;
        self.drop_held(id);
        if let Some(socket) = half.likely {
            let key = (id.process, socket, index(half.direction));
            if self.likely.get(&key) == Some(id) {
                self.likely.remove(&key);
            }
        }
        Some(half)
    }

    /// Where a half ends in its connection.
    fn end_of(
        &self,
        id: &ConnectionId,
        kernel_end: &dyn Fn(&ConnectionId, u32, Direction) -> Option<u64>,
    ) -> u64 {
        let Some(half) = self.halves.get(id) else { return 0 };
        let end = kernel_end(id, half.generation, half.direction).unwrap_or(0).max(half.heard);
        half.place.and_then(|place| place.position(end)).unwrap_or(0)
    }

    /// For tests of how much work hostile traffic makes.
    fn look(&mut self) {
        #[cfg(test)]
        {
            self.looked_at += 1;
        }
    }
}

fn lingers_until(heard: MonotonicNanos) -> MonotonicNanos {
    Nanos(heard.0.saturating_add(LINGER))
}

#[cfg(test)]
mod tests;
