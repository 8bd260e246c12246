//! HTTP/2 without loss: every frame, every way to end.

use std::time::Instant;

use oisp_decode::{HttpEventKind, Limits, Protocol, Role};

use crate::http2_frames::*;
use crate::support::{Step, assert_lines, lines, received, run, run_with, sent};

fn assert_wire(wire: &Wire, expected: &[&str]) {
    assert_lines(&wire.steps, expected);
}

#[test]
fn an_exchange_has_its_heads_bodies_and_trailers() {
    let mut wire = Wire::new();
    wire.sent(|e| [e.post(1, "/a"), data(1, 0, "que"), data(1, END_STREAM, "stion")].concat());
    wire.received(|e| {
        [
            e.headers(1, 0, &[(":status", "100")]),
            e.ok(1),
            data(1, 0, "ans"),
            data(1, 0, "wer"),
            e.headers(1, END_STREAM, &[("n", "x")]),
        ]
        .concat()
    });
    let run = run(&wire.steps);
    assert_eq!((run.protocol, run.role), (Protocol::Http2, Some(Role::Client)));
    assert_eq!(
        lines(&run.events),
        [
            "1 > POST /a",
            "1 > question",
            "1 > end 8",
            "1 < informational 100",
            "1 < 200",
            "1 < answer",
            "1 < end 6 n=x"
        ]
    );
}

#[test]
fn authority_becomes_host_and_cookie_crumbs_are_joined() {
    let mut wire = Wire::new();
    let mut fields = request("GET", "/");
    fields.extend([("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2")]);
    wire.sent(|e| e.headers(1, END_STREAM, &fields));
    let events = run(&wire.steps).events;
    let HttpEventKind::RequestHead(head) = &events[0].kind else { panic!("{events:?}") };
    let shown: Vec<_> = head.headers.iter().map(|h| format!("{}: {}", h.name(), h.text())).collect();
    assert_eq!(shown, ["host: h.example", "cookie: a=1; b=2", "accept: */*"]);
}

#[test]
fn the_recorded_process_may_be_the_server() {
    let mut client = Encoder::default();
    let mut server = Encoder::default();
    // A server may write its settings before the client's first bytes come.
    let run = run(&[
        sent(settings(&[])),
        received([PREFACE, &settings(&[]), &client.get(1, "/")].concat()),
        sent([server.ok(1), data(1, END_STREAM, "ok")].concat()),
    ]);
    assert_eq!((run.protocol, run.role), (Protocol::Http2, Some(Role::Server)));
    assert_eq!(lines(&run.events), ["1 > GET /", "1 > end 0", "1 < 200", "1 < ok", "1 < end 2"]);
}

#[test]
fn concurrent_streams_are_kept_apart() {
    let mut wire = Wire::new();
    wire.sent(|e| [e.post(1, "/a"), e.post(3, "/b"), data(3, 0, "B"), data(1, END_STREAM, "A")].concat());
    wire.received(|e| [e.ok(3), e.ok(1), data(1, 0, "1"), data(3, END_STREAM, "3")].concat());
    wire.sent(|_| data(3, END_STREAM, "B"));
    wire.received(|_| data(1, END_STREAM, "1"));
    assert_wire(
        &wire,
        &[
            "1 > POST /a",
            "3 > POST /b",
            "3 > B",
            "1 > A",
            "1 > end 1",
            "3 < 200",
            "1 < 200",
            "1 < 1",
            "3 < 3",
            "3 < end 1",
            "3 > B",
            "3 > end 2",
            "1 < 1",
            "1 < end 2",
        ],
    );
}

