use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use super::*;

mod properties;

const SENT: Direction = Direction::Sent;
const RECEIVED: Direction = Direction::Received;
const SECOND: u64 = 1_000_000_000;

fn half(context: u64, born: u64) -> ConnectionId {
    ConnectionId { process: ProcessId(7), object: context, born: Nanos(born) }
}

fn socket(number: u16) -> SocketIdentity {
    SocketIdentity {
        socket: 0xffff_8880_0000_0000 + u64::from(number) * 64,
        local: SocketAddr::from(([127, 0, 0, 1], 40_000 + number)),
        remote: SocketAddr::from(([127, 0, 0, 1], 443)),
    }
}

/// The halves under test, and what came out of them.
#[derive(Default)]
struct Bench {
    halves: Halves,
    out: Vec<Output>,
    kernel_ends: BTreeMap<ConnectionId, u64>,
}

impl Bench {
    fn content(&mut self, id: ConnectionId, direction: Direction, offset: u64, text: &str, time: u64) {
        let generation = generation(&id);
        let content = Content {
            connection: id,
            thread: 1,
            direction,
            offset,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            time: Nanos(time),
            function: "seal",
        };
        self.halves.content(generation, content, &mut |output| self.out.push(output));
    }

    fn bound(&mut self, half: ConnectionId, direction: Direction, number: u16, time: u64) {
        let ends = self.kernel_ends.clone();
        let end = |id: &ConnectionId, _, _| ends.get(id).copied();
        self.halves.bound(&uses(half, direction, number, time), &end, &mut |output| self.out.push(output));
    }

    fn likely(&mut self, half: ConnectionId, direction: Direction, number: u16, time: u64) {
        self.halves.likely(&uses(half, direction, number, time), &mut |output| self.out.push(output));
    }

    fn ended(&mut self, id: ConnectionId, end: u64, time: u64) {
        self.halves.ended(&id, end, Nanos(time), &mut |output| self.out.push(output));
    }

    fn passed(&mut self, time: u64) {
        self.halves.passed(Nanos(time), &mut |output| self.out.push(output));
    }

    fn finish(&mut self, time: u64) {
        self.halves.finish(Nanos(time), &mut |output| self.out.push(output));
    }

    /// What came out since the last time, in a few words: `>2@0 text` is content sent on the connection of context 2.
    fn said(&mut self) -> Vec<String> {
        self.out
            .drain(..)
            .filter_map(|output| match output {
                Output::Socket(told) => Some(format!(
                    "socket {} {}",
                    told.connection.object,
                    told.ends.unwrap().local.port() - 40_000
                )),
                Output::Content(content) => Some(format!(
                    "{}{}@{} {}",
                    if content.direction == SENT { ">" } else { "<" },
                    content.connection.object,
                    content.offset,
                    String::from_utf8_lossy(&content.bytes)
                )),
                Output::Closed(closed, _) => Some(format!(
                    "end {} {} {}",
                    closed.connection.object, closed.sent_end, closed.received_end
                )),
                Output::Forgotten(_) => None,
            })
            .collect()
    }
}

fn uses(half: ConnectionId, direction: Direction, number: u16, time: u64) -> SocketUse {
    SocketUse { half, generation: generation(&half), direction, socket: socket(number), time: Nanos(time) }
}

/// Every key has its own, but for one that is seen anew: those of the same hundred.
fn generation(id: &ConnectionId) -> u32 {
    (id.born.0 / 100) as u32 + 1
}

#[test]
fn halves_of_a_socket_are_one_connection_that_ends_with_both() {
    let mut bench = Bench::default();
    let (sent, received) = (half(1, 100), half(2, 200));
    bench.content(sent, SENT, 0, "ask", 101);
    assert_eq!(bench.said(), [""; 0], "its socket is not known");
    bench.bound(sent, SENT, 5, 102);
    assert_eq!(bench.said(), ["socket 1 5", ">1@0 ask"]);
    bench.bound(received, RECEIVED, 5, 201);
    bench.content(received, RECEIVED, 0, "answer", 202);
    assert_eq!(bench.said(), ["<1@0 answer"]);
    bench.content(sent, SENT, 3, "more", 203);
    bench.ended(sent, 7, 204);
    bench.content(received, RECEIVED, 6, "still", 205);
    assert_eq!(bench.said(), [">1@3 more", "<1@6 still"], "half of it is closed");
    bench.ended(received, 11, 206);
    assert_eq!(bench.said(), ["end 1 7 11"]);
    assert_eq!(bench.halves.statistics(), JoinStatistics { joined: 1, one_sided: 0 });
    assert_eq!(bench.halves.halves.len() + bench.halves.connections.len() + bench.halves.by_socket.len(), 0);
}

