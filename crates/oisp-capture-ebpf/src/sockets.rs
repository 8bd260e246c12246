//! Which socket a TLS connection uses: decided from what its threads were seen to do.
//!
//! Pure: takes [`Evidence`], gives [`SocketIdentity`]. A socket call inside a call of the TLS library says it by itself;
//! one beside it says it where the sizes agree to the byte, or where several fit and none speaks against it. Evidence that
//! contradicts itself gives nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;

use oisp_capture::{ConnectionId, Direction, MonotonicNanos, Nanos, ProcessId};

/// More than the kernel's table holds.
const MAX_CONNECTIONS: usize = 65_536;
/// Sockets that one connection may have evidence of; the kernel tells no more than [`oisp_ebpf_common::MAX_EVIDENCE`] in
/// each direction.
const MAX_CANDIDATES: usize = 2 * oisp_ebpf_common::MAX_EVIDENCE as usize;
/// Fitting sizes alone say it when they do so this often.
const FITTING_NEEDED: u32 = 2;

/// A socket in one use: the kernel uses the addresses of its structures again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SocketIdentity {
    /// Address of the `struct sock`.
    pub(crate) socket: u64,
    /// This end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
}

/// Bytes of a connection went over a socket, as far as one thread shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) connection: ConnectionId,
    pub(crate) direction: Direction,
    pub(crate) socket: SocketIdentity,
    /// Bytes of content.
    pub(crate) content_bytes: u32,
    /// Bytes on the socket.
    pub(crate) socket_bytes: u32,
    /// TLS records that the content fills at least.
    pub(crate) tls_records: u32,
    /// Whether the socket call happened inside the call of the TLS library.
    pub(crate) inside: bool,
    pub(crate) time: MonotonicNanos,
}

/// How the bytes of content compare with those on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// The difference is exactly what TLS adds.
    Agree,
    /// More bytes on the socket: there may have been other records.
    Fit,
    /// Too few bytes on the socket for this content.
    Contradict,
}

impl Evidence {
    /// What the sizes say.
    pub(crate) fn sizes(&self) -> Sizes {
        let (content, socket) = (u64::from(self.content_bytes), u64::from(self.socket_bytes));
        let records = u64::from(self.tls_records.max(1));
        if content + records * LEAST_OVERHEAD > socket {
            return Sizes::Contradict;
        }
        let by_counting = AEAD_OVERHEADS.iter().any(|overhead| content + records * overhead == socket);
        let by_padding = records == 1
            && MACS.iter().any(|mac| {
                let before = RECORD_HEADER + CBC_BLOCK;
                // Authenticated before or after encryption (RFC 7366).
                before + (content + mac + 1).next_multiple_of(CBC_BLOCK) == socket
                    || before + (content + 1).next_multiple_of(CBC_BLOCK) + mac == socket
            });
        let with_handshake = self.direction == Direction::Sent
            && ENDS_OF_HANDSHAKE.iter().any(|end| content + records * TLS13_OVERHEAD + end == socket);
        if by_counting || by_padding || with_handshake { Sizes::Agree } else { Sizes::Fit }
    }
}

/// TLS 1.3 (header, type of the content, tag); TLS 1.2 with ChaCha20 or CCM_8 (the same sum), and with AES-GCM (header, explicit
/// nonce, tag).
const AEAD_OVERHEADS: [u64; 3] = [22, 21, 29];
const LEAST_OVERHEAD: u64 = 21;
const TLS13_OVERHEAD: u64 = 22;
/// What a client of TLS 1.3 may send in one go with its first content: its Finished with SHA-256 or SHA-384, without and
/// with the message that is sent for middleboxes (RFC 8446, appendix D.4).
const ENDS_OF_HANDSHAKE: [u64; 4] = [58, 58 + 6, 74, 74 + 6];
const RECORD_HEADER: u64 = 5;
const CBC_BLOCK: u64 = 16;
/// HMAC with SHA-1, SHA-256, SHA-384.
const MACS: [u64; 3] = [20, 32, 48];

/// What is new about a connection's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// The socket; `None` where evidence came to contradict what was told.
    pub(crate) socket: Option<SocketIdentity>,
    /// When that was known.
    pub(crate) time: MonotonicNanos,
}

/// The sockets of all open connections.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    connections: BTreeMap<ConnectionId, Votes>,
    /// The candidates of all connections that have not ended, by address of the `struct sock`.
    by_socket: BTreeSet<(u64, ConnectionId)>,
}

#[derive(Debug, Default)]
struct Votes {
    candidates: Vec<Candidate>,
    decided: Option<SocketIdentity>,
    /// When `decided` was last another.
    since: MonotonicNanos,
    /// What [`Sockets::news`] last gave.
    told: Option<SocketIdentity>,
}

#[derive(Debug)]
struct Candidate {
    socket: SocketIdentity,
    /// By [`Strength`].
    votes: [u32; 3],
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    Inside,
    Agreeing,
    Fitting,
}

