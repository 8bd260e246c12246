//! Records with absolute offsets to ordered bytes and explicit gaps.

/// A piece of one direction of a connection, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Bytes that follow what came before.
    Data {
        /// Offset of the first byte in its direction.
        offset: u64,
        /// The bytes, never empty.
        bytes: &'a [u8],
    },
    /// Bytes that were not captured.
    Gap {
        /// Offset of the first missing byte.
        offset: u64,
        /// How many are missing, never 0.
        length: u64,
    },
}

/// Puts the records of one direction of one connection in order.
///
/// The kernel assigns absolute offsets and delivers the records of one connection and direction in
/// order. So an offset beyond the expected one is a loss, known at once, and one below it is a
/// duplicate (a write repeated after it could not be done), which is trimmed. Nothing is held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamAssembler {
    next: u64,
    lost: u64,
    duplicates: u64,
}

impl StreamAssembler {
    /// Expects offset 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record and hands on what is new in it, after the gap before it if there is one.
    pub fn push<'a>(&mut self, offset: u64, bytes: &'a [u8], mut out: impl FnMut(Segment<'a>)) {
        self.close(offset, &mut out);
        let known = usize::try_from(self.next - offset.min(self.next)).unwrap_or(usize::MAX).min(bytes.len());
        let (duplicate, new) = bytes.split_at(known);
        self.duplicates = self.duplicates.saturating_add(duplicate.len() as u64);
        // A stream that would pass 2^64 bytes is nonsense; what does not fit is not data of it.
        let room = usize::try_from(u64::MAX - self.next).unwrap_or(usize::MAX).min(new.len());
        let new = &new[..room];
        if !new.is_empty() {
            out(Segment::Data { offset: self.next, bytes: new });
            self.next += new.len() as u64;
        }
    }

    /// Tells that the direction reached `end_offset`: what is missing before it is a gap. Also
    /// for a record whose bytes could not be stored while its length is known.
    pub fn close<'a>(&mut self, end_offset: u64, mut out: impl FnMut(Segment<'a>)) {
        if end_offset > self.next {
            let length = end_offset - self.next;
            out(Segment::Gap { offset: self.next, length });
            self.lost = self.lost.saturating_add(length);
            self.next = end_offset;
        }
    }

    /// The offset that the next record should have.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Bytes reported as gaps so far.
    pub fn bytes_lost(&self) -> u64 {
        self.lost
    }

    /// Bytes that came again and were trimmed.
    pub fn duplicate_bytes(&self) -> u64 {
        self.duplicates
    }
}

impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data { offset, bytes } => write!(f, "Data({} bytes at {offset})", bytes.len()),
            Self::Gap { offset, length } => write!(f, "Gap({length} bytes at {offset})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(records: &[(u64, &'static [u8])]) -> (Vec<Segment<'static>>, StreamAssembler) {
        let mut assembler = StreamAssembler::new();
        let mut segments = Vec::new();
        for (offset, bytes) in records {
            assembler.push(*offset, bytes, |segment| segments.push(segment));
        }
        (segments, assembler)
    }

    #[test]
    fn records_in_order_pass_unchanged() {
        let (segments, assembler) = run(&[(0, b"ab"), (2, b""), (2, b"cd")]);
        assert_eq!(
            segments,
            [Segment::Data { offset: 0, bytes: b"ab" }, Segment::Data { offset: 2, bytes: b"cd" }]
        );
        assert_eq!((assembler.next_offset(), assembler.bytes_lost(), assembler.duplicate_bytes()), (4, 0, 0));
    }

    #[test]
    fn a_dropped_record_is_a_gap_and_never_a_splice() {
        let (segments, assembler) = run(&[(0, b"ab"), (5, b"cd")]);
        assert_eq!(segments[1], Segment::Gap { offset: 2, length: 3 });
        assert_eq!(segments[2], Segment::Data { offset: 5, bytes: b"cd" });
        assert_eq!(assembler.bytes_lost(), 3);
    }

    #[test]
    fn a_repeated_write_is_trimmed_and_counted() {
        let (segments, assembler) = run(&[(0, b"abc"), (0, b"abc"), (1, b"bcde")]);
        assert_eq!(
            segments,
            [Segment::Data { offset: 0, bytes: b"abc" }, Segment::Data { offset: 3, bytes: b"de" }]
        );
        assert_eq!(assembler.duplicate_bytes(), 5);
    }

    #[test]
    fn closing_beyond_the_last_record_reports_the_lost_tail_once() {
        let (_, mut assembler) = run(&[(0, b"ab")]);
        let mut segments = Vec::new();
        assembler.close(6, |segment| segments.push(segment));
        assembler.close(6, |segment| segments.push(segment));
        assert_eq!(segments, [Segment::Gap { offset: 2, length: 4 }]);
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_do_not_overflow() {
        let (segments, assembler) = run(&[(u64::MAX - 1, b"abcd"), (u64::MAX, b"x"), (3, b"yy")]);
        assert_eq!(segments.len(), 2);
        assert_eq!(assembler.next_offset(), u64::MAX);
    }
}