#[test]
fn each_kind_of_frame_is_read_or_passed_over() {
    let exchange = ["1 > GET /", "1 > end 0", "1 < 200", "1 < ok", "1 < end 2"];
    let block = Encoder::default().block(&request("GET", "/"));
    let (first, second) = block.split_at(7);
    let get = |flags: u8, before: &[u8], after: &[u8]| {
        frame(HEADERS, END_STREAM | END_HEADERS | flags, 1, [before, &block, after].concat())
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("padded", get(PADDED, &[3], &[0; 3])),
        ("priority", get(HAS_PRIORITY, &[0, 0, 0, 0, 16], &[])),
        ("both", get(PADDED | HAS_PRIORITY, &[2, 0, 0, 0, 0, 16], &[0; 2])),
        (
            "continued",
            [
                frame(HEADERS, END_STREAM, 1, first),
                frame(CONTINUATION, 0, 1, ""),
                frame(CONTINUATION, END_HEADERS, 1, second),
            ]
            .concat(),
        ),
        ("after others", {
            [
                frame(PRIORITY, 0, 1, [0; 5]),
                frame(PING, 0, 0, [0; 8]),
                frame(WINDOW_UPDATE, 0, 0, [0, 0, 1, 0]),
                frame(0xfa, 0xff, 7, "grease"),
                frame(0x10, 0, 0, "priority update"),
                settings(&[(1, 0), (0x99, 1)]),
                get(0, &[], &[]),
            ]
            .concat()
        }),
    ];
    for (name, request) in cases {
        let mut wire = Wire::new();
        wire.sent(|_| request);
        wire.received(|e| [e.ok(1), frame(DATA, PADDED | END_STREAM, 1, b"\x03ok\0\0\0")].concat());
        assert_eq!(lines(&run(&wire.steps).events), exchange, "{name}");
    }
}

#[test]
fn a_pushed_exchange_has_the_request_of_its_promise() {
    let mut wire = Wire::new();
    wire.sent(|e| e.get(1, "/"));
    wire.received(|e| {
        let promise = [&[0, 0, 0, 2][..], &e.block(&request("GET", "/style"))].concat();
        let promise = frame(PUSH_PROMISE, END_HEADERS, 1, promise);
        [promise, e.ok(1), e.ok(2), data(2, END_STREAM, "css"), data(1, END_STREAM, "html")].concat()
    });
    assert_wire(
        &wire,
        &[
            "1 > GET /",
            "1 > end 0",
            "2 > GET /style",
            "2 > end 0",
            "1 < 200",
            "2 < 200",
            "2 < css",
            "2 < end 3",
            "1 < html",
            "1 < end 4",
        ],
    );
}

#[test]
fn a_client_that_leaves_at_done_has_its_answer_delivered_and_said_to_be_reset() {
    let mut wire = Wire::new();
    wire.sent(|e| e.get(1, "/"));
    wire.received(|e| [e.ok(1), data(1, 0, "data: [DONE]\n\n")].concat());
    wire.sent(|_| reset(1, 8));
    // What was under way then is of no interest to it.
    wire.received(|e| [data(1, 0, "late"), e.headers(1, END_STREAM, &[("n", "x")])].concat());
    wire.sent(|e| e.get(3, "/next"));
    wire.received(|e| [e.ok(3), data(3, 0, "data: [DONE]\n\n")].concat());
    let lines = lines(&run(&wire.steps).events);
    let offset = wire.steps.iter().take(4).filter_map(|step| match step {
        Step::Sent(bytes) => Some(bytes.len()),
        _ => None,
    });
    let reset = format!("1 ! StreamReset s{}", offset.sum::<usize>());
    assert_eq!(
        lines,
        [
            "1 > GET /",
            "1 > end 0",
            "1 < 200",
            "1 < data: [DONE]\n\n",
            &reset,
            "1 < end 14 truncated",
            "3 > GET /next",
            "3 > end 0",
            "3 < 200",
            "3 < data: [DONE]\n\n",
            "3 < end 14 truncated",
        ]
    );
}

#[test]
fn a_client_that_leaves_at_the_announced_length_has_its_whole_answer() {
    // As curl 7.88 does where the end of the stream comes in a frame of its own.
    for closes in [false, true] {
        let mut wire = Wire::new();
        wire.sent(|e| e.get(1, "/"));
        let head = [(":status", "200"), ("content-length", "4")];
        wire.received(|e| [e.headers(1, 0, &head), data(1, 0, "html")].concat());
        if !closes {
            wire.sent(|_| reset(1, 5));
            wire.received(|_| data(1, END_STREAM, ""));
        }
        assert_wire(&wire, &["1 > GET /", "1 > end 0", "1 < 200", "1 < html", "1 < end 4"]);
    }
}

#[test]
fn a_connection_that_goes_away_ends_what_will_not_be_answered() {
    let mut wire = Wire::new();
    wire.sent(|e| [e.get(1, "/a"), e.get(3, "/b")].concat());
    wire.received(|e| {
        [frame(GOAWAY, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0]), e.ok(1), data(1, END_STREAM, "ok")].concat()
    });
    assert_wire(
        &wire,
        &[
            "1 > GET /a",
            "1 > end 0",
            "3 > GET /b",
            "3 > end 0",
            "3 ! StreamReset r24",
            "3 < end 0 truncated",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
        ],
    );
}

