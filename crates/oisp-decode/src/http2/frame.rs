//! Frame headers (RFC 9113 section 4.1), and how to tell one from other bytes.

pub(super) const HEADER_LENGTH: usize = 9;
/// What each side may send before it knows better (section 6.5.2).
pub(super) const DEFAULT_MAX_FRAME: u32 = 16 << 10;
/// The longest that can be written.
pub(super) const LARGEST_FRAME: u32 = (1 << 24) - 1;
/// Where frames are looked for, longer ones do not count: no text begins like a shorter one.
const LARGEST_PLAUSIBLE: u32 = 1 << 20;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// On SETTINGS and PING: an acknowledgement.
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Without the reserved bit.
    pub(super) stream: u32,
    reserved: bool,
}

impl FrameHeader {
    pub(super) fn parse(bytes: &[u8; HEADER_LENGTH]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes;
        let stream = u32::from_be_bytes([d, e, f, g]);
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 != 0,
        }
    }

    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    pub(super) fn is_padded(&self) -> bool {
        self.flags & PADDED != 0
    }

    pub(super) fn has_priority(&self) -> bool {
        self.flags & HAS_PRIORITY != 0
    }

    /// Whether length and stream fit the type. Frames of unknown types always do.
    pub(super) fn is_consistent(&self) -> bool {
        let length = match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS => self.length.is_multiple_of(6) && (self.length == 0 || !self.is_ack()),
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            PUSH_PROMISE => self.length >= 4 + u32::from(self.is_padded()),
            DATA | HEADERS => !self.is_padded() || self.length > 0,
            _ => true,
        };
        let stream = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => self.stream != 0,
            SETTINGS | PING | GOAWAY => self.stream == 0,
            _ => true,
        };
        length && stream
    }

    /// Whether every bit is as an implementation of RFC 9113 without extensions writes it.
    pub(super) fn is_plausible(&self, last_stream: u32) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | HAS_PRIORITY,
            SETTINGS | PING => ACK,
            PUSH_PROMISE => END_HEADERS | PADDED,
            CONTINUATION => END_HEADERS,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        self.flags & !flags == 0
            && !self.reserved
            && self.length <= LARGEST_PLAUSIBLE
            && self.stream <= last_stream
            && self.is_consistent()
            && (self.kind != HEADERS || self.length > 0)
    }
}

/// Whether a record begins with frames, as far as the first three headers in it tell. A header has
/// over 40 bits that must fit, so one alone is hardly met by chance.
pub(super) fn begins_with_frames(record: &[u8], last_stream: u32) -> bool {
    let mut rest = record;
    for number in 0..3 {
        let Some(header) = rest.first_chunk::<HEADER_LENGTH>() else { return number > 0 };
        let header = FrameHeader::parse(header);
        if !header.is_plausible(last_stream) {
            return false;
        }
        match rest.get(HEADER_LENGTH + header.length as usize..) {
            Some(next) => rest = next,
            None => return true,
        }
    }
    true
}

/// Whether bytes may begin a server's side of a connection: with its SETTINGS (section 3.4).
/// `None`: too few to tell.
pub(crate) fn begins_with_settings(bytes: &[u8]) -> Option<bool> {
    // No implementation knows more than a few dozen settings.
    const LONGEST: u8 = 252;
    let fits = bytes.iter().zip(0..HEADER_LENGTH).all(|(byte, at)| match at {
        2 => *byte <= LONGEST && byte.is_multiple_of(6),
        3 => *byte == SETTINGS,
        _ => *byte == 0,
    });
    (!fits || bytes.len() >= HEADER_LENGTH).then_some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_other_bytes() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let ping = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
        let cases: &[(&[u8], bool)] = &[
            (settings, true),
            (&[&settings[..], ping].concat(), true),
            // Cut within the second header, and within the payload.
            (&[&settings[..], &ping[..4]].concat(), true),
            (&settings[..12], true),
            (&settings[..8], false),
            (&[&settings[..], b"{\"model\":\"m\"}"].concat(), false),
            (b"\0\0\x05\x04\0\0\0\0\0abcde", false),
            (b"\0\0\x01\0\0\0\0\0\0a", false),
            (b"\0\0\x01\0\x02\0\0\0\x01a", false),
            (b"\0\0\x01\0\x01\0\0\0\x65a", false),
            (b"\0\0\x01\x0a\0\0\0\0\x01a", false),
            (b"\x20\0\x01\0\0\0\0\0\x01a", false),
            (b"data: {\"choices\":[]}", false),
            (b"", false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(begins_with_frames(bytes, 100), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_settings_of_a_server_are_recognised_from_any_number_of_bytes() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        for length in 0..9 {
            assert_eq!(begins_with_settings(&settings[..length]), None);
        }
        assert_eq!(begins_with_settings(settings), Some(true));
        assert_eq!(begins_with_settings(b"\0\0\x07"), Some(false));
        assert_eq!(begins_with_settings(b"HTTP"), Some(false));
    }
}
