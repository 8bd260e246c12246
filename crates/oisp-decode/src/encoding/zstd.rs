//! Zstandard (RFC 8878).

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Coding, EncodingError, Step};

/// Binary logarithm of the largest window: the 8 MiB that RFC 9659 sets for this content coding.
const WINDOW_LOG: u32 = 23;
const MAGIC: u32 = 0xfd2f_b528;
/// Sixteen values that differ in the lowest four bits (RFC 8878 section 3.1.2).
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// Magic number, descriptor, window, dictionary and content size.
const MAX_HEADER: usize = 4 + 1 + 1 + 4 + 8;

/// State of a sequence of frames.
pub(super) struct Zstd {
    context: Option<Box<DCtx<'static>>>,
    part: Part,
    header: [u8; MAX_HEADER],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// So many bytes of a frame header are gathered. The library gets a header in one call without
    /// what follows: given a whole small frame it decodes it at once, whatever its window, and
    /// delivers nothing of it when it is broken, so the result would depend on how bytes were cut.
    Header(usize),
    /// In a frame. The library gets no more at a time than up to the end of this part: when it meets
    /// an error it delivers nothing of what the same call decoded before it.
    Frame(FramePart),
    Skip(u32),
    Failed(EncodingError),
}

/// What a frame consists of after its header (RFC 8878 section 3.1.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum FramePart {
    /// The three bytes of a block's header, so many of which have come with this value.
    BlockHeader { gathered: u8, value: u32 },
    /// So many bytes of the block are to come.
    Block { left: u32, last: bool },
    /// The checksum, or what the library has still to write.
    End,
}

/// What the bytes of a header so far tell.
enum Header {
    /// Its length is at least this.
    Needs(usize),
    Frame,
    Skippable(u32),
    Refused(EncodingError),
}

impl Zstd {
    pub(super) fn new() -> Self {
        Self { context: None, part: Part::Header(0), header: [0; MAX_HEADER] }
    }

    fn context(&mut self) -> Option<&mut DCtx<'static>> {
        if self.context.is_none() {
            let mut context = DCtx::try_create()?;
            context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
            self.context = Some(Box::new(context));
        }
        self.context.as_deref_mut()
    }

    fn read_header(&mut self, mut gathered: usize, input: &[u8], out: &mut [u8]) -> Step {
        let mut used = 0;
        loop {
            match parse_header(&self.header[..gathered]) {
                Header::Needs(length) => {
                    let rest = &input[used..];
                    if rest.is_empty() {
                        self.part = Part::Header(gathered);
                        return Step { used, ..Step::default() };
                    }
                    let take = (length - gathered).min(rest.len());
                    self.header[gathered..gathered + take].copy_from_slice(&rest[..take]);
                    gathered += take;
                    used += take;
                }
                Header::Skippable(length) => {
                    self.part = if length == 0 { Part::Header(0) } else { Part::Skip(length) };
                    return Step { used, ..Step::default() };
                }
                Header::Refused(error) => {
                    self.part = Part::Failed(error);
                    return Step { used, made: 0, error: Some(error) };
                }
                Header::Frame => {
                    let header = self.header;
                    self.part = Part::Frame(FramePart::BlockHeader { gathered: 0, value: 0 });
                    let mut step = self.decode(&header[..gathered], out);
                    if step.used != gathered {
                        step.error = Some(EncodingError::Corrupt);
                    }
                    return Step { used, ..step };
                }
            }
        }
    }

    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        let Some(context) = self.context() else {
            self.part = Part::Failed(EncodingError::OutOfMemory);
            return Step::failed(EncodingError::OutOfMemory);
        };
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(out);
        let result = context.decompress_stream(&mut output, &mut input);
        let (used, made) = (input.pos(), output.pos());
        let error = match result {
            Ok(0) => {
                self.part = Part::Header(0);
                None
            }
            Ok(_) => None,
            Err(_) => {
                self.part = Part::Failed(EncodingError::Corrupt);
                Some(EncodingError::Corrupt)
            }
        };
        Step { used, made, error }
    }
}

impl Coding for Zstd {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        match self.part {
            Part::Frame(part) => {
                let step = self.decode(&input[..part.wanted(input.len())], out);
                if let Part::Frame(part) = &mut self.part {
                    part.advance(&input[..step.used]);
                }
                step
            }
            Part::Header(gathered) => self.read_header(gathered, input, out),
            Part::Skip(left) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - u32::try_from(take).unwrap_or(left);
                self.part = if left == 0 { Part::Header(0) } else { Part::Skip(left) };
                Step { used: take, ..Step::default() }
            }
            Part::Failed(error) => Step::failed(error),
        }
    }

    fn is_at_end(&self) -> bool {
        self.part == Part::Header(0)
    }

    fn buffered_bytes(&self) -> usize {
        self.context.as_ref().map_or(0, |context| context.sizeof())
    }
}

impl FramePart {
    /// How many of the bytes at hand the library may see.
    fn wanted(self, available: usize) -> usize {
        let left = match self {
            Self::BlockHeader { gathered, .. } => 3 - u32::from(gathered),
            Self::Block { left, .. } => left,
            Self::End => return available,
        };
        usize::try_from(left).unwrap_or(usize::MAX).min(available)
    }

    /// The library took these bytes.
    fn advance(&mut self, taken: &[u8]) {
        match self {
            Self::BlockHeader { gathered, value } => {
                for byte in taken {
                    *value |= u32::from(*byte) << (8 * *gathered);
                    *gathered += 1;
                }
                if *gathered == 3 {
                    let (last, kind, size) = (*value & 1 == 1, *value >> 1 & 3, *value >> 3);
                    // A block of type 1 is one byte, repeated.
                    *self = Self::Block { left: if kind == 1 { 1 } else { size }, last };
                    self.end_block();
                }
            }
            Self::Block { left, .. } => {
                *left = left.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
                self.end_block();
            }
            Self::End => {}
        }
    }

    fn end_block(&mut self) {
        if let Self::Block { left: 0, last } = *self {
            *self = if last { Self::End } else { Self::BlockHeader { gathered: 0, value: 0 } };
        }
    }
}

/// Reads as much of a frame header as there is (RFC 8878 section 3.1.1.1).
fn parse_header(header: &[u8]) -> Header {
    let Some(magic) = header.first_chunk() else { return Header::Needs(4) };
    let magic = u32::from_le_bytes(*magic);
    if magic & !0xf == SKIPPABLE_MAGIC {
        return match header[4..].first_chunk() {
            Some(length) => Header::Skippable(u32::from_le_bytes(*length)),
            None => Header::Needs(8),
        };
    }
    if magic != MAGIC {
        return Header::Refused(EncodingError::Corrupt);
    }
    let Some(&descriptor) = header.get(4) else { return Header::Needs(5) };
    let single_segment = descriptor & 0x20 != 0;
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(single_segment),
        flag => 1 << flag,
    };
    let window_bytes = usize::from(!single_segment);
    let size_at = 5 + window_bytes + dictionary_bytes;
    if header.len() < size_at + size_bytes {
        return Header::Needs(size_at + size_bytes);
    }
    let window = if single_segment {
        let mut size = [0; 8];
        size[..size_bytes].copy_from_slice(&header[size_at..size_at + size_bytes]);
        u64::from_le_bytes(size) + if size_bytes == 2 { 256 } else { 0 }
    } else {
        let base = 1u64 << (10 + u32::from(header[5] >> 3));
        base + base / 8 * u64::from(header[5] & 7)
    };
    if window > 1 << WINDOW_LOG {
        return Header::Refused(EncodingError::WindowTooLarge { bytes: window });
    }
    Header::Frame
}
