//! What is wrong with a configuration, for the person who wrote it.

use std::fmt;
use std::path::PathBuf;

/// Everything that is wrong, in the order of the places: file, environment, flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// One a mistake; there is at least one.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.0
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from 1; none for the file as a whole.
        line: Option<usize>,
    },
    /// In an environment variable.
    Variable(String),
    /// In a flag, with its dashes.
    Flag(String),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such setting.
    Unknown {
        /// What there is none of: key, table, variable.
        what: &'static str,
        /// As it was written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A value is not taken.
    Value {
        /// The key.
        key: &'static str,
        /// As it was written, shortened; none where it may be secret.
        given: Option<String>,
        /// Why, and what is allowed.
        why: String,
    },
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: None } => path.display().fmt(formatter),
            Self::File { path, line: Some(line) } => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// The flag that takes any key.
pub(crate) const SET: &str = "--set";

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.fault {
            Fault::Unknown { what, name, nearest } => {
                match place {
                    // The place is the name.
                    Place::Variable(_) => write!(formatter, "{place}: no such {what}")?,
                    _ => write!(formatter, "{place}: unknown {what} {name}")?,
                }
                match nearest {
                    Some(nearest) => write!(formatter, ": did you mean {nearest}?"),
                    None => write!(formatter, ": `oisp-sensor config` lists what there is"),
                }
            }
            Fault::Value { key, given, why } => {
                let (separator, name) = match place {
                    Place::File { .. } => (" = ", format!("{place}: {key}")),
                    Place::Variable(_) => ("=", place.to_string()),
                    Place::Flag(flag) if flag == SET => ("=", format!("{SET} {key}")),
                    Place::Flag(_) => (" ", place.to_string()),
                };
                match given {
                    Some(given) => write!(formatter, "{name}{separator}{given}: {why}"),
                    None => write!(formatter, "{name}: {why}"),
                }
            }
            Fault::Other(what) => write!(formatter, "{place}: {what}"),
        }
    }
}

/// What was written, short enough for a message and on one line.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.lines().next().unwrap_or("").chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// What was written in an environment variable or a flag: in quotes where its ends would not be seen.
pub(crate) fn argument(text: &str) -> String {
    let shown = excerpt(text);
    if shown.is_empty() || shown.contains(char::is_whitespace) { format!("\"{shown}\"") } else { shown }
}
