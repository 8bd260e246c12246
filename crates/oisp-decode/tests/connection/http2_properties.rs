//! What holds for any HTTP/2 connection, however it is cut and whatever is lost of it.

use std::collections::VecDeque;

use oisp_decode::{ExchangeId, HttpEvent, HttpEventKind, ProblemKind};
use proptest::prelude::*;

use crate::http2_frames::*;
use crate::properties::{by_exchange, cut, lose, total};
use crate::support::{Step, gzip, lines, received, run, sent};

#[derive(Clone, Debug)]
struct Message {
    /// One DATA frame each.
    pieces: Vec<String>,
    gzip: bool,
    length: bool,
    trailers: bool,
    padded: bool,
}

#[derive(Clone, Debug)]
struct Exchange {
    request: Message,
    response: Message,
    informational: bool,
}

/// Frames of one exchange in their order.
#[derive(Clone, Copy)]
enum Part {
    RequestHead,
    Informational,
    ResponseHead,
    Data { of_request: bool, piece: usize, ends: bool },
    Trailers { of_request: bool },
}

/// A frame on its way: whether it is sent, its exchange, its bytes.
type Written = (bool, Option<usize>, Vec<u8>);

fn message(plain: bool) -> impl Strategy<Value = Message> {
    let piece = prop_oneof!["[a-z]{0,12}", Just("\0\0\u{1}\0\0\0\0\0\u{1}x".to_owned())];
    let flag = move || any::<bool>().prop_map(move |flag| flag && !plain);
    (proptest::collection::vec(piece, 0..4), flag(), any::<bool>(), any::<bool>(), flag()).prop_map(
        |(pieces, gzip, length, trailers, padded)| Message { pieces, gzip, length, trailers, padded },
    )
}

fn exchange(plain: bool) -> impl Strategy<Value = Exchange> {
    (message(plain), message(plain), any::<bool>()).prop_map(move |(request, response, informational)| {
        Exchange { request, response, informational: informational && !plain }
    })
}

impl Message {
    fn content(&self) -> Vec<u8> {
        self.pieces.concat().into_bytes()
    }

    /// The body as it is on the wire, a DATA frame each.
    fn frames(&self) -> Vec<Vec<u8>> {
        if self.gzip {
            gzip(&self.content()).chunks(7).map(<[u8]>::to_vec).collect()
        } else {
            self.pieces.iter().map(|piece| piece.clone().into_bytes()).collect()
        }
    }

    fn parts(&self, of_request: bool, parts: &mut VecDeque<Part>) {
        let count = self.frames().len();
        for piece in 0..count {
            parts.push_back(Part::Data { of_request, piece, ends: piece + 1 == count && !self.trailers });
        }
        if self.trailers {
            parts.push_back(Part::Trailers { of_request });
        }
    }

    fn head(&self, encoder: &mut Encoder, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
        let frames = self.frames();
        let length = frames.iter().map(Vec::len).sum::<usize>().to_string();
        let mut fields = fields.to_vec();
        if self.gzip {
            fields.push(("content-encoding", "gzip"));
        }
        if self.length {
            fields.push(("content-length", &length));
        }
        let ends = if frames.is_empty() && !self.trailers { END_STREAM } else { 0 };
        let block = encoder.block(&fields);
        if !self.padded {
            return frame(HEADERS, END_HEADERS | ends, stream, block);
        }
        let (first, second) = block.split_at(block.len() / 2);
        [frame(HEADERS, ends, stream, first), frame(CONTINUATION, END_HEADERS, stream, second)].concat()
    }

    fn data(&self, stream: u32, piece: usize, ends: bool) -> Vec<u8> {
        let flags = if ends { END_STREAM } else { 0 };
        let content = &self.frames()[piece];
        if self.padded {
            return frame(DATA, flags | PADDED, stream, [&[2], &content[..], &[0, 0]].concat());
        }
        data(stream, flags, content)
    }
}

