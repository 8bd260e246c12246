//! Whether the functions that are probed in a file are what they were taken for: proven by what goes through them.
//!
//! Pure. A direction is proven when its content begins as HTTP does, or when its lengths agree with those on the socket
//! several times. A file whose functions were found by what they do, not by name, is refuted when calls give results or
//! buffers that such a function cannot have, or lengths contradict the socket's again and again, and nothing speaks for it;
//! or when its reads send their content and its writes receive it. Content alone does not show that: a client whose
//! directions are swapped looks like a server.

use std::collections::{BTreeSet, HashMap};

use oisp_capture::{ConnectionId, Direction, DirectionProof};

use crate::connections::index;
use crate::sockets::{Evidence, Sizes};

/// Agreements of lengths that prove a direction.
const AGREEMENTS_NEEDED: u32 = 3;
/// Contradictions of lengths that refute it, on so many connections.
const CONTRADICTIONS_NEEDED: u32 = 8;
const CONNECTIONS_NEEDED: usize = 3;
/// Calls with impossible results or buffers that refute a file.
const DOUBTS_NEEDED: u64 = 8;
/// Connections whose file is remembered; of more the lengths are not compared.
const MAX_CONNECTIONS: usize = 16_384;

/// All files with probes.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// By number.
    files: HashMap<u16, FileProof>,
    /// The file of each connection of a file that is not proven yet.
    connections: HashMap<ConnectionId, u16>,
}

#[derive(Debug, Default)]
struct FileProof {
    can_be_refuted: bool,
    is_refuted: bool,
    /// Whether lengths agreed on a socket inside a call, the call's own way.
    moves_its_way: bool,
    directions: [DirectionState; 2],
}

#[derive(Debug, Default)]
struct DirectionState {
    proof: DirectionProof,
    agreements: u32,
    fitting: u32,
    contradictions: u32,
    contradicted: BTreeSet<ConnectionId>,
}

/// What is new about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its directions, sent and received, as they now are.
    Changed([DirectionProof; 2]),
    /// Its functions are others than they were taken for.
    Refuted(String),
}

impl Proofs {
    /// A file was probed. Nothing was seen of it yet.
    pub(crate) fn follow(&mut self, file: u16, can_be_refuted: bool) {
        self.files.insert(file, FileProof { can_be_refuted, ..FileProof::default() });
    }

    /// A file has no probes any more.
    pub(crate) fn forget(&mut self, file: u16) {
        self.files.remove(&file);
        self.connections.retain(|_, known| *known != file);
    }

    /// Content came through a function of a file; `offset` is its place in the connection.
    pub(crate) fn content(
        &mut self,
        file: u16,
        connection: ConnectionId,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
    ) -> Option<Verdict> {
        let proof = self.files.get_mut(&file)?;
        // Its connections are followed for longer where it is still open which way its calls move bytes.
        if proof.is_proven() && (proof.moves_its_way || !proof.can_be_refuted) {
            return None;
        }
        if self.connections.len() < MAX_CONNECTIONS {
            self.connections.insert(connection, file);
        }
        let state = &mut proof.directions[index(direction)];
        let found =
            if begins_like_http(bytes, offset == 0) { DirectionProof::Proven } else { DirectionProof::Seen };
        let is_news = found > state.proof;
        state.proof = state.proof.max(found);
        is_news.then(|| proof.changed())
    }

    /// Lengths of content and socket were compared.
    pub(crate) fn evidence(&mut self, evidence: &Evidence) -> Option<(u16, Verdict)> {
        let file = *self.connections.get(&evidence.connection)?;
        let proof = self.files.get_mut(&file)?;
        let state = &mut proof.directions[index(evidence.direction)];
        match evidence.sizes() {
            Sizes::Agree => {
                state.agreements += 1;
                proof.moves_its_way |= evidence.inside;
            }
            Sizes::Fit => state.fitting += 1,
            Sizes::Contradict => {
                state.contradictions += 1;
                if state.contradicted.len() < CONNECTIONS_NEEDED {
                    state.contradicted.insert(evidence.connection);
                }
            }
        }
        if state.agreements >= AGREEMENTS_NEEDED && state.proof < DirectionProof::Proven {
            state.proof = DirectionProof::Proven;
            return Some((file, proof.changed()));
        }
        let is_contradicted = state.proof < DirectionProof::Proven
            && state.agreements + state.fitting == 0
            && state.contradictions >= CONTRADICTIONS_NEEDED
            && state.contradicted.len() >= CONNECTIONS_NEEDED;
        if !is_contradicted {
            return None;
        }
        let way = match evidence.direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
        };
        let why = format!("{CONTRADICTIONS_NEEDED} calls {way} more than went over their sockets");
        proof.refute(why).map(|verdict| (file, verdict))
    }

    /// The kernel met so many calls of a file with a result or a buffer that the function cannot have.
    pub(crate) fn doubts(&mut self, file: u16, count: u64) -> Option<Verdict> {
        let proof = self.files.get_mut(&file)?;
        let speaks_for_it = proof
            .directions
            .iter()
            .any(|state| state.proof == DirectionProof::Proven || state.agreements > 0);
        if count < DOUBTS_NEEDED || speaks_for_it {
            return None;
        }
        proof.refute(format!("{count} calls had results or buffers that its functions cannot have"))
    }

    /// The kernel met so many calls of a file that moved their content on their sockets, the other way.
    pub(crate) fn wrong_ways(&mut self, file: u16, count: u64) -> Option<Verdict> {
        let proof = self.files.get_mut(&file)?;
        if count < DOUBTS_NEEDED || proof.moves_its_way {
            return None;
        }
        proof
            .refute(format!("{count} calls sent what they should receive, or received what they should send"))
    }

    /// A connection is over.
    pub(crate) fn closed(&mut self, connection: &ConnectionId) {
        self.connections.remove(connection);
    }
}

