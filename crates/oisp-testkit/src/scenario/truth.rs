//! What a scenario's `SSL` objects wrote and read.

use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::openssl_client::Ssl;
use crate::transcript::Transcript;

/// The ground truth of a run.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Every `SSL` object, in the order in which they were made.
    pub objects: Vec<ObjectTruth>,
    /// Objects of other processes, as [`ObjectTruth::to_json`] gave them there.
    pub elsewhere: Vec<Value>,
    /// What the scenario says about itself: a retry count, for example.
    pub notes: serde_json::Map<String, Value>,
}

/// One `SSL` object from its making to its freeing.
#[derive(Clone, Debug)]
pub struct ObjectTruth {
    /// The process.
    pub pid: u32,
    /// Which side of the connection.
    pub role: Role,
    /// The object's address.
    pub address: usize,
    /// This side's port; `None` over memory BIOs.
    pub local_port: Option<u16>,
    /// The other side's port; `None` over memory BIOs.
    pub peer_port: Option<u16>,
    /// Plaintext given to the library and accepted by it, each byte once.
    pub wrote: Transcript,
    /// Plaintext that the library returned.
    pub read: Transcript,
}

/// Which side of a connection an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connected.
    Client,
    /// Accepted.
    Server,
}

/// An [`Ssl`] that remembers what it wrote and read.
pub struct Traced {
    /// The connection; bytes moved past the wrapper are not remembered.
    pub ssl: Ssl,
    truth: ObjectTruth,
    keep: bool,
}

impl Traced {
    /// Begins to remember; `keep` keeps the bytes, not only count and digest.
    #[must_use]
    pub fn new(ssl: Ssl, role: Role, keep: bool) -> Self {
        let port = |address: io::Result<std::net::SocketAddr>| address.ok().map(|address| address.port());
        let truth = ObjectTruth {
            pid: std::process::id(),
            role,
            address: ssl.address(),
            local_port: ssl.socket().and_then(|socket| port(socket.local_addr())),
            peer_port: ssl.socket().and_then(|socket| port(socket.peer_addr())),
            wrote: Transcript::default(),
            read: Transcript::default(),
        };
        Self { ssl, truth, keep }
    }

    /// Closes the connection, frees the object, and returns what it did.
    #[must_use]
    pub fn close(mut self) -> ObjectTruth {
        self.ssl.close();
        self.truth
    }
}

impl Read for Traced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.ssl.try_read(buffer)?;
        note(&mut self.truth.read, &buffer[..length], self.keep);
        Ok(length)
    }
}

impl Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.ssl.try_write(bytes)?;
        note(&mut self.truth.wrote, &bytes[..length], self.keep);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn note(transcript: &mut Transcript, bytes: &[u8], keep: bool) {
    if keep { transcript.push(bytes) } else { transcript.count(bytes) }
}

impl Truth {
    pub(super) fn of(objects: impl IntoIterator<Item = ObjectTruth>) -> Self {
        Self { objects: objects.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn note(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.notes.insert(key.to_owned(), value.into());
        self
    }

    /// Process, objects with counts and digests, and notes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let objects: Vec<Value> =
            self.objects.iter().map(ObjectTruth::to_json).chain(self.elsewhere.iter().cloned()).collect();
        json!({ "pid": std::process::id(), "objects": objects, "notes": self.notes })
    }

    /// Writes the bytes that were kept: `N-wrote.bin` and `N-read.bin` for the object at place N.
    ///
    /// # Errors
    /// When the folder can't be made or written.
    pub fn dump(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (place, object) in self.objects.iter().enumerate() {
            std::fs::write(folder.join(format!("{place}-wrote.bin")), object.wrote.kept())?;
            std::fs::write(folder.join(format!("{place}-read.bin")), object.read.kept())?;
        }
        Ok(())
    }
}

impl ObjectTruth {
    /// As in [`Truth::to_json`].
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "pid": self.pid,
            "role": match self.role { Role::Client => "client", Role::Server => "server" },
            "address": format!("{:#x}", self.address),
            "local_port": self.local_port,
            "peer_port": self.peer_port,
            "wrote": self.wrote.to_json(),
            "read": self.read.to_json(),
        })
    }
}
