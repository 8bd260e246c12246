//! Content encodings, streaming: the bytes that arrived are decoded as far as they go.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use thiserror::Error;

/// Bytes decoded at a time.
const SCRATCH: usize = 16 << 10;
/// Gzip members of one body. Real bodies have one; concatenated logs have hundreds. A member costs
/// a reset of the inflater for 20 bytes of input, hence a bound.
const MAX_GZIP_MEMBERS: u32 = 1024;

/// Why decoding stopped. Nothing more comes out after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EncodingError {
    /// The bytes are not what the encoding says.
    #[error("the content encoding is broken")]
    Corrupt,
    /// More came out than the caller has room for; what fitted was delivered.
    #[error("the decoded content exceeds its limit")]
    OverLimit,
    /// The body ended before the encoding did.
    #[error("the content encoding ends early")]
    Truncated,
}

/// Undoes the content encoding of one body. Further encodings join as further variants.
#[derive(Debug)]
pub enum ContentDecoder {
    /// Not encoded.
    Identity,
    /// RFC 1952, several members allowed.
    Gzip(Box<Gzip>),
}

impl ContentDecoder {
    /// The decoder for a list of codings in the order in which they were applied.
    ///
    /// # Errors
    /// The list as text (shortened) when it is not supported: an unknown coding, or more than one.
    pub fn for_codings<S: AsRef<str>>(codings: &[S]) -> Result<Self, String> {
        let mut applied =
            codings.iter().map(AsRef::as_ref).filter(|coding| !coding.eq_ignore_ascii_case("identity"));
        match (applied.next(), applied.next()) {
            (None, _) => Ok(Self::Identity),
            (Some(one), None) if one.eq_ignore_ascii_case("gzip") || one.eq_ignore_ascii_case("x-gzip") => {
                Ok(Self::Gzip(Box::new(Gzip::new())))
            }
            _ => {
                let all = codings.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
                Err(all.chars().take(64).collect())
            }
        }
    }

    /// Whether bytes pass unchanged.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// Decodes the next bytes to the end of `out`, at most `room` of them.
    ///
    /// # Errors
    /// See [`EncodingError`]; what was decoded before the error is in `out`.
    pub fn push(&mut self, bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        match self {
            Self::Identity => {
                out.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if bytes.len() > room { Err(EncodingError::OverLimit) } else { Ok(()) }
            }
            Self::Gzip(gzip) => gzip.push(bytes, room, out),
        }
    }

    /// Tells that the body is over.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`] when the encoding is not over. An empty body is no error.
    pub fn finish(&self) -> Result<(), EncodingError> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(gzip) if gzip.is_at_end() => Ok(()),
            Self::Gzip(_) => Err(EncodingError::Truncated),
        }
    }
}

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

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0xe0;

/// State of a gzip stream.
pub struct Gzip {
    part: GzipPart,
    flags: u8,
    extra_length: u16,
    members: u32,
    inflate: Decompress,
    crc: Crc,
    trailer: [u8; 8],
    scratch: Box<[u8]>,
}

impl Gzip {
    fn new() -> Self {
        Self {
            part: GzipPart::Fixed(0),
            flags: 0,
            extra_length: 0,
            members: 0,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            trailer: [0; 8],
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        }
    }

    fn is_at_end(&self) -> bool {
        self.part == GzipPart::Fixed(0)
    }

