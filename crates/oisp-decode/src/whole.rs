//! Length and hash of content that is too long to be delivered.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// What a message was as a whole of which only the beginning was delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WholeContent {
    /// Its length in bytes, content-decoded.
    pub bytes: u64,
    /// The SHA-256 of its content, content-decoded.
    pub sha256: [u8; 32],
}

/// Hashes content in its order, from its first byte, and only if there is enough of it.
///
/// Hardly any body exceeds its limit, but whether one does is known when most of it has passed. So the
/// first pieces are kept (they are shared with who receives them, not copied), and hashing begins
/// where they become too many to be kept.
pub(crate) enum Hashing {
    /// The content is not whole, or surely within its limit.
    Off,
    Kept {
        pieces: Vec<Bytes>,
        bytes: usize,
        /// Bytes that are kept at most.
        limit: usize,
    },
    On(Box<Sha256>, u64),
}

impl Hashing {
    pub(crate) fn new(limit: usize) -> Self {
        Self::Kept { pieces: Vec::new(), bytes: 0, limit }
    }

    /// Takes the next bytes of the content.
    pub(crate) fn push(&mut self, piece: &Bytes) {
        match self {
            Self::Off => {}
            Self::Kept { pieces, bytes, limit } => {
                *bytes += piece.len();
                // A piece costs more than its bytes.
                if *bytes <= *limit && pieces.len() < *limit / size_of::<Bytes>() {
                    pieces.push(piece.clone());
                } else {
                    self.push_now(piece);
                }
            }
            Self::On(..) => self.push_now(piece),
        }
    }

    /// Takes the next bytes of the content and hashes them at once.
    pub(crate) fn push_now(&mut self, piece: &[u8]) {
        if let Self::Kept { pieces, .. } = self {
            let mut hash = Box::new(Sha256::new());
            let mut length = 0;
            for piece in std::mem::take(pieces) {
                hash.update(&piece);
                length += piece.len() as u64;
            }
            *self = Self::On(hash, length);
        }
        if let Self::On(hash, length) = self {
            hash.update(piece);
            *length = length.saturating_add(piece.len() as u64);
        }
    }

    /// Part of the content is missing.
    pub(crate) fn stop(&mut self) {
        *self = Self::Off;
    }

    /// Bytes of memory held besides the fixed size.
    pub(crate) fn buffered_bytes(&self) -> usize {
        match self {
            Self::Off => 0,
            Self::Kept { pieces, bytes, .. } => bytes + pieces.capacity() * size_of::<Bytes>(),
            Self::On(..) => size_of::<Sha256>(),
        }
    }

    /// The content is over and nothing of it is missing. `None` where that is not known.
    pub(crate) fn finish(self) -> Option<WholeContent> {
        match self {
            Self::On(hash, bytes) => Some(WholeContent { bytes, sha256: hash.finalize().into() }),
            Self::Off | Self::Kept { .. } => None,
        }
    }
}

impl fmt::Debug for WholeContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WholeContent({} bytes)", self.bytes)
    }
}

// Content stays out of Debug output.
impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashing({} bytes held)", self.buffered_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hash_is_that_of_the_whole_content_whenever_hashing_begins(
            pieces in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
            limit in 0..400_usize,
        ) {
            let mut hashing = Hashing::new(limit);
            let mut content = Vec::new();
            for (piece, now) in pieces {
                content.extend_from_slice(&piece);
                if now { hashing.push_now(&piece) } else { hashing.push(&Bytes::from(piece)) }
                prop_assert!(hashing.buffered_bytes() <= 3 * limit + 500);
            }
            hashing.push_now(b"");
            let expected = WholeContent { bytes: content.len() as u64, sha256: Sha256::digest(&content).into() };
            prop_assert_eq!(hashing.finish(), Some(expected));
        }
    }
}