impl FileProof {
    fn is_proven(&self) -> bool {
        self.directions.iter().all(|state| state.proof == DirectionProof::Proven)
    }

    fn changed(&self) -> Verdict {
        Verdict::Changed([self.directions[0].proof, self.directions[1].proof])
    }

    /// Once; and never where functions were found by their names.
    fn refute(&mut self, why: String) -> Option<Verdict> {
        if !self.can_be_refuted || self.is_refuted {
            return None;
        }
        self.is_refuted = true;
        Some(Verdict::Refuted(why))
    }
}

/// Where a request or status line of HTTP/1 ends at the latest to be looked at.
const MAX_LINE: usize = 2048;

/// Whether these bytes begin an HTTP/1 message, an HTTP/2 connection, or, at the start of a direction, its frames.
fn begins_like_http(bytes: &[u8], is_start: bool) -> bool {
    bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\n")
        || begins_http1(bytes)
        || (is_start && begins_with_settings(bytes))
}

/// `METHOD target HTTP/1.x` or `HTTP/1.x NNN`.
fn begins_http1(bytes: &[u8]) -> bool {
    if let Some(rest) = bytes.strip_prefix(b"HTTP/1.") {
        return matches!(rest, [b'0' | b'1', b' ', code @ ..]
            if code.len() >= 3 && code[..3].iter().all(u8::is_ascii_digit));
    }
    let method = bytes.iter().take(16).take_while(|byte| byte.is_ascii_uppercase()).count();
    if !(3..16).contains(&method) || bytes.get(method) != Some(&b' ') {
        return false;
    }
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else { return false };
    line[..end].ends_with(b" HTTP/1.1") || line[..end].ends_with(b" HTTP/1.0")
}

