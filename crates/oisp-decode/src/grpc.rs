//! gRPC messages in a body: a flag, a length, the message. Their content (protobuf mostly) and its
//! compression, which the `grpc-encoding` header names, are left to the receiver.

use std::fmt;

use thiserror::Error;

use crate::Limits;

const PREFIX: usize = 5;
const COMPRESSED: u8 = 0x01;
const TRAILERS: u8 = 0x80;

/// One message of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct GrpcMessage {
    /// Compressed as `grpc-encoding` says.
    pub compressed: bool,
    /// Not a message but the trailer fields, as gRPC-Web sends them: lines as in an HTTP/1 head.
    pub trailers: bool,
    /// Its length on the wire.
    pub length: u32,
    /// Its bytes; fewer than `length` when it was longer than the bound, or bytes of it were lost.
    pub bytes: Vec<u8>,
}

impl GrpcMessage {
    /// It was longer than the bound, or bytes of it were lost: what is here is its beginning.
    pub fn is_truncated(&self) -> bool {
        self.bytes.len() < self.length as usize
    }
}

/// Why a body could not be read further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum GrpcError {
    /// A flag that the protocol does not know: no gRPC, or bytes were lost.
    #[error("a gRPC message has the unknown flags {flags:#04x}")]
    UnknownFlags {
        /// All of them.
        flags: u8,
    },
    /// Bytes were lost where a message may begin, so nobody can say where the next one does.
    #[error("bytes of the gRPC body were lost where a message may begin")]
    Lost,
    /// The body ended within a message.
    #[error("the gRPC body ends within a message")]
    Truncated,
}

/// Splits a body into messages, however the bytes are cut.
#[derive(Clone)]
pub struct GrpcSplitter {
    limit: usize,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix so far.
    gathered: usize,
    /// The message whose prefix is complete, and its bytes still to come.
    message: Option<(GrpcMessage, u32)>,
    /// Bytes still to come of a message that a loss cut off.
    skip: u32,
    failed: Option<GrpcError>,
}

impl GrpcSplitter {
    /// At the start of a body. Of one message, [`Limits::message_bytes`] are kept.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.message_bytes,
            prefix: [0; PREFIX],
            gathered: 0,
            message: None,
            skip: 0,
            failed: None,
        }
    }

    /// Takes the next bytes and appends the messages that they complete.
    ///
    /// # Errors
    /// See [`GrpcError`]. Nothing more comes out after one.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<GrpcMessage>) -> Result<(), GrpcError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            if self.skip > 0 {
                let taken = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= u32::try_from(taken).unwrap_or(self.skip);
                bytes = &bytes[taken..];
            }
            let Some((message, left)) = &mut self.message else {
                let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
                bytes = rest;
                self.prefix_byte(byte).inspect_err(|error| self.failed = Some(*error))?;
                continue;
            };
            let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            let room = self.limit.saturating_sub(message.bytes.len());
            message.bytes.extend_from_slice(&bytes[..taken.min(room)]);
            bytes = &bytes[taken..];
            *left -= u32::try_from(taken).unwrap_or(*left);
            if *left > 0 {
                return Ok(());
            }
            out.extend(self.message.take().map(|(message, _)| message));
        }
    }

    /// Bytes of the body are missing here: `lost` of them where that is exact. Returns the message that
    /// they cut off, as far as it came. The body goes on behind that message if the loss surely ends
    /// within it, because its length is known; else nothing more comes out ([`GrpcError::Lost`]).
    pub fn gap(&mut self, lost: Option<u64>) -> Option<GrpcMessage> {
        let (cut, left) = match self.message.take() {
            Some((message, left)) => (Some(message), left),
            None => (None, self.skip),
        };
        match lost.and_then(|lost| u64::from(left).checked_sub(lost)) {
            Some(left_behind) if left > 0 => self.skip = u32::try_from(left_behind).unwrap_or(left),
            _ if self.failed.is_none() => self.failed = Some(GrpcError::Lost),
            _ => {}
        }
        cut
    }

    /// The body is over.
    ///
    /// # Errors
    /// [`GrpcError::Truncated`] within a message, or the error that stopped the splitter.
    pub fn finish(&self) -> Result<(), GrpcError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.gathered == 0 && self.message.is_none() && self.skip == 0 => Ok(()),
            None => Err(GrpcError::Truncated),
        }
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |(message, _)| message.bytes.capacity())
    }

    fn prefix_byte(&mut self, byte: u8) -> Result<(), GrpcError> {
        if self.gathered == 0 && byte & !(COMPRESSED | TRAILERS) != 0 {
            return Err(GrpcError::UnknownFlags { flags: byte });
        }
        self.prefix[self.gathered] = byte;
        self.gathered += 1;
        if self.gathered == PREFIX {
            self.gathered = 0;
            let [flags, length @ ..] = self.prefix;
            let length = u32::from_be_bytes(length);
            let message = GrpcMessage {
                compressed: flags & COMPRESSED != 0,
                trailers: flags & TRAILERS != 0,
                length,
                bytes: Vec::new(),
            };
            self.message = Some((message, length));
        }
        Ok(())
    }
}

