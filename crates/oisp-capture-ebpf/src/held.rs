//! A command that is started, but held before its first instruction until it is released: time to put it in scope and
//! to probe what it will use.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::thread::JoinHandle;

use rustix::pipe::{PipeFlags, pipe_with};

/// A command that waits to be released. Dropping it ends it unstarted.
#[derive(Debug)]
pub struct HeldCommand {
    pid: u32,
    release: OwnedFd,
    spawn: JoinHandle<io::Result<Child>>,
}

impl HeldCommand {
    /// Makes the process, which then waits.
    ///
    /// # Errors
    /// When no process or pipe can be had. That the command does not exist shows at [`HeldCommand::release`].
    pub fn start(mut command: Command) -> io::Result<Self> {
        let (announced, announce) = pipe_with(PipeFlags::CLOEXEC)?;
        let (released, release) = pipe_with(PipeFlags::CLOEXEC)?;
        let (announce_number, released_number, release_number) =
            (announce.as_raw_fd(), released.as_raw_fd(), release.as_raw_fd());
        // SAFETY: between fork and exec only system calls are made, on descriptors that the parent keeps open until
        // the child has left this function.
        unsafe {
            command.pre_exec(move || {
                // Its own copy would keep the pipe open though the sensor is gone.
                rustix::io::close(release_number);
                let pid = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
                rustix::io::write(BorrowedFd::borrow_raw(announce_number), &pid)?;
                let mut word = [0];
                match rustix::io::read(BorrowedFd::borrow_raw(released_number), &mut word)? {
                    1 => Ok(()),
                    _ => Err(io::ErrorKind::ConnectionAborted.into()),
                }
            });
        }
        // `spawn` returns only after the command's exec, so it waits in a thread of its own.
        let spawn = std::thread::Builder::new().name("held-command".to_owned()).spawn(move || {
            let child = command.spawn();
            drop((announce, released));
            child
        })?;
        let mut pid = [0; 4];
        match rustix::io::read(&announced, &mut pid) {
            Ok(4) => Ok(Self { pid: u32::from_ne_bytes(pid), release, spawn }),
            Ok(_) => Err(join(spawn).err().unwrap_or_else(|| io::Error::other("the process ended at once"))),
            Err(error) => Err(error.into()),
        }
    }

    /// The process, which has this id before and after its exec.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it go.
    ///
    /// # Errors
    /// When the command cannot be executed: not found, not executable.
    pub fn release(self) -> io::Result<Child> {
        rustix::io::write(&self.release, &[1])?;
        join(self.spawn)
    }
}

fn join(spawn: JoinHandle<io::Result<Child>>) -> io::Result<Child> {
    spawn.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts the command panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn held_command_has_not_run_until_it_is_released() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let mut command = Command::new("touch");
        command.arg(&mark);
        let held = HeldCommand::start(command).expect("held");
        let executable = std::fs::read_link(format!("/proc/{}/exe", held.pid())).expect("it is alive");
        assert_eq!(executable, std::env::current_exe().expect("known"), "it has not executed anything");
        assert!(!mark.exists());
        let pid = held.pid();
        let mut child = held.release().expect("released");
        assert_eq!(child.id(), pid);
        assert!(child.wait().expect("reaped").success());
        assert!(mark.exists());
    }

    #[test]
    fn command_that_does_not_exist_is_an_error_at_release() {
        let held = HeldCommand::start(Command::new("/nonexistent/command")).expect("held");
        assert_eq!(held.release().expect_err("refused").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn dropped_command_ends_unstarted() {
        let mut command = Command::new("sleep");
        command.arg("60").stdout(Stdio::null());
        let held = HeldCommand::start(command).expect("held");
        let HeldCommand { release, spawn, .. } = held;
        drop(release);
        assert!(join(spawn).is_err());
    }
}
