//! The chunked transfer coding (RFC 9112 section 7.1), and finding it again after a loss.

use super::framing::{Progress, take};
use super::head::{self, BlockStatus, LineBlock};
use crate::Limits;
use crate::body::MessageBody;
use crate::headers::Headers;
use crate::message::{HttpEvent, Nanos};

/// The chunked transfer coding (RFC 9112 section 7.1).
#[derive(Debug)]
pub(super) struct Chunked {
    part: ChunkPart,
    /// Bytes of the current size line.
    line: usize,
    trailers: LineBlock,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ChunkPart {
    Size {
        digits: u8,
        value: u64,
    },
    /// Blanks and extensions after the size.
    Extension {
        value: u64,
    },
    /// The line feed that ends the size line.
    SizeEnd {
        value: u64,
    },
    Data {
        left: u64,
    },
    /// CR (0) and LF (1) after the data.
    DataEnd(u8),
    Trailers,
    /// Bytes were lost where a chunk may begin or end.
    Lost,
}

impl Chunked {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { part: ChunkPart::Size { digits: 0, value: 0 }, line: 0, trailers: LineBlock::trailers(limits) }
    }

    /// Whether lost bytes lay within the data of the current chunk.
    pub(super) fn skip(&mut self, length: u64) -> bool {
        let left = match &mut self.part {
            ChunkPart::Data { left } => left,
            other => return *other == ChunkPart::Lost,
        };
        if length > *left {
            return false;
        }
        *left -= length;
        if *left == 0 {
            self.part = ChunkPart::DataEnd(0);
        }
        true
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.trailers.buffered_bytes()
    }

    pub(super) fn lose(&mut self) {
        self.part = ChunkPart::Lost;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.part == ChunkPart::Lost
    }

    /// After a loss: whether a record consists of chunks. They are read from its first byte on then,
    /// or from behind the line end that closes a chunk lost before.
    ///
    /// Servers write a chunk with one call mostly. A size that fits what follows to the byte, up to a
    /// line end or to the end of the body, is hardly met in content.
    pub(super) fn find(&mut self, record: &[u8], limits: &Limits) -> bool {
        let chunks = record.strip_prefix(b"\r\n").unwrap_or(record);
        let mut probe = Self::new(limits);
        let (mut at, mut whole) = (0, 0_u32);
        while let Some(&byte) = chunks.get(at) {
            match probe.part {
                ChunkPart::Data { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(chunks.len() - at);
                    at += here;
                    let left = left - here as u64;
                    probe.part = if left == 0 { ChunkPart::DataEnd(0) } else { ChunkPart::Data { left } };
                }
                ChunkPart::Trailers => {
                    // Nothing may follow the end: no client asks for more before it has it.
                    let (taken, status) = probe.trailers.push(&chunks[at..]);
                    if status != BlockStatus::Complete || at + taken != chunks.len() {
                        return false;
                    }
                    whole += 1;
                    at += taken;
                }
                _ => {
                    let ends_chunk = probe.part == ChunkPart::DataEnd(1);
                    let Some(part) = probe.framing_byte(byte, limits) else { return false };
                    probe.part = part;
                    whole += u32::from(ends_chunk);
                    at += 1;
                }
            }
        }
        if whole == 0 {
            return false;
        }
        self.line = 0;
        self.part = if chunks.len() == record.len() {
            ChunkPart::Size { digits: 0, value: 0 }
        } else {
            ChunkPart::DataEnd(0)
        };
        true
    }

    pub(super) fn push(
        &mut self,
        input: &[u8],
        body: &mut MessageBody,
        time: Nanos,
        limits: &Limits,
        out: &mut Vec<HttpEvent>,
    ) -> (usize, Progress) {
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            match &mut self.part {
                ChunkPart::Data { left } => {
                    let data = take(&input[used..], left);
                    used += data.len();
                    if *left == 0 {
                        self.part = ChunkPart::DataEnd(0);
                    }
                    body.data(time, data, out);
                }
                ChunkPart::Trailers => {
                    let (taken, status) = self.trailers.push(&input[used..]);
                    used += taken;
                    match status {
                        BlockStatus::Partial => {}
                        BlockStatus::TooLarge => return (used, Progress::Malformed),
                        BlockStatus::Complete => {
                            let block = std::mem::replace(&mut self.trailers, LineBlock::trailers(limits));
                            let (trailers, problem) = match head::trailers(block, limits) {
                                Ok(trailers) => (trailers, None),
                                Err(problem) => (Headers::new(), Some(problem)),
                            };
                            return (used, Progress::Done(trailers, problem));
                        }
                    }
                }
                ChunkPart::Lost => {
                    body.lose(input.len() as u64 - used as u64);
                    used = input.len();
                }
                _ => {
                    used += 1;
                    match self.framing_byte(byte, limits) {
                        Some(part) => self.part = part,
                        None => return (used, Progress::Malformed),
                    }
                }
            }
        }
        (used, Progress::More)
    }

    /// The part after a byte of a size line or of the end of a chunk; `None` if it must not be there.
    fn framing_byte(&mut self, byte: u8, limits: &Limits) -> Option<ChunkPart> {
        self.line += 1;
        if self.line > limits.chunk_line_bytes {
            return None;
        }
        match (self.part, byte) {
            (ChunkPart::Size { digits, value }, _) if byte.is_ascii_hexdigit() => {
                // 16 digits fill 64 bits.
                let digit = char::from(byte).to_digit(16).map(u64::from)?;
                (digits < 16).then_some(ChunkPart::Size { digits: digits + 1, value: value << 4 | digit })
            }
            (ChunkPart::Size { digits: 0, .. }, _) => None,
            (ChunkPart::Size { value, .. } | ChunkPart::Extension { value }, b'\r') => {
                Some(ChunkPart::SizeEnd { value })
            }
            (ChunkPart::Size { value, .. }, b';' | b' ' | b'\t') => Some(ChunkPart::Extension { value }),
            (ChunkPart::Extension { value }, _) if byte != b'\n' => Some(ChunkPart::Extension { value }),
            (ChunkPart::SizeEnd { value }, b'\n') => {
                self.line = 0;
                Some(if value == 0 { ChunkPart::Trailers } else { ChunkPart::Data { left: value } })
            }
            (ChunkPart::DataEnd(0), b'\r') => Some(ChunkPart::DataEnd(1)),
            (ChunkPart::DataEnd(1), b'\n') => {
                self.line = 0;
                Some(ChunkPart::Size { digits: 0, value: 0 })
            }
            _ => None,
        }
    }
}
