//! gzip (RFC 1952).

use flate2::{Crc, Decompress};

use super::deflate::inflate;
use super::{Coding, EncodingError, Step};

/// Where in a gzip member the next byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GzipPart {
    /// One of the ten fixed bytes of the header, by index.
    Fixed(u8),
    /// One of the two bytes of the length of the extra field.
    ExtraLength(u8),
    Extra(u16),
    Name,
    Comment,
    HeaderCrc(u8),
    Deflated,
    /// One of the eight bytes of checksum and length.
    Trailer(u8),
    Failed(EncodingError),
}

pub(super) const FLAG_HEADER_CRC: u8 = 1 << 1;
pub(super) const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0xe0;

/// State of a gzip stream.
pub(super) struct Gzip {
    part: GzipPart,
    flags: u8,
    extra_length: u16,
    /// Members that may still begin.
    members_left: u32,
    inflate: Decompress,
    crc: Crc,
    trailer: [u8; 8],
}

impl Gzip {
    /// Of at most so many members.
    pub(super) fn new(members: u32) -> Self {
        Self {
            part: GzipPart::Fixed(0),
            flags: 0,
            extra_length: 0,
            members_left: members,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            trailer: [0; 8],
        }
    }

    /// The part after a byte of header or trailer.
    fn frame(&mut self, byte: u8) -> GzipPart {
        let corrupt = GzipPart::Failed(EncodingError::Corrupt);
        match self.part {
            GzipPart::Fixed(index) => {
                let expected = match index {
                    0 => byte == 0x1f && self.members_left > 0,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => {
                        self.flags = byte;
                        byte & FLAGS_RESERVED == 0
                    }
                    _ => true,
                };
                match (expected, index) {
                    (false, _) => corrupt,
                    (true, 9) => self.after_header(GzipPart::Fixed(9)),
                    (true, _) => GzipPart::Fixed(index + 1),
                }
            }
            GzipPart::ExtraLength(0) => {
                self.extra_length = u16::from(byte);
                GzipPart::ExtraLength(1)
            }
            GzipPart::ExtraLength(_) => {
                self.extra_length |= u16::from(byte) << 8;
                match self.extra_length {
                    0 => self.after_header(GzipPart::Extra(0)),
                    length => GzipPart::Extra(length),
                }
            }
            GzipPart::Extra(left @ 2..) => GzipPart::Extra(left - 1),
            GzipPart::Name | GzipPart::Comment if byte != 0 => self.part,
            GzipPart::HeaderCrc(0) => GzipPart::HeaderCrc(1),
            part @ (GzipPart::Extra(_) | GzipPart::Name | GzipPart::Comment | GzipPart::HeaderCrc(_)) => {
                self.after_header(part)
            }
            GzipPart::Trailer(index) => {
                self.trailer[usize::from(index & 7)] = byte;
                if index < 7 {
                    return GzipPart::Trailer(index + 1);
                }
                let [a, b, c, d, e, f, g, h] = self.trailer;
                let matches = u32::from_le_bytes([a, b, c, d]) == self.crc.sum()
                    && u32::from_le_bytes([e, f, g, h]) == self.crc.amount();
                self.members_left -= 1;
                self.inflate.reset(false);
                self.crc.reset();
                if matches { GzipPart::Fixed(0) } else { corrupt }
            }
            GzipPart::Deflated | GzipPart::Failed(_) => self.part,
        }
    }

    /// The next part of the header that the flags announce.
    fn after_header(&self, done: GzipPart) -> GzipPart {
        let stage = match done {
            GzipPart::Fixed(_) => 0,
            GzipPart::Extra(_) => 1,
            GzipPart::Name => 2,
            GzipPart::Comment => 3,
            _ => 4,
        };
        let announced = |flag: u8| self.flags & flag != 0;
        if stage < 1 && announced(FLAG_EXTRA) {
            GzipPart::ExtraLength(0)
        } else if stage < 2 && announced(FLAG_NAME) {
            GzipPart::Name
        } else if stage < 3 && announced(FLAG_COMMENT) {
            GzipPart::Comment
        } else if stage < 4 && announced(FLAG_HEADER_CRC) {
            GzipPart::HeaderCrc(0)
        } else {
            GzipPart::Deflated
        }
    }
}

impl Coding for Gzip {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        let mut used = 0;
        loop {
            match self.part {
                GzipPart::Failed(error) => return Step { used, made: 0, error: Some(error) },
                GzipPart::Deflated => break,
                _ => {}
            }
            let Some(&byte) = input.get(used) else { return Step { used, made: 0, error: None } };
            used += 1;
            self.part = self.frame(byte);
        }
        let (mut step, ended) = inflate(&mut self.inflate, &input[used..], out);
        step.used += used;
        self.crc.update(&out[..step.made]);
        if let Some(error) = step.error {
            self.part = GzipPart::Failed(error);
        } else if ended {
            self.part = GzipPart::Trailer(0);
        }
        step
    }

    fn is_at_end(&self) -> bool {
        self.part == GzipPart::Fixed(0)
    }

    fn buffered_bytes(&self) -> usize {
        super::deflate::INFLATER_BYTES
    }
}
