//! Who is at the other end of a unix socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// The other process when it connected (or began to listen): unix(7), `SO_PEERCRED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// `None`: it is not visible in this pid namespace.
    pub(crate) pid: Option<u32>,
    pub(crate) uid: u32,
}

impl Peer {
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Self> {
        // Not rustix's function: its result cannot hold the process id 0, which a process of another pid namespace has.
        let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        #[expect(clippy::cast_possible_truncation, reason = "12 bytes")]
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is borrowed for the call; the kernel writes at most `length` bytes to `credentials`,
        // which is that large and plain integers.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { pid: u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0), uid: credentials.uid })
    }

    /// May this process control a sensor of user `owner`? That user and root may.
    pub(crate) fn may_control(self, owner: u32) -> bool {
        self.uid == owner || self.uid == 0
    }
}

/// `root`, or the user's number.
pub(crate) fn user(uid: u32) -> String {
    if uid == 0 { "root".to_owned() } else { format!("user {uid}") }
}
