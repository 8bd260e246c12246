//! What the log takes.

use std::fmt;

use super::{LogLevel, Refusal, Setting, quoted};

/// A level, and other levels for some targets: `info,oisp_capture_ebpf=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    level: LogLevel,
    targets: Vec<(String, LogLevel)>,
}

/// More targets than there are crates would be a mistake.
const MOST_TARGETS: usize = 100;

impl LogFilter {
    /// One level for everything.
    #[must_use]
    pub const fn new(level: LogLevel) -> Self {
        Self { level, targets: Vec::new() }
    }

    /// The level of everything that [`LogFilter::targets`] does not name.
    #[must_use]
    pub const fn level(&self) -> LogLevel {
        self.level
    }

    /// Targets (`oisp_decode::connection`) and their levels, in the order given.
    #[must_use]
    pub fn targets(&self) -> &[(String, LogLevel)] {
        &self.targets
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.level.fmt(formatter)?;
        self.targets.iter().try_for_each(|(target, level)| write!(formatter, ",{target}={level}"))
    }
}

impl Setting for LogFilter {
    type Allowed = ();

    fn kind() -> String {
        format!("{}, then TARGET=LEVEL after commas for other levels of targets", LogLevel::kind())
    }

    fn range((): &()) -> Option<String> {
        None
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let mut parts = text.split(',').map(str::trim);
        let level = parts.next().and_then(LogLevel::of).ok_or(Refusal::Kind)?;
        let mut filter = Self::new(level);
        for part in parts {
            let (target, level) = part.split_once('=').ok_or(Refusal::Kind)?;
            let named =
                !target.is_empty() && target.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
            let level = LogLevel::of(level).filter(|_| named).ok_or(Refusal::Kind)?;
            if filter.targets.len() == MOST_TARGETS {
                return Err(Refusal::Because(format!("must name {MOST_TARGETS} targets at most")));
            }
            filter.targets.push((target.to_owned(), level));
        }
        Ok(filter)
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }

    #[cfg(test)]
    fn any((): &()) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let target = proptest::string::string_regex("[a-z_:-]{1,20}").unwrap();
        let targets = proptest::collection::vec((target, LogLevel::any(&())), 0..4);
        (LogLevel::any(&()), targets).prop_map(|(level, targets)| Self { level, targets }).boxed()
    }
}
