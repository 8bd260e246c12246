//! The side of whoever asks a sensor.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;

use crate::claim::{Holder, holder, sensor_of, socket_path};
use crate::directory::SensorName;
use crate::peer::{self, Peer};
use crate::protocol::{Answer, Command, ErrorCode, MAX_ANSWER, VERSION};
use crate::status::{ReloadReport, Status};

/// For a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a sensor was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is none.
    #[error("no sensor is running here; start one with `oisp-sensor record …`")]
    NoSensor,
    /// There is none of this name.
    #[error("no sensor named {name} is running here; {}", running(.there))]
    NotFound {
        /// The name.
        name: SensorName,
        /// Those that there are.
        there: Vec<SensorName>,
    },
    /// There are several, and none was named.
    #[error("several sensors are running here: {}; name one: `oisp-sensor status {}`",
            names(.0), .0.first().map_or("NAME", SensorName::as_str))]
    Several(Vec<SensorName>),
    /// Its socket belongs to somebody else.
    #[error("{path} belongs to {}; {}", owner.map_or_else(|| "another user".to_owned(), peer::user),
            if *.owner == Some(0) { "use sudo" } else { "ask as that user or as root" })]
    NotPermitted {
        /// The socket or its directory.
        path: PathBuf,
        /// The user id of the owner, where it can be seen.
        owner: Option<u32>,
    },
    /// The sensor was killed.
    #[error("sensor {name}: {} has ended without saying so; the next sensor that starts removes what it left",
            pid.map_or_else(|| "its process".to_owned(), |pid| format!("process {pid}")))]
    Dead {
        /// Its name.
        name: SensorName,
        /// Its process id.
        pid: Option<u32>,
    },
    /// The sensor lives but does not answer.
    #[error("sensor {name} ({}) does not answer; it may be overloaded or stopped by a debugger",
            pid.map_or_else(|| "process unknown".to_owned(), |pid| format!("process {pid}")))]
    NoAnswer {
        /// Its name.
        name: SensorName,
        /// Its process id.
        pid: Option<u32>,
    },
    /// The sensor closed the connection: it is about to end.
    #[error("sensor {name} has ended")]
    Ended {
        /// Its name.
        name: SensorName,
    },
    /// The sensor is older or newer than this program.
    #[error(
        "sensor {name} speaks version {theirs} of the control protocol, this program version {VERSION}; use the `oisp-sensor` that it was started with, or restart it"
    )]
    Version {
        /// Its name.
        name: SensorName,
        /// The version that it speaks.
        theirs: u32,
    },
    /// The sensor answered with an error.
    #[error("sensor {name}: {text}")]
    Refused {
        /// Its name.
        name: SensorName,
        /// For programs.
        code: ErrorCode,
        /// For people.
        text: String,
    },
    /// What came is no answer.
    #[error("what answers on {path} is no sensor: {problem}")]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The socket's file is not that of a sensor.
    #[error("{0} is not the control socket of a sensor: its name is NAME.sock")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The socket or its directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What a socket in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A sensor that takes connections or is about to; its process id where that can be seen.
    Live(Option<u32>),
    /// A sensor that was killed; its process id where it is known.
    Dead(Option<u32>),
    /// A sensor of another user.
    NotPermitted,
}

/// A socket in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The sensor's name.
    pub name: SensorName,
    /// Its socket.
    pub path: PathBuf,
    /// What became of it.
    pub presence: Presence,
}

