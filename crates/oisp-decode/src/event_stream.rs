//! The AWS event stream (`application/vnd.amazon.eventstream`): binary messages with headers, each
//! under two checksums.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::Limits;

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// What the protocol allows of headers and of payload.
const MAX_HEADERS: u32 = 128 << 10;
const MAX_PAYLOAD: u32 = 24 << 20;
/// Bytes that are reserved for a payload before they come, and kept between parts.
const MAX_RESERVED: usize = 64 << 10;

/// One message with both checksums right.
#[derive(Clone, PartialEq)]
pub struct EventMessage {
    /// In the order on the wire.
    pub headers: Vec<EventHeader>,
    /// The payload.
    pub payload: Bytes,
    /// The payload was longer than the bound: what is here is its beginning.
    pub truncated: bool,
}

/// One header of a message.
#[derive(Clone, PartialEq)]
pub struct EventHeader {
    /// Its name, such as `:event-type`.
    pub name: String,
    /// Its value.
    pub value: EventHeaderValue,
}

/// A value by the type that the wire gives it.
#[derive(Clone, PartialEq)]
pub enum EventHeaderValue {
    /// Types 0 and 1.
    Bool(bool),
    /// Types 2 to 5: one, two, four or eight bytes on the wire.
    Integer(i64),
    /// Type 6.
    Bytes(Vec<u8>),
    /// Type 7.
    Text(String),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// What `:message-type` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventMessageType {
    /// An event, named by `:event-type`.
    Event,
    /// A modelled failure, named by `:exception-type`.
    Exception,
    /// Another failure, with `:error-code` and `:error-message`.
    Error,
    /// None of these, or no such header.
    Other,
}

/// Why a stream could not be read further. Without a right checksum nobody can say where the next
/// message begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EventStreamError {
    /// The checksum of a prelude is wrong: no event stream, or bytes were lost.
    #[error("the prelude checksum of an event stream message is wrong")]
    PreludeChecksum,
    /// The checksum of a message is wrong.
    #[error("the checksum of an event stream message is wrong")]
    MessageChecksum,
    /// Lengths that contradict each other or exceed what the protocol allows.
    #[error("an event stream message has impossible lengths")]
    Length,
    /// Headers that do not fill their part, of an unknown type, or a text that is no UTF-8.
    #[error("the headers of an event stream message are broken")]
    Headers,
    /// The stream ended within a message, or bytes were lost and no message came after them.
    #[error("the event stream ends within a message")]
    Truncated,
}

/// Splits a stream into messages, however the bytes are cut.
#[derive(Clone)]
pub struct EventStreamParser {
    limit: usize,
    part: Part,
    /// Bytes of the current part, if it is not the payload.
    held: Vec<u8>,
    /// Bytes of the current part still to come.
    left: usize,
    payload_length: usize,
    checksum: crc32fast::Hasher,
    headers: Vec<EventHeader>,
    /// The payload so far, as far as it is kept.
    payload: Vec<u8>,
    /// The current message was found by its prelude's checksum after a loss.
    found: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Bytes were lost: a prelude with a right checksum is looked for.
    Searching,
    Prelude,
    Headers,
    Payload,
    Checksum,
    Failed(EventStreamError),
}

