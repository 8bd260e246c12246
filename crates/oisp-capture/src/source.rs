//! Sources of capture events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use crate::{CaptureEvent, MonotonicNanos, Nanos};

const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The kernel's `CLOCK_MONOTONIC`, which capture events have their times from, now.
#[must_use]
pub fn monotonic_now() -> MonotonicNanos {
    let time = clock_gettime(ClockId::Monotonic);
    Nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// Delivers capture events.
pub trait CaptureSource {
    /// Delivers events until `stop` is asked for or nothing more can come. Before it returns it delivers what was
    /// captured until then, and closes every connection that is still open.
    ///
    /// # Errors
    /// When events can no longer be had; what came before was delivered.
    fn run(&mut self, stop: &Stop, deliver: &mut dyn FnMut(CaptureEvent)) -> Result<(), CaptureError>;
}

/// Why a source ended early.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Waiting for events failed.
    #[error("waiting for captured events failed: {0}")]
    Wait(#[source] std::io::Error),
    /// Something that the source needs failed.
    #[error("{what}: {reason}")]
    Source {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}

/// Asks a source to end. Clones ask for the same.
#[derive(Clone, Debug)]
pub struct Stop {
    event: Arc<OwnedFd>,
}

impl Stop {
    /// A request that has not been made yet.
    ///
    /// # Errors
    /// When the kernel gives no more file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Makes the request; making it again changes nothing.
    pub fn request(&self) {
        // The only failure is a counter at its maximum: then the request has long been made.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Whether the request was made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        matches!(self.poll(Duration::ZERO), Ok(true))
    }

    /// Waits for the request, at most until `deadline`; says whether it was made.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn wait_until(&self, deadline: Instant) -> Result<bool, CaptureError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // In pieces, because the kernel refuses the longest times.
            match self.poll(left.min(LONGEST_WAIT)) {
                Ok(true) => return Ok(true),
                Ok(false) if left <= LONGEST_WAIT => return Ok(false),
                Ok(false) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(CaptureError::Wait(error.into())),
            }
        }
    }

    fn poll(&self, timeout: Duration) -> rustix::io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(0),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut descriptors = [PollFd::new(&*self.event, PollFlags::IN)];
        Ok(poll(&mut descriptors, Some(&timeout))? > 0)
    }
}

impl AsFd for Stop {
    /// Readable once the request was made.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_is_seen_by_every_clone_and_stays() {
        let stop = Stop::new().expect("a descriptor");
        let other = stop.clone();
        assert!(!other.is_requested());
        stop.request();
        assert!(other.is_requested() && other.is_requested());
    }
}