/// The sensors of a directory, by name. One that is not there has none.
///
/// # Errors
/// The directory belongs to somebody else or cannot be read.
pub fn list(directory: &Path) -> Result<Vec<Listed>, ClientError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory, error)),
    };
    let mut listed = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let Some(name) = sensor_of(&entry.file_name(), ".sock") else { continue };
        let path = socket_path(directory, &name);
        let presence = match Connection::open(&path, PATIENCE) {
            Ok(connection) => Presence::Live(connection.pid),
            Err(ClientError::Dead { pid, .. }) => Presence::Dead(pid),
            Err(ClientError::NoAnswer { pid, .. }) => Presence::Live(pid),
            Err(ClientError::NotPermitted { .. }) => Presence::NotPermitted,
            // It ended in the meantime.
            Err(ClientError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        listed.push(Listed { name, path, presence });
    }
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

/// Connects to the sensor of this name in the directories, or to the only one that runs there.
///
/// # Errors
/// There is none, there are several and none was named, or it cannot be connected to.
pub fn find(directories: &[PathBuf], name: Option<&SensorName>) -> Result<Connection, ClientError> {
    let mut listed = Vec::new();
    let mut forbidden = None;
    for directory in directories {
        match list(directory) {
            Ok(there) => listed.extend(there),
            Err(error @ ClientError::NotPermitted { .. }) => forbidden = forbidden.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    let wanted = |listed: &Listed| name.is_none_or(|name| *name == listed.name);
    let live = |listed: &Listed| matches!(listed.presence, Presence::Live(_));
    let mut candidates = listed.iter().filter(|listed| wanted(listed) && live(listed));
    match (candidates.next(), candidates.next(), name) {
        // Of two of one name the one in the directory that was given first.
        (Some(one), None, _) | (Some(one), Some(_), Some(_)) => return Connection::open(&one.path, PATIENCE),
        (Some(_), Some(_), None) => {
            let live = listed.iter().filter(|listed| live(listed));
            return Err(ClientError::Several(live.map(|listed| listed.name.clone()).collect()));
        }
        (None, ..) => {}
    }
    // What cannot be seen into may hold the one that is meant; then what is known to be dead.
    if let Some(other) =
        listed.iter().find(|listed| wanted(listed) && listed.presence == Presence::NotPermitted)
    {
        return Err(not_permitted(&other.path));
    }
    if let Some(error) = forbidden {
        return Err(error);
    }
    match (listed.iter().find(|listed| wanted(listed)), name) {
        (Some(Listed { name, presence: Presence::Dead(pid), .. }), _) => {
            Err(ClientError::Dead { name: name.clone(), pid: *pid })
        }
        (_, Some(name)) => Err(ClientError::NotFound {
            name: name.clone(),
            there: listed.iter().filter(|listed| live(listed)).map(|listed| listed.name.clone()).collect(),
        }),
        _ => Err(ClientError::NoSensor),
    }
}

/// A connection to a sensor, for any number of requests.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    path: PathBuf,
    name: SensorName,
    pid: Option<u32>,
    patience: Duration,
    /// What came after the last answer.
    input: Vec<u8>,
}

impl Connection {
    /// Connects to a sensor's socket. Waits up to 5 s for this and for each answer.
    ///
    /// # Errors
    /// Nobody listens there, or this user may not connect.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::open(path, PATIENCE)
    }

    pub(crate) fn open(path: &Path, patience: Duration) -> Result<Self, ClientError> {
        let name = path.file_name().and_then(|file| sensor_of(file, ".sock"));
        let name = name.ok_or_else(|| ClientError::NotASocket(path.to_owned()))?;
        let system = |error: Errno| failed(path, error.into());
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(system)?;
        // A sensor that hangs takes no connection: connect waits no longer than this (unix(7), SO_SNDTIMEO).
        for timeout in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
            sockopt::set_socket_timeout(&socket, timeout, Some(patience)).map_err(system)?;
        }
        let address = SocketAddrUnix::new(path).map_err(system)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::CONNREFUSED) => return Err(nobody_listens(path, name)),
            Err(Errno::AGAIN | Errno::TIMEDOUT | Errno::INPROGRESS) => {
                return Err(ClientError::NoAnswer { name, pid: holder_pid(path) });
            }
            Err(Errno::NOENT) => return Err(ClientError::NotFound { name, there: Vec::new() }),
            Err(error) => return Err(system(error)),
        }
        let stream = UnixStream::from(socket);
        let pid = Peer::of(&stream).map_err(|error| failed(path, error))?.pid;
        Ok(Self { stream, path: path.to_owned(), name, pid, patience, input: Vec::new() })
    }

    /// The sensor's name.
    #[must_use]
    pub fn name(&self) -> &SensorName {
        &self.name
    }

    /// The sensor's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sensor's process id; `None` if its process is in another pid namespace.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Asks what the sensor does.
    ///
    /// # Errors
    /// It refused, or did not answer.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        let answer = self.request(Command::Status)?;
        self.understood(answer)
    }

    /// Tells the sensor to end. It answers before it has; see [`Ending::wait`].
    ///
    /// # Errors
    /// It refused, or did not answer.
    pub fn stop(mut self) -> Result<Ending, ClientError> {
        // Opened before it ends: afterwards its process id may be another's.
        let process = self.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        self.request(Command::Stop)?;
        Ok(Ending { process, connection: self })
    }

    /// Tells the sensor to read its configuration again.
    ///
    /// # Errors
    /// It refused, or did not answer.
    pub fn reload(&mut self) -> Result<ReloadReport, ClientError> {
        let answer = self.request(Command::Reload)?;
        self.understood(answer)
    }

    /// Sends a command and gives the `ok` of its answer.
    ///
    /// # Errors
    /// The sensor refused, or did not answer.
    pub fn request(&mut self, command: Command) -> Result<serde_json::Value, ClientError> {
        match self.stream.write_all(command.request_line().as_bytes()) {
            Ok(()) => {}
            // It may have said why before it closed the connection.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe) => {}
            Err(error) => return Err(self.broken(error)),
        }
        let line = self.line()?;
        let answer: Answer = serde_json::from_slice(&line).map_err(|error| self.malformed(error))?;
        match answer {
            Answer { error: Some(refusal), version, .. } if refusal.code == ErrorCode::UnsupportedVersion => {
                Err(ClientError::Version { name: self.name.clone(), theirs: version })
            }
            Answer { error: Some(refusal), .. } => {
                Err(ClientError::Refused { name: self.name.clone(), code: refusal.code, text: refusal.text })
            }
            Answer { version, .. } if version != VERSION => {
                Err(ClientError::Version { name: self.name.clone(), theirs: version })
            }
            Answer { ok: Some(value), .. } => Ok(value),
            Answer { .. } => Err(self.malformed("the answer has neither \"ok\" nor \"error\"")),
        }
    }

    /// An answer's line, within the time for all of it.
    fn line(&mut self) -> Result<Vec<u8>, ClientError> {
        let deadline = Instant::now() + self.patience;
        let mut searched = 0;
        loop {
            if let Some(found) = self.input[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.input.split_off(searched + found + 1);
                return Ok(std::mem::replace(&mut self.input, rest));
            }
            searched = self.input.len();
            if searched > MAX_ANSWER {
                return Err(self.malformed(format_args!("its answer has more than {MAX_ANSWER} bytes")));
            }
            if Instant::now() >= deadline {
                return Err(self.no_answer());
            }
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ClientError::Ended { name: self.name.clone() }),
                Ok(length) => self.input.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn understood<T: DeserializeOwned>(&self, answer: serde_json::Value) -> Result<T, ClientError> {
        // Serde would read a list as the fields of a structure.
        if !answer.is_object() {
            return Err(self.malformed("\"ok\" is not an object"));
        }
        serde_json::from_value(answer).map_err(|error| self.malformed(error))
    }

    fn malformed(&self, problem: impl ToString) -> ClientError {
        ClientError::Malformed { path: self.path.clone(), problem: problem.to_string() }
    }

    fn no_answer(&self) -> ClientError {
        ClientError::NoAnswer { name: self.name.clone(), pid: self.pid }
    }

    fn broken(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.no_answer(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ClientError::Ended { name: self.name.clone() }
            }
            _ => failed(&self.path, error),
        }
    }
}

