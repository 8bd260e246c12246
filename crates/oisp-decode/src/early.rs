//! What a client received before the request that it answers was captured.
//!
//! A call is captured when it returns. Where one thread writes and another reads, the read of an answer may
//! return first. Such an answer is held until its request is there.

use crate::message::Nanos;

/// Records of one direction that wait for the other, each with its own time.
#[derive(Debug, Default)]
pub(crate) struct Early {
    records: Vec<Record>,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) time: Nanos,
    pub(crate) bytes: Vec<u8>,
}

impl Early {
    pub(crate) fn push(&mut self, time: Nanos, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.records.push(Record { time, bytes: bytes.to_vec() });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// What is held from here on is not this.
    pub(crate) fn take(&mut self) -> Vec<Record> {
        std::mem::take(self).records
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.bytes + self.records.capacity() * size_of::<Record>()
    }

    /// Whether it costs more than that.
    pub(crate) fn exceeds(&self, limit: usize) -> bool {
        self.bytes + self.records.len() * size_of::<Record>() > limit
    }
}