#[test]
fn answer_waits_for_its_question_and_both_come_in_their_order() {
    let mut bench = Bench::default();
    let (sent, received) = (half(1, 100), half(2, 200));
    bench.content(sent, SENT, 0, "ask", 101);
    bench.bound(received, RECEIVED, 5, 201);
    bench.content(received, RECEIVED, 0, "answer", 202);
    bench.content(sent, SENT, 3, "again", 203);
    assert_eq!(bench.said(), [""; 0]);
    bench.bound(sent, SENT, 5, 204);
    assert_eq!(bench.said(), ["socket 2 5", ">2@0 ask", "<2@0 answer", ">2@3 again"]);
}

#[test]
fn half_whose_socket_stays_unknown_is_a_connection_of_its_own_and_is_counted() {
    let mut bench = Bench::default();
    let sent = half(1, 100);
    bench.content(sent, SENT, 0, "ask", SECOND);
    bench.passed(3 * SECOND - 1);
    assert_eq!(bench.said(), [""; 0]);
    bench.passed(3 * SECOND);
    assert_eq!(bench.said(), [">1@0 ask"]);
    bench.bound(sent, SENT, 5, 3 * SECOND + 1);
    bench.content(sent, SENT, 3, "more", 3 * SECOND + 2);
    assert_eq!(bench.said(), [">1@3 more"]);
    bench.ended(sent, 7, 3 * SECOND + 3);
    assert_eq!(bench.said(), ["end 1 7 0"]);
    assert_eq!(bench.halves.statistics(), JoinStatistics { joined: 0, one_sided: 1 });
}

#[test]
fn received_half_of_a_known_socket_is_told_without_the_other_and_joined_with_it_later() {
    let mut bench = Bench::default();
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "ask", 202);
    bench.passed(202 + 2 * SECOND);
    assert_eq!(bench.said(), ["socket 2 5", "<2@0 ask"]);
    bench.content(half(1, 300), SENT, 0, "answer", 3 * SECOND);
    bench.bound(half(1, 300), SENT, 5, 3 * SECOND);
    assert_eq!(bench.said(), [">2@0 answer"]);
}

#[test]
fn what_is_held_is_bounded_and_the_oldest_gives_way() {
    let mut bench = Bench::default();
    let piece = "x".repeat(16_384 - waiting::PIECE_BYTES);
    for number in 0..1000 {
        bench.content(half(number, 100 * number), SENT, 0, &piece, 100 * number);
    }
    assert!(bench.halves.waiting.bytes() <= MAX_HELD_BYTES);
    let told = bench.said();
    assert_eq!(told.len(), 1000 - MAX_HELD_BYTES / 16_384);
    assert!(told[0].starts_with(">0@0 x") && told[1].starts_with(">1@0 x"));
}

#[test]
fn pieces_of_one_byte_are_bounded_by_what_they_take_and_not_by_their_bytes() {
    let mut bench = Bench::default();
    let most = MAX_HELD_BYTES / (waiting::PIECE_BYTES + 1);
    for number in 0..most as u64 {
        bench.content(half(1, 100), SENT, number, "x", 101 + number);
    }
    assert_eq!(bench.out.len(), 0);
    bench.content(half(1, 100), SENT, most as u64, "x", 101 + most as u64);
    assert_eq!(bench.out.len(), most + 1);
}