impl EventStreamParser {
    /// At the start of a stream. Of one payload, [`Limits::message_bytes`] are kept.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.message_bytes,
            part: Part::Prelude,
            held: Vec::new(),
            left: PRELUDE,
            payload_length: 0,
            checksum: crc32fast::Hasher::new(),
            headers: Vec::new(),
            payload: Vec::new(),
            found: false,
        }
    }

    /// Takes the next bytes and appends the messages that they complete.
    ///
    /// # Errors
    /// See [`EventStreamError`]. Nothing more comes out after one.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<EventMessage>) -> Result<(), EventStreamError> {
        loop {
            if let Part::Failed(error) = self.part {
                return if bytes.is_empty() { Ok(()) } else { Err(error) };
            }
            if self.part == Part::Searching {
                let used = self.search(bytes);
                bytes = &bytes[used..];
                if bytes.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let (taken, rest) = bytes.split_at(self.left.min(bytes.len()));
            bytes = rest;
            self.left -= taken.len();
            if self.part != Part::Checksum {
                self.checksum.update(taken);
            }
            match self.part {
                Part::Payload => {
                    let room = self.limit.saturating_sub(self.payload.len());
                    self.payload.extend_from_slice(&taken[..taken.len().min(room)]);
                }
                _ => self.held.extend_from_slice(taken),
            }
            if self.left > 0 {
                return Ok(());
            }
            if let Err(error) = self.end_part(out) {
                if self.found {
                    // What looked like a message was none, or is broken too.
                    self.gap();
                    continue;
                }
                self.part = Part::Failed(error);
                (self.held, self.payload) = (Vec::new(), Vec::new());
                return Err(error);
            }
        }
    }

    /// Bytes of the stream were lost here. What came of the current message is left out, as its
    /// checksum cannot be told; the stream is taken up at the next prelude whose checksum is right,
    /// and a message found so counts only if its own checksum is right as well.
    pub fn gap(&mut self) {
        if !matches!(self.part, Part::Failed(_)) {
            self.part = Part::Searching;
            self.held = Vec::new();
            self.headers = Vec::new();
            self.payload = Vec::new();
            self.checksum = crc32fast::Hasher::new();
            self.found = false;
        }
    }

    /// The stream is over.
    ///
    /// # Errors
    /// [`EventStreamError::Truncated`] within a message, or the error that stopped the parser.
    pub fn finish(&self) -> Result<(), EventStreamError> {
        match self.part {
            Part::Prelude if self.left == PRELUDE => Ok(()),
            Part::Failed(error) => Err(error),
            _ => Err(EventStreamError::Truncated),
        }
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        // Headers cost more than on the wire: a name, a value and two allocations each.
        self.held.capacity() + self.payload.capacity() + self.headers.len() * 2 * size_of::<EventHeader>()
    }

    /// Looks for a prelude; returns how many bytes were used up to its end or to the end of `bytes`.
    fn search(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.held.len() == PRELUDE {
                self.held.remove(0);
            }
            self.held.push(*byte);
            if self.held.len() == PRELUDE && self.read_prelude().is_ok() {
                self.checksum.update(&self.held);
                self.held.clear();
                self.found = true;
                return at + 1;
            }
        }
        bytes.len()
    }

    /// Reads the prelude that is held, and goes on to the headers.
    fn read_prelude(&mut self) -> Result<(), EventStreamError> {
        let total = big_endian(&self.held, 0);
        let headers = big_endian(&self.held, 4);
        let overhead = (PRELUDE + CHECKSUM) as u32;
        let payload = total.checked_sub(overhead).and_then(|rest| rest.checked_sub(headers));
        let payload = payload.filter(|payload| headers <= MAX_HEADERS && *payload <= MAX_PAYLOAD);
        if self.part != Part::Searching || payload.is_some() {
            // Hardly any place has possible lengths, so a search computes hardly any checksum.
            if crc32fast::hash(&self.held[..8]) != big_endian(&self.held, 8) {
                return Err(EventStreamError::PreludeChecksum);
            }
        }
        self.payload_length = payload.ok_or(EventStreamError::Length)? as usize;
        (self.part, self.left) = (Part::Headers, headers as usize);
        Ok(())
    }

    /// The current part is complete: reads it and goes on to the next.
    fn end_part(&mut self, out: &mut Vec<EventMessage>) -> Result<(), EventStreamError> {
        let held = &self.held;
        match self.part {
            Part::Searching => {}
            Part::Prelude => self.read_prelude()?,
            Part::Headers => {
                self.headers = read_headers(held).ok_or(EventStreamError::Headers)?;
                (self.part, self.left) = (Part::Payload, self.payload_length);
                // Without room to spare, the payload is not moved once more.
                self.payload.reserve_exact(self.payload_length.min(self.limit).min(MAX_RESERVED));
            }
            Part::Payload => (self.part, self.left) = (Part::Checksum, CHECKSUM),
            Part::Checksum => {
                let checksum = std::mem::take(&mut self.checksum).finalize();
                let headers = std::mem::take(&mut self.headers);
                let payload = Bytes::from(std::mem::take(&mut self.payload));
                if checksum != big_endian(held, 0) {
                    return Err(EventStreamError::MessageChecksum);
                }
                let truncated = payload.len() < self.payload_length;
                out.push(EventMessage { headers, payload, truncated });
                self.found = false;
                (self.part, self.left) = (Part::Prelude, PRELUDE);
            }
            Part::Failed(error) => return Err(error),
        }
        // Its room serves the next part.
        self.held.clear();
        self.held.shrink_to(MAX_RESERVED);
        Ok(())
    }
}

