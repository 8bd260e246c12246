//! What holds for any WebSocket connection, however it is cut and whatever is lost of it.

use crate::support::Step::{ReceivedGap, SentGap};
use crate::support::{Step, lines, received, run, sent};
use crate::websocket::{Deflater, REQUEST, frame, messages, response};
use oisp_decode::{Direction, WebSocketKind};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Sample {
    of_client: bool,
    content: Vec<u8>,
    compressed: bool,
    fragments: usize,
    ping: bool,
}

fn sample() -> impl Strategy<Value = Sample> {
    let piece = prop_oneof![
        Just("{\"type\":\"response.output_text.delta\",\"delta\":\"".to_owned()),
        "[a-z]{1,12}",
        Just("\u{1}\u{2}x".to_owned()),
        Just("long ".repeat(40)),
    ];
    let content = proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat().into_bytes());
    (any::<bool>(), content, any::<bool>(), 1_usize..4, any::<bool>()).prop_map(
        |(of_client, content, compressed, fragments, ping)| Sample {
            of_client,
            content,
            compressed,
            fragments,
            ping,
        },
    )
}

/// Every message with the number of its place in front of its content, so that each is another.
fn numbered(samples: Vec<Sample>) -> Vec<Sample> {
    samples
        .into_iter()
        .enumerate()
        .map(|(number, sample)| Sample {
            content: [format!("{number}:").as_bytes(), &sample.content].concat(),
            ..sample
        })
        .collect()
}

/// The connection, one step a message. `takeover`: messages refer to earlier ones.
fn steps(samples: &[Sample], takeover: bool) -> Vec<Step> {
    let extension = if takeover {
        "permessage-deflate"
    } else {
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    };
    let mut steps = vec![sent(REQUEST), received(response(extension))];
    let mut deflaters = [Deflater::new(takeover), Deflater::new(takeover)];
    for sample in samples {
        let mask = sample.of_client.then_some([1, 2, 3, 250]);
        let (payload, rsv) = if sample.compressed {
            (deflaters[usize::from(sample.of_client)].message(&sample.content), 0x40)
        } else {
            (sample.content.clone(), 0)
        };
        let mut wire = Vec::new();
        let pieces: Vec<&[u8]> = payload.chunks(payload.len().div_ceil(sample.fragments).max(1)).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let opcode = if number == 0 { 0x01 | rsv } else { 0 };
            let fin = if number + 1 == pieces.len() { 0x80 } else { 0 };
            wire.extend(frame(fin | opcode, mask, piece));
            if sample.ping && fin == 0 {
                wire.extend(frame(0x89, mask, b"ping"));
            }
        }
        steps.push(if sample.of_client { sent(wire) } else { received(wire) });
    }
    steps
}

fn cut_at(steps: &[Step], cuts: &[prop::sample::Index]) -> Vec<Step> {
    let mut out = Vec::new();
    for step in steps {
        let (Step::Sent(bytes) | Step::Received(bytes)) = step else { continue };
        let mut at: Vec<usize> =
            cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        at.sort_unstable();
        for pair in at.windows(2) {
            let piece = &bytes[pair[0]..pair[1]];
            out.push(if matches!(step, Step::Sent(_)) { sent(piece) } else { received(piece) });
        }
    }
    out
}

