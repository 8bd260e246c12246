//! Losses, and connections joined while they were open: nothing is spliced, nothing is paired
//! wrongly, and what was touched says so.

use crate::support::Step::{ReceivedGap, SentGap};
use crate::support::{assert_lines, received, run, sent};
use oisp_decode::{Protocol, Role};

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const FIRST: [&str; 5] = ["1 > GET /", "1 > end 0", "1 < 200", "1 < ok", "1 < end 2"];

fn after_first(lines: &[&'static str]) -> Vec<&'static str> {
    [&FIRST[..], lines].concat()
}

#[test]
fn a_gap_within_a_known_length_is_marked_where_it_is_and_the_next_message_is_whole() {
    assert_lines(
        &[
            sent("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
            SentGap(2),
            sent("fg"),
            SentGap(2),
            sent(GET),
            received(OK),
            received(OK),
        ],
        &[
            "1 > POST /",
            "1 > abc",
            "1 > gap 2",
            "1 > fg",
            "1 > gap 2",
            "1 > end 5 gap 4 at 3",
            "2 > GET /",
            "2 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn a_gap_within_a_chunk_keeps_the_framing() {
    assert_lines(
        &[
            sent(GET),
            received("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab"),
            ReceivedGap(3),
            received("fgh\r\n"),
            received("2\r\n"),
            ReceivedGap(2),
            received("\r\n0\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ab",
            "1 < gap 3",
            "1 < fgh",
            "1 < gap 2",
            "1 < end 5 gap 5 at 2",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn a_gap_across_chunks_ends_the_response_and_the_next_exchange_is_whole() {
    assert_lines(
        &[
            sent(GET),
            received("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab"),
            ReceivedGap(100),
            received("HTTP/1.1 200 OK\r\n is content here\r\n0\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ab",
            "1 ! FramingLost r52",
            "1 < gap 100",
            "1 < end 2 gap 140 at 2 truncated",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 ! Resynchronised r192",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_gap_across_chunks_is_left_behind_at_a_record_of_chunks_and_the_body_ends_where_it_ends() {
    assert_lines(
        &[
            sent(GET),
            received([CHUNKED, "3\r\none\r\n"].concat()),
            ReceivedGap(20),
            received("tail of a chunk\r\n"),
            received("5\r\nbeyond"),
            received("4;x=y\r\nfour\r\n4\r\nfi"),
            received("ve\r\n0\r\nT: 1\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < one",
            "1 ! FramingLost r55",
            "1 < gap 20",
            "1 ! Resynchronised r101",
            "1 < fourfive",
            "1 < end 11 T=1 gap 46 at 3",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn chunks_behind_a_gap_are_nobodys_when_another_answer_may_have_begun() {
    let run = run(&[
        sent(GET),
        received([CHUNKED, "3\r\none\r\n"].concat()),
        sent(GET),
        ReceivedGap(80),
        received("3\r\ntwo\r\n0\r\n\r\n"),
    ]);
    let lines = crate::support::lines(&run.events);
    assert!(!lines.iter().any(|line| line.contains("two")), "{lines:?}");
    assert!(lines.contains(&"1 < end 3 gap 80 at 3 truncated".to_owned()), "{lines:?}");
}

#[test]
fn compressed_content_stops_at_a_gap_with_what_was_certain() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"certain").unwrap();
    encoder.flush().unwrap();
    let half = encoder.get_ref().len();
    encoder.write_all(b" never to be shown").unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_lines(
        &[
            sent(GET),
            received(head),
            received(&body[..half]),
            ReceivedGap(1),
            received(&body[half + 1..]),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < certain",
            "1 < gap 1",
            "1 < end 7 gap 1 at 7",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn a_gap_beyond_the_end_of_a_body_takes_the_next_head_with_it() {
    assert_lines(
        &[
            sent(GET),
            received("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
            ReceivedGap(20),
            received("rest of the next head\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ab",
            "1 < gap 7",
            "1 < end 2 gap 7 at 2",
            "0 ! FramingLost r47",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 ! Resynchronised r85",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn a_lost_response_leaves_its_request_without_one_and_the_next_is_paired() {
    assert_lines(
        &[sent(GET), received(OK), sent(GET), ReceivedGap(40), sent(GET), received(OK)],
        &after_first(&[
            "2 > GET /",
            "2 > end 0",
            "2 ! FramingLost r40",
            "2 < end 0 gap 40 at 0 truncated",
            "3 > GET /",
            "3 > end 0",
            "3 < 200",
            "3 ! Resynchronised r80",
            "3 < ok",
            "3 < end 2",
        ]),
    );
}

#[test]
fn a_lost_request_leaves_its_response_alone_and_the_next_is_paired() {
    assert_lines(
        &[sent(GET), received(OK), SentGap(18), received(OK), sent(GET), received(OK)],
        &after_first(&[
            "0 ! FramingLost s18",
            "2 ! ResponseWithoutRequest r40",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
            "3 > GET /",
            "3 ! Resynchronised s36",
            "3 > end 0",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
        ]),
    );
}

#[test]
fn an_exchange_lost_in_both_directions_leaves_no_trace_but_problems() {
    assert_lines(
        &[sent(GET), received(OK), SentGap(18), ReceivedGap(40), sent(GET), received(OK)],
        &after_first(&[
            "0 ! FramingLost s18",
            "0 ! FramingLost r40",
            "2 > GET /",
            "2 ! Resynchronised s36",
            "2 > end 0",
            "2 < 200",
            "2 ! Resynchronised r80",
            "2 < ok",
            "2 < end 2",
        ]),
    );
}

#[test]
fn a_request_whose_hidden_predecessor_may_still_be_owed_an_answer_is_not_paired() {
    assert_lines(
        &[
            sent(GET),
            received(OK),
            SentGap(18),
            sent(GET),
            received([OK, OK].concat()),
            sent(GET),
            received(OK),
        ],
        &after_first(&[
            "0 ! FramingLost s18",
            "2 > GET /",
            "2 ! Resynchronised s36",
            "2 ! PairingUncertain s36",
            "2 < end 0 pairing lost",
            "2 > end 0",
            "3 ! ResponseWithoutRequest r40",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
            "4 ! ResponseWithoutRequest r80",
            "4 < 200",
            "4 < ok",
            "4 < end 2",
            "5 > GET /",
            "5 > end 0",
            "5 < 200",
            "5 < ok",
            "5 < end 2",
        ]),
    );
}

#[test]
fn pipelined_responses_after_a_loss_are_not_guessed() {
    let run = run(&[sent(GET.repeat(3)), received(OK), ReceivedGap(10), received(OK)]);
    let lines = crate::support::lines(&run.events);
    assert_eq!(lines[6..9], ["1 < 200", "1 < ok", "1 < end 2"]);
    assert_eq!(
        lines[9..],
        [
            "2 ! FramingLost r40",
            "2 < end 0 gap 10 at 0 truncated",
            "3 ! PairingUncertain r50",
            "3 < end 0 pairing lost",
            "4 ! ResponseWithoutRequest r50",
            "4 < 200",
            "4 ! Resynchronised r50",
            "4 < ok",
            "4 < end 2",
        ]
    );
}

#[test]
fn content_that_looks_like_a_request_is_not_taken_for_one_while_an_answer_is_due() {
    assert_lines(
        &[
            sent("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            SentGap(50),
            sent("POST /prompt HTTP/1.1\r\n\r\n"),
            received(OK),
            sent("GET /real HTTP/1.1\r\n\r\n"),
        ],
        &[
            "1 > POST /",
            "1 > ab",
            "1 ! FramingLost s52",
            "1 > gap 50",
            "1 > end 2 gap 50 at 2 truncated",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 > GET /real",
            "2 ! Resynchronised s127",
            "2 ! PairingUncertain s127",
            "2 < end 0 pairing lost",
            "2 > end 0",
        ],
    );
}

#[test]
fn a_connection_joined_in_a_response_pairs_from_the_next_request_on() {
    let run = run(&[received("tail of a stream\r\n"), received("more"), sent(GET), received(OK)]);
    assert_eq!((run.protocol, run.role), (Protocol::Http1, Some(Role::Client)));
    assert_eq!(
        crate::support::lines(&run.events),
        [
            "0 ! Unrecognised r0",
            "1 > GET /",
            "1 ! Resynchronised s0",
            "1 > end 0",
            "1 < 200",
            "1 ! Resynchronised r22",
            "1 < ok",
            "1 < end 2",
        ]
    );
}

#[test]
fn a_connection_joined_in_a_request_pairs_from_the_next_request_on() {
    let run = run(&[received("\"tail\": 1}"), sent(OK), received(GET), sent(OK)]);
    assert_eq!(run.role, Some(Role::Server));
    assert_eq!(
        crate::support::lines(&run.events),
        [
            "0 ! Unrecognised r0",
            "1 ! ResponseWithoutRequest s0",
            "1 < 200",
            "1 ! Resynchronised s0",
            "1 < ok",
            "1 < end 2",
            "2 > GET /",
            "2 ! Resynchronised r10",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ]
    );
}

#[test]
fn content_taken_for_the_first_message_of_a_joined_connection_does_not_hide_the_rest() {
    let run = run(&[received("tail"), received(GET), sent(GET), received(OK)]);
    assert_eq!(run.role, Some(Role::Client));
    assert_eq!(
        crate::support::lines(&run.events),
        [
            "0 ! Unrecognised r0",
            "1 > GET /",
            "1 ! Resynchronised r4",
            "1 ! PairingUncertain r4",
            "1 < end 0 pairing lost",
            "1 > end 0",
            "0 ! Unrecognised s0",
            "2 > GET /",
            "2 ! Resynchronised s0",
            "2 > end 0",
            "2 < 200",
            "2 ! Resynchronised r22",
            "2 < ok",
            "2 < end 2",
        ]
    );
}

#[test]
fn a_connection_joined_between_request_and_response_shows_the_response_alone() {
    assert_lines(
        &[received(OK), sent(GET), received(OK)],
        &[
            "1 ! ResponseWithoutRequest r0",
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
fn a_connection_whose_first_bytes_were_lost_is_taken_up_at_the_next_start() {
    assert_lines(
        &[SentGap(1000), received(OK), sent(GET), received(OK)],
        &[
            "0 ! FramingLost s0",
            "1 ! ResponseWithoutRequest r0",
            "1 < 200",
            "1 ! Resynchronised r0",
            "1 < ok",
            "1 < end 2",
            "2 > GET /",
            "2 ! Resynchronised s1000",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn a_lost_piece_of_a_large_prompt_never_joins_what_it_separated() {
    let prompt = "x".repeat(71_245);
    let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", prompt.len());
    let telemetry = "POST /telemetry HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    let run = run(&[
        sent(head),
        sent(&prompt[..20_000]),
        SentGap(51_245),
        sent(telemetry),
        received(OK),
        received(OK),
    ]);
    let lines = crate::support::lines(&run.events);
    assert_eq!(
        lines[2..6],
        ["1 > gap 51245", "1 > end 20000 gap 51245 at 20000", "2 > POST /telemetry", "2 > end 0"]
    );
}

#[test]
fn content_that_looks_like_a_frame_does_not_hide_the_messages_after_it() {
    // Of a gzip trailer: a DATA frame by its looks, of 512 KiB or of 8.
    for first in [b"\x08\0\0", b"\0\x20\0"] {
        let tail = [&first[..], b"\0\0\0\x04\xff\x03\0\0\0\0\0\0\0\0\0"].concat();
        let run = run(&[sent("POST /0"), SentGap(58), sent(tail), received(OK), sent(GET), received(OK)]);
        let lines = crate::support::lines(&run.events);
        assert_eq!(run.protocol, Protocol::Http1);
        assert_eq!(lines[lines.len() - 3..], ["2 < 200", "2 < ok", "2 < end 2"], "{lines:?}");
    }
}