/// The connection as its frames, the exchanges taking turns as `turns` says.
fn write(exchanges: &[Exchange], turns: &[usize]) -> Vec<Written> {
    let (mut client, mut server) = (Encoder::default(), Encoder::default());
    let mut written = vec![
        (true, None, [PREFACE, &settings(&[(2, 0)])].concat()),
        (false, None, [settings(&[(3, 100)]), frame(SETTINGS, 1, 0, "")].concat()),
    ];
    let mut queues: Vec<VecDeque<Part>> = exchanges
        .iter()
        .map(|exchange| {
            let mut parts = VecDeque::from([Part::RequestHead]);
            exchange.request.parts(true, &mut parts);
            parts.extend(exchange.informational.then_some(Part::Informational));
            parts.push_back(Part::ResponseHead);
            exchange.response.parts(false, &mut parts);
            parts
        })
        .collect();
    let mut streams = vec![0; exchanges.len()];
    let mut next = 1;
    let mut turns = turns.iter().cycle();
    loop {
        let waiting: Vec<usize> = (0..queues.len()).filter(|number| !queues[*number].is_empty()).collect();
        if waiting.is_empty() {
            return written;
        }
        let number = waiting[turns.next().unwrap() % waiting.len()];
        let exchange = &exchanges[number];
        let name = number.to_string();
        let path = format!("/{number}");
        let (is_sent, bytes) = match queues[number].pop_front().unwrap() {
            Part::RequestHead => {
                streams[number] = next;
                next += 2;
                (true, exchange.request.head(&mut client, streams[number], &request("POST", &path)))
            }
            Part::Informational => (false, server.headers(streams[number], 0, &[(":status", "103")])),
            Part::ResponseHead => {
                let fields = [(":status", "200"), ("server", "s"), ("n", &name)];
                (false, exchange.response.head(&mut server, streams[number], &fields))
            }
            Part::Data { of_request: true, piece, ends } => {
                (true, exchange.request.data(streams[number], piece, ends))
            }
            Part::Data { of_request: false, piece, ends } => {
                (false, exchange.response.data(streams[number], piece, ends))
            }
            Part::Trailers { of_request } => {
                let encoder = if of_request { &mut client } else { &mut server };
                (of_request, encoder.headers(streams[number], END_STREAM, &[("t", "1")]))
            }
        };
        written.push((is_sent, Some(number), bytes));
        if number.is_multiple_of(2) {
            written.push((!is_sent, None, frame(WINDOW_UPDATE, 0, 0, [0, 0, 1, 0])));
        }
    }
}

fn steps(written: &[Written]) -> Vec<Step> {
    written.iter().map(|(is_sent, _, bytes)| if *is_sent { sent(bytes) } else { received(bytes) }).collect()
}

/// Of one exchange: the numbers of its request and its response, their bodies up to the first gap,
/// and whether it is said to be whole.
#[derive(Default, Debug)]
struct Summary {
    target: Option<usize>,
    answer: Option<usize>,
    request: Vec<u8>,
    response: Vec<u8>,
    gaps: [bool; 2],
    complete: [bool; 2],
    problems: Vec<ProblemKind>,
}

fn summary(events: &[HttpEvent]) -> Summary {
    let mut summary = Summary::default();
    for event in events {
        match &event.kind {
            HttpEventKind::RequestHead(head) => {
                summary.target = head.target.get(1..).and_then(|number| number.parse().ok());
            }
            HttpEventKind::ResponseHead(head) => {
                summary.answer = head.headers.get("n").and_then(|number| number.parse().ok());
            }
            HttpEventKind::RequestBody(bytes) if !summary.gaps[0] => summary.request.extend_from_slice(bytes),
            HttpEventKind::ResponseBody(bytes) if !summary.gaps[1] => {
                summary.response.extend_from_slice(bytes)
            }
            HttpEventKind::RequestBodyGap { .. } => summary.gaps[0] = true,
            HttpEventKind::ResponseBodyGap { .. } => summary.gaps[1] = true,
            HttpEventKind::RequestEnd(end) => summary.complete[0] = end.completeness.is_complete(),
            HttpEventKind::ResponseEnd(end) => summary.complete[1] = end.completeness.is_complete(),
            HttpEventKind::Problem(problem) => summary.problems.push(problem.kind),
            _ => {}
        }
    }
    summary
}

