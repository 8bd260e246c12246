use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const AGENT: ProcessId = ProcessId(10);
const SERVER: ProcessId = ProcessId(20);
const QUESTION: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n";
const ANSWER: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";

fn id(socket: u64) -> StreamId {
    StreamId { socket, born: Nanos(socket * 10) }
}

/// What came out, in its order.
#[derive(Default)]
struct Run {
    streams: Streams,
    out: Vec<Output>,
}

impl Run {
    fn followed(&mut self, socket: u64, writer: ProcessId, peer_socket: u64) {
        let Self { streams, out } = self;
        streams.followed(id(socket), writer, peer_socket, &mut |output| out.push(output));
    }

    fn write(&mut self, socket: u64, writer: ProcessId, offset: u64, bytes: &[u8]) {
        let content = Content {
            connection: ConnectionId { process: writer, object: socket, born: id(socket).born },
            thread: writer.0,
            direction: Direction::Sent,
            offset,
            bytes: Bytes::copy_from_slice(bytes),
            time: Nanos(1000),
            function: "unix_stream",
        };
        let Self { streams, out } = self;
        streams.content(id(socket), writer, content, &mut |output| out.push(output));
    }

    fn read(&mut self, socket: u64, reader: ProcessId) {
        let Self { streams, out } = self;
        streams.read_by(id(socket), reader, Nanos(2000), &mut |output| out.push(output));
    }

    fn ended(&mut self, socket: u64, end: u64) {
        let Self { streams, out } = self;
        streams.ended(id(socket), end, Nanos(3000), &mut |output| out.push(output));
    }

    fn gone(&mut self, process: ProcessId) {
        let Self { streams, out } = self;
        streams.process_gone(process, Nanos(4000), &mut |output| out.push(output));
    }

    fn passed(&mut self, nanos: u64) {
        let Self { streams, out } = self;
        streams.passed(Nanos(nanos), &mut |output| out.push(output));
    }

    fn finish(&mut self) {
        let Self { streams, out } = self;
        streams.finish(Nanos(5000), &mut |output| out.push(output));
    }

    /// The contents of one direction of a connection.
    fn bytes(&self, connection: ConnectionId, direction: Direction) -> Vec<u8> {
        let mut bytes = Vec::new();
        for output in &self.out {
            if let Output::Content(content) = output
                && (content.connection, content.direction) == (connection, direction)
            {
                assert_eq!(content.offset, bytes.len() as u64);
                bytes.extend_from_slice(&content.bytes);
            }
        }
        bytes
    }

    fn peers(&self) -> Vec<(ConnectionId, ProcessId)> {
        let peers = self.out.iter().filter_map(|output| match output {
            Output::Peer(peer) => Some((peer.connection, peer.peer)),
            _ => None,
        });
        peers.collect()
    }

    fn closed(&self) -> Vec<ConnectionClosed> {
        let closed = self.out.iter().filter_map(|output| match output {
            Output::Closed(closed, _) => Some(*closed),
            _ => None,
        });
        closed.collect()
    }

    fn contents(&self) -> usize {
        self.out.iter().filter(|output| matches!(output, Output::Content(_))).count()
    }
}

fn connection(process: ProcessId, socket: u64) -> ConnectionId {
    ConnectionId { process, object: socket, born: id(socket).born }
}

#[test]
fn two_streams_between_two_processes_become_one_connection_of_the_one_that_asks() {
    let mut run = Run::default();
    run.followed(1, AGENT, 2);
    run.write(1, AGENT, 0, QUESTION);
    assert_eq!(run.out, [], "nothing is told before its reader is known");
    run.read(1, SERVER);
    run.followed(3, SERVER, 4);
    run.write(3, SERVER, 0, ANSWER);
    run.read(3, AGENT);
    let expected = connection(AGENT, 1);
    assert_eq!(run.peers(), [(expected, SERVER)]);
    assert!(matches!(run.out[0], Output::Peer(_)));
    assert_eq!(run.bytes(expected, Direction::Sent), QUESTION);
    assert_eq!(run.bytes(expected, Direction::Received), ANSWER);
    run.ended(1, 100);
    assert_eq!(run.closed(), [], "the server may still answer");
    run.ended(3, ANSWER.len() as u64);
    let [closed] = run.closed()[..] else { panic!("closed once") };
    assert_eq!((closed.sent_end, closed.received_end), (100, ANSWER.len() as u64));
    assert_eq!(closed.cause, CloseCause::Released);
    assert!(run.streams.streams.is_empty() && run.streams.connections.is_empty());
}

#[test]
fn one_socket_pair_for_both_directions_is_one_connection_before_the_agent_has_read() {
    let mut run = Run::default();
    run.followed(1, AGENT, 2);
    run.write(1, AGENT, 0, QUESTION);
    run.read(1, SERVER);
    run.followed(2, SERVER, 1);
    run.write(2, SERVER, 0, ANSWER);
    assert_eq!(run.bytes(connection(AGENT, 1), Direction::Received), ANSWER);
}

