//! HTTP/2 with bytes missing, and connections that were joined late.

use oisp_decode::{Protocol, Role};

use crate::http2_frames::*;
use crate::support::{Step, gzip, lines, received, run, sent};

fn has(lines: &[String], expected: &[&str]) {
    for line in expected {
        assert!(lines.iter().any(|seen| seen.starts_with(line)), "{line:?} is not in {lines:#?}");
    }
}

fn none(lines: &[String], unexpected: &[&str]) {
    for text in unexpected {
        assert!(!lines.iter().any(|seen| seen.contains(text)), "{text:?} is in {lines:#?}");
    }
}

#[test]
fn a_loss_within_the_content_of_a_frame_touches_that_stream_alone() {
    let mut wire = Wire::new();
    wire.sent(|e| [e.get(1, "/a"), e.get(3, "/b")].concat());
    wire.received(|e| [e.ok(1), e.ok(3)].concat());
    let frame = data(1, END_STREAM, "0123456789");
    wire.received(|_| frame[..12].to_vec());
    wire.lost_received(|_| frame[12..16].to_vec());
    wire.received(|_| [&frame[16..], &data(3, END_STREAM, "whole")].concat());
    let lines = lines(&run(&wire.steps).events);
    has(&lines, &["1 < gap 4", "1 < 789", "1 < end 6 gap 4 at 3", "3 < whole", "3 < end 5"]);
    none(&lines, &["Lost", "Resynchronised", "Hpack", "truncated"]);
}

#[test]
fn a_loss_of_whole_frames_is_said_by_every_stream_that_was_open() {
    let mut wire = Wire::new();
    wire.sent(|e| [e.get(1, "/a"), e.get(3, "/b")].concat());
    wire.received(|e| [e.ok(1), e.ok(3), data(1, 0, "a"), data(3, 0, "b")].concat());
    wire.lost_received(|_| data(1, 0, "lost"));
    wire.received(|_| [data(1, END_STREAM, "A"), data(3, END_STREAM, "B")].concat());
    wire.sent(|e| e.get(5, "/c"));
    wire.received(|e| [e.ok(5), data(5, END_STREAM, "whole")].concat());
    let lines = lines(&run(&wire.steps).events);
    has(
        &lines,
        &["0 ! FramingLost r", "1 < gap 13", "3 < gap 13", "1 < end 2 gap 13 at 1", "3 < end 2 gap 13 at 1"],
    );
    // Not open at that time; but one of its fields refers to what may have been lost.
    has(&lines, &["5 > GET /c", "5 < 200", "5 ! HpackUnreliable", "5 < end 5"]);
    none(&lines, &["5 < gap"]);
}

#[test]
fn a_lost_head_leaves_its_exchange_without_one_and_later_fields_of_the_table_out() {
    let mut wire = Wire::new();
    wire.sent(|e| e.get(1, "/a"));
    let block = wire.client.clone().post(3, "/b");
    wire.sent(|e| e.post(3, "/b")[..block.len() - 4].to_vec());
    wire.steps.push(Step::SentGap(4));
    wire.sent(|_| data(3, END_STREAM, "body"));
    wire.sent(|e| e.get(5, "/c"));
    wire.received(|e| [e.ok(3), data(3, END_STREAM, "B"), e.ok(5), data(5, END_STREAM, "C")].concat());
    let lines = lines(&run(&wire.steps).events);
    has(&lines, &["3 ! FramingLost", "3 < 200", "3 ! ResponseWithoutRequest", "3 < end 1"]);
    has(&lines, &["5 > GET /c", "5 ! HpackUnreliable", "5 < end 1"]);
    none(&lines, &["0 !", "3 >", "1 ! Hpack"]);
}

#[test]
fn a_connection_joined_late_is_understood_from_its_next_frames_and_says_so() {
    let mut before = Wire::new();
    before.sent(|e| e.get(1, "/a"));
    before.received(|e| [e.ok(1), data(1, 0, "seen by nobody")].concat());
    let mut wire = Wire { client: before.client, server: before.server, steps: Vec::new() };
    wire.received(|_| [data(1, END_STREAM, "tail"), frame(PING, 0, 0, [0; 8])].concat());
    wire.sent(|e| e.get(3, "/b"));
    wire.received(|e| [e.ok(3), data(3, END_STREAM, "B")].concat());
    wire.sent(|e| {
        e.headers(5, END_STREAM, &[(":method", "GET"), (":scheme", "https"), (":path", "/c"), ("n", "1")])
    });
    wire.received(|e| [e.headers(5, 0, &[(":status", "200")]), data(5, END_STREAM, "C")].concat());
    let run = run(&wire.steps);
    assert_eq!((run.protocol, run.role), (Protocol::Http2, Some(Role::Client)));
    let lines = lines(&run.events);
    has(&lines, &["0 ! Unrecognised r0", "3 > GET /b", "3 ! Resynchronised s0", "3 ! HpackUnreliable s0"]);
    has(&lines, &["3 < 200", "3 < B", "3 < end 1", "5 > GET /c", "5 < C", "5 < end 1"]);
    none(&lines, &["5 !", "seen", "tail", "1 "]);
}

#[test]
fn the_role_on_a_connection_joined_late_is_told_by_the_first_head() {
    let mut client = Encoder::default();
    let mut server = Encoder::default();
    let run = run(&[received(client.get(7, "/b")), sent([server.ok(7), data(7, END_STREAM, "B")].concat())]);
    assert_eq!(run.role, Some(Role::Server));
    has(&lines(&run.events), &["7 > GET /b", "7 > end 0", "7 < 200", "7 < end 1"]);
}

#[test]
fn a_body_whose_encoding_may_be_unknown_is_decoded_if_it_begins_like_gzip() {
    let mut server = Encoder::default();
    let fields = [(":status", "200"), ("content-encoding", "gzip")];
    server.block(&fields);
    let packed = gzip(b"content");
    for (body, expected) in
        [(&packed[..], "content"), (b"plain", "plain"), (b"\x1f", "\x1f"), (b"\x1fx", "\x1fx")]
    {
        // However it is cut.
        for size in [1, 2, 100] {
            let mut server = server.clone();
            let mut client = Encoder::default();
            let mut answer = server.headers(3, 0, &fields);
            body.chunks(size).for_each(|piece| answer.extend(data(3, 0, piece)));
            answer.extend(data(3, END_STREAM, ""));
            let run = run(&[sent(client.get(3, "/b")), received(answer)]);
            has(&lines(&run.events), &["3 ! HpackUnreliable r0", &format!("3 < {expected}")]);
            has(&lines(&run.events), &[&format!("3 < end {}", expected.len())]);
        }
    }
}

#[test]
fn text_is_never_taken_for_frames() {
    let text = "data: {\"choices\":[]}\n\n".repeat(50);
    for cut in 0..40 {
        let run = run(&[received(&text.as_bytes()[cut..]), sent("{\"a\":1}")]);
        assert_eq!(run.protocol, Protocol::Opaque);
    }
}

#[test]
fn the_end_of_a_connection_within_a_head_is_said() {
    let mut wire = Wire::new();
    wire.sent(|e| e.get(1, "/a")[..12].to_vec());
    assert_eq!(lines(&run(&wire.steps).events), ["0 ! TruncatedHead s54"]);
}
