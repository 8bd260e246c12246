//! Content encodings against the encoders of the formats' own projects: any cut gives the same
//! content, flushed output comes at once, and broken, truncated and exploding streams are bounded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use oisp_decode::{ContentDecoder, EncodingError};
use proptest::prelude::*;

const LIMIT: usize = 16 << 20;
const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn encode(coding: &str, content: &[u8]) -> Vec<u8> {
    encode_flushing(coding, &[content]).pop().unwrap()
}

/// The stream after each piece was written and flushed, and at last the whole.
fn encode_flushing(coding: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    fn write<W: std::io::Write>(
        mut encoder: W,
        pieces: &[&[u8]],
        so_far: impl Fn(&W) -> &Vec<u8>,
        finish: impl FnOnce(W) -> Vec<u8>,
    ) -> Vec<Vec<u8>> {
        let mut streams = Vec::new();
        for piece in pieces {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
            streams.push(so_far(&encoder).clone());
        }
        streams.push(finish(encoder));
        streams
    }
    let level = flate2::Compression::default();
    match coding {
        "gzip" => write(
            flate2::write::GzEncoder::new(Vec::new(), level),
            pieces,
            |encoder| encoder.get_ref(),
            |encoder| encoder.finish().unwrap(),
        ),
        "deflate" => write(
            flate2::write::ZlibEncoder::new(Vec::new(), level),
            pieces,
            |encoder| encoder.get_ref(),
            |encoder| encoder.finish().unwrap(),
        ),
        "raw deflate" => write(
            flate2::write::DeflateEncoder::new(Vec::new(), level),
            pieces,
            |encoder| encoder.get_ref(),
            |encoder| encoder.finish().unwrap(),
        ),
        "br" => write(
            brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22),
            pieces,
            |encoder| encoder.get_ref(),
            |encoder| encoder.into_inner(),
        ),
        "zstd" => {
            let mut context = zstd_safe::CCtx::create();
            context.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
            let mut stream = Vec::new();
            let mut streams = Vec::new();
            let mut end = |content: &[u8], directive| {
                let mut input = zstd_safe::InBuffer::around(content);
                loop {
                    let mut room = vec![0; 128 << 10];
                    let mut output = zstd_safe::OutBuffer::around(&mut room[..]);
                    let left = context.compress_stream2(&mut output, &mut input, directive).unwrap();
                    let made = output.pos();
                    stream.extend_from_slice(&room[..made]);
                    if left == 0 && input.pos() == content.len() {
                        return stream.clone();
                    }
                }
            };
            for piece in pieces {
                streams.push(end(piece, zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush));
            }
            streams.push(end(&[], zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_end));
            streams
        }
        other => panic!("{other}"),
    }
}

type Decoded = (Vec<u8>, Result<(), EncodingError>);

fn decode_pieces(codings: &[&str], pieces: &[&[u8]], room: usize) -> Decoded {
    let mut decoder = ContentDecoder::for_codings(codings).unwrap();
    let mut out = Vec::new();
    for piece in pieces {
        let left = room - out.len();
        if let Err(error) = decoder.push(piece, left, &mut out) {
            assert_eq!(decoder.push(b"x", 1, &mut Vec::new()), Err(error), "an error lasts");
            assert_eq!(decoder.finish(), Err(error), "an error lasts");
            return (out, Err(error));
        }
    }
    (out, decoder.finish())
}

fn decode(coding: &str, stream: &[u8]) -> Decoded {
    decode_pieces(&[coding], &[stream], LIMIT)
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for cut in at {
        pieces.push(&bytes[start..cut]);
        start = cut;
    }
    pieces.push(&bytes[start..]);
    pieces
}

/// Content that compresses, does not compress, and repeats over long distances.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        ("[a-z ]{1,20}", 1..400usize).prop_map(|(word, times)| word.repeat(times).into_bytes()),
    ];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