#[test]
fn work_for_a_record_does_not_grow_with_the_halves_that_wait_or_linger() {
    let mut bench = Bench::default();
    // Far more than may be held, each on a context of its own, and the time told after each.
    let piece = "x".repeat(200);
    let number_of_halves = 30_000_u64;
    for number in 0..number_of_halves {
        bench.content(half(number, 100 * number), SENT, 0, &piece, 100 * number);
        bench.passed(100 * number);
    }
    let given_up = number_of_halves - (MAX_HELD_BYTES / (waiting::PIECE_BYTES + 200)) as u64;
    assert_eq!(bench.halves.statistics().one_sided, given_up);
    assert_eq!(bench.halves.looked_at, given_up, "only those that gave way");
    bench.finish(100 * number_of_halves);

    let mut bench = Bench::default();
    for number in 0..2000 {
        let id = half(number, 100 * number + 100);
        bench.bound(id, SENT, number as u16, 100 * number + 100);
        bench.halves.socket_ended(&id, Nanos(100 * number + 100));
        bench.passed(100 * number + 100);
    }
    assert_eq!(bench.halves.looked_at, 0, "none was due");
    for time in 0..10_000 {
        bench.passed(SECOND + time * 100);
    }
    assert_eq!(bench.halves.looked_at, 2000, "each once");
    assert_eq!(bench.out.len(), 2000);
}

#[test]
fn work_for_a_key_does_not_grow_with_those_that_its_context_had_before() {
    let mut bench = Bench::default();
    let number_of_keys = 5000;
    for number in 1..=number_of_keys {
        bench.content(half(1, 100 * number), SENT, 0, "x", 100 * number);
    }
    assert!(bench.halves.looked_at <= number_of_keys * MAX_EARLIER as u64);
}

#[test]
fn half_without_a_socket_is_over_once_its_context_has_another_key_or_the_same_one_anew() {
    for step in [1, 100] {
        let mut bench = Bench::default();
        for number in 0..5 {
            bench.content(half(1, 100 + step * number), SENT, 0, "ask", 100 + step * number);
        }
        bench.passed(100 + 4 * step + 2 * SECOND);
        assert_eq!(bench.out.len(), 5 + 4, "five told, and all but the last over");
        let later = 5 * SECOND;
        bench.content(half(1, later), SENT, 0, "ask", later);
        assert_eq!(bench.halves.connections.len(), 0);
        assert_eq!(bench.halves.halves.len(), 1);
    }
    // The same key anew, after the one before was told.
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 100);
    bench.passed(100 + 2 * SECOND);
    let generation = generation(&half(1, 100));
    let content = Content {
        connection: half(1, 3 * SECOND),
        thread: 1,
        direction: SENT,
        offset: 0,
        bytes: Bytes::from_static(b"later"),
        time: Nanos(3 * SECOND),
        function: "seal",
    };
    bench.halves.content(generation, content, &mut |output| bench.out.push(output));
    assert_eq!(bench.said(), [">1@0 ask", "end 1 3 0"]);
}

#[test]
fn contexts_that_serve_other_connections_later_do_not_mix_them() {
    let mut bench = Bench::default();
    for round in 0..3 {
        let at = 1000 * round;
        // The directions change places.
        let (first, second) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        let (sent, received) = (half(first, at + 100), half(second, at + 200));
        let number = round as u16;
        bench.content(sent, SENT, 0, "ask", at + 101);
        bench.bound(sent, SENT, number, at + 102);
        bench.bound(received, RECEIVED, number, at + 201);
        bench.content(received, RECEIVED, 0, "answer", at + 202);
        let asked = format!(">{first}@0 ask");
        let answered = format!("<{first}@0 answer");
        let end = format!("end {} 3 6", if round % 2 == 0 { 2 } else { 1 });
        let said = bench.said();
        assert!(said.contains(&asked) && said.contains(&answered), "{said:?}");
        assert_eq!(said.contains(&end), round > 0, "{said:?}");
    }
}

#[test]
fn new_key_of_a_direction_goes_on_where_the_one_before_ended_by_the_kernels_account() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    // Ten bytes at the end of it were lost.
    bench.kernel_ends.insert(half(1, 100), 13);
    bench.content(half(3, 300), SENT, 0, "more", 301);
    bench.bound(half(3, 300), SENT, 5, 302);
    assert_eq!(bench.said(), ["socket 1 5", ">1@0 ask", ">1@13 more"]);
}

