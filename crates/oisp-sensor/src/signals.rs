//! Signals to the sensor while it records.

use std::io;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oisp_capture::Stop;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// What a signal to the sensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The first ends the recording, the second the process. `SIGHUP` reads the configuration again, unless it says
    /// that the terminal is gone, which ends the recording too.
    EndRecording,
    /// A command runs: Ctrl-C reaches it by itself (the terminal signals the whole foreground group), a request to
    /// terminate is passed on to it, and the recording ends when it does. The second request ends the recording
    /// without it.
    LeaveToCommand(u32),
}

/// Whether a command has ended. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandEnd(Arc<AtomicBool>);

impl CommandEnd {
    fn has_come(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Handles signals until it is dropped.
pub(crate) struct SignalGuard {
    handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SignalGuard {
    /// `reload` is what `SIGHUP` does where it is not the command's, `end` what ends the recording.
    pub(crate) fn install(
        policy: Policy,
        command_end: CommandEnd,
        reload: impl Fn() + Send + 'static,
        end: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let had_terminal = has_terminal();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut requests = 0_u32;
            for signal in signals.forever() {
                // Its process id may be another's by now, and what is left is to write what was recorded.
                let policy = if command_end.has_come() { Policy::EndRecording } else { policy };
                let hung_up = had_terminal && !has_terminal();
                if policy == Policy::EndRecording && signal == SIGHUP && !hung_up {
                    reload();
                    continue;
                }
                requests += match policy {
                    Policy::LeaveToCommand(_) if matches!(signal, SIGINT | SIGQUIT) => 0,
                    _ => 1,
                };
                match (policy, requests) {
                    (_, 0) => {}
                    (Policy::LeaveToCommand(pid), 1) => pass_on(pid, signal),
                    (Policy::EndRecording, 1) | (Policy::LeaveToCommand(_), 2) => end(),
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

/// Whether there is a controlling terminal: opening it fails once it has hung up (tty_ioctl(4)).
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
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
    end: CommandEnd,
) -> std::thread::JoinHandle<io::Result<std::process::ExitStatus>> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        // Not reaped before everybody knows: until then the process id is its own.
        let pid = Pid::from_child(&child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        end.0.store(true, Ordering::SeqCst);
        let status = child.wait();
        stop.request();
        status
    })
}
