//! HTTP/2 without loss: every frame, every way to end.

use oisp_decode::{HttpEventKind, Limits, Protocol, Role};

use crate::http2_frames::*;
use crate::support::{Step, assert_lines, lines, received, run, run_with, sent};

fn seen_of(wire: &Wire) -> Vec<String> {
    lines(&run(&wire.steps).events)
}

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
            "1 < informational 101",
            "1 < upgraded Http2",
            "1 < 200",
            "1 < ok",
            "1 < end 2",
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
        eprintln!("{name}: {} bytes, {} events", bytes.len(), events.len());
    }
    let mut wire = Wire::new();
    wire.sent(|_| frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    let lines = lines(&run(&wire.steps).events);
    assert_eq!(lines[0], "1 ! MalformedHead s54", "no method, and cut");
}

#[test]
fn an_upgrade_behind_other_exchanges_answers_its_own_request_and_a_lost_answer_is_truncated() {
    let mut server = Encoder::default();
    let ask = "HEAD / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let switch = b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n";
    let first = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let start = [
        sent("GET / HTTP/1.1\r\n\r\n"),
        received(first),
        sent(ask),
        // The client does not wait for the answer.
        sent([PREFACE, &settings(&[])].concat()),
        received([&switch[..], &settings(&[])].concat()),
    ];
    let head = server.headers(1, END_STREAM, &[(":status", "200"), ("content-length", "9")]);
    let answered = run(&[&start[..], &[received(head)]].concat());
    let expected =
        ["2 > HEAD /", "2 > end 0", "2 < informational 101", "2 < upgraded Http2", "2 < 200", "2 < end 0"];
    assert_eq!(lines(&answered.events)[4..], expected);
    let cut_off = lines(&run(&start).events);
    assert_eq!(cut_off[cut_off.len() - 1], "2 < end 0 truncated");
}

const WEBSOCKET: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/chat"),
    (":authority", "h.example"),
];

#[test]
fn a_websocket_over_http2_delivers_its_messages_beside_other_streams() {
    let mut wire = Wire::new();
    wire.sent(|client| client.headers(1, 0, &WEBSOCKET))
        .received(|server| server.ok(1))
        .sent(|client| [data(1, 0, b"\x81\x82\x01\x01\x01\x01"), client.get(3, "/other")].concat())
        .received(|server| [data(1, 0, b"\x81\x05he"), server.ok(3), data(3, END_STREAM, "ok")].concat())
        .sent(|_| data(1, 0, b"ih\x81\x81\0\0\0\0x"))
        .received(|_| [data(1, 0, b"llo"), data(1, END_STREAM, b"\x88\x02\x03\xe8")].concat())
        .sent(|_| data(1, END_STREAM, b"\x88\x80\0\0\0\0"));
    assert_wire(
        &wire,
        &[
            "1 > CONNECT /chat",
            "1 < 200",
            "1 < upgraded WebSocket",
            "1 > end 0",
            "1 < end 0",
            "3 > GET /other",
            "3 > end 0",
            "3 < 200",
            "3 < ok",
            "3 < end 2",
            "1 > Text hi",
            "1 > Text x",
            "1 < Text hello",
            "1 < Close Some(1000) ",
            "1 > Close None ",
        ],
    );
}

#[test]
fn a_websocket_over_http2_says_what_of_it_was_lost_or_cut_off() {
    let mut wire = Wire::new();
    wire.sent(|client| client.headers(1, 0, &WEBSOCKET))
        .received(|server| server.ok(1))
        .received(|_| data(1, 0, b"\x81\x05he"))
        .lost_received(|_| data(1, 0, b"llo"))
        .received(|_| data(1, 0, b"\x81\x01x"))
        .sent(|_| data(1, 0, b"\x81\x85\0\0\0\0ab"))
        .received(|_| frame(RST_STREAM, 0, 1, [0, 0, 0, 8]));
    let seen = seen_of(&wire);
    assert!(seen.contains(&"1 < Text x".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|line| line.starts_with("1 < Text he gap")), "{seen:?}");
    assert_eq!(seen[seen.len() - 1], "1 > Text ab truncated");
    assert!(seen.iter().any(|line| line.starts_with("1 ! StreamReset")), "{seen:?}");
}

