//! Raw recordings beside the events: what `record --raw` writes for `replay`.

use std::time::Duration;

use oisp_capture::CaptureEvent;
use oisp_correlate::RawRecorder;

use crate::runtime::Tap;

/// Where the header has what events say of where they come from.
pub(crate) const LABEL: &str = "origin";

/// Writes every capture event, and what the host answered because of it.
pub(crate) struct RawTap {
    recorder: RawRecorder,
    is_told: bool,
}

impl RawTap {
    pub(crate) fn new(recorder: RawRecorder) -> Self {
        Self { recorder, is_told: false }
    }

    /// Says at once that it failed: whoever waits for a long recording wants to know.
    fn tell_failure(&mut self) {
        if let Some(error) = self.recorder.failure()
            && !self.is_told
        {
            tracing::error!("the raw recording ends here: {error}");
            self.is_told = true;
        }
    }
}

impl Tap for RawTap {
    fn event(&mut self, event: &CaptureEvent) {
        self.recorder.event(event);
        self.tell_failure();
    }

    fn idle(&mut self) -> Option<Duration> {
        let due = self.recorder.flush_due()?;
        if due.is_zero() {
            self.recorder.flush();
            self.tell_failure();
            return None;
        }
        Some(due)
    }

    fn finish(self: Box<Self>) -> Result<(), String> {
        match self.recorder.finish() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the raw recording is not complete: {error}")),
        }
    }
}