// Messages are captured content: sizes only.
impl fmt::Debug for GrpcMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.trailers { "trailers" } else { "message" };
        write!(f, "GrpcMessage({kind} of {} bytes, compressed: {})", self.length, self.compressed)
    }
}

impl fmt::Debug for GrpcSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrpcSplitter({} bytes held)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::cut;
    use proptest::prelude::*;

    fn message(flags: u8, content: &[u8]) -> Vec<u8> {
        [&[flags][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    type Split = (Vec<GrpcMessage>, Result<(), GrpcError>);

    fn split(limit: usize, pieces: &[&[u8]]) -> Split {
        let mut splitter = GrpcSplitter::new(&Limits { message_bytes: limit, ..Limits::default() });
        let mut out = Vec::new();
        for piece in pieces {
            if let Err(error) = splitter.push(piece, &mut out) {
                assert_eq!(splitter.push(b"x", &mut out), Err(error), "an error lasts");
                break;
            }
            assert!(splitter.buffered_bytes() <= 2 * (limit + 16));
        }
        (out, splitter.finish())
    }

    #[test]
    fn messages_compressed_ones_empty_ones_and_web_trailers_are_told_apart() {
        let body =
            [message(0, b"one"), message(1, b"two"), message(0, b""), message(0x80, b"grpc-status:0\r\n")]
                .concat();
        let (messages, end) = split(100, &[&body]);
        assert_eq!(end, Ok(()));
        let seen: Vec<_> = messages
            .iter()
            .map(|message| (message.compressed, message.trailers, &message.bytes[..]))
            .collect();
        assert_eq!(
            seen,
            [
                (false, false, &b"one"[..]),
                (true, false, b"two"),
                (false, false, b""),
                (false, true, b"grpc-status:0\r\n"),
            ]
        );
    }

    #[test]
    fn a_message_beyond_the_limit_is_cut_and_the_next_is_whole() {
        let (messages, end) = split(4, &[&message(0, b"12345"), &message(0, b"6789")]);
        assert_eq!(end, Ok(()));
        assert!(messages[0].is_truncated() && messages[0].bytes == b"1234" && messages[0].length == 5);
        assert!(!messages[1].is_truncated() && messages[1].bytes == b"6789");
    }

    #[test]
    fn a_huge_length_holds_nothing_in_advance_and_ends_truncated() {
        assert_eq!(split(4, &[&[0, 0xff, 0xff, 0xff, 0xff], b"123456"]), (vec![], Err(GrpcError::Truncated)));
        assert_eq!(split(4, &[&[0, 0]]).1, Err(GrpcError::Truncated));
    }

    #[test]
    fn unknown_flags_stop_the_body_after_what_was_certain() {
        let (messages, end) = split(100, &[&message(0, b"one"), b"HTTP"]);
        assert_eq!((messages.len(), end), (1, Err(GrpcError::UnknownFlags { flags: b'H' })));
    }

    #[test]
    fn a_loss_within_a_message_leaves_the_next_whole_and_one_beyond_it_ends_the_body() {
        let body = [message(0, b"one"), message(0, b"second"), message(0, b"three")].concat();
        let run = |from: usize, to: usize, exact: bool| {
            let mut splitter = GrpcSplitter::new(&Limits::default());
            let mut out = Vec::new();
            splitter.push(&body[..from], &mut out).unwrap();
            let cut = splitter.gap(exact.then_some((to - from) as u64));
            assert!(cut.as_ref().is_none_or(GrpcMessage::is_truncated));
            out.extend(cut);
            let _ = splitter.push(&body[to..], &mut out);
            let shown: Vec<_> = out.into_iter().map(|message| message.bytes).collect();
            (shown, splitter.finish())
        };
        let expected = (vec![b"one".to_vec(), b"se".to_vec(), b"three".to_vec()], Ok(()));
        assert_eq!(run(15, 17, true), expected);
        assert_eq!(run(15, 19, true), expected);
        let lost = Err(GrpcError::Lost);
        assert_eq!(run(15, 17, false), (vec![b"one".to_vec(), b"se".to_vec()], lost));
        assert_eq!(run(15, 20, true), (vec![b"one".to_vec(), b"se".to_vec()], lost));
        assert_eq!(run(8, 9, true), (vec![b"one".to_vec()], lost));
        assert_eq!(run(10, 11, true), (vec![b"one".to_vec()], lost));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_messages(
            contents in proptest::collection::vec((0..4_u8, proptest::collection::vec(any::<u8>(), 0..20)), 0..6),
            limit in 0..20_usize,
            end in any::<prop::sample::Index>(),
            cuts in proptest::collection::vec(any::<u16>(), 0..8),
        ) {
            let mut body: Vec<u8> = contents
                .iter()
                .flat_map(|(flags, content)| message([0, 1, 0x80, 0x40][usize::from(*flags)], content))
                .collect();
            body.truncate(end.index(body.len() + 1));
            prop_assert_eq!(split(limit, &cut(&body, &cuts)), split(limit, &[&body]));
        }
    }
}
