//! Answers that are captured before their request: one thread writes, another reads, and the read returns first.

use std::collections::BTreeMap;

use oisp_decode::{ConnectionDecoder, Direction, ExchangeId, HttpEvent, HttpEventKind, Limits, Nanos};
use proptest::prelude::*;

use crate::http2_frames::{self, Encoder};
use crate::properties::{self, cut};
use crate::support::{Step, assert_lines, lines, received, run, run_with, sent};
use crate::websocket;

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A record and when it was captured.
type Timed = (Step, Nanos);

/// Records with the times of their natural order.
fn timed(steps: Vec<Step>) -> Vec<Timed> {
    let steps = steps.into_iter().filter(|step| !bytes(step).is_empty());
    steps.enumerate().map(|(number, step)| (step, Nanos(number as u64 + 1))).collect()
}

fn bytes(step: &Step) -> &[u8] {
    let (Step::Sent(bytes) | Step::Received(bytes)) = step else { return &[] };
    bytes
}

fn is_sent(step: &Step) -> bool {
    matches!(step, Step::Sent(_))
}

/// Another order of records in which each direction keeps its own: of both, the next as `choices` says.
fn interleave(records: &[Timed], choices: &mut impl Iterator<Item = bool>) -> Vec<Timed> {
    let (sent, received): (Vec<Timed>, Vec<Timed>) =
        records.iter().cloned().partition(|(step, _)| is_sent(step));
    let (mut sent, mut received) = (sent.into_iter().peekable(), received.into_iter().peekable());
    let mut out = Vec::new();
    while sent.peek().is_some() || received.peek().is_some() {
        let choice = choices.next().unwrap_or(true);
        out.extend(if choice {
            sent.next().or_else(|| received.next())
        } else {
            received.next().or_else(|| sent.next())
        });
    }
    out
}

/// What is told of each direction of each exchange, times included, which say nothing of when it was told.
fn told(records: &[Timed]) -> BTreeMap<(ExchangeId, bool), Vec<HttpEvent>> {
    let mut decoder = ConnectionDecoder::new(Limits::default());
    let mut events = Vec::new();
    for (step, time) in records {
        let direction = if is_sent(step) { Direction::Sent } else { Direction::Received };
        decoder.data(direction, *time, bytes(step), &mut events);
    }
    decoder.close(Nanos(records.len() as u64 + 1), &mut events);
    oisp_decode::fuzz::check(&events);
    let mut told: BTreeMap<_, Vec<HttpEvent>> = BTreeMap::new();
    for event in events {
        let of_client = match &event.kind {
            HttpEventKind::RequestHead(_)
            | HttpEventKind::RequestBody(_)
            | HttpEventKind::RequestBodyGap { .. }
            | HttpEventKind::RequestEnd(_) => true,
            HttpEventKind::WebSocketMessage(message) => message.direction == Direction::Sent,
            HttpEventKind::Problem(problem) => problem.direction == Direction::Sent,
            _ => false,
        };
        told.entry((event.exchange, of_client)).or_default().push(event);
    }
    told
}

/// Every order of so many records of one direction and so many of the other.
fn orders(sent: u32, received: u32) -> impl Iterator<Item = Vec<bool>> {
    (0_u32..1 << (sent + received))
        .filter(move |order| order.count_ones() == sent)
        .map(move |order| (0..sent + received).map(|place| order >> place & 1 == 1).collect())
}

#[test]
fn an_answer_captured_before_its_request_belongs_to_it() {
    assert_lines(
        &[sent(GET), received(OK), received(OK), sent(GET), sent(GET), received(OK)],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
            "3 > GET /",
            "3 > end 0",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
        ],
    );
}

#[test]
fn an_answer_to_head_that_is_captured_before_it_has_no_body() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    assert_lines(
        &[
            sent(GET),
            received(OK),
            received(answer),
            sent("HEAD / HTTP/1.1\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 > HEAD /",
            "2 > end 0",
            "2 < 200",
            "2 < end 0",
            "3 > GET /",
            "3 > end 0",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
        ],
    );
}