#[test]
fn flushed_events_come_out_of_each_coding_before_the_stream_ends() {
    for coding in ["gzip", "deflate", "raw deflate", "br", "zstd"] {
        let pieces: [&[u8]; 3] = [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"];
        let streams = encode_flushing(coding, &pieces);
        let mut decoder = ContentDecoder::for_codings(&[coding.trim_start_matches("raw ")]).unwrap();
        let mut out = Vec::new();
        let mut pushed = 0;
        for (number, stream) in streams.iter().enumerate() {
            decoder.push(&stream[pushed..], LIMIT, &mut out).unwrap();
            pushed = stream.len();
            let events = (number + 1).min(3);
            assert_eq!(out.len(), events * pieces[0].len(), "{coding} after {events} events");
            assert_eq!(decoder.finish().is_ok(), number == 3, "{coding} after {events} events");
        }
    }
}

#[test]
fn stacked_codings_are_undone_in_reverse_order_however_their_names_are_written() {
    let content = b"content that was encoded twice or thrice".repeat(2000);
    let twice = encode("br", &encode("gzip", &content));
    assert_eq!(decode_pieces(&["GZIP", "br"], &[&twice], LIMIT), (content.clone(), Ok(())));
    let thrice = encode("deflate", &encode("zstd", &encode("gzip", &content)));
    let single: Vec<&[u8]> = thrice.chunks(1).collect();
    assert_eq!(decode_pieces(&["x-gzip", "zstd", "identity", "deflate"], &single, LIMIT), (content, Ok(())));
    assert_eq!(
        decode_pieces(&["gzip", "br"], &[&twice[..twice.len() / 2]], LIMIT).1,
        Err(EncodingError::Truncated)
    );
}

#[test]
fn an_inner_stream_that_ends_early_is_truncated_although_the_outer_is_whole() {
    let inner = encode("gzip", b"content");
    let stream = encode("zstd", &inner[..inner.len() - 1]);
    assert_eq!(
        decode_pieces(&["gzip", "zstd"], &[&stream], LIMIT),
        (b"content".to_vec(), Err(EncodingError::Truncated))
    );
}

#[test]
fn a_bomb_stops_at_the_limit_in_each_coding() {
    for coding in CODINGS {
        let stream = encode(coding, &vec![0; 4 << 20]);
        assert!(stream.len() < 64 << 10, "{coding} is a bomb");
        let (out, result) = decode_pieces(&[coding], &[&stream], 100_000);
        assert_eq!((out.len(), result), (100_000, Err(EncodingError::OverLimit)), "{coding}");
    }
}

#[test]
fn a_bomb_within_a_bomb_is_stopped_between_the_codings() {
    // The inner coding makes nothing of it: skippable frames.
    let mut frame = [0x184d_2a50_u32.to_le_bytes(), (10_u32 << 20).to_le_bytes()].concat();
    frame.resize(frame.len() + (10 << 20), 0);
    let stream = encode("zstd", &frame).repeat(7);
    assert_eq!(
        decode_pieces(&["zstd", "zstd"], &[&stream], LIMIT),
        (Vec::new(), Err(EncodingError::OverLimit))
    );
}

#[test]
fn concatenated_zstd_frames_are_joined_and_skippable_ones_left_out() {
    let mut stream = encode("zstd", b"one ");
    stream.extend_from_slice(&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'x', b'y', b'z']);
    stream.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    stream.extend(encode("zstd", b""));
    stream.extend(encode("zstd", b"two"));
    assert_eq!(decode("zstd", &stream), (b"one two".to_vec(), Ok(())));
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode_pieces(&["zstd"], &single, LIMIT), (b"one two".to_vec(), Ok(())));
    assert_eq!(decode("zstd", &stream[..stream.len() - 1]).1, Err(EncodingError::Truncated));
    let in_skippable = encode("zstd", b"one ").len() + 9;
    assert_eq!(decode("zstd", &stream[..in_skippable]), (b"one ".to_vec(), Err(EncodingError::Truncated)));
}

#[test]
fn what_follows_a_stream_that_cannot_be_continued_is_reported_after_its_content() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let stream = [encode(coding, b"content"), b"more".to_vec()].concat();
        assert_eq!(decode(coding, &stream), (b"content".to_vec(), Err(EncodingError::Corrupt)), "{coding}");
    }
}

#[test]
fn a_zstd_window_beyond_eight_mebibytes_is_refused_with_its_size_however_it_is_cut() {
    // One frame of one raw block of one byte; only the window differs.
    let frame = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window][..], &[9, 0, 0, b'x']].concat();
    assert_eq!(decode("zstd", &frame(13 << 3)), (b"x".to_vec(), Ok(())));
    let too_large = EncodingError::WindowTooLarge { bytes: 9 << 20 };
    for size in [1, 4, 100] {
        let stream = frame(13 << 3 | 1);
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        assert_eq!(decode_pieces(&["zstd"], &pieces, LIMIT), (Vec::new(), Err(too_large)));
    }
    // A single segment of 1 TiB, and the largest window there is.
    let segment = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 40).to_le_bytes()].concat();
    assert_eq!(decode("zstd", &segment).1, Err(EncodingError::WindowTooLarge { bytes: 1 << 40 }));
    assert!(matches!(decode("zstd", &frame(255)).1, Err(EncodingError::WindowTooLarge { .. })));
}

