//! Content encodings, streaming: the bytes that arrived are decoded as far as they go.

mod brotli;
mod deflate;
mod gzip;
mod zstd;

use std::fmt;

use thiserror::Error;

use crate::Limits;

/// Bytes decoded at a time, and held between two codings.
const SCRATCH: usize = 16 << 10;

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
    /// A zstd frame asks for more memory than its content coding may (RFC 9659).
    #[error("zstd asks for a window of {bytes} bytes")]
    WindowTooLarge {
        /// The window it asks for.
        bytes: u64,
    },
    /// No memory for a decoder.
    #[error("no memory for the content decoder")]
    OutOfMemory,
}

/// Undoes the content encodings of one body: gzip, deflate, br and zstd, or several in a row.
pub struct ContentDecoder {
    /// In the order in which they are undone.
    stages: Vec<Stage>,
    /// Bytes that may still pass between the codings. What the last one makes is bounded by its
    /// receiver; this bounds the work that a bomb within a bomb causes.
    passing: u64,
    failed: Option<EncodingError>,
}

/// One coding and the room for what it makes.
struct Stage {
    name: &'static str,
    coding: Box<dyn Coding>,
    scratch: Box<[u8]>,
}

/// What one step of a coding did.
#[derive(Clone, Copy, Default, Debug)]
struct Step {
    /// Bytes of the input that were taken.
    used: usize,
    /// Bytes of the output that were written, also if there is an error.
    made: usize,
    error: Option<EncodingError>,
}

impl Step {
    fn failed(error: EncodingError) -> Self {
        Self { used: 0, made: 0, error: Some(error) }
    }
}

/// One content coding.
trait Coding: Send + Sync {
    /// Goes on until the input is used up, the output is full, a part of the stream ends, or an
    /// error. With input or full output, a step makes progress or fails.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step;
    /// Whether the stream may end here.
    fn is_at_end(&self) -> bool;
    /// Bytes of memory held besides the fixed size.
    fn buffered_bytes(&self) -> usize;
}

impl ContentDecoder {
    /// The decoder for a list of codings in the order in which they were applied, within the default
    /// [`Limits`].
    ///
    /// # Errors
    /// The list as text (shortened) when it is not supported: an unknown coding, or more than
    /// [`Limits::codings`].
    pub fn for_codings<S: AsRef<str>>(codings: &[S]) -> Result<Self, String> {
        Self::with_limits(codings, &Limits::default())
    }

    /// As [`for_codings`](Self::for_codings), within these limits.
    ///
    /// # Errors
    /// As [`for_codings`](Self::for_codings).
    pub fn with_limits<S: AsRef<str>>(codings: &[S], limits: &Limits) -> Result<Self, String> {
        let mut stages = Vec::new();
        let applied = codings.iter().map(|coding| coding.as_ref().trim());
        for coding in applied.filter(|coding| !coding.eq_ignore_ascii_case("identity")).rev() {
            match Stage::of(coding, limits) {
                Some(stage) if stages.len() < limits.codings => stages.push(stage),
                _ => {
                    let all = codings.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
                    return Err(all.chars().take(64).collect());
                }
            }
        }
        Ok(Self { stages, passing: limits.expanded_bytes, failed: None })
    }

    /// Whether bytes pass unchanged.
    pub fn is_identity(&self) -> bool {
        self.stages.is_empty()
    }

    /// Decodes the next bytes to the end of `out`, at most `room` of them.
    ///
    /// # Errors
    /// See [`EncodingError`]; what was decoded before the error is in `out`.
    pub fn push(&mut self, bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        let end = out.len().saturating_add(room);
        self.push_to(bytes, &mut |made| {
            let room = end - out.len();
            out.extend_from_slice(&made[..made.len().min(room)]);
            if made.len() > room { Err(EncodingError::OverLimit) } else { Ok(()) }
        })
    }

    /// Decodes the next bytes, handing on what comes out piece by piece. An error of `deliver` ends
    /// decoding as any other.
    pub(crate) fn push_to(
        &mut self,
        bytes: &[u8],
        deliver: &mut dyn FnMut(&[u8]) -> Result<(), EncodingError>,
    ) -> Result<(), EncodingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let result = drive(&mut self.stages, bytes, &mut self.passing, deliver);
        self.failed = result.err();
        result
    }

    /// Tells that the body is over.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`] when an encoding is not over, or the error that stopped
    /// decoding. An empty body is no error.
    pub fn finish(&self) -> Result<(), EncodingError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.stages.iter().all(|stage| stage.coding.is_at_end()) => Ok(()),
            None => Err(EncodingError::Truncated),
        }
    }

    /// Bytes of memory held besides the fixed size.
    pub fn buffered_bytes(&self) -> usize {
        self.stages.iter().map(|stage| stage.scratch.len() + stage.coding.buffered_bytes()).sum()
    }
}

impl Stage {
    fn of(name: &str, limits: &Limits) -> Option<Self> {
        let (name, coding): (_, Box<dyn Coding>) = match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => ("gzip", Box::new(gzip::Gzip::new(limits.gzip_members))),
            "deflate" => ("deflate", Box::new(deflate::Deflate::new())),
            "br" => ("br", Box::new(brotli::Brotli::new())),
            "zstd" => ("zstd", Box::new(zstd::Zstd::new())),
            _ => return None,
        };
        Some(Self { name, coding, scratch: vec![0; SCRATCH].into_boxed_slice() })
    }
}

/// Passes bytes through the stages to where they are delivered.
fn drive(
    stages: &mut [Stage],
    mut input: &[u8],
    passing: &mut u64,
    deliver: &mut dyn FnMut(&[u8]) -> Result<(), EncodingError>,
) -> Result<(), EncodingError> {
    let Some((stage, further)) = stages.split_first_mut() else { return deliver(input) };
    loop {
        let step = stage.coding.step(input, &mut stage.scratch);
        input = &input[step.used..];
        if step.made > 0 {
            let mut made = step.made;
            if !further.is_empty() {
                made = made.min(usize::try_from(*passing).unwrap_or(usize::MAX));
                *passing -= made as u64;
            }
            drive(further, &stage.scratch[..made], passing, deliver)?;
            if made < step.made {
                return Err(EncodingError::OverLimit);
            }
        }
        match step {
            Step { error: Some(error), .. } => return Err(error),
            _ if step.made < stage.scratch.len() && input.is_empty() => return Ok(()),
            Step { used: 0, made: 0, .. } => return Err(EncodingError::Corrupt),
            _ => {}
        }
    }
}

impl fmt::Debug for ContentDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|stage| stage.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::gzip::{FLAG_EXTRA, FLAG_HEADER_CRC};
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
        let encoded = gzip(b"").repeat(Limits::default().gzip_members as usize + 1);
        assert_eq!(decode(&[&encoded], 100).1, Err(EncodingError::Corrupt));
    }

    #[test]
    fn unknown_and_too_many_codings_are_named() {
        assert_eq!(ContentDecoder::for_codings(&["zz"]).unwrap_err(), "zz");
        assert_eq!(ContentDecoder::for_codings(&["gzip", "zz"]).unwrap_err(), "gzip, zz");
        let four = ["gzip", "br", "zstd", "deflate"];
        assert_eq!(ContentDecoder::for_codings(&four).unwrap_err(), "gzip, br, zstd, deflate");
        assert!(ContentDecoder::for_codings(&["Identity"]).unwrap().is_identity());
        assert!(ContentDecoder::for_codings::<&str>(&[]).unwrap().is_identity());
    }
}
