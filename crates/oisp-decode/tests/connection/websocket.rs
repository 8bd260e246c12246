//! WebSocket connections: what is read, what is lost, and what says so.

use crate::support::Step::{ReceivedGap, SentGap};
use crate::support::{Run, Step, lines, received, run, run_with, sent};
use oisp_decode::{Defect, Direction, HttpEventKind, Limits, Protocol, Undecodable, WebSocketMessage};

pub(crate) const REQUEST: &str = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const OPENING: [&str; 5] = ["1 > GET /ws", "1 > end 0", "1 < 101", "1 < upgraded WebSocket", "1 < end 0"];
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const DEFLATE: &str = "permessage-deflate";

pub(crate) fn response(extensions: &str) -> String {
    let extensions = match extensions {
        "" => String::new(),
        extensions => format!("Sec-WebSocket-Extensions: {extensions}\r\n"),
    };
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n{extensions}\r\n")
}

/// A frame as its first byte says, masked or not.
pub(crate) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ ..=125 => frame.push(masked | length as u8),
        length @ ..=0xffff => {
            frame.push(masked | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().enumerate().map(|(place, byte)| byte ^ key[place % 4]));
    frame
}

fn server(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, None, payload.as_ref())
}

fn client(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, Some(MASK), payload.as_ref())
}

/// Compresses messages as RFC 7692 section 7.2.1 says.
pub(crate) struct Deflater {
    compress: flate2::Compress,
    takeover: bool,
}

impl Deflater {
    pub(crate) fn new(takeover: bool) -> Self {
        Self { compress: flate2::Compress::new(flate2::Compression::default(), false), takeover }
    }

