//! Inflating the messages of one direction (RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes decoded at a time.
const SCRATCH: usize = 8 << 10;
/// Final blocks in one message. Hardly any sender writes one, and each costs a reset.
const MAX_FINAL_BLOCKS: u8 = 16;
/// What a sender leaves out at the end of each message (RFC 7692 section 7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InflateError {
    Corrupt,
    /// More came out than there is room for; what fitted was delivered.
    OverLimit,
}

/// State that one direction's messages share, or that each begins anew.
pub(super) struct Inflater {
    inflate: Decompress,
    scratch: Box<[u8]>,
    final_blocks: u8,
    /// Nothing that messages may refer to is missing.
    is_whole: bool,
}

impl Inflater {
    /// Bytes of memory: a window of 32 KiB, tables, and the buffer.
    pub(super) const BYTES: usize = 64 << 10;

    pub(super) fn new(is_whole: bool) -> Self {
        Self {
            inflate: Decompress::new(false),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            final_blocks: 0,
            is_whole,
        }
    }

    /// Whether every reference of the next bytes can be followed.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Forgets what came before, because messages do not refer to it (`is_whole`) or because some
    /// of it is missing.
    ///
    /// In the latter case a message that refers to what was forgotten is an error of the inflater
    /// ("distance too far back"), never wrong content; others can still be read.
    pub(super) fn reset(&mut self, is_whole: bool) {
        self.inflate.reset(false);
        self.is_whole = is_whole;
    }

    pub(super) fn begin_message(&mut self) {
        self.final_blocks = 0;
    }

    /// Reads up what the end of a message leaves implied.
    pub(super) fn end_message(&mut self, room: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        self.push(TAIL, room, out)
    }

    /// Inflates the next bytes of a message to the end of `out`, at most `room` of them.
    pub(super) fn push(&mut self, bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        let end = out.len().saturating_add(room);
        let mut used = 0;
        loop {
            let room = end.saturating_sub(out.len());
            // One byte more than there is room for tells a full output from one that exceeds.
            let capacity = room.saturating_add(1).min(self.scratch.len());
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status =
                self.inflate.decompress(&bytes[used..], &mut self.scratch[..capacity], FlushDecompress::None);
            let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(usize::MAX);
            used += taken;
            let made_bytes = &self.scratch[..made.min(capacity)];
            out.extend_from_slice(&made_bytes[..made_bytes.len().min(room)]);
            if made > room {
                return Err(InflateError::OverLimit);
            }
            // What came out before an error is right, and the same however the input was cut.
            let status = status.map_err(|_| InflateError::Corrupt)?;
            if status == Status::StreamEnd {
                // A final block within a message is allowed (RFC 7692 section 7.2.3.5). The
                // inflater can't go on with its window, so what refers back is an error from here.
                self.final_blocks += 1;
                if self.final_blocks > MAX_FINAL_BLOCKS {
                    return Err(InflateError::Corrupt);
                }
                self.reset(false);
                if used >= bytes.len() {
                    return Ok(());
                }
                continue;
            }
            if made < capacity && (used >= bytes.len() || taken == 0) {
                return if used >= bytes.len() { Ok(()) } else { Err(InflateError::Corrupt) };
            }
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("is_whole", &self.is_whole).finish_non_exhaustive()
    }
}