proptest! {
    #[test]
    fn every_message_is_read_as_it_was_written(
        samples in proptest::collection::vec(sample(), 0..12).prop_map(numbered),
        takeover in any::<bool>(),
    ) {
        let run = run(&steps(&samples, takeover));
        let texts: Vec<_> = messages(&run)
            .into_iter()
            .filter(|message| message.kind == WebSocketKind::Text)
            .map(|message| {
                assert!(message.completeness.is_complete());
                (message.direction == Direction::Sent, message.bytes.to_vec(), message.compressed)
            })
            .collect();
        let expected: Vec<_> =
            samples.iter().map(|sample| (sample.of_client, sample.content.clone(), sample.compressed)).collect();
        prop_assert_eq!(texts, expected);
    }

    #[test]
    fn where_the_records_are_cut_makes_no_difference(
        samples in proptest::collection::vec(sample(), 0..8).prop_map(numbered),
        takeover in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = steps(&samples, takeover);
        prop_assert_eq!(lines(&run(&cut_at(&whole, &cuts)).events), lines(&run(&whole).events));
    }

    #[test]
    fn broken_bytes_are_read_the_same_however_they_are_cut_while_framing_holds(
        script in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        // As the payload of a compressed message: any bytes at all.
        let wire = frame(0xc1, None, &script);
        let whole = [sent(REQUEST), received(response("permessage-deflate")), received(&wire)];
        let single = whole[..2].iter().cloned().chain(wire.chunks(1).map(received)).collect::<Vec<_>>();
        prop_assert_eq!(lines(&run(&single).events), lines(&run(&whole).events));
    }

    /// Whatever is lost: what is called complete was written so, in that order, and messages of the
    /// other direction are all there.
    #[test]
    fn a_loss_makes_nothing_up_and_stays_in_its_direction(
        samples in proptest::collection::vec(sample(), 1..12).prop_map(numbered),
        takeover in any::<bool>(),
        step in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        length in 1_usize..200,
    ) {
        let mut steps = steps(&samples, takeover);
        let number = 2 + step.index(samples.len());
        let of_client = samples[number - 2].of_client;
        let (Step::Sent(bytes) | Step::Received(bytes)) = steps[number].clone() else { unreachable!() };
        let from = from.index(bytes.len());
        let to = (from + length).min(bytes.len());
        let piece = |bytes: &[u8]| if of_client { sent(bytes) } else { received(bytes) };
        let gap = (to - from) as u64;
        let lost = if of_client { SentGap(gap) } else { ReceivedGap(gap) };
        steps.splice(number..=number, [piece(&bytes[..from]), lost, piece(&bytes[to..])]);
        let run = run(&steps);
        let mut expected: Vec<&Sample> = samples.iter().collect();
        for message in messages(&run) {
            if message.kind != WebSocketKind::Text {
                continue;
            }
            let is_sent = message.direction == Direction::Sent;
            if is_sent != of_client {
                prop_assert!(message.completeness.is_complete());
            }
            if message.completeness.is_complete() {
                let place = expected.iter().position(|sample| sample.of_client == is_sent && sample.content == message.bytes);
                prop_assert!(place.is_some(), "made up: {:?}", message.bytes);
                expected.drain(..=place.unwrap()).for_each(drop);
            } else {
                prop_assert!(samples.iter().any(|sample| sample.content.starts_with(&message.bytes)));
            }
        }
        let of_other = messages(&run).iter().filter(|message| {
            message.kind == WebSocketKind::Text && (message.direction == Direction::Sent) != of_client
        }).count();
        prop_assert_eq!(of_other, samples.iter().filter(|sample| sample.of_client != of_client).count());
    }

    #[test]
    fn any_bytes_keep_the_promises_of_the_event_order_in_a_websocket(
        script in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        oisp_decode::fuzz::websocket(&script);
    }

    /// Scripts of plausible frames reach deeper than random bytes.
    #[test]
    fn any_mixture_of_frames_keeps_the_promises_of_the_event_order(
        options in any::<u8>(),
        parts in proptest::collection::vec((0_usize..FRAMES.len(), any::<bool>(), 0_u8..8), 0..40),
    ) {
        let mut script = vec![options];
        for (part, is_received, operation) in parts {
            let direction = if is_received { 0x80 } else { 0 };
            let part = FRAMES[part];
            if operation == 0 {
                script.push(direction | 0x40 | part.len() as u8);
            } else {
                script.push(direction | part.len() as u8);
                script.extend_from_slice(part);
            }
        }
        oisp_decode::fuzz::websocket(&script);
    }
}

const FRAMES: [&[u8]; 14] = [
    b"\x81\x02{}",
    b"\x81\x82\x01\x02\x03\x04zz",
    b"\x01\x01{",
    b"\x00\x01x",
    b"\x80\x01}",
    b"\x89\x00",
    b"\x88\x02\x03\xe8",
    b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\xc1\x05\xf2\x00\x11\x00\x00",
    b"\x41\x03\xf2\x00\x11",
    b"\x82\x7e\x00\x80abcdefgh",
    b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x10",
    b"abcdefghijklmnop",
    b"\x83",
];