#[test]
fn answer_that_is_told_before_its_question_belongs_to_the_one_that_asked() {
    let mut run = Run::default();
    run.followed(3, SERVER, 4);
    run.write(3, SERVER, 0, ANSWER);
    run.read(3, AGENT);
    run.followed(1, AGENT, 2);
    run.write(1, AGENT, 0, QUESTION);
    run.read(1, SERVER);
    let expected = connection(AGENT, 3);
    assert_eq!(run.peers(), [(expected, SERVER)]);
    assert_eq!(run.bytes(expected, Direction::Sent), QUESTION);
    assert_eq!(run.bytes(expected, Direction::Received), ANSWER);
}

#[test]
fn two_servers_of_one_agent_are_told_apart() {
    let other = ProcessId(30);
    let mut run = Run::default();
    for (socket, server) in [(1, SERVER), (5, other)] {
        run.followed(socket, AGENT, socket + 1);
        run.write(socket, AGENT, 0, QUESTION);
        run.read(socket, server);
    }
    for (socket, server) in [(7, other), (3, SERVER)] {
        run.followed(socket, server, socket + 1);
        run.write(socket, server, 0, ANSWER);
        run.read(socket, AGENT);
    }
    assert_eq!(run.peers(), [(connection(AGENT, 1), SERVER), (connection(AGENT, 5), other)]);
    for socket in [1, 5] {
        assert_eq!(run.bytes(connection(AGENT, socket), Direction::Received), ANSWER);
    }
}

#[test]
fn what_is_not_json_rpc_is_withdrawn_and_what_was_on_its_way_dropped() {
    for first in
        [&b"{\"level\":\"info\"}\n"[..], b"{\n", b"[]\n", b"{\"jsonrpc\":\"1.0\",\"method\":\"a\"}\n"]
    {
        let mut run = Run::default();
        run.followed(1, AGENT, 2);
        run.write(1, AGENT, 0, first);
        run.write(1, AGENT, first.len() as u64, QUESTION);
        run.read(1, SERVER);
        run.gone(AGENT);
        run.finish();
        assert_eq!(run.out, [Output::Withdrawn(id(1))], "{first:?}");
        assert_eq!(run.streams.waiting_bytes, 0);
    }
}

#[test]
fn blank_lines_and_batches_are_looked_through() {
    for first in [&b"\n \r\n"[..], b"[{\"jsonrpc\":\"2.0\",\"method\":\"a\"}]\n"] {
        let mut run = Run::default();
        run.write(1, AGENT, 0, first);
        run.write(1, AGENT, first.len() as u64, QUESTION);
        run.read(1, SERVER);
        assert_eq!(run.bytes(connection(AGENT, 1), Direction::Sent), [first, QUESTION].concat());
    }
}

#[test]
fn line_that_lost_bytes_decides_nothing_and_the_next_one_does() {
    let mut run = Run::default();
    run.write(1, AGENT, 0, &QUESTION[..10]);
    run.write(1, AGENT, 20, &QUESTION[20..]);
    run.read(1, SERVER);
    assert_eq!(run.contents(), 0);
    run.write(1, AGENT, QUESTION.len() as u64, QUESTION);
    assert_eq!(run.contents(), 3, "also what was there of the torn line");
}

#[test]
fn stream_whose_reader_never_shows_is_told_after_the_wait_and_its_reader_later() {
    let mut run = Run::default();
    run.write(1, AGENT, 0, QUESTION);
    run.passed(id(1).born.0 + LONGEST_WAIT_NANOS - 1);
    assert_eq!(run.out, []);
    run.passed(id(1).born.0 + LONGEST_WAIT_NANOS);
    assert_eq!(run.contents(), 1);
    assert_eq!(run.peers(), []);
    run.read(1, SERVER);
    assert_eq!(run.peers(), [(connection(AGENT, 1), SERVER)]);
}

#[test]
fn last_words_of_a_server_that_has_ended_go_where_it_alone_could_have_sent_them() {
    let mut run = Run::default();
    run.write(1, AGENT, 0, QUESTION);
    run.read(1, SERVER);
    run.write(3, SERVER, 0, ANSWER);
    run.gone(SERVER);
    assert_eq!(run.bytes(connection(AGENT, 1), Direction::Received), ANSWER);
    let [closed] = run.closed()[..] else { panic!("closed once") };
    assert_eq!((closed.cause, closed.received_end), (CloseCause::ProcessGone, ANSWER.len() as u64));
}

#[test]
fn socket_in_use_again_or_forgotten_by_the_kernel_closes_the_connection_before() {
    let mut run = Run::default();
    run.write(1, AGENT, 0, QUESTION);
    run.read(1, SERVER);
    let again = StreamId { socket: 1, born: Nanos(99) };
    let Run { streams, out } = &mut run;
    streams.followed(again, AGENT, 2, &mut |output| out.push(output));
    assert_eq!(run.closed().len(), 1);
    assert_eq!(run.closed()[0].connection, connection(AGENT, 1));
}