#[test]
fn a_zstd_frame_that_wants_a_dictionary_is_corrupt() {
    let stream = [0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x50, 7, 9, 0, 0, b'x'];
    assert_eq!(decode("zstd", &stream), (Vec::new(), Err(EncodingError::Corrupt)));
}

#[test]
fn a_large_window_brotli_stream_is_refused() {
    // The reserved first bits that announce windows over 16 MiB.
    assert_eq!(decode("br", &[0x11, 0x1e, 0, 0, 0]).1, Err(EncodingError::Corrupt));
}

#[test]
fn memory_is_counted_and_given_back_with_the_decoder() {
    let content: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 3).to_le_bytes()).collect();
    for coding in CODINGS {
        let stream = encode(coding, &content);
        let mut decoder = ContentDecoder::for_codings(&[coding]).unwrap();
        let before = decoder.buffered_bytes();
        decoder.push(&stream[..stream.len() - 1], LIMIT, &mut Vec::new()).unwrap();
        assert!(decoder.buffered_bytes() >= 32 << 10, "{coding}");
        assert!(before < 128 << 10 && decoder.buffered_bytes() < 20 << 20, "{coding}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_content(
        content in content(),
        coding in 0..5_usize,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (written, name) = [
            ("gzip", "gzip"), ("deflate", "deflate"), ("raw deflate", "deflate"), ("br", "br"), ("zstd", "zstd"),
        ][coding];
        let stream = encode(written, &content);
        prop_assert_eq!(decode_pieces(&[name], &cut(&stream, &cuts), LIMIT), (content.clone(), Ok(())));
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(decode_pieces(&[name], &single, LIMIT), (content, Ok(())));
    }

    #[test]
    fn a_truncated_stream_gives_the_beginning_of_the_content_and_says_so(
        content in content(),
        coding in 0..4_usize,
        end in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let stream = encode(CODINGS[coding], &content);
        let end = end.index(stream.len()).max(1);
        let whole = decode(CODINGS[coding], &stream[..end]);
        prop_assert!(content.starts_with(&whole.0));
        prop_assert_eq!(&whole.1, &Err(EncodingError::Truncated));
        prop_assert_eq!(decode_pieces(&[CODINGS[coding]], &cut(&stream[..end], &cuts), LIMIT), whole);
    }

    #[test]
    fn a_damaged_stream_gives_the_same_content_and_the_same_error_however_it_is_cut(
        content in content(),
        coding in 0..4_usize,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let coding = CODINGS[coding];
        let mut stream = encode(coding, &content);
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let whole = decode(coding, &stream);
        let pieces = decode_pieces(&[coding], &cut(&stream, &cuts), LIMIT);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        for other in [pieces, decode_pieces(&[coding], &single, LIMIT)] {
            prop_assert_eq!(other.1, whole.1);
            if coding == "br" {
                // The library finds a command that leaves its meta-block when the command is over or
                // when the input is used up, and how far that command was carried out depends on it.
                prop_assert!(other.0.starts_with(&whole.0) || whole.0.starts_with(&other.0));
            } else {
                prop_assert_eq!(&other.0, &whole.0);
            }
        }
    }
}

#[test]
fn what_comes_before_the_damage_is_delivered_in_each_coding_also_when_it_comes_in_one_piece() {
    let pieces: Vec<Vec<u8>> = (0..40_u32).map(|n| format!("event {n} {}\n", n * n).into_bytes()).collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    for coding in CODINGS {
        let streams = encode_flushing(coding, &pieces);
        let half = streams[19].len();
        let mut stream = streams[39].clone();
        // A reserved block type in each format, or nonsense where there is none.
        stream.truncate(half);
        stream.extend([0xff; 40]);
        let expected = pieces[..20].concat();
        let (content, error) = decode(coding, &stream);
        assert_eq!(error, Err(EncodingError::Corrupt), "{coding}");
        assert!(content.starts_with(&expected), "{coding}: {} bytes of {}", content.len(), expected.len());
    }
}
