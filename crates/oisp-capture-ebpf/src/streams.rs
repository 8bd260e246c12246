//! Streams between two processes, joined to connections: what an agent writes to a tool server, and what that answers.
//!
//! A stream is what is written to one unix socket, seen at the write. An agent and its server have one socket pair for
//! each direction, or one for both; the two ends of a pair, or else the processes at both ends, tie two streams together.
//! The process that reads is known only once it has read: until then content is held, so that a connection begins with
//! the names of both its ends.
//!
//! Only JSON-RPC in lines is told. What it is the first whole line says; everything else is dropped.
//!
//! Pure: takes what was seen, gives what follows from it.

mod first_line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use oisp_capture::{
    CloseCause, ConnectionClosed, ConnectionId, ConnectionPeer, Content, Direction, MonotonicNanos, Nanos,
    ProcessId,
};

use crate::connections::index;
use first_line::{FirstLine, Opening, Said};

/// A server may take its time to start before it reads; whoever has not read by then may never do.
pub(crate) const LONGEST_WAIT_NANOS: u64 = 30_000_000_000;
/// Content that is held in all, with what each piece takes in memory.
pub(crate) const MAX_WAITING_BYTES: usize = 4 << 20;
const PIECE_BYTES: usize = 256;
/// Streams that are followed at once.
const MAX_STREAMS: usize = 4096;
/// What was on its way when a stream was refused or closed is dropped; so many are remembered.
const MAX_OVER: usize = 1024;

/// A stream in one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId {
    /// Inode number of the socket that is written to.
    pub(crate) socket: u64,
    /// When its first write was seen.
    pub(crate) born: MonotonicNanos,
}

/// What follows from what was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Peer(ConnectionPeer),
    Content(Content),
    /// A connection is over, with the streams that it was made of: what is still written to them is another one's.
    Closed(ConnectionClosed, Vec<(StreamId, Direction)>),
    /// It is not JSON-RPC: nothing of it is wanted.
    Withdrawn(StreamId),
    /// It may have been JSON-RPC, and was too much to hold.
    Unplaced {
        process: ProcessId,
        records: u64,
        bytes: u64,
    },
}

/// The streams that are followed.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: HashMap<u64, Stream>,
    connections: BTreeMap<ConnectionId, Joined>,
    /// What came of them is over, and what is on its way is dropped; of those that were refused it is not wanted.
    over: HashMap<StreamId, Over>,
    /// The oldest first.
    over_order: VecDeque<StreamId>,
    waiting_bytes: usize,
    opened: u64,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    writer: ProcessId,
    /// Inode number of the socket at the other end, 0 where it is not known.
    peer_socket: u64,
    reader: Option<ProcessId>,
    first_line: FirstLine,
    opening: Option<Opening>,
    waiting: VecDeque<Content>,
    waiting_bytes: usize,
    /// When it was first heard of.
    since: MonotonicNanos,
    place: Option<(ConnectionId, Direction)>,
    /// Nothing more will come.
    ended: bool,
}

/// Why nothing more of a stream is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Refused,
    Closed,
}

/// A connection that is told.
#[derive(Debug)]
struct Joined {
    peer: Option<ProcessId>,
    /// The sockets of its streams, by direction.
    sockets: [Option<u64>; 2],
    ends: [u64; 2],
    /// The number of connections opened before it.
    number: u64,
}

type Out<'a> = &'a mut dyn FnMut(Output);

impl Streams {
    /// A process has begun to write a stream.
    pub(crate) fn followed(&mut self, id: StreamId, writer: ProcessId, peer_socket: u64, out: Out<'_>) {
        if self.over.contains_key(&id) {
            return;
        }
        let stream = self.stream_made(id, writer, out);
        stream.peer_socket = peer_socket;
    }

    /// A process has written to a stream. The connection in `content` is not looked at.
    pub(crate) fn content(&mut self, id: StreamId, writer: ProcessId, content: Content, out: Out<'_>) {
        match self.over.get(&id) {
            Some(Over::Refused) => return,
            Some(Over::Closed) => {
                let bytes = content.bytes.len() as u64;
                return out(Output::Unplaced { process: writer, records: 1, bytes });
            }
            None => {}
        }
        let time = content.time;
        let stream = self.stream_made(id, writer, out);
        if let Some((connection, direction)) = stream.place {
            self.deliver(connection, direction, content, out);
            return;
        }
        let said = match stream.opening {
            Some(_) => Said::Nothing,
            None => stream.first_line.push(content.offset, &content.bytes),
        };
        let mut held = content.bytes.len() + PIECE_BYTES;
        stream.waiting.push_back(content);
        match said {
            Said::Nothing if stream.opening.is_none() => {
                // The line is gathered beside the pieces.
                held = held.saturating_mul(2);
            }
            Said::Nothing => {}
            Said::JsonRpc(opening) => {
                stream.opening = Some(opening);
                stream.first_line = FirstLine::default();
            }
            Said::Other => return self.refuse(id.socket, false, out),
            Said::TooLong => return self.refuse(id.socket, true, out),
        }
        stream.waiting_bytes += held;
        self.waiting_bytes += held;
        self.settle(id.socket, time, false, out);
        self.make_room(time, out);
    }