#[test]
fn a_body_that_contradicts_its_length_says_so() {
    let status = |length| vec![(":status", "200"), ("content-length", length)];
    let answer = |head: &str, length, content: &str| {
        let mut wire = Wire::new();
        wire.sent(|e| e.headers(1, END_STREAM, &request(head, "/")));
        wire.received(|e| [e.headers(1, 0, &status(length)), data(1, END_STREAM, content)].concat());
        lines(&run(&wire.steps).events).split_off(2)
    };
    assert_eq!(answer("GET", "2", "ok"), ["1 < 200", "1 < ok", "1 < end 2"]);
    assert_eq!(
        answer("GET", "3", "ok"),
        ["1 < 200", "1 < ok", "1 ! LengthMismatch r52", "1 < end 2 truncated"]
    );
    assert_eq!(answer("GET", "1", "ok"), ["1 < 200", "1 < ok", "1 ! LengthMismatch r52", "1 < end 2"]);
    assert_eq!(answer("HEAD", "3", ""), ["1 < 200", "1 < end 0"]);
}

#[test]
fn a_header_block_that_is_interrupted_is_malformed_and_costs_its_own_stream() {
    let mut wire = Wire::new();
    wire.sent(|e| [frame(HEADERS, END_STREAM, 1, e.block(&request("GET", "/a"))), e.get(3, "/b")].concat());
    let lines = lines(&run(&wire.steps).events);
    assert_eq!(
        lines,
        [
            "0 ! MalformedFrame s97",
            "1 ! MalformedHead s54",
            "3 > GET /b",
            // Its authority is in the table that the interrupted block was to fill.
            "3 ! HpackUnreliable s97",
            "3 > end 0",
            "1 < end 0 truncated",
            "3 < end 0 truncated",
        ]
    );
}

#[test]
fn malformed_frames_are_reported_and_passed_over() {
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (frame(SETTINGS, 0, 0, "abcde"), "0 ! MalformedFrame s54"),
        (frame(RST_STREAM, 0, 1, "abc"), "0 ! MalformedFrame s54"),
        (frame(PING, 0, 1, [0; 8]), "0 ! MalformedFrame s54"),
        (data(0, 0, "x"), "0 ! MalformedFrame s54"),
        (frame(CONTINUATION, END_HEADERS, 1, ""), "0 ! MalformedFrame s54"),
        (frame(DATA, PADDED, 1, b"\x09x"), "0 ! MalformedFrame s54"),
    ];
    for (bytes, problem) in cases {
        let mut wire = Wire::new();
        wire.sent(|e| [bytes, e.get(3, "/")].concat());
        let lines = lines(&run(&wire.steps).events);
        assert_eq!(lines[0], problem);
        assert!(lines.contains(&"3 > GET /".to_owned()), "{lines:?}");
    }
}

#[test]
fn frames_longer_than_allowed_lose_the_framing_and_longer_ones_may_be_allowed() {
    let long = vec![b'x'; 20_000];
    let mut wire = Wire::new();
    wire.sent(|e| [e.post(1, "/"), data(1, END_STREAM, &long)].concat());
    let lines_of = |wire: &Wire| lines(&run(&wire.steps).events);
    let refused = lines_of(&wire);
    assert!(refused.iter().any(|line| line.starts_with("0 ! FramingLost")), "{refused:?}");
    assert!(refused.contains(&"1 > gap 20009".to_owned()), "{refused:?}");
    wire.steps.insert(2, received(settings(&[(5, 1 << 20)])));
    assert!(lines_of(&wire).contains(&"1 > end 20000".to_owned()));
}

#[test]
fn an_upgrade_from_http1_is_followed() {
    let mut client = Encoder::default();
    let mut server = Encoder::default();
    let switch = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    assert_lines(
        &[
            sent(
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n",
            ),
            received([&switch[..], &settings(&[])].concat()),
            sent([PREFACE, &settings(&[])].concat()),
            received([server.ok(1), data(1, END_STREAM, "ok")].concat()),
            sent(client.get(3, "/next")),
            received([server.ok(3), data(3, END_STREAM, "ok")].concat()),
        ],
        &[
            "1 > GET /",
            "1 > end 0",
            "1 < 101",
            "1 < upgraded Http2",
            "1 < end 0",
            "2 < 200",
            "2 ! ResponseWithoutRequest r70",
            "2 < ok",
            "2 < end 2",
            "4 > GET /next",
            "4 > end 0",
            "4 < 200",
            "4 < ok",
            "4 < end 2",
        ],
    );
}

