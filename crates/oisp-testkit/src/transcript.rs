//! One direction of a connection as it happened: how many bytes, their digest, and the bytes themselves.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The bytes of one direction. Count and digest cover all of them; keeping them is the caller's choice.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    digest: Sha256,
    total: u64,
    kept: Vec<u8>,
}

impl Transcript {
    /// Appends bytes in the order in which they crossed the library boundary, and keeps them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.count(bytes);
        self.kept.extend_from_slice(bytes);
    }

    /// Appends bytes to count and digest only.
    pub fn count(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.total += bytes.len() as u64;
    }

    /// Number of bytes, kept or not.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// SHA-256 of every byte, in lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// The bytes that were kept.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// `{"bytes": …, "sha256": …}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "bytes": self.total, "sha256": self.sha256() })
    }
}

/// SHA-256 of `bytes` in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_standard() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
