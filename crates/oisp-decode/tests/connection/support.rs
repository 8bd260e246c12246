//! Runs a decoder over a script and renders what comes out as short lines.

use std::io::Write as _;

use oisp_decode::{
    BodyEnd, Completeness, ConnectionDecoder, Defect, Direction, ExchangeId, HttpEvent, HttpEventKind,
    Limits, Nanos, Protocol, Role, WebSocketKind, WebSocketMessage,
};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Sent(Vec<u8>),
    Received(Vec<u8>),
    SentGap(u64),
    ReceivedGap(u64),
}

pub(crate) fn sent(bytes: impl AsRef<[u8]>) -> Step {
    Step::Sent(bytes.as_ref().to_vec())
}

pub(crate) fn received(bytes: impl AsRef<[u8]>) -> Step {
    Step::Received(bytes.as_ref().to_vec())
}

pub(crate) struct Run {
    pub(crate) events: Vec<HttpEvent>,
    pub(crate) protocol: Protocol,
    pub(crate) role: Option<Role>,
}

pub(crate) fn run_with(limits: Limits, steps: &[Step]) -> Run {
    let mut decoder = ConnectionDecoder::new(limits);
    let mut events = Vec::new();
    for (time, step) in steps.iter().enumerate() {
        let time = Nanos(time as u64 + 1);
        match step {
            Step::Sent(bytes) => decoder.data(Direction::Sent, time, bytes, &mut events),
            Step::Received(bytes) => decoder.data(Direction::Received, time, bytes, &mut events),
            Step::SentGap(length) => decoder.gap(Direction::Sent, time, *length, &mut events),
            Step::ReceivedGap(length) => decoder.gap(Direction::Received, time, *length, &mut events),
        }
    }
    decoder.close(Nanos(steps.len() as u64 + 1), &mut events);
    oisp_decode::fuzz::check(&events);
    Run { events, protocol: decoder.protocol(), role: decoder.role() }
}

pub(crate) fn run(steps: &[Step]) -> Run {
    run_with(Limits::default(), steps)
}

/// One line an event: exchange, side, what. Pieces of a body that follow each other are joined.
pub(crate) fn lines(events: &[HttpEvent]) -> Vec<String> {
    let mut lines: Vec<(ExchangeId, char, bool, String)> = Vec::new();
    for event in events {
        let (side, is_body, text) = describe(&event.kind);
        match lines.last_mut() {
            Some((exchange, last_side, true, last))
                if is_body && (*exchange, *last_side) == (event.exchange, side) =>
            {
                last.push_str(&text);
            }
            _ => lines.push((event.exchange, side, is_body, text)),
        }
    }
    lines.into_iter().map(|(exchange, side, _, text)| format!("{} {side} {text}", exchange.0)).collect()
}

fn describe(kind: &HttpEventKind) -> (char, bool, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match kind {
        HttpEventKind::RequestHead(head) => ('>', false, format!("{} {}", head.method, head.target)),
        HttpEventKind::RequestBody(bytes) => ('>', true, text(bytes)),
        HttpEventKind::RequestBodyGap { lost } => ('>', false, format!("gap {lost}")),
        HttpEventKind::RequestEnd(body) => ('>', false, end(body)),
        HttpEventKind::InformationalHead(head) => ('<', false, format!("informational {}", head.status)),
        HttpEventKind::ResponseHead(head) => ('<', false, format!("{}", head.status)),
        HttpEventKind::ResponseBody(bytes) => ('<', true, text(bytes)),
        HttpEventKind::ResponseBodyGap { lost } => ('<', false, format!("gap {lost}")),
        HttpEventKind::ResponseEnd(body) => ('<', false, end(body)),
        HttpEventKind::Upgraded { protocol } => ('<', false, format!("upgraded {protocol:?}")),
        HttpEventKind::WebSocketMessage(message) => websocket(message),
        HttpEventKind::JsonRpcLine(line) => {
            let side = if line.direction == Direction::Sent { '>' } else { '<' };
            let cut = if line.truncated { " cut" } else { "" };
            (side, false, text(&line.bytes) + cut)
        }
        HttpEventKind::Problem(problem) => {
            let direction = if problem.direction == Direction::Sent { 's' } else { 'r' };
            ('!', false, format!("{:?} {direction}{}", problem.kind, problem.offset))
        }
    }
}

fn end(body: &BodyEnd) -> String {
    let mut text = format!("end {}", body.decoded_bytes);
    for trailer in body.trailers.iter() {
        text += &format!(" {}={}", trailer.name(), trailer.text());
    }
    text += &defects(&body.completeness);
    if let Some(whole) = &body.whole {
        text += &format!(", whole {} {:02x}{:02x}", whole.bytes, whole.sha256[0], whole.sha256[1]);
    }
    text
}

fn websocket(message: &WebSocketMessage) -> (char, bool, String) {
    let side = if message.direction == Direction::Sent { '>' } else { '<' };
    let kind = match &message.kind {
        WebSocketKind::Close { code, reason } => format!("Close {code:?} {reason}"),
        kind => format!("{kind:?} {}", String::from_utf8_lossy(&message.bytes)),
    };
    (side, false, kind + &defects(&message.completeness))
}

fn defects(completeness: &Completeness) -> String {
    let mut text = String::new();
    for defect in completeness.defects() {
        text += &match defect {
            Defect::Gap { lost_bytes, at } => format!(" gap {lost_bytes} at {at}"),
            Defect::Truncated => " truncated".to_owned(),
            Defect::OverLimit { total_bytes } => format!(" over limit of {total_bytes}"),
            Defect::Undecodable(reason) => format!(" {reason:?}"),
            Defect::PairingLost => " pairing lost".to_owned(),
        };
    }
    text
}

pub(crate) fn assert_lines(steps: &[Step], expected: &[&str]) {
    assert_eq!(lines(&run(steps).events), expected);
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