/// A sensor that was told to stop.
#[derive(Debug)]
pub struct Ending {
    /// `None` where its process cannot be seen.
    process: Option<OwnedFd>,
    connection: Connection,
}

impl Ending {
    /// Waits until the sensor's process has ended, or, where that cannot be seen, its control interface.
    /// `false` if it still runs after `patience`.
    ///
    /// # Errors
    /// The system cannot wait.
    pub fn wait(&self, patience: Duration) -> Result<bool, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            // Both become readable when their other side ends; after its answer a sensor sends nothing.
            let mut waiting = [match &self.process {
                Some(process) => PollFd::new(process, PollFlags::IN),
                None => PollFd::new(&self.connection.stream, PollFlags::IN),
            }];
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut waiting, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(&self.connection.path, error.into())),
            }
        }
    }
}

fn nobody_listens(path: &Path, name: SensorName) -> ClientError {
    let Some(directory) = path.parent() else { return ClientError::NotASocket(path.to_owned()) };
    match holder(directory, &name) {
        Ok(Holder::Dead(pid)) => ClientError::Dead { name, pid },
        // About to end, or a client too many for its backlog.
        Ok(Holder::Alive(pid)) => ClientError::NoAnswer { name, pid },
        Err(error) => failed(path, error),
    }
}

fn holder_pid(path: &Path) -> Option<u32> {
    let name = sensor_of(path.file_name().unwrap_or(OsStr::new("")), ".sock")?;
    match holder(path.parent()?, &name) {
        Ok(Holder::Alive(pid)) => pid,
        _ => None,
    }
}

fn failed(path: &Path, error: io::Error) -> ClientError {
    if error.kind() == io::ErrorKind::PermissionDenied {
        not_permitted(path)
    } else {
        ClientError::Io { path: path.to_owned(), error }
    }
}

fn not_permitted(path: &Path) -> ClientError {
    let owner = fs::symlink_metadata(path).map(|metadata| metadata.uid()).ok();
    ClientError::NotPermitted { path: path.to_owned(), owner }
}

fn names(names: &[SensorName]) -> String {
    names.iter().map(SensorName::as_str).collect::<Vec<_>>().join(", ")
}

fn running(there: &[SensorName]) -> String {
    if there.is_empty() {
        "none is; start one with `oisp-sensor record …`".to_owned()
    } else {
        format!("these are: {}", names(there))
    }
}