    /// A process has read from a stream.
    pub(crate) fn read_by(&mut self, id: StreamId, reader: ProcessId, time: MonotonicNanos, out: Out<'_>) {
        let Some(stream) = self.known(id) else { return };
        if stream.reader.is_some() {
            return;
        }
        stream.reader = Some(reader);
        match stream.place {
            None => self.settle(id.socket, time, false, out),
            Some((connection, Direction::Sent)) => self.tell_peer(connection, reader, time, out),
            // The reader is the connection's own process.
            Some((_, Direction::Received)) => {}
        }
    }

    /// All of a stream was read, and nothing more will come. `end` bytes were written in all.
    pub(crate) fn ended(&mut self, id: StreamId, end: u64, time: MonotonicNanos, out: Out<'_>) {
        let Some(stream) = self.known(id) else { return };
        stream.ended = true;
        let Some((connection, direction)) = stream.place else {
            if stream.opening.is_none() {
                self.forget(id.socket);
            }
            return;
        };
        if let Some(joined) = self.connections.get_mut(&connection) {
            let known = &mut joined.ends[index(direction)];
            *known = end.max(*known);
        }
        self.close_if_over(connection, time, out);
    }

    /// A process has ended, and its ends of streams with it.
    pub(crate) fn process_gone(&mut self, process: ProcessId, time: MonotonicNanos, out: Out<'_>) {
        for socket in self.sockets_where(|stream| stream.writer == process && stream.place.is_none()) {
            let Some(stream) = self.streams.get_mut(&socket) else { continue };
            stream.ended = true;
            if stream.opening.is_none() {
                self.forget(socket);
            } else if let Some(place) = self.only_place_of(socket) {
                // Its last words may be read after its end.
                self.join(socket, place, time, out);
            }
        }
        let of_process = |(id, joined): (&ConnectionId, &Joined)| {
            (id.process == process || joined.peer == Some(process)).then_some(*id)
        };
        let over: Vec<ConnectionId> = self.connections.iter().filter_map(of_process).collect();
        for connection in over {
            self.close(connection, time, CloseCause::ProcessGone, out);
        }
    }

    /// Time has passed: what has waited long enough is told without its reader.
    pub(crate) fn passed(&mut self, now: MonotonicNanos, out: Out<'_>) {
        if self.waiting_bytes == 0 {
            return;
        }
        let is_due = |stream: &Stream| {
            stream.opening.is_some()
                && stream.place.is_none()
                && now.0.saturating_sub(stream.since.0) >= LONGEST_WAIT_NANOS
        };
        for socket in self.sockets_where(is_due) {
            self.settle(socket, now, true, out);
        }
    }

    /// The recording is over.
    pub(crate) fn finish(&mut self, time: MonotonicNanos, out: Out<'_>) {
        for socket in self.sockets_where(|stream| stream.opening.is_some() && stream.place.is_none()) {
            self.settle(socket, time, true, out);
        }
        let open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in open {
            self.close(connection, time, CloseCause::RecordingEnded, out);
        }
    }

    /// The stream of this use, made where there is none.
    fn stream_made(&mut self, id: StreamId, writer: ProcessId, out: Out<'_>) -> &mut Stream {
        if self.streams.get(&id.socket).is_some_and(|stream| stream.id != id) {
            // The kernel had forgotten it: what is between is not known.
            self.give_up(id.socket, id.born, out);
        }
        if !self.streams.contains_key(&id.socket) && self.streams.len() >= MAX_STREAMS {
            let oldest =
                self.streams.values().min_by_key(|stream| stream.since).map(|stream| stream.id.socket);
            if let Some(oldest) = oldest {
                self.give_up(oldest, id.born, out);
            }
        }
        self.streams.entry(id.socket).or_insert_with(|| Stream {
            id,
            writer,
            peer_socket: 0,
            reader: None,
            first_line: FirstLine::default(),
            opening: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            since: id.born,
            place: None,
            ended: false,
        })
    }