#[test]
fn answer_under_the_key_before_is_told_though_its_question_is_not_known() {
    let mut bench = Bench::default();
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    assert_eq!(bench.said(), [""; 0]);
    bench.content(half(2, 300), RECEIVED, 0, "more", 301);
    bench.bound(half(2, 300), RECEIVED, 5, 302);
    assert_eq!(bench.said(), ["socket 2 5", "<2@0 answer", "<2@6 more"]);
    assert_eq!(bench.halves.news(Nanos(303), true), None);
}

#[test]
fn content_from_before_a_connection_began_anew_is_dropped_and_counted() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 6, "answer", 202);
    bench.bound(half(1, 150), SENT, 5, 302);
    bench.said();
    bench.content(half(2, 200), RECEIVED, 0, "before", 303);
    bench.content(half(2, 200), RECEIVED, 12, "behind", 304);
    assert_eq!(bench.said(), ["socket 1 5", "<1@0 behind"]);
    let news = bench.halves.news(Nanos(305), false);
    let process = Some(ProcessId(7));
    assert_eq!(news, Some(JoinNews { one_sided: 0, dropped_records: 1, dropped_bytes: 6, process }));
}

#[test]
fn key_that_serves_both_directions_gets_into_no_other_connection_and_leaves_nothing_behind() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.content(half(1, 100), RECEIVED, 0, "forged", 102);
    bench.likely(half(1, 100), RECEIVED, 6, 103);
    bench.bound(half(1, 100), RECEIVED, 6, 104);
    bench.bound(half(1, 100), SENT, 5, 105);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    bench.content(half(1, 100), RECEIVED, 0, "forged", 203);
    bench.finish(204);
    assert_eq!(bench.said(), ["socket 1 5", ">1@0 ask", "<1@0 answer", "end 1 3 6"]);
    assert!(bench.halves.likely.is_empty());
    let news = bench.halves.news(Nanos(205), true).unwrap();
    assert_eq!((news.one_sided, news.dropped_records, news.dropped_bytes), (0, 2, 12));
}

#[test]
fn each_half_is_told_to_be_over_exactly_once_also_one_that_another_key_follows() {
    let mut bench = Bench::default();
    let mut all = BTreeSet::new();
    for number in 1..=50 {
        // A key update in both directions, and a context that only evidence was heard of.
        for (context, direction) in [(1, SENT), (2, RECEIVED)] {
            let id = half(context, 1000 * number);
            bench.bound(id, direction, 5, 1000 * number);
            bench.content(id, direction, 0, "x", 1000 * number + 1);
            all.insert(id);
        }
        let likely = half(3, 1000 * number);
        bench.likely(likely, SENT, 6, 1000 * number + 2);
        all.insert(likely);
    }
    assert_eq!(bench.halves.halves.len(), 3);
    bench.finish(60_000);
    let mut over = Vec::new();
    for output in &bench.out {
        match output {
            Output::Closed(_, ends) => over.extend(ends.iter().map(|end| end.half)),
            Output::Forgotten(forgotten) => over.push(forgotten.half),
            Output::Socket(_) | Output::Content(_) => {}
        }
    }
    over.sort_unstable();
    assert_eq!(over, all.into_iter().collect::<Vec<_>>());
}

#[test]
fn connection_that_a_new_received_key_goes_on_with_does_not_end_in_the_silence_after_it() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    bench.bound(half(2, 300), RECEIVED, 5, 301);
    bench.said();
    bench.passed(301 + 10 * SECOND);
    bench.content(half(2, 300), RECEIVED, 0, "more", 302 + 10 * SECOND);
    assert_eq!(bench.said(), ["<1@6 more"]);
    bench.halves.socket_ended(&half(2, 300), Nanos(303 + 10 * SECOND));
    bench.passed(303 + 11 * SECOND);
    assert_eq!(bench.said(), ["end 1 3 10"]);
}

