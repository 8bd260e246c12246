//! Where sensors put their sockets, and what they may be called.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Root's directory.
const SYSTEM: &str = "/run/oisp-sensor";
/// A socket's path has 107 bytes in all (unix(7)).
const MAX_NAME: usize = 48;

/// A sensor's name: up to 48 letters, digits, `.`, `_` and `-`, the first not a `.`; for example `host` or
/// `record-4711`. It is a file's name without its ending, so it can hold no path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SensorName(String);

/// A text that is no [`SensorName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a sensor's name: {0:?}; use up to {MAX_NAME} letters, digits, '.', '_' and '-', the first not a '.'"
)]
pub struct InvalidName(String);

impl SensorName {
    /// The name of the one sensor that records the whole host.
    #[must_use]
    pub fn host() -> Self {
        Self("host".to_owned())
    }

    /// The name of a recording of a command or a process, by the sensor's own process id.
    #[must_use]
    pub fn of_recording(pid: u32) -> Self {
        Self(format!("record-{pid}"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SensorName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > MAX_NAME || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(InvalidName(text.chars().take(MAX_NAME).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SensorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where this user's sensors put their sockets: `/run/oisp-sensor` for root, else `$XDG_RUNTIME_DIR/oisp-sensor`;
/// `None` where neither is known.
#[must_use]
pub fn default_directory() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(SYSTEM));
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())?;
    Some(runtime.join("oisp-sensor"))
}

/// Where a client looks: this user's directory, then root's, which it may not be able to enter, but whose being there is
/// worth telling.
#[must_use]
pub fn directories() -> Vec<PathBuf> {
    let system = PathBuf::from(SYSTEM);
    let own = default_directory().filter(|own| *own != system);
    own.into_iter().chain([system]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_path_and_are_not_hidden() {
        for good in ["host", "record-1", "a.b_c", &"x".repeat(MAX_NAME)] {
            assert_eq!(good.parse::<SensorName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "ä", "a\0", "a\n", &"x".repeat(MAX_NAME + 1)] {
            assert!(bad.parse::<SensorName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn root_is_looked_for_everywhere() {
        let directories = directories();
        assert!(directories.contains(&PathBuf::from(SYSTEM)));
        assert_eq!(directories.iter().collect::<std::collections::BTreeSet<_>>().len(), directories.len());
    }
}