    fn known(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id.socket).filter(|stream| stream.id == id)
    }

    fn sockets_where(&self, is_it: impl Fn(&Stream) -> bool) -> Vec<u64> {
        let mut streams: Vec<&Stream> = self.streams.values().filter(|stream| is_it(stream)).collect();
        streams.sort_by_key(|stream| stream.id.born);
        streams.into_iter().map(|stream| stream.id.socket).collect()
    }

    /// Gives a stream its place where that can be decided; `forced` decides without its reader.
    fn settle(&mut self, socket: u64, time: MonotonicNanos, forced: bool, out: Out<'_>) {
        let Some(stream) = self.streams.get(&socket) else { return };
        if stream.opening.is_none() || stream.place.is_some() {
            return;
        }
        if let Some(place) = self.existing_place(stream) {
            return self.join(socket, place, time, out);
        }
        if stream.reader.is_some() {
            let place = self.open(socket);
            self.join(socket, place, time, out);
        } else if forced {
            let place = self.only_place_of(socket).unwrap_or_else(|| self.open(socket));
            self.join(socket, place, time, out);
        }
    }

    /// Where a stream belongs by its socket, or by the processes at its ends.
    fn existing_place(&self, stream: &Stream) -> Option<(ConnectionId, Direction)> {
        let is_free = |connection: &ConnectionId, direction| {
            self.connections.get(connection).is_some_and(|joined| joined.sockets[index(direction)].is_none())
        };
        let opposite = self.streams.get(&stream.peer_socket);
        if let Some(opposite) = opposite.filter(|opposite| opposite.peer_socket == stream.id.socket)
            && let Some((connection, direction)) = opposite.place
            && is_free(&connection, other(direction))
        {
            return Some((connection, other(direction)));
        }
        // Of a process that talks to itself only the sockets say what belongs together.
        let reader = stream.reader.filter(|reader| *reader != stream.writer)?;
        let fits = |(id, joined): (&ConnectionId, &Joined)| {
            let direction = if (id.process, joined.peer) == (reader, Some(stream.writer)) {
                Direction::Received
            } else if (id.process, joined.peer) == (stream.writer, Some(reader)) {
                Direction::Sent
            } else {
                return None;
            };
            is_free(id, direction).then_some((joined.number, *id, direction))
        };
        // Of several the one that was opened first: its other direction is the more overdue.
        let first = self.connections.iter().filter_map(fits).min_by_key(|(number, ..)| *number);
        first.map(|(_, id, direction)| (id, direction))
    }

    /// Where a stream belongs by its writer alone, where that leaves one place.
    fn only_place_of(&self, socket: u64) -> Option<(ConnectionId, Direction)> {
        let stream = self.streams.get(&socket)?;
        let mut places = self.connections.iter().filter(|(id, joined)| {
            joined.peer == Some(stream.writer)
                && id.process != stream.writer
                && joined.sockets[index(Direction::Received)].is_none()
        });
        let (id, _) = places.next()?;
        places.next().is_none().then_some((*id, Direction::Received))
    }

    /// Opens a connection for a stream. Its process is the one that asks.
    fn open(&mut self, socket: u64) -> (ConnectionId, Direction) {
        let Some(Stream { id, writer, reader, opening, .. }) = self.streams.get(&socket) else {
            // Asked for streams that there are only.
            return (ConnectionId { process: ProcessId(0), object: socket, born: Nanos(0) }, Direction::Sent);
        };
        let (process, direction) = match (opening, reader) {
            (Some(Opening::Answer), Some(reader)) => (*reader, Direction::Received),
            _ => (*writer, Direction::Sent),
        };
        let connection = ConnectionId { process, object: socket, born: id.born };
        self.opened += 1;
        let joined = Joined { peer: None, sockets: [None; 2], ends: [0; 2], number: self.opened };
        self.connections.insert(connection, joined);
        (connection, direction)
    }

    /// Gives a stream its place, and delivers what waited.
    fn join(
        &mut self,
        socket: u64,
        (connection, direction): (ConnectionId, Direction),
        time: MonotonicNanos,
        out: Out<'_>,
    ) {
        let Some(stream) = self.streams.get_mut(&socket) else { return };
        stream.place = Some((connection, direction));
        self.waiting_bytes -= std::mem::take(&mut stream.waiting_bytes);
        let waiting = std::mem::take(&mut stream.waiting);
        let (peer_socket, writer, reader) = (stream.peer_socket, stream.writer, stream.reader);
        if let Some(joined) = self.connections.get_mut(&connection) {
            joined.sockets[index(direction)] = Some(socket);
        }
        let peer = match direction {
            Direction::Sent => reader,
            Direction::Received => Some(writer),
        };
        if let Some(peer) = peer {
            self.tell_peer(connection, peer, time, out);
        }
        for content in waiting {
            self.deliver(connection, direction, content, out);
        }
        self.close_if_over(connection, time, out);
        // The other direction may have waited for this one to have a place.
        self.settle(peer_socket, time, false, out);
    }

    fn tell_peer(&mut self, connection: ConnectionId, peer: ProcessId, time: MonotonicNanos, out: Out<'_>) {
        if let Some(joined) = self.connections.get_mut(&connection)
            && joined.peer.is_none()
        {
            joined.peer = Some(peer);
            out(Output::Peer(ConnectionPeer { connection, peer, time }));
        }
    }

    fn deliver(&mut self, connection: ConnectionId, direction: Direction, content: Content, out: Out<'_>) {
        if let Some(joined) = self.connections.get_mut(&connection) {
            let end = content.offset + content.bytes.len() as u64;
            let known = &mut joined.ends[index(direction)];
            *known = end.max(*known);
        }
        out(Output::Content(Content { connection, direction, ..content }));
    }

    /// A connection is over when all that could come over it has. One with a single direction ends with its processes.
    fn close_if_over(&mut self, connection: ConnectionId, time: MonotonicNanos, out: Out<'_>) {
        let Some(joined) = self.connections.get(&connection) else { return };
        let is_over = |socket: &Option<u64>| {
            socket.is_some_and(|socket| self.streams.get(&socket).is_none_or(|stream| stream.ended))
        };
        if joined.sockets.iter().all(is_over) {
            self.close(connection, time, CloseCause::Released, out);
        }
    }

    fn close(&mut self, connection: ConnectionId, time: MonotonicNanos, cause: CloseCause, out: Out<'_>) {
        let Some(joined) = self.connections.remove(&connection) else { return };
        let [sent_end, received_end] = joined.ends;
        let mut streams = Vec::new();
        for (socket, direction) in joined.sockets.into_iter().zip([Direction::Sent, Direction::Received]) {
            if let Some(stream) = socket.and_then(|socket| self.forget(socket)) {
                self.remember_over(stream.id, Over::Closed);
                streams.push((stream.id, direction));
            }
        }
        out(Output::Closed(ConnectionClosed { connection, sent_end, received_end, time, cause }, streams));
    }

    /// Holds less than the limit: what has waited longest goes first.
    fn make_room(&mut self, time: MonotonicNanos, out: Out<'_>) {
        while self.waiting_bytes > MAX_WAITING_BYTES {
            let waiting = self.streams.values().filter(|stream| stream.waiting_bytes > 0);
            let Some(oldest) = waiting.min_by_key(|stream| stream.since) else { return };
            let socket = oldest.id.socket;
            if oldest.opening.is_some() {
                self.settle(socket, time, true, out);
            } else {
                self.refuse(socket, true, out);
            }
        }
    }

    /// Drops a stream and all that comes of it.
    fn refuse(&mut self, socket: u64, is_loss: bool, out: Out<'_>) {
        let Some(stream) = self.forget(socket) else { return };
        if is_loss {
            let bytes = stream.waiting.iter().map(|content| content.bytes.len() as u64).sum();
            let records = stream.waiting.len() as u64;
            out(Output::Unplaced { process: stream.writer, records, bytes });
        }
        self.remember_over(stream.id, Over::Refused);
        out(Output::Withdrawn(stream.id));
    }

    fn remember_over(&mut self, id: StreamId, over: Over) {
        if self.over.insert(id, over).is_none() {
            self.over_order.push_back(id);
        }
        if self.over_order.len() > MAX_OVER
            && let Some(oldest) = self.over_order.pop_front()
        {
            self.over.remove(&oldest);
        }
    }

    /// A stream is not followed further, whatever it is: its place is needed, or its position is lost.
    fn give_up(&mut self, socket: u64, time: MonotonicNanos, out: Out<'_>) {
        let Some(stream) = self.streams.get(&socket) else { return };
        match (stream.place, stream.opening) {
            (Some((connection, _)), _) => self.close(connection, time, CloseCause::Released, out),
            (None, Some(_)) => {
                self.settle(socket, time, true, out);
                self.give_up(socket, time, out);
            }
            (None, None) if stream.waiting.is_empty() => drop(self.forget(socket)),
            (None, None) => self.refuse(socket, true, out),
        }
    }

    fn forget(&mut self, socket: u64) -> Option<Stream> {
        let stream = self.streams.remove(&socket)?;
        self.waiting_bytes -= stream.waiting_bytes;
        Some(stream)
    }
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Sent => Direction::Received,
        Direction::Received => Direction::Sent,
    }
}
