//! Frames: what is compressed and checked as one.

use super::{MAX_RECORD_BYTES, VERSION};

/// What every raw recording begins with: not text, and changed by whatever changes line ends or the eighth bit.
pub(super) const MAGIC: [u8; 8] = *b"\x8bOISP\r\n\x1a";
/// Magic and version.
pub(super) const PREAMBLE: usize = MAGIC.len() + 4;
/// The longest content of a frame: a record with its length.
pub(super) const MAX_PLAIN: usize = MAX_RECORD_BYTES + LENGTH;
/// A record's length before it.
pub(super) const LENGTH: usize = 4;

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header = 1,
    Records = 2,
    End = 3,
}

/// The fixed part before a frame's compressed content, little-endian: kind, number of the first record, plain length,
/// packed length, CRC-32 of these and of the packed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u32,
    pub(super) first_record: u64,
    pub(super) plain: u32,
    pub(super) packed: u32,
    pub(super) checksum: u32,
}

impl FrameHead {
    pub(super) const BYTES: usize = 24;
    const CHECKED: usize = 20;

    pub(super) fn new(kind: Kind, first_record: u64, plain: u32, packed: &[u8]) -> Self {
        let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        let mut head = Self { kind: kind as u32, first_record, plain, packed: length, checksum: 0 };
        head.checksum = head.checksum_with(packed);
        head
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.first_record.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.plain.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.packed.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            kind: four(0),
            first_record: u64::from(four(4)) | u64::from(four(8)) << 32,
            plain: four(12),
            packed: four(16),
            checksum: four(20),
        }
    }

    pub(super) fn checksum_with(self, packed: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.to_bytes()[..Self::CHECKED]);
        hasher.update(packed);
        hasher.finalize()
    }
}

/// Magic and version.
pub(super) fn preamble() -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// A recording with the least header and one frame of records, for fuzzing.
pub(super) fn recording_of(plain: usize, packed: &[u8]) -> Vec<u8> {
    const HEADER: &[u8] = br#"{"sensor_version":"","host":null,"wall_minus_monotonic_ns":0,"started":0}"#;
    let mut header = vec![0; zstd_safe::compress_bound(HEADER.len())];
    let length = zstd_safe::compress(&mut header[..], HEADER, 1).unwrap_or_default();
    let mut file = preamble().to_vec();
    for (kind, plain, packed) in
        [(Kind::Header, HEADER.len(), &header[..length]), (Kind::Records, plain, packed), (Kind::End, 0, &[])]
    {
        let plain = u32::try_from(plain).unwrap_or(u32::MAX);
        file.extend_from_slice(&FrameHead::new(kind, 0, plain, packed).to_bytes());
        file.extend_from_slice(packed);
    }
    file
}