    pub(crate) fn message(&mut self, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(content.len() + 1000);
        self.compress.compress_vec(content, &mut out, flate2::FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        if !self.takeover {
            self.compress.reset();
        }
        out
    }
}

/// The lines after the opening.
fn after_opening(extensions: &str, steps: Vec<Step>) -> Vec<String> {
    let run = opened(Limits::default(), extensions, steps);
    assert_eq!(run.protocol, Protocol::WebSocket);
    let lines = lines(&run.events);
    assert_eq!(lines[..5], OPENING);
    lines[5..].to_vec()
}

fn opened(limits: Limits, extensions: &str, steps: Vec<Step>) -> Run {
    let mut all = vec![sent(REQUEST), received(response(extensions))];
    all.extend(steps);
    run_with(limits, &all)
}

pub(crate) fn messages(run: &Run) -> Vec<&WebSocketMessage> {
    run.events
        .iter()
        .filter_map(|event| match &event.kind {
            HttpEventKind::WebSocketMessage(message) => Some(message),
            _ => None,
        })
        .collect()
}

#[test]
fn the_examples_of_rfc_6455_are_read() {
    let lines = after_opening(
        "",
        vec![
            received(b"\x81\x05Hello"),
            sent(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            received(b"\x01\x03Hel\x80\x02lo"),
            received(b"\x89\x05Hello"),
            sent(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            received([&b"\x82\x7e\x01\x00"[..], &[b'a'; 256]].concat()),
            received([&b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"[..], &[b'b'; 65536]].concat()),
        ],
    );
    let (a, b) = ("a".repeat(256), "b".repeat(65536));
    assert_eq!(
        lines,
        [
            "1 < Text Hello",
            "1 > Text Hello",
            "1 < Text Hello",
            "1 < Ping Hello",
            "1 > Pong Hello",
            &format!("1 < Binary {a}"),
            &format!("1 < Binary {b}"),
        ]
    );
}

#[test]
fn the_examples_of_rfc_7692_are_read() {
    let lines = after_opening(
        DEFLATE,
        vec![
            // Section 7.2.3.1, then fragmented.
            received(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"),
            // 7.2.3.2: refers to the one before.
            received(b"\xc1\x05\xf2\x00\x11\x00\x00"),
            // Sent uncompressed.
            received(b"\x81\x02ok"),
            received(b"\x41\x03\xf2\x00\x11\x80\x02\x00\x00"),
            // 7.2.3.3: a block without compression.
            received(b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
            // 7.2.3.5: two blocks.
            received(b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
            // 7.2.3.4: a final block.
            received(b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
        ],
    );
    let mut expected = ["1 < Text Hello"; 7];
    expected[2] = "1 < Text ok";
    assert_eq!(lines, expected);
}

#[test]
fn control_frames_come_between_fragments_and_a_close_says_why() {
    let lines = after_opening(
        "",
        vec![
            received(b"\x01\x01{\x89\x00\x00\x01}\x8a\x01p\x80\x00"),
            received(b"\x88\x06\x03\xe8done"),
            sent(client(0x88, b"")),
            sent(client(0x88, b"\x03")),
        ],
    );
    assert_eq!(
        lines,
        [
            "1 < Ping ",
            "1 < Pong p",
            "1 < Text {}",
            "1 < Close Some(1000) done",
            "1 > Close None ",
            "1 > Close None "
        ]
    );
}

#[test]
fn what_either_side_sends_together_with_the_handshake_is_read() {
    let run = run(&[
        sent([REQUEST.as_bytes(), &client(0x81, "early")].concat()),
        received([response("").as_bytes(), b"\x81\x05first\x81"].concat()),
        received(b"\x06second"),
        sent(client(0x81, "late")),
    ]);
    assert_eq!(
        lines(&run.events)[5..],
        ["1 > Text early", "1 < Text first", "1 < Text second", "1 > Text late"]
    );
    assert_eq!(run.protocol, Protocol::WebSocket);
}

#[test]
fn a_recorded_server_is_read_as_a_recorded_client_is() {
    let run = run(&[
        received([REQUEST.as_bytes(), &client(0x81, "early")].concat()),
        sent([response("").as_bytes(), b"\x81\x05first"].concat()),
    ]);
    let found = messages(&run);
    assert_eq!(
        (found[0].direction, &found[0].bytes[..], found[0].masked),
        (Direction::Received, &b"early"[..], true)
    );
    assert_eq!(
        (found[1].direction, &found[1].bytes[..], found[1].masked),
        (Direction::Sent, &b"first"[..], false)
    );
}

#[test]
fn a_mask_where_none_belongs_is_undone_and_reported_once() {
    assert_eq!(
        after_opening(
            "",
            vec![received(client(0x81, "one")), received(client(0x81, "two")), sent(server(0x81, "three"))]
        ),
        [
            "1 ! UnexpectedMasking r56",
            "1 < Text one",
            "1 < Text two",
            "1 ! UnexpectedMasking s61",
            "1 > Text three"
        ]
    );
}

#[test]
fn each_way_of_agreeing_on_compression_is_read_in_both_directions() {
    for (extensions, of_client, of_server) in [
        (DEFLATE, true, true),
        ("permessage-deflate; client_no_context_takeover; server_max_window_bits=15", false, true),
        ("permessage-deflate; server_no_context_takeover", true, false),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", false, false),
    ] {
        let (mut upward, mut downward) = (Deflater::new(of_client), Deflater::new(of_server));
        let content = |number: usize| format!("{{\"delta\":\"the same words again {number}\"}}");
        let steps = (0..5)
            .flat_map(|number| {
                [
                    sent(client(0xc1, upward.message(content(number).as_bytes()))),
                    received(server(0xc1, downward.message(content(number).as_bytes()))),
                ]
            })
            .collect();
        let expected: Vec<String> = (0..5)
            .flat_map(|number| ['>', '<'].map(|side| format!("1 {side} Text {}", content(number))))
            .collect();
        assert_eq!(after_opening(extensions, steps), expected, "{extensions}");
    }
}

#[test]
fn messages_under_an_unknown_extension_say_that_they_were_not_read() {
    assert_eq!(
        after_opening("x-secret", vec![received(b"\xb1\x03abc\x89\x01p")]),
        ["1 < Text  UnsupportedEncoding(\"x-secret\")", "1 < Ping p"]
    );
}

#[test]
fn a_gap_within_a_payload_is_marked_and_the_next_message_is_whole() {
    assert_eq!(
        after_opening(
            "",
            vec![
                received(b"\x81\x08ab"),
                ReceivedGap(3),
                received(b"fgh\x81\x02ok"),
                sent(&client(0x81, "abcdefgh")[..10]),
                SentGap(4),
                sent(client(0x81, "ok")),
            ],
        ),
        ["1 < Text ab gap 3 at 2", "1 < Text ok", "1 > Text abcd gap 4 at 4", "1 > Text ok"]
    );
}

#[test]
fn a_gap_within_one_fragment_keeps_the_message_together() {
    assert_eq!(
        after_opening(
            "",
            vec![received(b"\x01\x03abc\x00\x03d"), ReceivedGap(2), received(b"\x80\x01g\x81\x01x")]
        ),
        ["1 < Text abcd gap 2 at 4", "1 < Text x"]
    );
}

#[test]
fn a_gap_over_a_frame_header_loses_the_framing_up_to_a_record_of_whole_messages() {
    assert_eq!(
        after_opening("", vec![received(b"\x01\x02ab\x81\x05cd"), received(b"x"),],),
        ["1 ! MalformedFrame r60", "1 < Text ab truncated"],
        "a message within a message"
    );
    assert_eq!(
        after_opening(
            "",
            vec![
                received(b"\x81\x05ab"),
                ReceivedGap(9),
                received(b"\x81\x02{\"never to be read"),
                received(b"never\x81\x02{}"),
                received(b"\x80\x02{}"),
                sent(client(0x81, "untouched")),
                received(b"\x81\x02{}\x89\x00"),
                received(b"\x81"),
                received(b"\x01y"),
            ],
        ),
        [
            "1 ! FramingLost r60",
            "1 < Text ab gap 9 at 2 truncated",
            "1 > Text untouched",
            "1 ! Resynchronised r102",
            "1 < Text {}",
            "1 < Ping ",
            "1 < Text y",
        ]
    );
}

#[test]
fn a_loss_touches_only_the_messages_that_refer_to_what_was_lost() {
    let mut downward = Deflater::new(true);
    let first = server(0xc1, downward.message(b"some words that come again"));
    let lost = server(0xc1, downward.message(b"other words, sorely missed"));
    let refers = server(0xc1, downward.message(b"other words, sorely missed, and more"));
    // A sender that begins anew, as senders may at any time.
    let mut anew = Deflater::new(true);
    let independent = server(0xc1, anew.message(b"nothing of the sort"));
    let continues = server(0xc1, anew.message(b"nothing of the sort, indeed"));
    let lines = after_opening(
        DEFLATE,
        vec![
            received(&first),
            received(&lost[..4]),
            ReceivedGap(lost.len() as u64 - 4),
            received(&refers),
            received(server(0x81, "plain")),
            received(&independent),
            received(&continues),
        ],
    );
    assert_eq!(lines[0], "1 < Text some words that come again");
    assert!(lines[1].contains(&format!("gap {} at", lost.len() - 4)), "{lines:?}");
    assert_eq!(lines[2], "1 < Text  CompressionContextLost");
    assert_eq!(
        lines[3..],
        ["1 < Text plain", "1 < Text nothing of the sort", "1 < Text nothing of the sort, indeed"]
    );
}

#[test]
fn without_takeover_a_loss_touches_no_further_message() {
    let mut downward = Deflater::new(false);
    let frames: Vec<Vec<u8>> =
        (0..3).map(|_| server(0xc1, downward.message(b"the same every time"))).collect();
    let lines = after_opening(
        "permessage-deflate; server_no_context_takeover",
        vec![received(&frames[0][..6]), ReceivedGap(frames[0].len() as u64 - 6), received(&frames[1])],
    );
    assert_eq!(lines[1], "1 < Text the same every time");
}

#[test]
fn broken_compression_is_told_from_a_lost_context() {
    let lines = after_opening(DEFLATE, vec![received(b"\xc1\x03\xff\xff\xff\x81\x01x")]);
    assert_eq!(lines, ["1 < Text  CorruptEncoding", "1 < Text x"]);
}

#[test]
fn bombs_stop_at_the_limit_and_later_messages_are_read() {
    let limits = Limits { websocket_message_bytes: 1000, ..Limits::default() };
    let bomb = Deflater::new(false).message(&vec![0; 1 << 20]);
    let run = opened(
        limits,
        "permessage-deflate; server_no_context_takeover",
        vec![
            received(server(0xc2, &bomb)),
            received(server(0x82, vec![b'x'; 2000])),
            received(server(0x82, vec![b'x'; 1000])),
            received(server(0xc1, Deflater::new(false).message(b"fine"))),
        ],
    );
    let found = messages(&run);
    let over = |total_bytes| vec![Defect::OverLimit { total_bytes }];
    assert_eq!((found[0].bytes.len(), found[0].completeness.defects()), (1000, &over(bomb.len() as u64)[..]));
    assert_eq!((found[1].bytes.len(), found[1].completeness.defects()), (1000, &over(2000)[..]));
    // The SHA-256 of 2,000 times "x".
    let whole = found[1].whole.unwrap();
    assert_eq!((whole.bytes, whole.sha256[..2].to_vec()), (2000, vec![0x5c, 0x0e]));
    assert!(found[2].completeness.is_complete() && found[2].whole.is_none());
    assert_eq!((&found[3].bytes[..], found[3].completeness.is_complete()), (&b"fine"[..], true));
}

#[test]
fn many_small_bombs_give_no_more_than_the_average_ratio_allows() {
    let bomb = Deflater::new(false).message(&vec![0; 4 << 20]);
    let record = server(0xc2, &bomb).repeat(50);
    let run = opened(
        Limits { websocket_message_bytes: 4 << 20, ..Limits::default() },
        "permessage-deflate; server_no_context_takeover",
        vec![received(&record), received(server(0x81, "x"))],
    );
    let found = messages(&run);
    assert_eq!(found.len(), 51);
    assert!(found[0].completeness.is_complete());
    let total: usize = found.iter().map(|message| message.bytes.len()).sum();
    assert!(total <= (4 << 20) + 64 * record.len(), "{total}");
    assert!(!found[49].completeness.is_complete());
}

#[test]
fn the_end_of_the_connection_ends_what_is_open() {
    assert_eq!(
        after_opening("", vec![received(b"\x01\x03abc\x80\x05d"), sent(b"\x81")]),
        ["1 ! TruncatedHead s61", "1 < Text abcd truncated"]
    );
}

#[test]
fn bytes_that_are_no_frames_end_the_direction_and_are_reported() {
    for bytes in
        [&b"\x83\x00"[..], b"\x80\x00", b"\x91\x00", b"\xc1\x00", b"\x09\x00", b"HTTP/1.1 200 OK\r\n\r\n"]
    {
        let lines = after_opening("", vec![received(bytes)]);
        assert_eq!(lines, ["1 ! MalformedFrame r56"], "{bytes:x?}");
    }
}

#[test]
fn a_client_that_went_on_for_too_long_is_read_from_the_next_whole_message() {
    let limits = Limits { held_bytes: 4, ..Limits::default() };
    let run = run_with(
        limits,
        &[
            sent(REQUEST),
            sent(client(0x81, "too early")),
            received(response("")),
            sent(client(0x81, "later")),
        ],
    );
    assert_eq!(
        lines(&run.events),
        [
            "1 > GET /ws",
            "1 > end 0",
            "0 ! HeldTooLong s61",
            "1 < 101",
            "1 < upgraded WebSocket",
            "1 < end 0",
            "1 ! Resynchronised s76",
            "1 > Text later",
        ]
    );
}

#[test]
fn a_context_that_is_lost_before_the_first_message_is_lost_too() {
    let mut upward = Deflater::new(true);
    let early = client(0xc1, upward.message(b"said before the answer came"));
    let later = client(0xc1, upward.message(b"said before the answer came, and after"));
    let limits = Limits { held_bytes: 4, ..Limits::default() };
    let run = run_with(limits, &[sent(REQUEST), sent(early), received(response(DEFLATE)), sent(later)]);
    assert_eq!(
        messages(&run)[0].completeness.defects(),
        [Defect::Undecodable(Undecodable::CompressionContextLost)]
    );
}

/// Written by another implementation (Python's websockets 17.4), which masks at random and flushes as it likes.
#[test]
fn what_another_implementation_wrote_is_read() {
    let recorded = [
        (
            "permessage-deflate",
            "c1b69907b63533519c9cb54fe387cb2dfc18b7cf791ed7d2fd1bd34a9a7cccd5e7ff552c9e1898cd22513d2da2127fa19ca17e101321b21f9ee09b07c1881993c6e2b3b59f71b8c1ebe2c18797ff9e96b5a20d07c5d29e418ee5239a3b6748d0f52a08d116e7239a3b1adc809077aea8f65de0843fbb617b3d5be765739e00adf6c28638379fcb5a573be53c37",
            "c13eaa562aa92c4855b2522a4a2d2ec8cf2b4ed5cb2f2d29282d892f49ad28d14b49cd294954d25182d0564a2519a90ac589b9a90ae5f94529c50a064ab50000c108aaa644bfa1522d00c107a248bf91522d008905616c697665880603e8646f6e65",
        ),
        (
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9",
            "c1b6ee04b80e445292a7c24cedbcbc2ef223c0cc7725a0d1f320a4499447bbd6e9c4222f9023efce2c6a4a2eac2908a2929a09131d1ac51c90dbec04c1b68557741c2f015eb5a91f21aed77d3e31ab9fbb37cb823f32cf1a5855d08525d6497c5c31849de078217d603b63f15e886240d108ae4f5ec98757c1b6fc50777c56065dd5d01822ceae7a3d51d298b857b2853c52b61d5b35a98226b6307b5f51fd9ae318587a635b1af65de81b47d268d7485ea9fe504195f8d19f1b5287b5b2d499caa9aa9b51d4d39ab219f8d19fe4078096d09a33e0fad41f291c55e02bfcd3fe359bb479adfcd3664ad59ac2870aa2451068c221b020a645",
            "c13eaa562aa92c4855b2522a4a2d2ec8cf2b4ed5cb2f2d29282d892f49ad28d14b49cd294954d25182d0564a2519a90ac589b9a90ae5f94529c50a064ab50000c108aaa644bfa1522d00c107a248bf91522d008905616c697665880603e8646f6e65",
        ),
    ];
    for (extensions, of_client, of_server) in recorded {
        let lines = after_opening(extensions, vec![sent(unhex(of_client)), received(unhex(of_server))]);
        let of_client = (0..3)
            .map(|n| format!("1 > Text {{\"type\":\"response.create\",\"input\":\"the same words {n}\"}}"))
            .chain(["1 > Text {\"type\":\"conversation.item.create\"}".to_owned()])
            .chain([format!("1 > Binary {}", "\0\u{1}".repeat(40))]);
        let of_server = (0..3)
            .map(|n| {
                format!(
                    "1 < Text {{\"type\":\"response.output_text.delta\",\"delta\":\"the same words {n}\"}}"
                )
            })
            .chain(["1 < Ping alive", "1 < Close Some(1000) done"].map(str::to_owned));
        assert_eq!(lines, of_client.chain(of_server).collect::<Vec<_>>(), "{extensions}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}
