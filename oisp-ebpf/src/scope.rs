//! Who is recorded: the processes of a map, or everyone but the sensor.

use oisp_ebpf_common::{Counter, ScopeState};

use crate::maps::SCOPE;
use crate::settings::{HOST_SINCE, SENSOR_TGID};

/// Since when a process is in scope with its present program; `None` where it is not in scope.
///
/// Of the whole host, one that runs since before the capture began has no entry in the map, and one that came when the
/// map was full has none either: both are in scope since the capture began.
#[inline(always)]
pub(crate) fn since(tgid: u32) -> Option<u64> {
    // SAFETY: one aligned word is read.
    if let Some(since_ns) = unsafe { SCOPE.get(tgid).map(|scope| scope.since_ns) } {
        return Some(since_ns);
    }
    let host_since = HOST_SINCE.load();
    // The idle task, which interrupts are accounted to, is no process.
    if host_since == 0 || tgid == 0 || tgid == SENSOR_TGID.load() { None } else { Some(host_since) }
}

/// Whether a process is in scope.
#[inline(always)]
pub(crate) fn contains(tgid: u32) -> bool {
    since(tgid).is_some()
}

/// Whether one look at the map says that a process is not in scope. Of the whole host none says so.
#[inline(always)]
pub(crate) fn is_plainly_out(tgid: u32) -> bool {
    // SAFETY: whether there is an entry; nothing is read.
    HOST_SINCE.load() == 0 && unsafe { SCOPE.get(tgid) }.is_none()
}

/// Takes a process into scope with a new program. Fails where it would not be recorded then.
#[inline(always)]
pub(crate) fn enter(tgid: u32, since_ns: u64) -> Result<(), Counter> {
    if SCOPE.insert(tgid, ScopeState { since_ns }, 0).is_err() && HOST_SINCE.load() == 0 {
        return Err(Counter::ScopeTableFull);
    }
    Ok(())
}

/// A process has ended.
#[inline(always)]
pub(crate) fn leave(tgid: u32) {
    // Without an entry it leaves nothing behind.
    let _ = SCOPE.remove(tgid);
}