#[test]
fn what_a_client_sends_before_its_connect_is_answered_belongs_to_what_the_answer_makes_of_it() {
    let frame_hi = b"\x81\x82\0\0\0\0hi";
    let mut accepted = Wire::new();
    accepted
        .sent(|client| [client.headers(1, 0, &WEBSOCKET), data(1, 0, frame_hi)].concat())
        .received(|server| server.ok(1));
    let seen = seen_of(&accepted);
    assert_eq!(seen[seen.len() - 1], "1 > Text hi");
    let mut refused = Wire::new();
    refused
        .sent(|client| [client.headers(1, 0, &WEBSOCKET), data(1, 0, "body")].concat())
        .received(|server| server.headers(1, END_STREAM, &[(":status", "404")]))
        .sent(|_| data(1, END_STREAM, "more"));
    assert_wire(
        &refused,
        &["1 > CONNECT /chat", "1 < 404", "1 > body", "1 < end 0", "1 > more", "1 > end 8"],
    );
    let mut flood = Wire::new();
    flood
        .sent(|client| client.headers(1, 0, &WEBSOCKET))
        .sent(|_| [data(1, 0, [b'x'; 16_000]), data(1, 0, [b'x'; 16_000])].concat().repeat(3));
    let seen = seen_of(&flood);
    assert!(seen.iter().any(|line| line.starts_with("1 ! HeldTooLong")), "{seen:?}");
    assert!(seen[seen.len() - 2].ends_with("truncated"), "{seen:?}");
}

#[test]
fn a_tunnel_through_http2_is_said_to_be_one_and_its_bytes_are_no_body() {
    let mut wire = Wire::new();
    wire.sent(|client| client.headers(1, 0, &[(":method", "CONNECT"), (":authority", "a:443")]))
        .received(|server| server.ok(1))
        .sent(|_| data(1, 0, "\x16\x03\x01"))
        .received(|_| data(1, END_STREAM, "\x16\x03\x03"))
        .sent(|_| data(1, END_STREAM, ""));
    assert_wire(&wire, &["1 > CONNECT a:443", "1 < 200", "1 < upgraded Connect", "1 > end 0", "1 < end 0"]);
}

#[test]
fn padding_that_does_not_fit_is_malformed_and_the_next_frame_is_read() {
    let mut wire = Wire::new();
    wire.sent(|client| client.post(1, "/"))
        .sent(|_| {
            [
                frame(DATA, PADDED, 1, b"\x03ok\0\0\0"),
                frame(DATA, PADDED, 1, b"\x04abc"),
                frame(DATA, PADDED, 1, b""),
                frame(DATA, PADDED, 1, b"\x00"),
                frame(DATA, PADDED | END_STREAM, 1, b"\x01!\0"),
            ]
            .concat()
        })
        .received(|server| server.headers(1, END_STREAM, &[(":status", "204")]));
    let seen = seen_of(&wire);
    assert_eq!(seen.iter().filter(|line| line.contains("MalformedFrame")).count(), 2, "{seen:?}");
    assert!(seen.contains(&"1 > end 3".to_owned()), "{seen:?}");
    for payload in [&b"\x05abc"[..], b""] {
        let mut wire = Wire::new();
        wire.sent(|_| frame(HEADERS, END_HEADERS | PADDED, 1, payload)).sent(|client| client.get(3, "/next"));
        let seen = seen_of(&wire);
        assert!(seen.iter().any(|line| line.contains("Malformed")), "{seen:?}");
        assert!(seen.contains(&"3 > end 0".to_owned()), "{seen:?}");
    }
}

