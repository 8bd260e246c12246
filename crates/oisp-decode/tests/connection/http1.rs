//! HTTP/1 connections, whole and hostile, event by event.

use crate::support::{Step, assert_lines, gzip, lines, received, run, run_with, sent};
use oisp_decode::{Direction, ExchangeId, HttpEventKind, HttpVersion, Limits, Nanos, Protocol, Role};
use std::io::Write as _;

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EVENTS: [&str; 5] = ["1 > GET /", "1 > end 0", "1 < 200", "1 < ok", "1 < end 2"];

#[test]
fn a_request_with_its_response_is_one_exchange_with_all_its_parts() {
    let run = run(&[
        sent("POST /v1/messages?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"),
        sent("llo"),
        received("HTTP/1.0 200 Fine\r\nX: 1\r\ncontent-length: 2\r\n\r\n"),
        received("ok"),
    ]);
    assert_eq!((run.protocol, run.role), (Protocol::Http1, Some(Role::Client)));
    let [
        HttpEventKind::RequestHead(request),
        HttpEventKind::RequestBody(_),
        HttpEventKind::RequestBody(_),
        HttpEventKind::RequestEnd(request_end),
        HttpEventKind::ResponseHead(response),
        HttpEventKind::ResponseBody(_),
        HttpEventKind::ResponseEnd(response_end),
    ] = run.events.iter().map(|event| &event.kind).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", run.events)
    };
    assert_eq!((request.target.as_str(), request.version), ("/v1/messages?b=1", HttpVersion::Http11));
    assert_eq!(request.headers.get("host").as_deref(), Some("x"));
    assert_eq!((request_end.first_byte, request_end.last_byte), (Some(Nanos(1)), Some(Nanos(2))));
    assert_eq!((request_end.wire_bytes, request_end.decoded_bytes), (5, 5));
    assert!(request_end.completeness.is_complete());
    assert_eq!((response.reason.as_str(), response.version), ("Fine", HttpVersion::Http10));
    assert_eq!((response.first_byte, response_end.first_byte), (Nanos(3), Some(Nanos(4))));
}

#[test]
fn a_recorded_server_has_its_requests_in_what_it_receives() {
    let run = run(&[received(GET), sent(OK)]);
    assert_eq!(run.role, Some(Role::Server));
    assert_eq!(lines(&run.events), EVENTS);
}

#[test]
fn keep_alive_and_pipelining_count_up() {
    let expected = [
        "1 > GET /",
        "1 > end 0",
        "2 > GET /",
        "2 > end 0",
        "1 < 200",
        "1 < ok",
        "1 < end 2",
        "2 < 200",
        "2 < ok",
        "2 < end 2",
        "3 > GET /",
        "3 > end 0",
        "3 < 200",
        "3 < ok",
        "3 < end 2",
    ];
    assert_lines(
        &[sent([GET, GET].concat()), received([OK, OK].concat()), sent(GET), received(OK)],
        &expected,
    );
}

#[test]
fn chunked_bodies_end_with_their_trailers_and_extensions_are_skipped() {
    assert_lines(
        &[
            sent(
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0A \r\n0123456789\r\n0\r\n\r\n",
            ),
            received(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n000\r\nX-Sum: 7\r\n\r\n",
            ),
        ],
        &["1 > POST /", "1 > abc0123456789", "1 > end 13", "1 < 200", "1 < ok", "1 < end 2 X-Sum=7"],
    );
}

#[test]
fn responses_without_a_body_do_not_eat_the_next_one() {
    let head = "HEAD / HTTP/1.1\r\n\r\n";
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 100\r\n\r\n");
    assert_lines(
        &[
            sent(head),
            received(answer("200 OK")),
            sent(GET),
            received(answer("204 X")),
            sent(GET),
            received(answer("304 X")),
        ],
        &[
            "1 > HEAD /",
            "1 > end 0",
            "1 < 200",
            "1 < end 0",
            "2 > GET /",
            "2 > end 0",
            "2 < 204",
            "2 < end 0",
            "3 > GET /",
            "3 > end 0",
            "3 < 304",
            "3 < end 0",
        ],
    );
}

