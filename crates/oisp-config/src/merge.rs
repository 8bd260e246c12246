//! Settings from all places, in the order defaults, file, environment, flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::file;
use crate::nearest::nearest;
use crate::problem::{Fault, Place, Problem, Problems, SET, argument};
use crate::settings::{Settings, first_of_table, key, keys};
use crate::table::Key;
use crate::value::ByteSize;

/// What was given, apart from the defaults. Later fields go before earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// The path of a file, as messages shall name it, and its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables; those that do not begin with `OISP_` are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, in the order in which they were typed; of two with the same key the last holds.
    pub flags: Vec<FlagValue>,
}

/// A flag as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub enum FlagValue {
    /// A key's own flag.
    Own(&'static Key, OsString),
    /// `--set KEY=VALUE`.
    Set(OsString),
}

/// Keys are equal or not, none is incomparable.
impl Eq for FlagValue {}

/// Settings that hold, and where each comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// The values.
    pub settings: Settings,
    /// The file that was read.
    pub file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A line of a file, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => formatter.write_str(name),
        }
    }
}

impl Origin {
    fn place(&self) -> Option<Place> {
        match self {
            Self::Default => None,
            Self::File { path, line } => Some(Place::File { path: path.clone(), line: Some(*line) }),
            Self::Variable(name) => Some(Place::Variable(name.clone())),
            Self::Flag(flag) => Some(Place::Flag(flag.clone())),
        }
    }
}

impl Configuration {
    /// Where the value of a key comes from.
    #[must_use]
    pub fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(key.path).unwrap_or(&Origin::Default)
    }
}

/// What our environment variables begin with.
pub(crate) const PREFIX: &str = "OISP_";

/// Variables that begin as ours do and are not settings, and what each is for.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("OISP_CONFIG", "the configuration file"),
    ("OISP_CORPUS", "recorded exchanges, for tests"),
    ("OISP_SPEC", "the specification's schemas, for tests"),
    ("OISP_REQUIRE_ALL", "tests that lack something fail"),
    ("OISP_EBPF_OBJECT", "the kernel programs to build in"),
    ("OISP_TEST_*", "for tests"),
];

/// Puts everything together.
///
/// # Errors
/// Everything that is wrong in any of the places, and then whether the values that result go together.
pub fn merge(layers: &Layers) -> Result<Configuration, Problems> {
    let mut merged = Merged::default();
    if let Some((path, text)) = &layers.file {
        let Configuration { settings, origins, file } = &mut merged.configuration;
        merged.problems = file::apply(path, text, settings, origins);
        *file = Some(path.clone());
    }
    merged.environment(&layers.environment);
    layers.flags.iter().for_each(|flag| merged.flag(flag));
    if merged.problems.is_empty() {
        merged.problems.extend(memory_conflict(&merged.configuration));
    }
    if merged.problems.is_empty() { Ok(merged.configuration) } else { Err(Problems(merged.problems)) }
}

#[derive(Default)]
struct Merged {
    configuration: Configuration,
    problems: Vec<Problem>,
}

impl Merged {
    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut ours: Vec<_> =
            variables.iter().filter(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes())).collect();
        // An environment has no order; messages shall have one.
        ours.sort();
        for (name, value) in ours {
            let name = name.to_string_lossy();
            if let Some(key) = keys().find(|key| key.variable() == name) {
                self.text(key, value, Origin::Variable(name.into_owned()));
            } else if !is_other(&name) {
                let meant = &name[PREFIX.len()..];
                let nearest = nearest(meant, keys().map(|key| key.path)).and_then(key);
                let nearest = nearest.or_else(|| first_of_table(&meant.to_lowercase())).map(Key::variable);
                let name = name.escape_debug().to_string();
                self.problems.push(Problem {
                    place: Place::Variable(name.clone()),
                    fault: Fault::Unknown { what: "setting", name, nearest },
                });
            }
        }
    }

    fn flag(&mut self, flag: &FlagValue) {
        let place = || Place::Flag(SET.to_owned());
        match flag {
            FlagValue::Own(key, value) => {
                let long = key.flag.map_or(key.path, |flag| flag.long);
                self.text(key, value, Origin::Flag(format!("--{long}")));
            }
            FlagValue::Set(text) => {
                let Some((name, value)) = split_at_equals(text) else {
                    let what = format!("{} must be KEY=VALUE", argument(&text.to_string_lossy()));
                    self.problems.push(Problem { place: place(), fault: Fault::Other(what) });
                    return;
                };
                let name = name.to_string_lossy();
                if let Some(key) = key(&name) {
                    self.text(key, value, Origin::Flag(SET.to_owned()));
                } else if let Some(example) = first_of_table(&name) {
                    let what = format!("{name} is a table: name one of its keys, such as {}", example.path);
                    self.problems.push(Problem { place: place(), fault: Fault::Other(what) });
                } else {
                    let nearest = nearest(&name, keys().map(|key| key.path)).map(ToOwned::to_owned);
                    let fault = Fault::Unknown { what: "key", name: argument(&name), nearest };
                    self.problems.push(Problem { place: place(), fault });
                }
            }
        }
    }

    fn text(&mut self, key: &'static Key, value: &OsStr, origin: Origin) {
        match ((key.set_text)(&mut self.configuration.settings, value), origin.place()) {
            (Err(why), Some(place)) => {
                let given = (!key.secret).then(|| argument(&value.to_string_lossy()));
                self.problems.push(Problem { place, fault: Fault::Value { key: key.path, given, why } });
            }
            _ => {
                self.configuration.origins.insert(key.path, origin);
            }
        }
    }
}

fn is_other(name: &str) -> bool {
    OTHER_VARIABLES.iter().any(|(other, _)| match other.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *other,
    })
}

fn split_at_equals(text: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    Some((OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])))
}

/// What the limit leaves beside the ring, at least: for the kernel's tables, the program itself, and the buffers.
const MEMORY_BESIDE_THE_RING: u64 = 40 << 20;

/// The ring is a part of the memory that is limited.
fn memory_conflict(configuration: &Configuration) -> Option<Problem> {
    let Settings { capture, memory, .. } = &configuration.settings;
    let ring = capture.ring_size.bytes().next_power_of_two();
    let needed = ByteSize::new(ring + MEMORY_BESIDE_THE_RING);
    if memory.limit >= needed {
        return None;
    }
    let (ring, beside) = (ByteSize::new(ring), ByteSize::new(MEMORY_BESIDE_THE_RING));
    let problem = |name: &str, why: String| {
        let key = key(name)?;
        let place = configuration.origin(key).place()?;
        let given = (!key.secret).then(|| key.value(&configuration.settings));
        Some(Problem { place, fault: Fault::Value { key: key.path, given, why } })
    };
    problem(
        "memory.limit",
        format!("must be at least {needed}: {ring} for capture.ring_size and {beside} for all else"),
    )
    .or_else(|| {
        let limit = memory.limit;
        problem("capture.ring_size", format!("needs a memory.limit of at least {needed}; it is {limit}"))
    })
}