#[test]
fn key_that_is_used_again_after_another_followed_it_ends_the_connection_that_went_on() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    bench.content(half(3, 300), SENT, 0, "more", 301);
    bench.bound(half(3, 300), SENT, 5, 302);
    bench.content(half(1, 100), SENT, 3, "again", 303);
    assert_eq!(bench.said(), ["socket 1 5", ">1@0 ask", ">1@3 more"]);
    bench.passed(303 + 2 * SECOND);
    assert_eq!(bench.said(), ["end 1 7 0", ">1@3 again"]);
    bench.content(half(3, 300), SENT, 4, "rest", 3 * SECOND);
    bench.finish(4 * SECOND);
    assert_eq!(bench.said(), [">3@4 rest", "end 1 8 0", "end 3 8 0"]);
    let left = (bench.halves.halves.len(), bench.halves.connections.len(), bench.halves.by_socket.len());
    assert_eq!(left, (0, 0, 0));
    let news = bench.halves.news(Nanos(0), true).unwrap();
    assert_eq!((news.one_sided, news.dropped_records), (2, 0));
}

#[test]
fn same_key_seen_anew_has_lost_records_and_is_another_connection_in_both_directions() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    bench.said();
    bench.content(half(1, 150), SENT, 0, "later", 301);
    bench.bound(half(1, 150), SENT, 5, 302);
    bench.content(half(2, 200), RECEIVED, 6, "this", 303);
    assert_eq!(bench.out.len(), 4);
    let Output::Content(content) = &bench.out[2] else { panic!("content: {:?}", bench.out) };
    assert_eq!(content.connection, half(1, 150));
    assert_eq!(bench.said(), ["end 1 3 6", "socket 1 5", ">1@0 later", "<1@0 this"]);
}

#[test]
fn evidence_that_does_not_decide_alone_does_with_the_other_direction() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.likely(half(1, 100), SENT, 5, 102);
    bench.likely(half(4, 150), RECEIVED, 6, 151);
    assert_eq!(bench.said(), [""; 0]);
    bench.likely(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    assert_eq!(bench.said(), ["socket 1 5", ">1@0 ask", "<1@0 answer"]);
    bench.content(half(3, 300), SENT, 0, "other", 301);
    bench.bound(half(3, 300), SENT, 6, 302);
    bench.content(half(4, 150), RECEIVED, 0, "else", 303);
    assert_eq!(bench.said(), ["socket 3 6", ">3@0 other", "<3@0 else"]);
}

#[test]
fn connection_whose_other_end_is_done_is_over_when_nothing_more_comes() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    bench.ended(half(2, 200), 6, 203);
    bench.said();
    bench.passed(202 + SECOND);
    assert_eq!(bench.said(), [""; 0]);
    bench.passed(203 + SECOND);
    assert_eq!(bench.said(), ["end 1 3 6"]);
}

#[test]
fn socket_that_ends_ends_its_connection_after_what_was_still_to_be_opened() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(1, 100), SENT, 5, 102);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    bench.halves.socket_ended(&half(2, 200), Nanos(203));
    bench.content(half(2, 200), RECEIVED, 6, "late", 203 + SECOND / 2);
    bench.said();
    bench.passed(203 + SECOND);
    assert_eq!(bench.said(), [""; 0]);
    bench.passed(203 + 2 * SECOND);
    assert_eq!(bench.said(), ["end 1 3 10"]);
}

#[test]
fn end_of_the_process_and_of_the_recording_deliver_what_is_held() {
    let mut bench = Bench::default();
    bench.content(half(1, 100), SENT, 0, "ask", 101);
    bench.bound(half(2, 200), RECEIVED, 5, 201);
    bench.content(half(2, 200), RECEIVED, 0, "answer", 202);
    let deliver = &mut |output| bench.out.push(output);
    bench.halves.process_gone(ProcessId(8), Nanos(203), deliver);
    assert_eq!(bench.said(), [""; 0]);
    let deliver = &mut |output| bench.out.push(output);
    bench.halves.process_gone(ProcessId(7), Nanos(204), deliver);
    assert_eq!(bench.said(), [">1@0 ask", "socket 2 5", "<2@0 answer", "end 1 3 0", "end 2 0 6"]);
    bench.content(half(3, 300), SENT, 0, "ask", 301);
    bench.finish(302);
    assert_eq!(bench.said(), [">3@0 ask", "end 3 3 0"]);
    assert_eq!(bench.halves.halves.len() + bench.halves.waiting.bytes(), 0);
}
