//! Signals to the sensor while it records.

use std::io;
use std::process::Child;

use oisp_capture::Stop;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// What a signal to the sensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The first ends the recording, the second the process.
    EndRecording,
    /// A command runs: Ctrl-C reaches it by itself (the terminal signals the whole foreground group), a request to
    /// terminate is passed on to it, and the recording ends when it does. The second request ends the recording
    /// without it.
    LeaveToCommand(u32),
}

/// Handles signals until it is dropped.
pub(crate) struct SignalGuard {
    handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SignalGuard {
    pub(crate) fn install(policy: Policy, stop: &Stop) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let stop = stop.clone();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut requests = 0_u32;
            for signal in signals.forever() {
                requests += match policy {
                    Policy::LeaveToCommand(_) if matches!(signal, SIGINT | SIGQUIT) => 0,
                    _ => 1,
                };
                match (policy, requests) {
                    (_, 0) => {}
                    (Policy::LeaveToCommand(pid), 1) => pass_on(pid, signal),
                    (Policy::EndRecording, 1) | (Policy::LeaveToCommand(_), 2) => stop.request(),
                    _ => {
                        // Asked again while draining: the default action, which ends the process at once.
                        if signal_hook::low_level::emulate_default_handler(signal).is_err() {
                            std::process::abort();
                        }
                    }
                }
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed; there is nothing to hand on.
            let _ = thread.join();
        }
    }
}

fn pass_on(pid: u32, signal: i32) {
    let signal = match signal {
        SIGHUP => Signal::HUP,
        _ => Signal::TERM,
    };
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may just have ended; then so does the recording.
        let _ = kill_process(pid, signal);
    }
}

/// Waits for a child, then ends the recording.
pub(crate) fn end_with(
    mut child: Child,
    stop: &Stop,
) -> std::thread::JoinHandle<io::Result<std::process::ExitStatus>> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let status = child.wait();
        stop.request();
        status
    })
}
