//! What holds for any connection, however it is cut and whatever is lost of it.

use std::collections::BTreeMap;

use crate::support::{Step, gzip, lines, run};
use oisp_decode::{Defect, ExchangeId, HttpEvent, HttpEventKind, ProblemKind};
use proptest::prelude::*;

/// After a loss a message is found again when its first line is in one record.
const FIRST_LINE: usize = 20;

#[derive(Clone, Debug)]
enum BodyForm {
    None,
    Length,
    Chunked(usize),
    Gzip,
    GzipChunked(usize),
}

#[derive(Clone, Debug)]
struct Message {
    form: BodyForm,
    content: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    request: Message,
    response: Message,
    informational: bool,
}

/// `tricky`: content that contains whole message starts.
fn message(tricky: bool) -> impl Strategy<Value = Message> {
    let form = prop_oneof![
        Just(BodyForm::None),
        Just(BodyForm::Length),
        (1_usize..20).prop_map(BodyForm::Chunked),
        Just(BodyForm::Gzip),
        (1_usize..20).prop_map(BodyForm::GzipChunked),
    ];
    // Bytes that framing is made of, to provoke confusion.
    let piece = prop_oneof![
        "[a-z]{1,12}",
        Just("\r\n".to_owned()),
        Just("0\r\n\r\n".to_owned()),
        Just(if tricky { "HTTP/1.1 200 OK\r\n\r\n" } else { "HTTP" }.to_owned()),
        Just(if tricky { "GET /9 HTTP/1.1\r\n\r\n" } else { "GET /" }.to_owned()),
    ];
    (form, proptest::collection::vec(piece, 0..6))
        .prop_map(|(form, content)| Message { form, content: content.concat().into_bytes() })
}

pub(crate) fn exchange(tricky: bool) -> impl Strategy<Value = Exchange> {
    (message(tricky), message(tricky), any::<bool>())
        .prop_map(|(request, response, informational)| Exchange { request, response, informational })
}

fn chunks(content: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in content.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nT: 1\r\n\r\n");
    out
}

impl Message {
    /// The head without its end, and the body.
    fn write(&self, start: &str, is_response: bool) -> Vec<u8> {
        let (fields, body) = match self.form {
            BodyForm::None if is_response => ("Content-Length: 0\r\n".to_owned(), Vec::new()),
            BodyForm::None => (String::new(), Vec::new()),
            BodyForm::Length => (format!("Content-Length: {}\r\n", self.content.len()), self.content.clone()),
            BodyForm::Chunked(size) => {
                ("Transfer-Encoding: chunked\r\n".to_owned(), chunks(&self.content, size))
            }
            BodyForm::Gzip => {
                let body = gzip(&self.content);
                (format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len()), body)
            }
            BodyForm::GzipChunked(size) => (
                "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n".to_owned(),
                chunks(&gzip(&self.content), size),
            ),
        };
        [format!("{start}\r\nHost: h\r\n{fields}\r\n").as_bytes(), &body].concat()
    }

    fn delivered(&self) -> &[u8] {
        if matches!(self.form, BodyForm::None) { &[] } else { &self.content }
    }
}

impl Exchange {
    pub(crate) fn steps(&self, number: usize) -> [Step; 2] {
        let mut response = Vec::new();
        if self.informational {
            response.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        response.extend(self.response.write(&format!("HTTP/1.1 200 R{number}"), true));
        [Step::Sent(self.request.write(&format!("POST /{number} HTTP/1.1"), false)), Step::Received(response)]
    }
}

/// The steps of exchanges one after the other, or with all requests first.
fn steps(exchanges: &[Exchange], pipelined: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = exchanges.iter().enumerate().flat_map(|(n, e)| e.steps(n)).collect();
    if pipelined {
        steps.sort_by_key(|step| matches!(step, Step::Received(_)));
    }
    steps
}

/// Cuts each step at the given places, not within its first `first_line` bytes.
pub(crate) fn cut(steps: &[Step], cuts: &[prop::sample::Index], first_line: usize) -> Vec<Step> {
    let mut out = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let (Step::Sent(bytes) | Step::Received(bytes)) = step else { continue };
        let mut at: Vec<usize> = cuts
            .iter()
            .skip(number % 3)
            .map(|cut| cut.index(bytes.len() + 1))
            .chain([0, bytes.len()])
            .collect();
        at.retain(|place| *place == 0 || *place >= first_line);
        at.sort_unstable();
        for pair in at.windows(2) {
            let piece = bytes[pair[0]..pair[1]].to_vec();
            out.push(if matches!(step, Step::Sent(_)) { Step::Sent(piece) } else { Step::Received(piece) });
        }
    }
    out
}

