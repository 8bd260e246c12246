//! deflate: the zlib format (RFC 1950), and the bare DEFLATE data (RFC 1951) that some servers send
//! under the same name (RFC 9110 section 8.4.1.2 warns of it).

use flate2::{Decompress, FlushDecompress, Status};

use super::{Coding, EncodingError, Step};

/// What an inflater holds: a window of 32 KiB, tables, and what its allocator rounds up.
pub(super) const INFLATER_BYTES: usize = 64 << 10;

/// State of a deflate stream.
pub(super) struct Deflate {
    part: Part,
}

enum Part {
    /// The first two bytes tell the two formats apart; here the first, if it came.
    Undecided(Option<u8>),
    Data(Box<Decompress>),
    Ended,
    Failed,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self { part: Part::Undecided(None) }
    }
}

/// Whether two bytes are a zlib header without preset dictionary (RFC 1950 section 2.2).
fn is_zlib_header(method: u8, flags: u8) -> bool {
    method & 0x0f == 8
        && method >> 4 <= 7
        && u16::from_be_bytes([method, flags]).is_multiple_of(31)
        && flags & 0x20 == 0
}

impl Coding for Deflate {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        let mut used = 0;
        if let Part::Undecided(held) = &mut self.part {
            let mut bytes = input.iter();
            let Some(first) = held.or_else(|| bytes.next().copied()) else { return Step::default() };
            *held = Some(first);
            used = input.len() - bytes.len();
            let Some(second) = bytes.next() else { return Step { used, ..Step::default() } };
            let mut inflater = Box::new(Decompress::new(is_zlib_header(first, *second)));
            // In neither format can one byte make output, or be all.
            let (step, _) = inflate(&mut inflater, &[first], out);
            self.part = if step.error.is_some() { Part::Failed } else { Part::Data(inflater) };
        }
        match &mut self.part {
            Part::Data(inflater) => {
                let (mut step, ended) = inflate(inflater, &input[used..], out);
                if step.error.is_some() {
                    self.part = Part::Failed;
                } else if ended {
                    self.part = Part::Ended;
                }
                step.used += used;
                step
            }
            // One stream is all there is: what follows it is not of this coding.
            Part::Undecided(_) | Part::Ended if input.is_empty() => Step::default(),
            Part::Undecided(_) | Part::Ended | Part::Failed => Step::failed(EncodingError::Corrupt),
        }
    }

    fn is_at_end(&self) -> bool {
        matches!(self.part, Part::Undecided(None) | Part::Ended)
    }

    fn buffered_bytes(&self) -> usize {
        if matches!(self.part, Part::Data(_)) { INFLATER_BYTES } else { 0 }
    }
}

/// Inflates as far as input and room go; also says whether the data is over.
pub(super) fn inflate(inflater: &mut Decompress, input: &[u8], out: &mut [u8]) -> (Step, bool) {
    let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
    let result = inflater.decompress(input, out, FlushDecompress::None);
    let used = usize::try_from(inflater.total_in() - before_in).unwrap_or(usize::MAX).min(input.len());
    let made = usize::try_from(inflater.total_out() - before_out).unwrap_or(usize::MAX).min(out.len());
    let error = result.is_err().then_some(EncodingError::Corrupt);
    (Step { used, made, error }, matches!(result, Ok(Status::StreamEnd)))
}