#[test]
fn each_frame_of_a_wrong_length_or_stream_is_reported_and_costs_no_exchange() {
    let frames = [
        frame(DATA, 0, 0, "x"),
        frame(PRIORITY, 0, 1, [0; 4]),
        frame(PRIORITY, 0, 0, [0; 5]),
        frame(RST_STREAM, 0, 1, [0; 3]),
        frame(RST_STREAM, 0, 0, [0; 4]),
        frame(SETTINGS, 0, 0, [0; 5]),
        frame(SETTINGS, 1, 0, [0; 6]),
        frame(SETTINGS, 0, 1, [0; 6]),
        frame(PING, 0, 0, [0; 7]),
        frame(PING, 0, 1, [0; 8]),
        frame(GOAWAY, 0, 0, [0; 7]),
        frame(GOAWAY, 0, 1, [0; 8]),
        frame(WINDOW_UPDATE, 0, 1, [0; 5]),
        frame(HEADERS, END_HEADERS, 0, [0x82]),
        frame(PUSH_PROMISE, END_HEADERS, 1, [0; 3]),
        frame(CONTINUATION, END_HEADERS, 1, [0x82]),
    ];
    for bad in frames {
        let mut wire = Wire::new();
        wire.sent(|client| client.post(1, "/"))
            .received(|server| [server.ok(1), bad.clone(), data(1, END_STREAM, "ok")].concat())
            .sent(|_| data(1, END_STREAM, ""));
        let seen = seen_of(&wire);
        assert!(seen.iter().any(|line| line.starts_with("0 ! MalformedFrame")), "{bad:?}: {seen:?}");
        for line in ["1 < ok", "1 < end 2", "1 > end 0"] {
            assert!(seen.contains(&line.to_owned()), "{bad:?}: {seen:?}");
        }
    }
}

#[test]
fn a_stream_that_stops_at_done_is_told_to_have_ended_when_the_connection_closes() {
    let mut wire = Wire::new();
    wire.sent(|client| client.get(1, "/"))
        .received(|server| [server.ok(1), data(1, 0, "data: [DONE]\n\n")].concat());
    let seen = seen_of(&wire);
    assert_eq!(seen[seen.len() - 1], "1 < end 14 truncated");
}

#[test]
fn the_header_table_follows_its_size_updates_and_entries_that_were_evicted_are_no_longer_known() {
    let mut wire = Wire::new();
    // Two fields into the table; then it is emptied and set back, and the first is referred to.
    let block = b"\x82\x84\x87\x40\x01a\x01b";
    wire.sent(|_| frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        .sent(|_| {
            frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x20\x3f\xe1\x1f\x82\x84\x87\x40\x01c\x01d\xbe")
        })
        .sent(|_| frame(HEADERS, END_HEADERS | END_STREAM, 5, b"\x82\x84\x87\xbf"));
    let seen = seen_of(&wire);
    assert!(seen.contains(&"1 > GET /".to_owned()) && seen.contains(&"3 > GET /".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|line| line.starts_with("5 ! MalformedHead")), "{seen:?}");
}

#[test]
fn an_upgrade_and_a_websocket_over_http2_are_the_same_however_they_are_cut() {
    let mut websocket = Wire::new();
    websocket
        .sent(|client| [client.headers(1, 0, &WEBSOCKET), data(1, 0, b"\x81\x82\x01\x01\x01\x01hi")].concat())
        .received(|server| [server.ok(1), data(1, 0, b"\x81\x05he"), data(1, 0, b"llo\x89\x01p")].concat())
        .sent(|_| [data(1, 0, b"\x8a\x81\0\0\0\0p"), data(1, END_STREAM, b"\x88\x80\0\0\0\0")].concat())
        .received(|_| data(1, END_STREAM, b"\x88\x02\x03\xe8"));
    let mut server = Encoder::default();
    let upgrade = [
        sent("GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"),
        sent([PREFACE, &settings(&[])].concat()),
        received(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"),
        received([settings(&[]), server.ok(1), data(1, END_STREAM, "ok")].concat()),
    ];
    for steps in [&websocket.steps[..], &upgrade] {
        let whole = lines(&run(steps).events);
        for size in 1..40 {
            let cut: Vec<Step> = steps
                .iter()
                .flat_map(|step| match step {
                    Step::Sent(bytes) => bytes.chunks(size).map(sent).collect::<Vec<_>>(),
                    Step::Received(bytes) => bytes.chunks(size).map(received).collect(),
                    gap => vec![gap.clone()],
                })
                .collect();
            assert_eq!(lines(&run(&cut).events), whole, "pieces of {size} bytes");
        }
    }
}