/// A frame of settings, with which both sides of HTTP/2 begin (RFC 9113, section 3.4): whole settings, on stream 0.
fn begins_with_settings(bytes: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    matches!(bytes, [0, high, low, SETTINGS, 0, 0, 0, 0, 0, ..]
        if { let length = u16::from_be_bytes([*high, *low]); length % 6 == 0 && length <= 600 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::SocketIdentity;
    use oisp_capture::{Nanos, ProcessId};
    use std::net::SocketAddr;

    const REQUEST: &[u8] = b"POST /v1/messages HTTP/1.1\r\nhost: a\r\n";
    const NOISE: &[u8] = b"\x00\x01\x02 HTTP/1.1\r\n";

    fn id(object: u64) -> ConnectionId {
        ConnectionId { process: ProcessId(7), object, born: Nanos(1) }
    }

    fn followed(can_be_refuted: bool) -> Proofs {
        let mut proofs = Proofs::default();
        proofs.follow(1, can_be_refuted);
        proofs
    }

    fn sizes(connection: u64, direction: Direction, content: u32, moved: u32) -> Evidence {
        let address = SocketAddr::from(([127, 0, 0, 1], 443));
        Evidence {
            connection: id(connection),
            direction,
            socket: SocketIdentity { socket: 1, local: address, remote: address },
            content_bytes: content,
            socket_bytes: moved,
            tls_records: 1,
            inside: true,
            time: Nanos(1),
        }
    }

    #[test]
    fn beginnings_of_http_are_known_and_others_are_not() {
        let settings = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03";
        for bytes in [REQUEST, b"HTTP/1.1 200 OK\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            assert!(begins_like_http(bytes, false), "{bytes:?}");
        }
        assert!(begins_like_http(settings, true) && !begins_like_http(settings, false));
        for bytes in [NOISE, b"", b"POST", b"POST /v1", b"HTTP/1.1 2", b"post / HTTP/1.1\r\n", b"GET \r\n"] {
            assert!(!begins_like_http(bytes, true), "{bytes:?}");
        }
        for cut in 0..settings.len().min(9) {
            assert!(!begins_like_http(&settings[..cut], true), "{cut}");
        }
    }

    #[test]
    fn file_is_proven_in_each_direction_by_itself_and_each_step_is_told_once() {
        use DirectionProof::{Nothing, Proven, Seen};
        let mut proofs = followed(false);
        let mut sent = |bytes| proofs.content(1, id(1), Direction::Sent, 0, bytes);
        assert_eq!(sent(NOISE), Some(Verdict::Changed([Seen, Nothing])));
        assert_eq!(sent(NOISE), None);
        assert_eq!(sent(REQUEST), Some(Verdict::Changed([Proven, Nothing])));
        assert_eq!(sent(REQUEST), None);
        assert_eq!(
            proofs.content(2, id(1), Direction::Sent, 0, REQUEST),
            None,
            "a file that is not followed"
        );
        for expected in [None, None, Some((1, Verdict::Changed([Proven, Proven])))] {
            assert_eq!(proofs.evidence(&sizes(1, Direction::Received, 100, 122)), expected);
        }
    }

    #[test]
    fn contradicting_lengths_refute_what_was_found_by_behaviour_once_and_only_without_anything_for_it() {
        let run = |can_be_refuted, before: &[Evidence], content: &[u8]| {
            let mut proofs = followed(can_be_refuted);
            let mut refuted = 0;
            for connection in 0..4 {
                proofs.content(1, id(connection), Direction::Sent, 0, content);
            }
            before.iter().for_each(|evidence| drop(proofs.evidence(evidence)));
            for round in 0..20 {
                let verdict = proofs.evidence(&sizes(round % 4, Direction::Sent, 500, 100));
                refuted += usize::from(matches!(verdict, Some((1, Verdict::Refuted(_)))));
            }
            refuted
        };
        assert_eq!(run(true, &[], NOISE), 1);
        assert_eq!(run(false, &[], NOISE), 0, "found by name");
        assert_eq!(run(true, &[], REQUEST), 0, "HTTP was seen");
        assert_eq!(run(true, &[sizes(1, Direction::Sent, 500, 522)], NOISE), 0, "lengths agreed");
    }

    #[test]
    fn one_connection_alone_refutes_nothing() {
        let mut proofs = followed(true);
        proofs.content(1, id(1), Direction::Sent, 0, NOISE);
        for _ in 0..100 {
            assert_eq!(proofs.evidence(&sizes(1, Direction::Sent, 500, 100)), None);
        }
    }

    #[test]
    fn impossible_calls_refute_a_file_that_nothing_speaks_for() {
        let mut proofs = followed(true);
        assert_eq!(proofs.doubts(1, 7), None);
        assert!(matches!(proofs.doubts(1, 8), Some(Verdict::Refuted(_))));
        assert_eq!(proofs.doubts(1, 9), None, "once");
        let mut proofs = followed(true);
        proofs.content(1, id(1), Direction::Sent, 0, REQUEST);
        assert_eq!(proofs.doubts(1, 1000), None);
        assert_eq!(followed(false).doubts(1, 1000), None);
    }

    #[test]
    fn calls_the_other_way_refute_a_file_that_looks_like_http_unless_lengths_agreed_inside_a_call() {
        let proven = |can_be_refuted| {
            let mut proofs = followed(can_be_refuted);
            for direction in [Direction::Sent, Direction::Received] {
                proofs.content(1, id(1), direction, 0, REQUEST);
            }
            proofs
        };
        let mut swapped = proven(true);
        // By chance: the answer was as long as the next request.
        swapped.evidence(&Evidence { inside: false, ..sizes(1, Direction::Sent, 500, 522) });
        assert_eq!(swapped.wrong_ways(1, 7), None);
        assert!(matches!(swapped.wrong_ways(1, 8), Some(Verdict::Refuted(_))));
        assert_eq!(swapped.wrong_ways(1, 9), None, "once");
        assert_eq!(proven(false).wrong_ways(1, 1000), None, "found by name");
        let mut right = proven(true);
        // A connection that came after the proof.
        right.content(1, id(2), Direction::Received, 0, NOISE);
        right.evidence(&sizes(2, Direction::Received, 500, 522));
        assert_eq!(right.wrong_ways(1, 1000), None);
    }

    #[test]
    fn connections_are_forgotten_with_their_end_their_file_and_beyond_the_limit() {
        let mut proofs = followed(true);
        for connection in 0..MAX_CONNECTIONS as u64 + 5 {
            proofs.content(1, id(connection), Direction::Sent, 0, NOISE);
        }
        assert_eq!(proofs.connections.len(), MAX_CONNECTIONS);
        proofs.closed(&id(0));
        assert_eq!(proofs.connections.len(), MAX_CONNECTIONS - 1);
        proofs.forget(1);
        assert!(proofs.connections.is_empty());
        assert_eq!(proofs.content(1, id(1), Direction::Sent, 0, REQUEST), None);
    }
}
