//! A name in a directory, held by one process at a time: a lock, and the socket that stands for it.
//!
//! `NAME.lock` is locked (flock(2)) as long as the sensor lives, however it ends, and has its process id in it. Only the
//! holder touches `NAME.sock`, so the socket of a dead sensor is replaced without a race.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::directory::SensorName;
use crate::peer;

/// A client that looks whether a sensor lives holds its lock for an instant; and who has just taken it has not yet
/// written who it is.
const ATTEMPTS: u32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// Why a sensor cannot have a name.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another sensor has it.
    #[error("{} already runs as {}; see `oisp-sensor status {name}`, end it with `oisp-sensor stop {name}`",
            title(.name), process(*.pid))]
    AlreadyRunning {
        /// The name.
        name: SensorName,
        /// The other sensor's process id.
        pid: Option<u32>,
    },
    /// The directory belongs to somebody else, who could put a socket of their own in its place.
    #[error("the directory of the control socket, {path}, belongs to {}, not to this sensor's user; remove it or give another one",
            peer::user(*.owner))]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// A file could not be made or changed.
    #[error("the control socket cannot be made: {path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A held name, which no other sensor can take meanwhile. Its files are removed when it is dropped, and the name is free
/// when its process ends, however that happens.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
    name: SensorName,
    /// Open as long as the name is held.
    _lock: File,
}

impl Claim {
    /// Takes the name in the directory, which is made if need be (with mode 0700). Nobody answers yet:
    /// [`crate::Server::start_claimed`] does.
    ///
    /// # Errors
    /// Another sensor has the name ([`ClaimError::AlreadyRunning`]), or the lock cannot be made there.
    pub fn take(directory: &Path, name: &SensorName) -> Result<Self, ClaimError> {
        prepare(directory)?;
        remove_dead(directory, name);
        let lock = lock(directory, name)?;
        let claim = Self { directory: directory.to_owned(), name: name.clone(), _lock: lock };
        claim.remove_socket()?;
        Ok(claim)
    }

    /// Removes what a sensor of this name left that was killed.
    fn remove_socket(&self) -> Result<(), ClaimError> {
        let path = self.socket();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ClaimError::Io { path, error }),
            _ => Ok(()),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_path(&self.directory, &self.name)
    }

    /// Listens under another name first: who finds the socket finds it with its mode and answered.
    pub(crate) fn listen(&self) -> Result<UnixListener, ClaimError> {
        let new = self.directory.join(format!("{}.new", self.name));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| ClaimError::Io { path, error }
        };
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&new)(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(failed(&new))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(failed(&new))?;
        listener.set_nonblocking(true).map_err(failed(&new))?;
        let socket = self.socket();
        fs::rename(&new, &socket).map_err(failed(&socket))?;
        Ok(listener)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock goes last: nobody else may have made the files anew. What cannot be removed is found as dead.
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_file(lock_path(&self.directory, &self.name));
    }
}

pub(crate) fn socket_path(directory: &Path, name: &SensorName) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

fn lock_path(directory: &Path, name: &SensorName) -> PathBuf {
    directory.join(format!("{name}.lock"))
}

/// Who holds a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A living process; its id if it has written it already.
    Alive(Option<u32>),
    /// Nobody any more; who it was.
    Dead(Option<u32>),
}

/// Looks who holds a name, without taking it.
pub(crate) fn holder(directory: &Path, name: &SensorName) -> io::Result<Holder> {
    let path = lock_path(directory, name);
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Dead(None)),
        Err(error) => return Err(error),
    };
    let pid = read_pid(&mut file);
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Holder::Dead(pid)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Holder::Alive(pid)),
        Err(error) => Err(error.into()),
    }
}

/// Makes the directory, or sees that nobody else can put anything into it.
fn prepare(directory: &Path) -> Result<(), ClaimError> {
    let failed = |error: io::Error| ClaimError::Io { path: directory.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        File::from(rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
    let metadata = opened.metadata().map_err(failed)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(ClaimError::ForeignDirectory { path: directory.to_owned(), owner: metadata.uid() });
    }
    if metadata.mode() & 0o077 != 0 {
        opened.set_permissions(fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

fn lock(directory: &Path, name: &SensorName) -> Result<File, ClaimError> {
    let path = lock_path(directory, name);
    let failed = |error: io::Error| ClaimError::Io { path: path.clone(), error };
    let mut pid = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(BETWEEN_ATTEMPTS);
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                pid = read_pid(&mut file);
                continue;
            }
            Err(error) => return Err(failed(error.into())),
        }
        // Its last holder may have removed it after it was opened here: then it stands for nothing.
        if !is_file_at(&file, &path).map_err(failed)? {
            continue;
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        return Ok(file);
    }
    Err(ClaimError::AlreadyRunning { name: name.clone(), pid })
}

/// Removes what sensors of other names left that were killed: their names may never be used again.
fn remove_dead(directory: &Path, own: &SensorName) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for name in entries.flatten().filter_map(|entry| sensor_of(&entry.file_name(), ".lock")) {
        if name == *own {
            continue;
        }
        let path = lock_path(directory, &name);
        let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && is_file_at(&file, &path).unwrap_or(false)
        {
            // Another sensor's leftovers: if they cannot be removed, they hinder nobody.
            let _ = fs::remove_file(socket_path(directory, &name));
            let _ = fs::remove_file(path);
        }
    }
}

/// The sensor whose file this is.
pub(crate) fn sensor_of(file: &std::ffi::OsStr, ending: &str) -> Option<SensorName> {
    file.to_str()?.strip_suffix(ending)?.parse().ok()
}

fn is_file_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    // Without its newline it may not be whole yet.
    text.strip_suffix('\n')?.parse().ok()
}

fn title(name: &SensorName) -> String {
    if *name == SensorName::host() {
        "a host-wide sensor".to_owned()
    } else {
        format!("a sensor named {name}")
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
