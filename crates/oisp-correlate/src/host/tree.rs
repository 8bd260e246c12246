//! Small files below a root.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What is read of a file.
const MAX_FILE: u64 = 1 << 20;
/// Characters of one fact.
const MAX_VALUE: usize = 256;

/// A process whose view counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// The first one: the host's.
    First,
    /// This one.
    Sensor,
}

impl Process {
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::First => "proc/1",
            Self::Sensor => "proc/self",
        }
    }
}

/// A root folder.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What a process sees as its root; where that cannot be told, this one.
    pub(super) fn root_of(&self, process: Process) -> Self {
        let root = self.root.join(process.folder()).join("root");
        if fs::metadata(&root).is_ok_and(|metadata| metadata.is_dir()) { Self { root } } else { self.clone() }
    }

    /// A file's text; what is not UTF-8 is replaced.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        // Not to wait on a pipe that somebody put there.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(self.root.join(path)).ok()?;
        file.metadata().ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file that is one fact.
    pub(super) fn value(&self, path: &str) -> Option<String> {
        value(&self.text(path)?)
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// A process's namespace, to be compared with another's.
    pub(super) fn namespace(&self, process: Process, kind: &str) -> Option<String> {
        let link = fs::read_link(self.root.join(process.folder()).join("ns").join(kind)).ok()?;
        link.to_str().map(ToOwned::to_owned)
    }
}

/// A fact, if it is one: of a sensible length, and printable.
pub(super) fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let sensible = !text.is_empty() && text.chars().count() <= MAX_VALUE && !text.contains(char::is_control);
    sensible.then(|| text.to_owned())
}