impl Sockets {
    /// Takes a piece of evidence.
    pub(crate) fn add(&mut self, evidence: &Evidence) {
        let strength = match (evidence.inside, evidence.sizes()) {
            (true, _) => Strength::Inside,
            (false, Sizes::Agree) => Strength::Agreeing,
            (false, Sizes::Fit) => Strength::Fitting,
            // A send that was cut short, or another connection's.
            (false, Sizes::Contradict) => return,
        };
        if self.connections.len() >= MAX_CONNECTIONS && !self.connections.contains_key(&evidence.connection) {
            self.forget_oldest();
        }
        let votes = self.connections.entry(evidence.connection).or_default();
        // A connection that goes on after its socket's end has another.
        votes.candidates.retain(|candidate| !candidate.has_ended);
        let known = votes.candidates.iter().position(|candidate| candidate.socket == evidence.socket);
        let index = match known {
            Some(index) => index,
            None if votes.candidates.len() >= MAX_CANDIDATES => return,
            None => {
                votes.candidates.push(Candidate { socket: evidence.socket, votes: [0; 3], has_ended: false });
                votes.candidates.len() - 1
            }
        };
        votes.candidates[index].votes[strength as usize] += 1;
        self.by_socket.insert((evidence.socket.socket, evidence.connection));
        let decided = decide(&votes.candidates);
        if decided != votes.decided {
            votes.decided = decided;
            votes.since = evidence.time;
        }
    }

    /// The socket that a connection uses, as far as it is known.
    pub(crate) fn bound(&self, connection: &ConnectionId) -> Option<SocketIdentity> {
        self.connections.get(connection)?.decided
    }

    /// The only socket that there is evidence of, where it does not decide by itself.
    pub(crate) fn only_candidate(&self, connection: &ConnectionId) -> Option<SocketIdentity> {
        match &self.connections.get(connection)?.candidates[..] {
            [candidate] => Some(candidate.socket),
            _ => None,
        }
    }

    /// What changed since this was last asked for a connection.
    pub(crate) fn news(&mut self, connection: &ConnectionId) -> Option<News> {
        let votes = self.connections.get_mut(connection)?;
        if votes.told == votes.decided {
            return None;
        }
        votes.told = votes.decided;
        Some(News { socket: votes.decided, time: votes.since })
    }

    /// A socket has ended. Gives the connections that used it; they keep it until they are seen to use another.
    pub(crate) fn socket_ended(&mut self, socket: u64) -> Vec<ConnectionId> {
        let first = ConnectionId { process: ProcessId(0), object: 0, born: Nanos(0) };
        let users: Vec<ConnectionId> = self
            .by_socket
            .range((Bound::Included((socket, first)), Bound::Unbounded))
            .take_while(|(address, _)| *address == socket)
            .map(|(_, connection)| *connection)
            .collect();
        let mut bound = Vec::new();
        for connection in users {
            // The next socket at this address is another, and its end not theirs.
            self.by_socket.remove(&(socket, connection));
            let Some(votes) = self.connections.get_mut(&connection) else { continue };
            for candidate in &mut votes.candidates {
                candidate.has_ended |= candidate.socket.socket == socket;
            }
            if votes.decided.is_some_and(|decided| decided.socket == socket) {
                bound.push(connection);
            }
        }
        bound
    }

    /// A connection is over.
    pub(crate) fn closed(&mut self, connection: &ConnectionId) {
        let Some(votes) = self.connections.remove(connection) else { return };
        for candidate in votes.candidates {
            self.by_socket.remove(&(candidate.socket.socket, *connection));
        }
    }

    /// A process ended or became another program: so did all its connections from before, also those that nothing was heard
    /// of.
    pub(crate) fn process_ended(&mut self, process: ProcessId, time: MonotonicNanos) {
        let first = ConnectionId { process, object: 0, born: Nanos(0) };
        let over: Vec<ConnectionId> = self
            .connections
            .range((Bound::Included(first), Bound::Unbounded))
            .map(|(id, _)| *id)
            .take_while(|id| id.process == process)
            .filter(|id| id.born <= time)
            .collect();
        over.iter().for_each(|connection| self.closed(connection));
    }

    /// A quarter at once, so that finding the oldest costs little for each.
    fn forget_oldest(&mut self) {
        let mut ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        ids.sort_by_key(|id| id.born);
        ids.iter().take(MAX_CONNECTIONS / 4).for_each(|connection| self.closed(connection));
    }
}

/// The strongest kind of evidence that there is decides; there a socket must have more than twice the votes of all
/// others together, because a thread may have been another's in between.
fn decide(candidates: &[Candidate]) -> Option<SocketIdentity> {
    for strength in [Strength::Inside, Strength::Agreeing, Strength::Fitting] {
        let votes = |candidate: &Candidate| candidate.votes[strength as usize];
        let all: u32 = candidates.iter().map(votes).sum();
        if all == 0 {
            continue;
        }
        let best = candidates.iter().max_by_key(|candidate| votes(candidate))?;
        let others = all - votes(best);
        let is_enough = strength != Strength::Fitting || votes(best) >= FITTING_NEEDED;
        return (votes(best) > 2 * others && is_enough).then_some(best.socket);
    }
    None
}

#[cfg(test)]
mod tests;