#[test]
fn the_first_answer_of_a_connection_belongs_to_the_request_that_comes_while_it_goes_on() {
    let (first, rest) = OK.split_at(39);
    assert_lines(
        &[received(first), sent(GET), received(rest), sent(GET), received(OK)],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn a_whole_first_answer_is_told_without_a_request_and_what_comes_next_shows_whether_the_request_is_answered()
{
    let first = ["1 ! ResponseWithoutRequest r0", "1 < 200", "1 < ok", "1 < end 2", "2 > GET /", "2 > end 0"];
    let joined_late = ["2 < 200", "2 < ok", "2 < end 2"];
    assert_lines(&[received(OK), sent(GET), received(OK)], &[&first[..], &joined_late].concat());
    let was_its_answer = [
        "2 ! PairingUncertain s18",
        "2 < end 0 pairing lost",
        "3 > GET /",
        "3 > end 0",
        "3 < 200",
        "3 < ok",
        "3 < end 2",
    ];
    assert_lines(
        &[received(OK), sent(GET), sent(GET), received(OK)],
        &[&first[..], &was_its_answer].concat(),
    );
}

#[test]
fn an_answer_whose_request_never_comes_is_told_when_it_is_too_long_and_when_the_connection_ends() {
    let without_request = ["2 ! ResponseWithoutRequest r40", "2 < 200", "2 < ok", "2 < end 2"];
    let at_close = run(&[sent(GET), received(OK), received(OK)]);
    assert_eq!(lines(&at_close.events)[5..], without_request);

    let limits = Limits { early_response_bytes: 50, ..Limits::default() };
    let mut decoder = ConnectionDecoder::new(limits);
    let mut events = Vec::new();
    decoder.data(Direction::Sent, Nanos(1), GET.as_bytes(), &mut events);
    decoder.data(Direction::Received, Nanos(2), OK.as_bytes(), &mut events);
    decoder.data(Direction::Received, Nanos(3), OK.as_bytes(), &mut events);
    assert_eq!(lines(&events)[5..], without_request);
    assert!(events[5..].iter().all(|event| event.time == Nanos(3)));
}

#[test]
fn an_answer_before_a_known_loss_of_requests_is_none_of_the_request_behind_it() {
    let run = run(&[sent(GET), received(OK), received(OK), Step::SentGap(18), sent(GET), received(OK)]);
    let lines = lines(&run.events);
    assert_eq!(lines[5..9], ["2 ! ResponseWithoutRequest r40", "2 < 200", "2 < ok", "2 < end 2"]);
    assert_eq!(lines[lines.len() - 3..], ["3 < 200", "3 < ok", "3 < end 2"]);
}

#[test]
fn what_a_server_answers_without_a_request_is_told_at_once() {
    let mut decoder = ConnectionDecoder::new(Limits::default());
    let mut events = Vec::new();
    decoder.data(Direction::Received, Nanos(1), GET.as_bytes(), &mut events);
    decoder.data(Direction::Sent, Nanos(2), OK.as_bytes(), &mut events);
    decoder.data(Direction::Sent, Nanos(3), OK.as_bytes(), &mut events);
    assert_eq!(lines(&events)[5], "2 ! ResponseWithoutRequest s40");
}

#[test]
fn a_websocket_is_the_same_in_whatever_order_both_directions_of_its_opening_are_captured() {
    let (request, rest) = websocket::REQUEST.split_at(11);
    let answer = websocket::response("");
    let (head, tail) = answer.split_at(20);
    let frame = |payload: &[u8]| websocket::frame(0x81, None, payload);
    let with_frames = [tail.as_bytes(), &frame(b"one"), &frame(b"two")[..2]].concat();
    let natural = timed(vec![
        sent(request),
        sent(rest),
        received(head),
        received(with_frames),
        received(&frame(b"two")[2..]),
        sent(websocket::frame(0x81, Some([1, 2, 3, 4]), b"three")),
    ]);
    let expected = told(&natural);
    assert!(!expected.values().flatten().any(|event| matches!(event.kind, HttpEventKind::Problem(_))));
    // The client begins with the new protocol when it has the whole answer.
    for order in orders(3, 3).filter(|order| {
        let last_sent = order.iter().rposition(|sent| *sent);
        order[..last_sent.unwrap_or(0)].iter().filter(|sent| !**sent).count() >= 2
    }) {
        assert_eq!(told(&interleave(&natural, &mut order.iter().copied())), expected, "{order:?}");
    }
}

#[test]
fn streams_are_the_same_in_whatever_order_both_directions_are_captured() {
    let [mut client, mut server] = [Encoder::default(), Encoder::default()];
    let request = |client: &mut Encoder, stream, method| {
        let fields =
            [(":method", method), (":scheme", "https"), (":path", "/x"), (":authority", "a"), ("b", "c")];
        let flags = http2_frames::END_HEADERS | http2_frames::END_STREAM;
        http2_frames::frame(http2_frames::HEADERS, flags, stream, client.block(&fields))
    };
    let answer = |server: &mut Encoder, stream, length| {
        let block = server.block(&[(":status", "200"), ("content-length", length), ("b", "c")]);
        http2_frames::frame(http2_frames::HEADERS, http2_frames::END_HEADERS, stream, block)
    };
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
    let first = answer(&mut server, 1, "2");
    let to_head = answer(&mut server, 3, "7");
    let (whole, cut) = to_head.split_at(5);
    let natural = timed(vec![
        sent(preface),
        sent(request(&mut client, 1, "GET")),
        sent(request(&mut client, 3, "HEAD")),
        received(settings),
        received([&first[..], &http2_frames::data(1, 0, b"o"), whole].concat()),
        received([cut, &http2_frames::data(1, http2_frames::END_STREAM, b"k")].concat()),
        received(http2_frames::data(3, http2_frames::END_STREAM, b"")),
    ]);
    let expected = told(&natural);
    assert!(!expected.values().flatten().any(|event| matches!(event.kind, HttpEventKind::Problem(_))));
    for order in orders(3, 4) {
        assert_eq!(told(&interleave(&natural, &mut order.iter().copied())), expected, "{order:?}");
    }
}

#[test]
fn an_http2_answer_whose_request_never_comes_is_told_when_it_is_too_long_and_when_the_connection_ends() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    let block = Encoder::default().block(&[(":status", "200")]);
    let head = http2_frames::frame(http2_frames::HEADERS, http2_frames::END_HEADERS, 5, block);
    let steps = [
        sent(preface),
        received([0, 0, 0, 4, 0, 0, 0, 0, 0]),
        received(head),
        received(http2_frames::data(5, http2_frames::END_STREAM, b"hello")),
    ];
    let limits = Limits { early_response_bytes: 0, ..Limits::default() };
    for run in [run(&steps), run_with(limits, &steps)] {
        let lines = lines(&run.events);
        assert_eq!(lines, ["5 < 200", "5 ! ResponseWithoutRequest r9", "5 < hello", "5 < end 5"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The client waits for each answer; of the first, something is captured after something of its request, as
    /// else the connection may have been joined between both.
    #[test]
    fn the_order_in_which_both_directions_are_captured_makes_no_difference(
        exchanges in proptest::collection::vec(properties::exchange(false), 1..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        choices in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let mut natural = Vec::new();
        let mut ends = Vec::new();
        for (number, exchange) in exchanges.iter().enumerate() {
            natural.extend(cut(&exchange.steps(number), &cuts, 0));
            ends.push(natural.iter().filter(|step| !bytes(step).is_empty()).count());
        }
        let natural = timed(natural);
        let mut choices = choices.into_iter();
        let mut captured: Vec<Timed> = Vec::new();
        for end in ends {
            let turn = interleave(&natural[captured.len()..end], &mut choices);
            let is_answered_first = turn.iter().skip_while(|(step, _)| !is_sent(step)).all(|(step, _)| is_sent(step));
            if captured.is_empty() && is_answered_first {
                captured.extend_from_slice(&natural[..end]);
            } else {
                captured.extend(turn);
            }
        }
        prop_assert_eq!(told(&captured), told(&natural));
    }
}