/// What the events say of each exchange, side by side, without times.
pub(crate) fn by_exchange(events: &[HttpEvent]) -> BTreeMap<ExchangeId, Vec<HttpEvent>> {
    let mut map: BTreeMap<ExchangeId, Vec<HttpEvent>> = BTreeMap::new();
    for event in events {
        map.entry(event.exchange).or_default().push(event.clone());
    }
    map
}

/// Of one exchange: the number in its target, the one in its reason, both bodies (up to the first
/// gap), and whether each side is said to be complete.
#[derive(Default, Debug)]
struct Summary {
    target: Option<usize>,
    reason: Option<usize>,
    request: Vec<u8>,
    response: Vec<u8>,
    request_complete: bool,
    response_complete: bool,
    uncertain: bool,
    resynchronised: bool,
}

fn summary(events: &[HttpEvent]) -> Summary {
    let mut summary = Summary::default();
    let (mut request_gap, mut response_gap) = (false, false);
    for event in events {
        match &event.kind {
            HttpEventKind::RequestHead(head) => summary.target = head.target[1..].parse().ok(),
            HttpEventKind::ResponseHead(head) => {
                summary.reason = head.reason.strip_prefix('R').and_then(|number| number.parse().ok());
            }
            HttpEventKind::RequestBody(bytes) if !request_gap => summary.request.extend_from_slice(bytes),
            HttpEventKind::ResponseBody(bytes) if !response_gap => summary.response.extend_from_slice(bytes),
            HttpEventKind::RequestBodyGap { .. } => request_gap = true,
            HttpEventKind::ResponseBodyGap { .. } => response_gap = true,
            HttpEventKind::RequestEnd(end) => summary.request_complete = end.completeness.is_complete(),
            HttpEventKind::ResponseEnd(end) => {
                summary.response_complete = end.completeness.is_complete();
                summary.uncertain |= end.completeness.defects().contains(&Defect::PairingLost);
            }
            HttpEventKind::Problem(problem) => {
                summary.resynchronised |= problem.kind == ProblemKind::Resynchronised;
                summary.uncertain |= matches!(
                    problem.kind,
                    ProblemKind::ResponseWithoutRequest | ProblemKind::PairingUncertain
                );
            }
            _ => {}
        }
    }
    summary
}

/// A range that is not captured: the direction, its first byte, its length.
pub(crate) type Loss = (bool, usize, usize);

/// Replaces ranges, counted over the whole connection, by gaps. `late`: a gap becomes known when
/// the next record of its direction comes, as it does from the kernel; else at once.
pub(crate) fn lose(steps: &[Step], losses: &[Loss], late: bool) -> Vec<Step> {
    let mut out = Vec::new();
    let mut offsets = [0, 0];
    let mut pending = [0, 0];
    let gap = |is_sent: bool, length: &mut u64| {
        let length = std::mem::take(length);
        if is_sent { Step::SentGap(length) } else { Step::ReceivedGap(length) }
    };
    for step in steps {
        let (Step::Sent(bytes) | Step::Received(bytes)) = step else { continue };
        let is_sent = matches!(step, Step::Sent(_));
        let (offset, pending) = (&mut offsets[usize::from(is_sent)], &mut pending[usize::from(is_sent)]);
        let is_lost = |at: usize| {
            losses
                .iter()
                .any(|(of_sent, from, length)| *of_sent == is_sent && (*from..from + length).contains(&at))
        };
        let mut at = 0;
        while at < bytes.len() {
            let lost = is_lost(*offset + at);
            let run = (at..bytes.len()).take_while(|place| is_lost(*offset + place) == lost).count();
            if lost {
                *pending += run as u64;
            } else {
                out.push(gap(is_sent, pending));
                let piece = bytes[at..at + run].to_vec();
                out.push(if is_sent { Step::Sent(piece) } else { Step::Received(piece) });
            }
            at += run;
        }
        *offset += bytes.len();
        if !late {
            out.push(gap(is_sent, pending));
        }
    }
    out.push(gap(true, &mut pending[1]));
    out.push(gap(false, &mut pending[0]));
    out
}

fn lose_many(
    exchanges: &[Exchange],
    losses: &[(bool, prop::sample::Index, usize)],
    cuts: &[prop::sample::Index],
    late: bool,
) -> Vec<Step> {
    let whole = steps(exchanges, false);
    let losses: Vec<Loss> = losses
        .iter()
        .map(|(of_sent, from, length)| (*of_sent, from.index(total(&whole, *of_sent)), *length))
        .collect();
    lose(&cut(&whole, cuts, FIRST_LINE), &losses, late)
}