#[test]
fn streams_beyond_the_limit_end_the_oldest_and_say_so() {
    let limits = Limits { streams: 2, ..Limits::default() };
    let mut wire = Wire::new();
    wire.sent(|e| [e.get(1, "/a"), e.get(3, "/b"), e.get(5, "/c")].concat());
    wire.received(|e| [e.ok(1), data(1, END_STREAM, "late"), e.ok(5), data(5, END_STREAM, "ok")].concat());
    let lines = lines(&run_with(limits, &wire.steps).events);
    assert_eq!(lines[4..8], ["1 ! TooManyStreams r0", "1 < end 0 truncated", "5 > GET /c", "5 > end 0"]);
    assert!(lines.contains(&"5 < end 2".to_owned()) && !lines.iter().any(|line| line.contains("late")));
}

/// Events and bytes held stay proportional to what came, whatever the frames are. The time is not
/// asserted; a quadratic step would make this test take minutes.
#[test]
fn floods_stay_bounded_in_events_and_memory() {
    const FRAMES: u32 = 50_000;
    let bomb = {
        let mut block = vec![0x40, 1, b'a', 0x7f, 0x81, 0x19];
        block.extend_from_slice(&[b'x'; 3328]);
        block.extend_from_slice(&[0xbe; 12_000]);
        block
    };
    let get = Encoder::default().block(&[(":method", "GET"), (":path", "/"), (":scheme", "https")]);
    let headers = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get);
    type Flood<'a> = (&'a str, Box<dyn Fn(u32) -> Vec<u8> + 'a>, usize);
    let floods: Vec<Flood<'_>> = vec![
        ("rapid reset", Box::new(|n| [headers(2 * n + 1), reset(2 * n + 1, 8)].concat()), 4),
        ("open streams", Box::new(|n| headers(2 * n + 1)), 4),
        ("skipped streams", Box::new(|n| headers(2000 * n + 1)), 4),
        ("settings", Box::new(|_| settings(&[(1, 0), (5, 20_000)])), 0),
        ("empty data", Box::new(|_| data(1, 0, "")), 0),
        ("pings", Box::new(|_| frame(PING, 0, 0, [0; 8])), 0),
        (
            "continuations",
            Box::new(|n| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, [b'x'; 50])),
            0,
        ),
        (
            "empty continuations",
            Box::new(|n| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, "")),
            0,
        ),
        ("data of unseen streams", Box::new(|n| data(2 * n + 1, 0, "x")), 2),
        ("malformed", Box::new(|_| frame(PING, 0, 9, "")), 1),
        ("interrupted blocks", Box::new(|n| frame(HEADERS, 0, 2 * n + 1, "x")), 4),
    ];
    for (name, write, events_each) in floods {
        let mut bytes = [PREFACE, &settings(&[])].concat();
        (0..FRAMES).for_each(|number| bytes.extend(write(number)));
        let steps: Vec<Step> = bytes.chunks(16_384).map(sent).collect();
        let began = Instant::now();
        let mut decoder = oisp_decode::ConnectionDecoder::new(Limits::default());
        let mut events = Vec::new();
        for step in &steps {
            let Step::Sent(bytes) = step else { unreachable!() };
            decoder.data(oisp_decode::Direction::Sent, oisp_decode::Nanos(1), bytes, &mut events);
            assert!(decoder.buffered_bytes() < 3 << 20, "{name}: {}", decoder.buffered_bytes());
        }
        decoder.close(oisp_decode::Nanos(2), &mut events);
        oisp_decode::fuzz::check(&events);
        assert!(events.len() <= FRAMES as usize * events_each + 10, "{name}: {}", events.len());
        eprintln!("{name}: {} bytes, {} events, {:?}", bytes.len(), events.len(), began.elapsed());
    }
    let mut wire = Wire::new();
    wire.sent(|_| frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    let lines = lines(&run(&wire.steps).events);
    assert_eq!(lines[0], "1 ! MalformedHead s54", "no method, and cut");
}