impl EventMessage {
    /// The first header of that name, if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).and_then(|header| match &header.value {
            EventHeaderValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// What kind of message this is.
    pub fn message_type(&self) -> EventMessageType {
        match self.text(":message-type") {
            Some("event") => EventMessageType::Event,
            Some("exception") => EventMessageType::Exception,
            Some("error") => EventMessageType::Error,
            _ => EventMessageType::Other,
        }
    }

    /// The name of the event, exception or error.
    pub fn name(&self) -> Option<&str> {
        match self.message_type() {
            EventMessageType::Event => self.text(":event-type"),
            EventMessageType::Exception => self.text(":exception-type"),
            EventMessageType::Error => self.text(":error-code"),
            EventMessageType::Other => None,
        }
    }
}

/// Four bytes as a number; 0 where there are not so many, which the callers rule out.
fn big_endian(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

fn read_headers(mut bytes: &[u8]) -> Option<Vec<EventHeader>> {
    fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*taken)
    }
    fn slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(taken)
    }
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let [length] = array(&mut bytes)?;
        let name = std::str::from_utf8(slice(&mut bytes, usize::from(length))?).ok()?.to_owned();
        let [kind] = array(&mut bytes)?;
        let value = match kind {
            0 => EventHeaderValue::Bool(true),
            1 => EventHeaderValue::Bool(false),
            2 => EventHeaderValue::Integer(i8::from_be_bytes(array(&mut bytes)?).into()),
            3 => EventHeaderValue::Integer(i16::from_be_bytes(array(&mut bytes)?).into()),
            4 => EventHeaderValue::Integer(i32::from_be_bytes(array(&mut bytes)?).into()),
            5 => EventHeaderValue::Integer(i64::from_be_bytes(array(&mut bytes)?)),
            6 | 7 => {
                let length = u16::from_be_bytes(array(&mut bytes)?);
                let value = slice(&mut bytes, usize::from(length))?.to_vec();
                if kind == 6 {
                    EventHeaderValue::Bytes(value)
                } else {
                    EventHeaderValue::Text(String::from_utf8(value).ok()?)
                }
            }
            8 => EventHeaderValue::Timestamp(i64::from_be_bytes(array(&mut bytes)?)),
            9 => EventHeaderValue::Uuid(array(&mut bytes)?),
            _ => return None,
        };
        headers.push(EventHeader { name, value });
    }
    Some(headers)
}

// Messages are captured content: counts and sizes only.
impl fmt::Debug for EventMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, headers, payload) = (self.message_type(), self.headers.len(), self.payload.len());
        write!(f, "EventMessage({kind:?}, {headers} headers, {payload} bytes)")
    }
}

impl fmt::Debug for EventHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventHeader({} bytes of name)", self.name.len())
    }
}

impl fmt::Debug for EventHeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventHeaderValue")
    }
}