    fn push(&mut self, mut bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        let end = out.len().saturating_add(room);
        loop {
            if let GzipPart::Failed(error) = self.part {
                return Err(error);
            }
            if self.part == GzipPart::Deflated {
                // Also with no input left: output may still wait in the inflater.
                let used = self.inflate(bytes, end, out).inspect_err(|error| {
                    self.part = GzipPart::Failed(*error);
                })?;
                bytes = &bytes[used..];
                if self.part == GzipPart::Deflated {
                    return Ok(());
                }
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.part = self.frame(byte);
        }
    }

    /// Inflates until the input is used up or the member's data is over.
    fn inflate(&mut self, bytes: &[u8], end: usize, out: &mut Vec<u8>) -> Result<usize, EncodingError> {
        let mut used = 0;
        loop {
            let room = end.saturating_sub(out.len());
            // One byte more than there is room for tells a full output from one that exceeds.
            let capacity = room.saturating_add(1).min(self.scratch.len());
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(&bytes[used..], &mut self.scratch[..capacity], FlushDecompress::None)
                .map_err(|_| EncodingError::Corrupt)?;
            let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(usize::MAX);
            used += taken;
            let made_bytes = &self.scratch[..made.min(capacity)];
            self.crc.update(made_bytes);
            out.extend_from_slice(&made_bytes[..made_bytes.len().min(room)]);
            if made > room {
                return Err(EncodingError::OverLimit);
            }
            if status == Status::StreamEnd {
                self.part = GzipPart::Trailer(0);
                return Ok(used);
            }
            if made < capacity && (used >= bytes.len() || taken == 0) {
                // The output has room left, so the inflater waits for input.
                return if used >= bytes.len() { Ok(used) } else { Err(EncodingError::Corrupt) };
            }
        }
    }

    /// The part after a byte of header or trailer.
    fn frame(&mut self, byte: u8) -> GzipPart {
        let corrupt = GzipPart::Failed(EncodingError::Corrupt);
        match self.part {
            GzipPart::Fixed(index) => {
                let expected = match index {
                    0 => byte == 0x1f && self.members < MAX_GZIP_MEMBERS,
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
                self.members += 1;
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

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gzip")
            .field("part", &self.part)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(pieces: &[&[u8]], room: usize) -> (Vec<u8>, Result<(), EncodingError>) {
        let mut decoder = ContentDecoder::for_codings(&["gzip"]).unwrap();
        let mut out = Vec::new();
        for piece in pieces {
            let left = room - out.len();
            if let Err(error) = decoder.push(piece, left, &mut out) {
                return (out, Err(error));
            }
        }
        (out, decoder.finish())
    }

    #[test]
    fn a_body_cut_into_single_bytes_decodes_the_same() {
        let content = b"hello hello hello".repeat(100);
        let encoded = gzip(&content);
        let pieces: Vec<&[u8]> = encoded.chunks(1).collect();
        assert_eq!(decode(&pieces, 1 << 20), (content, Ok(())));
    }

    #[test]
    fn several_members_are_joined() {
        let encoded = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(decode(&[&encoded], 100), (b"one two".to_vec(), Ok(())));
    }

    #[test]
    fn optional_header_fields_are_skipped_however_they_are_cut() {
        let encoded = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), flate2::Compression::fast());
        let mut encoder = encoded;
        encoder.write_all(b"content").unwrap();
        let encoded = encoder.finish().unwrap();
        for cut in 0..encoded.len() {
            let (before, after) = encoded.split_at(cut);
            assert_eq!(decode(&[before, after], 100), (b"content".to_vec(), Ok(())));
        }
    }

    #[test]
    fn a_header_with_checksum_and_empty_extra_field_is_read() {
        let plain = gzip(b"content");
        let mut encoded = vec![0x1f, 0x8b, 8, FLAG_HEADER_CRC | FLAG_EXTRA, 0, 0, 0, 0, 0, 255, 0, 0, 7, 7];
        encoded.extend_from_slice(&plain[10..]);
        assert_eq!(decode(&[&encoded], 100), (b"content".to_vec(), Ok(())));
    }

    #[test]
    fn flushed_output_is_delivered_before_the_stream_ends() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let so_far = encoder.get_ref().clone();
        assert_eq!(decode(&[&so_far], 100), (b"data: 1\n\n".to_vec(), Err(EncodingError::Truncated)));
    }

    #[test]
    fn a_bomb_stops_exactly_at_the_limit() {
        let encoded = gzip(&vec![0; 10 << 20]);
        let (out, result) = decode(&[&encoded], 100_000);
        assert_eq!((out.len(), result), (100_000, Err(EncodingError::OverLimit)));
    }

    #[test]
    fn content_of_exactly_the_limit_is_complete() {
        let encoded = gzip(&[7; 50_000]);
        let (out, result) = decode(&[&encoded], 50_000);
        assert_eq!((out.len(), result), (50_000, Ok(())));
    }

    #[test]
    fn broken_streams_are_told_from_truncated_ones() {
        let good = gzip(b"some content that is long enough");
        let mut bad_crc = good.clone();
        let at = bad_crc.len() - 8;
        bad_crc[at] ^= 1;
        assert_eq!(decode(&[&bad_crc], 100).1, Err(EncodingError::Corrupt));
        assert_eq!(decode(&[b"plain text"], 100).1, Err(EncodingError::Corrupt));
        assert_eq!(decode(&[&good[..good.len() - 1]], 100).1, Err(EncodingError::Truncated));
        assert_eq!(decode(&[&[&good[..], b"x"].concat()], 100).1, Err(EncodingError::Corrupt));
    }

    #[test]
    fn endless_empty_members_are_bounded() {
        let encoded = gzip(b"").repeat(MAX_GZIP_MEMBERS as usize + 1);
        assert_eq!(decode(&[&encoded], 100).1, Err(EncodingError::Corrupt));
    }

    #[test]
    fn unknown_and_stacked_codings_are_named() {
        assert_eq!(ContentDecoder::for_codings(&["zz"]).unwrap_err(), "zz");
        assert_eq!(ContentDecoder::for_codings(&["gzip", "br"]).unwrap_err(), "gzip, br");
        assert!(ContentDecoder::for_codings(&["Identity"]).unwrap().is_identity());
        assert!(ContentDecoder::for_codings::<&str>(&[]).unwrap().is_identity());
    }
}