#[test]
fn what_is_held_is_bounded_and_what_is_too_much_is_told_or_counted() {
    let mut run = Run::default();
    // Judged, and without a reader: told without one.
    run.write(1, AGENT, 0, QUESTION);
    let piece = vec![b'x'; 16 << 10];
    for number in 0..400_u64 {
        run.write(1, AGENT, QUESTION.len() as u64 + number * piece.len() as u64, &piece);
        assert!(run.streams.waiting_bytes <= MAX_WAITING_BYTES);
    }
    assert_eq!(run.contents(), 401);
    // Lines that never end, of many streams.
    let mut run = Run::default();
    for number in 0..2000_u64 {
        run.write(number + 1, AGENT, 0, &[b"{", &piece[..]].concat());
        assert!(run.streams.waiting_bytes <= MAX_WAITING_BYTES);
    }
    assert_eq!(run.contents(), 0);
    assert!(run.out.iter().any(|output| matches!(output, Output::Unplaced { records: 1, .. })));
    // One line that is too long.
    let mut run = Run::default();
    for number in 0..70_u64 {
        run.write(1, AGENT, number * piece.len() as u64, &piece);
    }
    assert!(run.out.contains(&Output::Withdrawn(id(1))));
    // Many streams.
    let mut run = Run::default();
    for number in 0..MAX_STREAMS as u64 + 10 {
        run.write(number + 1, AGENT, 0, QUESTION);
        run.read(number + 1, SERVER);
    }
    assert_eq!((run.closed().len(), run.streams.streams.len()), (10, MAX_STREAMS));
}

#[test]
fn end_of_the_recording_tells_what_waited_and_closes_everything() {
    let mut run = Run::default();
    run.write(1, AGENT, 0, QUESTION);
    run.write(5, AGENT, 0, &QUESTION[..5]);
    run.finish();
    assert_eq!(run.contents(), 1);
    assert_eq!(run.closed().len(), 1);
    assert_eq!(run.closed()[0].cause, CloseCause::RecordingEnded);
}

proptest! {
    #[test]
    fn any_split_into_writes_gives_the_same_bytes_on_one_connection(
        cuts in prop::collection::vec((any::<bool>(), 1_usize..30), 0..60),
        read_at in 0_usize..60,
    ) {
        let sent = QUESTION.repeat(5);
        let received = ANSWER.repeat(5);
        let mut run = Run::default();
        run.followed(1, AGENT, 2);
        run.followed(3, SERVER, 4);
        let mut at = [0_usize; 2];
        for (number, (is_answer, length)) in cuts.into_iter().enumerate() {
            if number == read_at {
                run.read(1, SERVER);
                run.read(3, AGENT);
            }
            let (text, place, socket, writer) =
                if is_answer { (&received, 1, 3, SERVER) } else { (&sent, 0, 1, AGENT) };
            let end = (at[place] + length).min(text.len());
            if at[place] < end {
                run.write(socket, writer, at[place] as u64, &text[at[place]..end]);
                at[place] = end;
            }
        }
        run.read(1, SERVER);
        run.read(3, AGENT);
        for (text, place, socket, writer) in [(&sent, 0, 1, AGENT), (&received, 1, 3, SERVER)] {
            if at[place] < text.len() {
                run.write(socket, writer, at[place] as u64, &text[at[place]..]);
            }
        }
        prop_assert_eq!(run.peers().len(), 1);
        let (connection, peer) = run.peers()[0];
        prop_assert_eq!((connection.process, peer), (AGENT, SERVER));
        prop_assert_eq!(run.bytes(connection, Direction::Sent), sent);
        prop_assert_eq!(run.bytes(connection, Direction::Received), received);
    }

    #[test]
    fn no_order_of_anything_panics_or_leaves_bytes_behind(
        steps in prop::collection::vec((0_u8..7, 1_u64..6, 1_u32..5, 0_usize..4), 0..80),
    ) {
        let mut run = Run::default();
        for (what, socket, process, which) in steps {
            let process = ProcessId(process);
            match what {
                0 => run.followed(socket, process, 6 - socket),
                1 | 2 => {
                    let text: &[u8] = [QUESTION, ANSWER, b"{", b"x\n"][which];
                    run.write(socket, process, which as u64 * 7, text);
                }
                3 => run.read(socket, process),
                4 => run.ended(socket, 5),
                5 => run.gone(process),
                _ => run.passed(LONGEST_WAIT_NANOS * which as u64),
            }
        }
        let held: usize = run.streams.streams.values().map(|stream| stream.waiting_bytes).sum();
        prop_assert_eq!(held, run.streams.waiting_bytes);
        run.finish();
        prop_assert!(run.streams.connections.is_empty());
        let opened = run.out.iter().filter_map(|output| match output {
            Output::Content(content) => Some(content.connection),
            _ => None,
        });
        let opened: std::collections::BTreeSet<_> = opened.collect();
        prop_assert_eq!(opened.len(), run.closed().len());
    }
}