pub(crate) fn total(steps: &[Step], of_sent: bool) -> usize {
    steps
        .iter()
        .map(|step| match step {
            Step::Sent(bytes) if of_sent => bytes.len(),
            Step::Received(bytes) if !of_sent => bytes.len(),
            _ => 0,
        })
        .sum()
}

/// What is not held against a message that was found again after a loss.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leniency {
    Nothing,
    /// Messages that say that they were found by looks.
    Resynchronised,
    /// Those and everything after them: content was taken for messages.
    AllAfter,
}

/// Nothing that is there is wrong: no wrong pair, no content that was not sent, and what is called
/// complete is.
fn assert_honest(
    exchanges: &[Exchange],
    events: &[HttpEvent],
    leniency: Leniency,
) -> Result<(), TestCaseError> {
    for (id, events) in by_exchange(events) {
        let seen = summary(&events);
        if id == ExchangeId::CONNECTION {
            continue;
        }
        match (seen.resynchronised, leniency) {
            (false, _) | (true, Leniency::Nothing) => {}
            (true, Leniency::Resynchronised) => continue,
            (true, Leniency::AllAfter) => return Ok(()),
        }
        if let (Some(target), Some(reason)) = (seen.target, seen.reason) {
            prop_assert_eq!(target, reason, "paired wrongly");
        }
        if let Some(request) = seen.target.map(|number| &exchanges[number].request) {
            prop_assert!(request.delivered().starts_with(&seen.request));
            prop_assert!(!seen.request_complete || request.delivered() == seen.request);
        }
        if let Some(response) = seen.reason.map(|number| &exchanges[number].response) {
            prop_assert!(response.delivered().starts_with(&seen.response));
            prop_assert!(!seen.response_complete || response.delivered() == seen.response);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events_and_they_are_what_was_sent(
        exchanges in proptest::collection::vec(exchange(true), 1..5),
        pipelined in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = steps(&exchanges, pipelined);
        let expected = run(&whole);
        prop_assert_eq!(lines(&run(&cut(&whole, &cuts, 0)).events), lines(&expected.events));
        let seen = by_exchange(&expected.events);
        prop_assert_eq!(seen.len(), exchanges.len());
        for (events, (number, exchange)) in seen.values().zip(exchanges.iter().enumerate()) {
            let summary = summary(events);
            prop_assert_eq!((summary.target, summary.reason), (Some(number), Some(number)));
            prop_assert_eq!(&summary.request[..], exchange.request.delivered());
            prop_assert_eq!(&summary.response[..], exchange.response.delivered());
            prop_assert!(summary.request_complete && summary.response_complete && !summary.uncertain);
        }
    }

    #[test]
    fn single_bytes_give_the_same_events(exchanges in proptest::collection::vec(exchange(true), 1..3)) {
        let whole = steps(&exchanges, false);
        let bytes: Vec<Step> = whole.iter().flat_map(|step| match step {
            Step::Sent(bytes) => bytes.iter().map(|byte| Step::Sent(vec![*byte])).collect::<Vec<_>>(),
            Step::Received(bytes) => bytes.iter().map(|byte| Step::Received(vec![*byte])).collect(),
            gap => vec![gap.clone()],
        }).collect();
        prop_assert_eq!(lines(&run(&bytes).events), lines(&run(&whole).events));
    }

    /// Exchanges one after the other, one range lost in one direction, records cut anywhere.
    #[test]
    fn a_lost_range_touches_only_its_exchanges_and_those_say_so(
        exchanges in proptest::collection::vec(exchange(false), 2..6),
        of_sent in any::<bool>(),
        late in any::<bool>(),
        from in any::<prop::sample::Index>(),
        length in 1_usize..300,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let whole = steps(&exchanges, false);
        let from = from.index(total(&whole, of_sent));
        let events = run(&lose(&cut(&whole, &cuts, FIRST_LINE), &[(of_sent, from, length)], late)).events;
        assert_honest(&exchanges, &events, Leniency::Nothing)?;
        // Which messages the range lies in.
        let mut offset = 0;
        let mut touched = Vec::new();
        for (number, exchange) in exchanges.iter().enumerate() {
            let (Step::Sent(bytes) | Step::Received(bytes)) = &exchange.steps(number)[usize::from(!of_sent)] else {
                unreachable!()
            };
            if from < offset + bytes.len() && from + length > offset {
                touched.push(number);
            }
            offset += bytes.len();
        }
        let seen: Vec<Summary> = by_exchange(&events).values().map(|events| summary(events)).collect();
        let last_touched = *touched.last().unwrap();
        for (number, exchange) in exchanges.iter().enumerate() {
            let whole_pair = seen.iter().any(|seen| {
                (seen.target, seen.reason) == (Some(number), Some(number))
                    && seen.request_complete
                    && seen.response_complete
                    && !seen.uncertain
                    && seen.request == exchange.request.delivered()
                    && seen.response == exchange.response.delivered()
            });
            let found_by_looks = seen.iter().any(|seen| seen.reason == Some(number) && seen.resynchronised);
            if touched.contains(&number) {
                prop_assert!(!whole_pair || found_by_looks, "{} is touched and does not say so", number);
            } else if number < touched[0] || number > last_touched + 1 {
                // The one after the last touched may be left unpaired, and then says so.
                prop_assert!(whole_pair, "{} is not touched and yet not whole: {:?}", number, lines(&events));
            }
        }
    }

    /// Several losses in both directions: nothing is untrue but what says that it was found by looks.
    #[test]
    fn many_losses_make_nothing_up(
        exchanges in proptest::collection::vec(exchange(false), 1..6),
        late in any::<bool>(),
        losses in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1_usize..200), 0..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let events = run(&lose_many(&exchanges, &losses, &cuts, late)).events;
        assert_honest(&exchanges, &events, Leniency::Resynchronised)?;
    }

    /// The same where content looks like messages.
    #[test]
    fn content_that_looks_like_messages_is_only_taken_for_such_where_it_says_so(
        exchanges in proptest::collection::vec(exchange(true), 1..6),
        late in any::<bool>(),
        losses in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1_usize..200), 0..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let events = run(&lose_many(&exchanges, &losses, &cuts, late)).events;
        assert_honest(&exchanges, &events, Leniency::AllAfter)?;
    }

    /// Pipelined exchanges, one loss: pairs that are made are right.
    #[test]
    fn a_loss_while_pipelining_pairs_nothing_wrongly(
        exchanges in proptest::collection::vec(exchange(false), 1..6),
        of_sent in any::<bool>(),
        from in any::<prop::sample::Index>(),
        length in 1_usize..300,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let whole = steps(&exchanges, true);
        let from = from.index(total(&whole, of_sent));
        let events = run(&lose(&cut(&whole, &cuts, FIRST_LINE), &[(of_sent, from, length)], true)).events;
        assert_honest(&exchanges, &events, Leniency::Nothing)?;
    }

    #[test]
    fn any_bytes_keep_the_promises_of_the_event_order(script in proptest::collection::vec(any::<u8>(), 0..600)) {
        oisp_decode::fuzz::connection(&script);
        oisp_decode::fuzz::http2(&script);
        oisp_decode::fuzz::header_blocks(&script);
    }

    #[test]
    fn any_bytes_keep_the_promises_of_what_is_below_and_above_messages(
        script in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        oisp_decode::fuzz::assemble(&script);
        oisp_decode::fuzz::encoding(&script);
        oisp_decode::fuzz::sse(&script);
        oisp_decode::fuzz::ndjson(&script);
        oisp_decode::fuzz::json_array(&script);
        oisp_decode::fuzz::event_stream(&script);
        oisp_decode::fuzz::grpc(&script);
        oisp_decode::fuzz::json_rpc(&script);
    }

    /// Scripts of plausible pieces reach deeper than random bytes.
    #[test]
    fn any_mixture_of_message_parts_keeps_the_promises_of_the_event_order(
        parts in proptest::collection::vec((0_usize..PARTS.len(), 0_u8..4), 0..40),
    ) {
        let mut script = Vec::new();
        for (part, operation) in parts {
            let direction = (operation & 1) << 7;
            if operation & 2 != 0 && part < 6 {
                script.push(direction | 0x40 | PARTS[part].len() as u8);
            } else {
                for piece in PARTS[part].as_bytes().chunks(0x3f) {
                    script.push(direction | piece.len() as u8);
                    script.extend_from_slice(piece);
                }
            }
        }
        oisp_decode::fuzz::connection(&script);
    }
}

const PARTS: [&str; 20] = [
    "x",
    "abc",
    "abcdefg",
    "5\r\nabcde\r\n",
    "0\r\n\r\n",
    "\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "HEAD / HTTP/1.1\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "HTTP/1.1 204 No\r\nA\r\n\r\n",
];