#[test]
fn informational_responses_come_before_the_final_one() {
    assert_lines(
        &[
            sent("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
            received("HTTP/1.1 100 Continue\r\n\r\n"),
            sent("x"),
            received(["HTTP/1.1 103 Early Hints\r\nLink: y\r\n\r\n", OK].concat()),
        ],
        &[
            "1 > POST /",
            "1 < informational 100",
            "1 > x",
            "1 > end 1",
            "1 < informational 103",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
        ],
    );
}

#[test]
fn a_body_without_length_lasts_until_the_connection_ends() {
    assert_lines(
        &[sent(GET), received("HTTP/1.1 200 OK\r\n\r\nab"), received("cd")],
        &["1 > GET /", "1 > end 0", "1 < 200", "1 < abcd", "1 < end 4"],
    );
}

#[test]
fn what_is_open_when_the_connection_ends_is_truncated() {
    assert_lines(
        &[sent(GET), received("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")],
        &["1 > GET /", "1 > end 0", "1 < 200", "1 < ab", "1 < end 2 truncated"],
    );
    assert_lines(&[sent(GET)], &["1 > GET /", "1 > end 0", "1 < end 0 truncated"]);
    assert_lines(
        &[sent(GET), received("HTTP/1.1 200 OK\r\nConte")],
        &["1 > GET /", "1 > end 0", "1 ! TruncatedHead r0", "1 < end 0 truncated"],
    );
}

#[test]
fn an_answer_before_the_request_has_ended_belongs_to_it() {
    assert_lines(
        &[
            sent("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"),
            received("HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n"),
            sent("cd"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > POST /",
            "1 > ab",
            "1 < 413",
            "1 < end 0",
            "1 > cd",
            "1 > end 4",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn an_answer_before_the_request_head_is_complete_belongs_to_it_and_is_told_after_it() {
    assert_lines(
        &[sent("GET / HTTP/1.1\r\nA"), received(OK), sent(": b\r\n\r\n"), sent(GET), received(OK)],
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
fn gzip_is_undone_while_it_streams_in_both_directions() {
    let body = gzip(b"hello");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"data: 1\n\n").unwrap();
    encoder.flush().unwrap();
    let first = std::mem::take(encoder.get_mut());
    encoder.write_all(b"data: 2\n\n").unwrap();
    let second = encoder.finish().unwrap();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let run = run(&[
        sent(
            [
                format!(
                    "POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .as_bytes(),
                &body,
            ]
            .concat(),
        ),
        received("HTTP/1.1 200 OK\r\nContent-Encoding: GZIP\r\nTransfer-Encoding: chunked\r\n\r\n"),
        received(chunk(&first)),
        received([chunk(&second), b"0\r\n\r\n".to_vec()].concat()),
    ]);
    let bodies: Vec<(Nanos, &[u8])> = run
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            HttpEventKind::RequestBody(bytes) | HttpEventKind::ResponseBody(bytes) => {
                Some((event.time, &bytes[..]))
            }
            _ => None,
        })
        .collect();
    assert_eq!(bodies, [(Nanos(1), &b"hello"[..]), (Nanos(3), b"data: 1\n\n"), (Nanos(4), b"data: 2\n\n")]);
    assert!(lines(&run.events).contains(&"1 < end 18".to_owned()));
}

#[test]
fn a_zstd_request_and_a_brotli_stream_are_read_and_a_window_too_large_is_named() {
    // A raw block, written out: magic, descriptor, window of 1 KiB, last raw block of five bytes.
    let zstd = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, window, 0x29, 0, 0][..], b"hello"].concat();
    let brotli = {
        let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.into_inner()
    };
    let head = |start: &str, coding: &str, body: &[u8]| {
        format!("{start}\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len())
    };
    let message =
        |start: &str, coding: &str, body: &[u8]| [head(start, coding, body).as_bytes(), body].concat();
    assert_lines(
        &[
            sent(message("POST / HTTP/1.1", "zstd", &zstd(0))),
            received(message("HTTP/1.1 200 OK", "br", &brotli)),
            sent(message("POST / HTTP/1.1", "zstd", &zstd(14 << 3))),
            received(OK),
        ],
        &[
            "1 > POST /",
            "1 > hello",
            "1 > end 5",
            "1 < 200",
            "1 < data: 1\n\n",
            "1 < end 9",
            "2 > POST /",
            "2 > end 0 UnsupportedEncoding(\"zstd asks for a window of 16777216 bytes\")",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn encodings_that_cannot_be_read_are_named_and_nothing_is_delivered() {
    let answer = |encoding: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        lines(&run(&[sent(GET), received([head.as_bytes(), body].concat()), sent(GET), received(OK)]).events)
    };
    assert_eq!(answer("zz", b"abc")[3], "1 < end 0 UnsupportedEncoding(\"zz\")");
    assert_eq!(answer("zz", b"")[3], "1 < end 0");
    assert_eq!(answer("gzip", b"")[3], "1 < end 0");
    assert_eq!(answer("gzip", b"abc")[3], "1 < end 0 CorruptEncoding");
    let whole = gzip(b"hello");
    assert_eq!(answer("gzip", &whole[..whole.len() - 3])[4], "1 < end 5 TruncatedEncoding");
    assert_eq!(answer("zz", b"abc")[4..], ["2 > GET /", "2 > end 0", "2 < 200", "2 < ok", "2 < end 2"]);
}

#[test]
fn a_bomb_and_a_long_body_stop_at_the_limit_and_the_connection_goes_on() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let bomb = gzip(&vec![b'a'; 1 << 20]);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}", "b".repeat(2000));
    let run = run_with(
        limits,
        &[
            sent(GET),
            received([head.as_bytes(), &bomb].concat()),
            sent(GET),
            received(long),
            sent(GET),
            received(OK),
        ],
    );
    let lines = lines(&run.events);
    assert_eq!(lines[4], format!("1 < end 1000 over limit of {}, whole 1048576 9bc1", bomb.len()));
    assert_eq!(lines[9], "2 < end 1000 over limit of 2000, whole 2000 d4c6");
    assert_eq!(lines[14], "3 < end 2");
}

/// A chunked response of `content`, in pieces of `piece` bytes of the wire.
fn chunked_response(content: &[u8], piece: usize) -> Vec<Step> {
    let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in content.chunks(700) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    std::iter::once(sent(GET)).chain(wire.chunks(piece).map(received)).collect()
}

#[test]
fn a_body_over_the_limit_is_hashed_to_its_end_wherever_hashing_begins_and_the_bytes_are_cut() {
    let content: Vec<u8> = (0..10_000_u32).map(|n| ((n * n) >> 3) as u8).collect();
    for hash_from_bytes in [0, 100, 3000, 5000, 1 << 20] {
        for piece in [1, 77, 4096, 1 << 20] {
            let limits = Limits { body_bytes: 4000, hash_from_bytes, ..Limits::default() };
            let seen = lines(&run_with(limits, &chunked_response(&content, piece)).events);
            let end = seen.last().unwrap();
            assert!(end.ends_with(", whole 10000 41fa"), "{hash_from_bytes} {piece}: {end}");
        }
    }
    let seen = lines(&run(&chunked_response(&content, 1000)).events);
    assert_eq!(seen.last().unwrap(), "1 < end 10000");
}

#[test]
fn a_body_over_the_limit_of_which_something_is_missing_has_no_hash() {
    let content = [b'c'; 3000];
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let steps = chunked_response(&content, 600);
    let cut_off = lines(&run_with(limits, &steps[..5]).events);
    assert!(cut_off.last().unwrap().starts_with("1 < end 1000 truncated over limit"), "{cut_off:?}");
    let mut with_gap = steps.clone();
    with_gap[3] = Step::ReceivedGap(600);
    let with_gap = lines(&run_with(limits, &with_gap).events);
    assert!(!with_gap.last().unwrap().contains("whole"), "{with_gap:?}");
    // A bomb: counting it to its end would be work without bound.
    let limits = Limits { body_bytes: 1000, expanded_bytes: 100_000, ..Limits::default() };
    let bomb = gzip(&vec![b'a'; 1 << 20]);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let seen = lines(&run_with(limits, &[sent(GET), received([head.as_bytes(), &bomb].concat())]).events);
    assert_eq!(seen.last().unwrap(), &format!("1 < end 1000 over limit of {}", bomb.len()));
}

#[test]
fn an_upgrade_hands_the_connection_over_and_keeps_its_bytes_apart() {
    let run = run(&[
        sent("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"),
        received("HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\n\x01\x02HTTP/1.1 200 OK\r\n\r\n"),
        sent(GET),
    ]);
    assert_eq!(run.protocol, Protocol::Tunnel);
    assert_eq!(
        lines(&run.events),
        ["1 > GET /ws", "1 > end 0", "1 < 101", "1 < upgraded Other(\"other\")", "1 < end 0"]
    );
}

#[test]
fn an_accepted_connect_is_a_tunnel_and_a_refused_one_is_not() {
    let connect = "CONNECT a:443 HTTP/1.1\r\n\r\n";
    let accepted =
        run(&[sent(connect), received("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), sent("\x16\x03")]);
    assert_eq!(accepted.protocol, Protocol::Tunnel);
    assert_eq!(
        lines(&accepted.events),
        ["1 > CONNECT a:443", "1 > end 0", "1 < 200", "1 < upgraded Connect", "1 < end 0"]
    );
    let refused = "HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n";
    assert_lines(
        &[sent(connect), received(refused), sent(GET), received(OK)],
        &[
            "1 > CONNECT a:443",
            "1 > end 0",
            "1 < 407",
            "1 < end 0",
            "2 > GET /",
            "2 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
        ],
    );
}

#[test]
fn requests_sent_before_an_upgrade_was_refused_are_read_after_all() {
    let ask = "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n";
    assert_lines(
        &[sent([ask, GET].concat()), sent(GET), received([OK, OK, OK].concat())],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 > GET /",
            "2 > end 0",
            "3 > GET /",
            "3 > end 0",
            "2 < 200",
            "2 < ok",
            "2 < end 2",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
        ],
    );
}

#[test]
fn a_length_beside_chunked_is_reported_and_chunked_wins() {
    assert_lines(
        &[
            sent(
                "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            ),
            received(OK),
        ],
        &[
            "1 > POST /",
            "1 ! TransferEncodingWithLength s0",
            "1 > a",
            "1 > end 1",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
        ],
    );
}

#[test]
fn lengths_that_differ_leave_everything_to_the_end_of_the_connection_out() {
    assert_lines(
        &[
            sent(GET),
            received("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            received(OK),
        ],
        &["1 > GET /", "1 > end 0", "1 < 200", "1 ! ConflictingLength r0", "1 < end 0 ConflictingLength"],
    );
    let request = run(&[
        sent("POST / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\nab"),
        received(OK),
        sent(GET),
        received(OK),
    ]);
    let lines = lines(&request.events);
    assert_eq!(lines[..5], ["1 > POST /", "1 ! ConflictingLength s0", "1 < 200", "1 < ok", "1 < end 2"]);
    assert!(lines.contains(&"1 > end 0 ConflictingLength".to_owned()));
    assert!(!lines.iter().any(|line| line.ends_with("GET /")), "{lines:?}");
}

#[test]
fn broken_chunk_framing_ends_the_message_and_the_next_exchange_is_whole() {
    for broken in ["zz\r\n", "\r\n", "11111111111111111\r\n", "1\r\nabc", "1\n", "-1\r\n"] {
        let run = run(&[
            sent(GET),
            received("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
            received(broken),
            sent(GET),
            received(OK),
        ]);
        let lines = lines(&run.events);
        let body = if broken.starts_with("1\r\na") { "1 < end 3" } else { "1 < end 2" };
        assert!(lines.contains(&format!("{body} MalformedChunk truncated")), "{lines:?}");
        assert_eq!(lines[lines.len() - 2..], ["2 < ok", "2 < end 2"], "{broken:?}");
    }
}

#[test]
fn a_malformed_request_is_reported_and_its_answer_not_given_to_another() {
    assert_lines(
        &[
            sent(GET),
            received(OK),
            sent("GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello"),
            received("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "0 ! MalformedHead s18",
            "2 ! ResponseWithoutRequest r40",
            "2 < 400",
            "2 < end 0",
            "3 > GET /",
            "3 ! Resynchronised s61",
            "3 > end 0",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
        ],
    );
}

#[test]
fn heads_beyond_the_limits_are_reported() {
    let limits = Limits { head_bytes: 100, headers: 2, ..Limits::default() };
    let many = "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n";
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(100));
    for request in [many, &long] {
        let lines = lines(&run_with(limits, &[sent(request)]).events);
        assert!(lines.len() == 1 && lines[0].starts_with("0 ! HeadTooLarge s"), "{lines:?}");
    }
}

#[test]
fn requests_beyond_the_limit_of_pending_ones_are_left_unpaired_and_say_so() {
    let limits = Limits { pending_requests: 2, ..Limits::default() };
    let run = run_with(limits, &[sent(GET.repeat(3)), received(OK.repeat(3))]);
    let lines = lines(&run.events);
    assert!(lines.contains(&"3 ! TooManyPendingRequests s36".to_owned()), "{lines:?}");
    assert!(lines.contains(&"3 < end 0 pairing lost".to_owned()));
    assert!(lines.contains(&"1 < end 2".to_owned()) && lines.contains(&"2 < end 2".to_owned()));
    assert!(lines.contains(&"4 ! ResponseWithoutRequest r80".to_owned()));
}

#[test]
fn another_protocol_is_opaque_and_reported_once() {
    let run = run(&[sent("\x16\x03\x01"), received("*1\r\n"), sent("whatever\r\n")]);
    assert_eq!((run.protocol, run.role), (Protocol::Opaque, None));
    assert_eq!(lines(&run.events), ["0 ! Unrecognised s0"]);
}

#[test]
fn an_unrequested_response_gets_an_exchange_of_its_own_and_later_pairing_is_given_up() {
    assert_lines(
        &[
            sent(GET),
            received(OK),
            received("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"),
            sent(GET),
            received(OK),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
            "2 ! ResponseWithoutRequest r40",
            "2 < 408",
            "2 < end 0",
            "3 > GET /",
            "3 ! PairingUncertain s18",
            "3 < end 0 pairing lost",
            "3 > end 0",
            "4 ! ResponseWithoutRequest r83",
            "4 < 200",
            "4 < ok",
            "4 < end 2",
        ],
    );
}

#[test]
fn nothing_comes_after_close() {
    let mut decoder = oisp_decode::ConnectionDecoder::new(Limits::default());
    let mut out = Vec::new();
    decoder.data(Direction::Sent, Nanos(1), GET.as_bytes(), &mut out);
    decoder.close(Nanos(2), &mut out);
    let before = out.len();
    decoder.data(Direction::Received, Nanos(3), OK.as_bytes(), &mut out);
    decoder.gap(Direction::Received, Nanos(3), 5, &mut out);
    decoder.close(Nanos(4), &mut out);
    assert_eq!(out.len(), before);
}

#[test]
fn one_byte_chunks_of_one_record_are_one_event() {
    let body = "1\r\na\r\n".repeat(5000) + "0\r\n\r\n";
    let run =
        run(&[sent(GET), received(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))]);
    let pieces =
        run.events.iter().filter(|event| matches!(event.kind, HttpEventKind::ResponseBody(_))).count();
    assert_eq!(pieces, 1);
}

/// Quadratic work would take minutes here; the test has no clock and would simply not end.
#[test]
fn heads_bodies_and_first_lines_in_single_bytes_are_read_in_linear_time() {
    let fields: String = (0..150).map(|n| format!("Field-{n}: {}\r\n", "v".repeat(1700))).collect();
    let target = "a".repeat(16_000);
    let request = format!(
        "POST /{target} HTTP/1.1\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        &fields[..fields.find("Field-70").unwrap()]
    );
    let body = "1\r\na\r\n".repeat(30_000) + "0\r\n" + &fields + "\r\n";
    let steps: Vec<Step> = request.bytes().chain(body.bytes()).map(|byte| Step::Sent(vec![byte])).collect();
    let run = run(&steps);
    assert_eq!(run.events.iter().filter(|event| event.exchange == ExchangeId(1)).count(), 30_003);
}
