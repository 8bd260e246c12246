//! Frame headers (RFC 6455 section 5.2).

/// The longest header: two bytes, an eight-byte length, a four-byte mask.
const MAX_HEADER: usize = 14;
/// Payload bytes of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: u64 = 125;
/// "Per-message compressed" (RFC 7692 section 6).
pub(super) const RSV1: u8 = 0x40;
const RSV: u8 = 0x70;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte & 0x0f {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    /// The last frame of its message.
    pub(super) fin: bool,
    /// The three reserved bits, at their places in the first byte.
    pub(super) rsv: u8,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) length: u64,
    /// The length could not have been written shorter.
    pub(super) minimal: bool,
}

/// Collects the bytes of a header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeaderBytes {
    bytes: [u8; MAX_HEADER],
    length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeaderProgress {
    Partial,
    Complete(FrameHeader),
    Malformed,
}

impl HeaderBytes {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How long the header is, as far as its bytes so far tell.
    fn needed(&self) -> usize {
        if self.length < 2 {
            return 2;
        }
        let extended = match self.bytes[1] & 0x7f {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        2 + extended + if self.bytes[1] & 0x80 == 0 { 0 } else { 4 }
    }

    /// Takes bytes as far as they belong to the header; returns how many did.
    pub(super) fn push(&mut self, input: &[u8]) -> (usize, HeaderProgress) {
        let mut used = 0;
        while self.length < self.needed() {
            let Some(&byte) = input.get(used) else { return (used, HeaderProgress::Partial) };
            self.bytes[self.length] = byte;
            self.length += 1;
            used += 1;
        }
        (used, self.parse().map_or(HeaderProgress::Malformed, HeaderProgress::Complete))
    }

    fn parse(&self) -> Option<FrameHeader> {
        let [first, second, rest @ ..] = self.bytes;
        let opcode = Opcode::of(first)?;
        let eight =
            u64::from_be_bytes([rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]]);
        let (length, minimal, mask_at) = match second & 0x7f {
            127 => (eight, eight > 0xffff, 8),
            126 => {
                let length = u64::from(u16::from_be_bytes([rest[0], rest[1]]));
                (length, length > 125, 2)
            }
            length => (u64::from(length), true, 0),
        };
        let mask = (second & 0x80 != 0)
            .then(|| [rest[mask_at], rest[mask_at + 1], rest[mask_at + 2], rest[mask_at + 3]]);
        let fin = first & 0x80 != 0;
        let control_is_well_formed = !opcode.is_control() || (fin && length <= MAX_CONTROL);
        (length <= i64::MAX as u64 && control_is_well_formed).then_some(FrameHeader {
            fin,
            rsv: first & RSV,
            opcode,
            mask,
            length,
            minimal,
        })
    }
}

/// Undoes the mask of payload bytes of which `before` came before.
pub(super) fn unmask(mask: [u8; 4], before: u64, bytes: &mut [u8]) {
    for (place, byte) in (before..).zip(bytes) {
        *byte ^= mask[(place & 3) as usize];
    }
}

/// Whether a captured record is nothing but whole messages of a client or a server, with nothing in
/// it that a well-behaved one would not write. Content hardly ever looks like that: its first bytes
/// would have to name a known kind, and its length to the byte.
pub(super) fn is_whole_messages(record: &[u8], from_client: bool, compression: bool) -> bool {
    let mut rest = record;
    let mut within_message = false;
    while !rest.is_empty() {
        let (used, HeaderProgress::Complete(header)) = HeaderBytes::default().push(rest) else {
            return false;
        };
        rest = &rest[used..];
        let payload = match usize::try_from(header.length) {
            Ok(length) if length <= rest.len() => &rest[..length],
            _ => return false,
        };
        rest = &rest[payload.len()..];
        let starts = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let allowed = if starts && compression { RSV1 } else { 0 };
        let in_order = match header.opcode {
            Opcode::Continuation => within_message,
            Opcode::Text | Opcode::Binary => !within_message,
            _ => true,
        };
        if !header.minimal || header.mask.is_some() != from_client || header.rsv & !allowed != 0 || !in_order
        {
            return false;
        }
        if header.opcode == Opcode::Text && header.fin && header.rsv == 0 {
            let mut text = payload.to_vec();
            if let Some(mask) = header.mask {
                unmask(mask, 0, &mut text);
            }
            if std::str::from_utf8(&text).is_err() {
                return false;
            }
        }
        if !header.opcode.is_control() {
            within_message = !header.fin;
        }
    }
    !record.is_empty() && !within_message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> HeaderProgress {
        HeaderBytes::default().push(bytes).1
    }

    fn header(bytes: &[u8]) -> FrameHeader {
        match parse(bytes) {
            HeaderProgress::Complete(header) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lengths_of_all_three_forms_are_read() {
        assert_eq!(header(&[0x81, 125]).length, 125);
        assert_eq!(header(&[0x82, 126, 1, 0]).length, 256);
        assert_eq!(header(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]).length, 65536);
        assert!(!header(&[0x82, 126, 0, 125]).minimal);
        assert!(!header(&[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255]).minimal);
        assert_eq!(header(&[0x81, 0x85, 1, 2, 3, 4]).mask, Some([1, 2, 3, 4]));
    }

    #[test]
    fn reserved_kinds_long_or_cut_control_frames_and_negative_lengths_are_malformed() {
        for bytes in [
            &[0x83, 0][..],
            &[0x8b, 0],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
            &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(parse(bytes), HeaderProgress::Malformed, "{bytes:x?}");
        }
    }

    #[test]
    fn only_whole_well_formed_messages_are_recognised() {
        let server = |record: &[u8]| is_whole_messages(record, false, false);
        assert!(server(b"\x81\x02{}"));
        assert!(server(b"\x01\x01{\x89\x00\x80\x01}"));
        assert!(!server(b"\x81\x02{"), "cut");
        assert!(!server(b"\x81\x02{}x"), "more than whole");
        assert!(!server(b"\x01\x01{"), "not to the end of the message");
        assert!(!server(b"\x80\x01}"), "not from the beginning of the message");
        assert!(!server(b"\x81\x01\xff"), "no text");
        assert!(!server(b"\xc1\x01x"), "compression was not agreed");
        assert!(!server(b"\x82\x81\0\0\0\0x"), "a server does not mask");
        assert!(is_whole_messages(b"\x81\x81\x01\x01\x01\x01x", true, false));
        assert!(is_whole_messages(b"\xc1\x01x", false, true));
        assert!(!server(b""));
    }
}