impl fmt::Debug for EventStreamParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventStreamParser({} bytes held)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::cut;
    use proptest::prelude::*;

    fn message(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let total = u32::try_from(headers.len() + payload.len() + 16).unwrap();
        let mut bytes = total.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend_from_slice(headers);
        bytes.extend_from_slice(payload);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn text_header(name: &str, value: &str) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        let name_length = u8::try_from(name.len()).unwrap();
        [&[name_length], name.as_bytes(), &[7], &length, value.as_bytes()].concat()
    }

    type Parsed = (Vec<EventMessage>, Result<(), EventStreamError>);

    fn parse_with(limit: usize, pieces: &[&[u8]]) -> Parsed {
        let mut parser = EventStreamParser::new(&Limits { message_bytes: limit, ..Limits::default() });
        let mut out = Vec::new();
        for piece in pieces {
            if let Err(error) = parser.push(piece, &mut out) {
                assert_eq!(parser.push(b"x", &mut out), Err(error), "an error lasts");
                assert_eq!(parser.finish(), Err(error), "an error lasts");
                break;
            }
        }
        (out, parser.finish())
    }

    fn parse(stream: &[u8]) -> Parsed {
        parse_with(1000, &[stream])
    }

    #[test]
    fn events_exceptions_and_errors_are_named_by_their_own_headers() {
        let one = |kind: &str, name: &str, value: &str| {
            message(&[text_header(":message-type", kind), text_header(name, value)].concat(), b"{}")
        };
        let stream = [
            one("event", ":event-type", "chunk"),
            one("exception", ":exception-type", "throttlingException"),
            one("error", ":error-code", "500"),
            message(b"", b""),
        ]
        .concat();
        let (messages, end) = parse(&stream);
        assert_eq!(end, Ok(()));
        let seen: Vec<_> = messages.iter().map(|message| (message.message_type(), message.name())).collect();
        assert_eq!(
            seen,
            [
                (EventMessageType::Event, Some("chunk")),
                (EventMessageType::Exception, Some("throttlingException")),
                (EventMessageType::Error, Some("500")),
                (EventMessageType::Other, None),
            ]
        );
        assert_eq!(messages[0].payload, "{}");
    }

    #[test]
    fn every_header_type_is_read() {
        let mut headers = Vec::new();
        let values: [(u8, &[u8], EventHeaderValue); 10] = [
            (0, &[], EventHeaderValue::Bool(true)),
            (1, &[], EventHeaderValue::Bool(false)),
            (2, &[0xff], EventHeaderValue::Integer(-1)),
            (3, &[1, 0], EventHeaderValue::Integer(256)),
            (4, &[0xff, 0xff, 0xff, 0xfe], EventHeaderValue::Integer(-2)),
            (5, &[0, 0, 0, 1, 0, 0, 0, 0], EventHeaderValue::Integer(1 << 32)),
            (6, &[0, 2, 7, 8], EventHeaderValue::Bytes(vec![7, 8])),
            (7, &[0, 2, 0xc3, 0xa9], EventHeaderValue::Text("\u{e9}".into())),
            (8, &[0, 0, 0, 0, 0, 0, 0, 5], EventHeaderValue::Timestamp(5)),
            (9, &[3; 16], EventHeaderValue::Uuid([3; 16])),
        ];
        for (kind, bytes, _) in &values {
            headers.extend([1, b'a' + kind, *kind]);
            headers.extend_from_slice(bytes);
        }
        let (messages, end) = parse(&message(&headers, b""));
        assert_eq!(end, Ok(()));
        for (header, (kind, _, value)) in messages[0].headers.iter().zip(values) {
            assert!(header.value == value && header.name.as_bytes() == [b'a' + kind], "type {kind}");
        }
        for broken in [&[1, b'a', 10][..], &[1, b'a', 7, 0, 5, b'x'], &[1, b'a', 7, 0, 1, 0xff], &[5, b'a']] {
            assert_eq!(parse(&message(broken, b"")).1, Err(EventStreamError::Headers), "{broken:?}");
        }
    }

    #[test]
    fn a_wrong_checksum_stops_the_stream_after_what_was_certain() {
        let good = message(&text_header("a", "b"), b"payload");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let (messages, end) = parse(&[&good[..], &bad, &good].concat());
            assert_eq!(messages.len(), 1, "byte {at}");
            let error =
                if at < 12 { EventStreamError::PreludeChecksum } else { EventStreamError::MessageChecksum };
            // A broken header part may be found before the checksum is.
            assert!(end == Err(error) || end == Err(EventStreamError::Headers), "byte {at}: {end:?}");
        }
    }

    #[test]
    fn a_payload_beyond_the_limit_is_cut_and_marked_and_the_next_message_is_whole() {
        let stream = [message(b"", &[7; 5000]), message(b"", &[8; 1000])].concat();
        let (messages, end) = parse(&stream);
        assert_eq!(end, Ok(()));
        let seen: Vec<_> =
            messages.iter().map(|message| (message.payload.len(), message.truncated)).collect();
        assert_eq!(seen, [(1000, true), (1000, false)]);
    }

    #[test]
    fn after_a_gap_what_only_looks_like_a_message_is_left_out_and_a_later_one_found() {
        let good = message(&text_header("a", "b"), b"payload");
        let mut broken = good.clone();
        *broken.last_mut().unwrap() ^= 1;
        let mut parser = EventStreamParser::new(&Limits::default());
        let mut out = Vec::new();
        parser.gap();
        assert_eq!(parser.finish(), Err(EventStreamError::Truncated));
        assert_eq!(parser.push(&[&b"rest"[..], &broken, &good].concat(), &mut out), Ok(()));
        assert_eq!((out.len(), parser.finish()), (1, Ok(())));
        assert_eq!(parser.push(&broken, &mut out), Err(EventStreamError::MessageChecksum));
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_held_for_them() {
        for (total, headers) in [
            (15_u32, 0_u32),
            (20, 5),
            ((128 << 10) + 17, (128 << 10) + 1),
            ((24 << 20) + 17, 0),
            (u32::MAX, 0),
            (0, u32::MAX),
        ] {
            let mut stream = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            stream.extend(crc32fast::hash(&stream).to_be_bytes());
            assert_eq!(parse(&stream), (vec![], Err(EventStreamError::Length)), "{total} {headers}");
        }
    }

    proptest! {
        #[test]
        fn a_gap_costs_the_messages_that_it_touches_and_no_other(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            from in any::<prop::sample::Index>(),
            length in 1..60_usize,
            cuts in proptest::collection::vec(any::<u16>(), 0..4),
        ) {
            let blocks: Vec<Vec<u8>> =
                payloads.iter().map(|payload| message(&text_header(":event-type", "chunk"), payload)).collect();
            let stream = blocks.concat();
            let from = from.index(stream.len());
            let to = (from + length).min(stream.len());
            let mut parser = EventStreamParser::new(&Limits::default());
            let mut out = Vec::new();
            prop_assert_eq!(parser.push(&stream[..from], &mut out), Ok(()));
            parser.gap();
            for piece in cut(&stream[to..], &cuts) {
                prop_assert_eq!(parser.push(piece, &mut out), Ok(()));
            }
            let mut at = 0;
            let mut whole = Vec::new();
            for (block, payload) in blocks.iter().zip(&payloads) {
                if at + block.len() <= from || at >= to {
                    whole.push(payload.clone());
                }
                at += block.len();
            }
            let seen: Vec<_> = out.iter().map(|message| message.payload.to_vec()).collect();
            prop_assert_eq!(seen, whole);
        }

        #[test]
        fn any_cut_gives_the_same_messages(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
            limit in 0..50_usize,
            damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            end in any::<prop::sample::Index>(),
            cuts in proptest::collection::vec(any::<u16>(), 0..8),
        ) {
            let mut stream: Vec<u8> = payloads
                .iter()
                .flat_map(|payload| message(&text_header(":event-type", "chunk"), payload))
                .collect();
            if let Some((at, byte)) = damage.filter(|_| !stream.is_empty()) {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            stream.truncate(end.index(stream.len() + 1));
            prop_assert_eq!(parse_with(limit, &cut(&stream, &cuts)), parse_with(limit, &[&stream]));
        }
    }
}
