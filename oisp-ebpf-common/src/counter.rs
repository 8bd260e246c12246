//! Counters that the kernel programs keep, one `u64` for each CPU.

/// What is counted. The number is the index in the `COUNTERS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records with content that were written to the ring.
    TlsRecords = 0,
    /// Content bytes that were written to the ring.
    TlsBytes = 1,
    /// Records with content that the ring had no room for.
    RingFullRecords = 2,
    /// Content bytes that the ring had no room for.
    RingFullBytes = 3,
    /// Content bytes that could not be read from the process's memory.
    UnreadableBytes = 4,
    /// Content bytes beyond [`crate::MAX_CALL_BYTES`] of one call.
    OverLimitBytes = 5,
    /// Calls whose arguments could not be remembered: the table of calls in progress was full.
    CallTableFull = 6,
    /// Connections that could not be remembered.
    ConnectionTableFull = 7,
    /// Children that could not be taken into scope: the table of processes was full.
    ScopeTableFull = 8,
    /// Process and connection records that the ring had no room for.
    LifecycleRecordsLost = 9,
    /// Calls whose number of transferred bytes could not be read: their connection starts anew after them.
    UnreadableCounts = 10,
    /// Calls inside another call on the same buffer (`SSL_write_ex` calling `SSL_write_ex2`), seen once only.
    NestedCalls = 11,
    /// Times that TLS records were missed, as the next one's number shows: the connection starts anew after them.
    MissedRecords = 12,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: u32 = 13;

    /// All of them, in the order of their index.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::TlsRecords,
        Self::TlsBytes,
        Self::RingFullRecords,
        Self::RingFullBytes,
        Self::UnreadableBytes,
        Self::OverLimitBytes,
        Self::CallTableFull,
        Self::ConnectionTableFull,
        Self::ScopeTableFull,
        Self::LifecycleRecordsLost,
        Self::UnreadableCounts,
        Self::NestedCalls,
        Self::MissedRecords,
    ];
}