impl Summary {
    fn is_whole(&self, number: usize, exchange: &Exchange) -> bool {
        (self.target, self.answer) == (Some(number), Some(number))
            && self.complete == [true, true]
            && self.request == exchange.request.content()
            && self.response == exchange.response.content()
    }

    fn says_nothing(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Nothing that is there is wrong, and what is called complete is.
fn assert_honest(exchanges: &[Exchange], events: &[HttpEvent]) -> Result<(), TestCaseError> {
    for (id, events) in by_exchange(events) {
        let seen = summary(&events);
        if id == ExchangeId::CONNECTION {
            continue;
        }
        if let (Some(target), Some(answer)) = (seen.target, seen.answer) {
            prop_assert_eq!(target, answer, "paired wrongly");
        }
        for (number, body, complete, of_request) in [
            (seen.target, &seen.request, seen.complete[0], true),
            (seen.answer, &seen.response, seen.complete[1], false),
        ] {
            let Some(number) = number else { continue };
            let exchange = &exchanges[number];
            let content = if of_request { exchange.request.content() } else { exchange.response.content() };
            prop_assert!(content.starts_with(body), "{number}: {:?}", seen);
            prop_assert!(!complete || content == *body, "{number}: {:?}", seen);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_http2_gives_the_same_events_and_they_are_what_was_sent(
        exchanges in proptest::collection::vec(exchange(false), 1..5),
        turns in proptest::collection::vec(0_usize..5, 1..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        single in any::<bool>(),
    ) {
        let whole = steps(&write(&exchanges, &turns));
        let expected = run(&whole);
        let pieces = if single {
            whole.iter().flat_map(|step| match step {
                Step::Sent(bytes) => bytes.iter().map(|byte| sent([*byte])).collect::<Vec<_>>(),
                Step::Received(bytes) => bytes.iter().map(|byte| received([*byte])).collect(),
                _ => unreachable!(),
            }).collect()
        } else {
            cut(&whole, &cuts, 0)
        };
        prop_assert_eq!(lines(&run(&pieces).events), lines(&expected.events));
        // Several frames in one record.
        let mut joined: Vec<Step> = Vec::new();
        for step in &whole {
            match (joined.last_mut(), step) {
                (Some(Step::Sent(last)), Step::Sent(bytes))
                | (Some(Step::Received(last)), Step::Received(bytes)) => last.extend_from_slice(bytes),
                _ => joined.push(step.clone()),
            }
        }
        prop_assert_eq!(lines(&run(&joined).events), lines(&expected.events));
        let seen = by_exchange(&expected.events);
        prop_assert_eq!(seen.len(), exchanges.len());
        for events in seen.values() {
            let seen = summary(events);
            let number = seen.target.unwrap();
            prop_assert!(seen.is_whole(number, &exchanges[number]) && seen.says_nothing(), "{:?}", seen);
        }
    }

    #[test]
    fn a_range_lost_of_http2_touches_only_its_exchanges_and_those_say_so(
        exchanges in proptest::collection::vec(exchange(true), 2..6),
        turns in proptest::collection::vec(0_usize..5, 1..20),
        of_sent in any::<bool>(),
        late in any::<bool>(),
        from in any::<prop::sample::Index>(),
        length in 1_usize..150,
    ) {
        let written = write(&exchanges, &turns);
        let whole = steps(&written);
        let from = from.index(total(&whole, of_sent));
        let events = run(&lose(&whole, &[(of_sent, from, length)], late)).events;
        assert_honest(&exchanges, &events)?;
        let seen: Vec<Summary> = by_exchange(&events).values().map(|events| summary(events)).collect();
        // Where each exchange lies in the direction of the loss, and when all of it ended.
        let mut offset = 0;
        let mut begins = vec![usize::MAX; exchanges.len()];
        let mut ends = vec![0; exchanges.len()];
        let mut touched = vec![false; exchanges.len()];
        let mut last_lost = 0;
        let mut first_lost = usize::MAX;
        let mut times = vec![(usize::MAX, 0); exchanges.len()];
        for (at, (is_sent, number, bytes)) in written.iter().enumerate() {
            if let Some(number) = number {
                times[*number] = (times[*number].0.min(at), at);
            }
            if *is_sent != of_sent {
                continue;
            }
            let range = offset..offset + bytes.len();
            let lost = from < range.end && from + length > range.start;
            if lost {
                first_lost = first_lost.min(at);
                last_lost = at;
            }
            if let Some(number) = number {
                begins[*number] = begins[*number].min(range.start);
                ends[*number] = range.end;
                touched[*number] |= lost;
            }
            offset = range.end;
        }
        for (number, exchange) in exchanges.iter().enumerate() {
            let quietly_whole = seen.iter().any(|seen| seen.is_whole(number, exchange) && seen.says_nothing());
            if touched[number] {
                prop_assert!(!quietly_whole, "{} is touched and does not say so: {:#?}", number, lines(&events));
            } else if times[number].1 < first_lost {
                prop_assert!(quietly_whole, "{} was over before: {:#?}", number, lines(&events));
            } else if times[number].0 > last_lost {
                // It may say that it was found by looks or that fields are unknown, and is all there.
                prop_assert!(
                    seen.iter().any(|seen| seen.is_whole(number, exchange)),
                    "{} began after: {:#?}", number, lines(&events)
                );
            }
        }
    }

    #[test]
    fn many_losses_of_http2_make_nothing_up(
        exchanges in proptest::collection::vec(exchange(true), 1..6),
        turns in proptest::collection::vec(0_usize..5, 1..20),
        late in any::<bool>(),
        losses in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1_usize..100), 0..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let whole = steps(&write(&exchanges, &turns));
        let losses: Vec<_> = losses
            .iter()
            .map(|(of_sent, from, length)| (*of_sent, from.index(total(&whole, *of_sent)), *length))
            .collect();
        let events = run(&lose(&cut(&whole, &cuts, 0), &losses, late)).events;
        // The content holds whole frames, which are only taken for such where it says so.
        let resynchronised = events.iter().any(|event| {
            matches!(&event.kind, HttpEventKind::Problem(problem) if problem.kind == ProblemKind::FramingLost)
        });
        if !resynchronised || !exchanges.iter().any(|e| e.request.pieces.iter().chain(&e.response.pieces).any(|p| p.contains('\0'))) {
            assert_honest(&exchanges, &events)?;
        }
    }

    /// Frames of any kind in any order, with losses: the order of events and the bounds hold.
    #[test]
    fn any_mixture_of_frames_keeps_the_promises_of_the_event_order(
        parts in proptest::collection::vec((0_u8..11, any::<u8>(), 0_u32..8, proptest::collection::vec(any::<u8>(), 0..20), 0_u8..8), 0..60),
        prefaced in any::<bool>(),
    ) {
        let mut script = Vec::new();
        let operation = |direction: u8, bytes: &[u8], script: &mut Vec<u8>| {
            for piece in bytes.chunks(0x3f) {
                script.push(direction | piece.len() as u8);
                script.extend_from_slice(piece);
            }
        };
        if prefaced {
            operation(0, PREFACE, &mut script);
        }
        for (kind, flags, stream, payload, choice) in parts {
            let direction = (choice & 1) << 7;
            if choice == 7 {
                script.push(direction | 0x40 | (flags & 0x3f));
                continue;
            }
            let block = [&[0x83, 0x87, 0x84][..], &[0x88, 0x5c, 1, b'9'], &payload];
            let payload = match kind {
                HEADERS => block[usize::from(choice & 1)].to_vec(),
                PUSH_PROMISE => [&[0, 0, 0, flags & 6][..], block[0]].concat(),
                _ => payload,
            };
            let flags = if choice & 2 != 0 { flags & 0x2d } else { END_HEADERS };
            operation(direction, &frame(kind, flags, stream, payload), &mut script);
        }
        oisp_decode::fuzz::connection(&script);
    }
}
