//! The kernel's counters, summed over CPUs.

use aya::maps::{MapData, PerCpuArray};
use oisp_capture::Losses;
use oisp_ebpf_common::Counter;

/// The values of all counters at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; Counter::COUNT as usize]);

impl Counts {
    pub(crate) fn read(map: &PerCpuArray<MapData, u64>) -> Result<Self, aya::maps::MapError> {
        let mut counts = Self::default();
        for counter in Counter::ALL {
            counts.0[counter as usize] = map.get(&(counter as u32), 0)?.iter().sum();
        }
        Ok(counts)
    }

    pub(crate) fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// What was lost since an earlier reading.
    pub(crate) fn losses_since(&self, earlier: &Self) -> Losses {
        let since = |counter| self.value(counter).saturating_sub(earlier.value(counter));
        Losses {
            ring_full_records: since(Counter::RingFullRecords),
            ring_full_bytes: since(Counter::RingFullBytes),
            unreadable_bytes: since(Counter::UnreadableBytes),
            over_limit_bytes: since(Counter::OverLimitBytes),
            calls: since(Counter::CallTableFull)
                + since(Counter::ConnectionTableFull)
                + since(Counter::UnreadableCounts)
                + since(Counter::MissedRecords),
            processes: since(Counter::ScopeTableFull),
            lifecycle_records: since(Counter::LifecycleRecordsLost),
            malformed_records: 0,
        }
    }
}
