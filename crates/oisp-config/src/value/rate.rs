//! How often something may happen.

use std::fmt;

use super::{Refusal, Setting, Within, number_and_unit, quoted};

/// So many in a period: `"100/s"`, `"600/min"`, `"5000/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    period: RatePeriod,
}

/// What a rate counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RatePeriod {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

const PERIODS: &[(&str, RatePeriod)] =
    &[("s", RatePeriod::Second), ("min", RatePeriod::Minute), ("h", RatePeriod::Hour)];

impl RatePeriod {
    /// Its length.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    fn name(self) -> &'static str {
        PERIODS.iter().find(|(_, period)| *period == self).map_or("s", |(name, _)| name)
    }
}

impl Rate {
    /// So many in each period.
    #[must_use]
    pub const fn new(count: u32, period: RatePeriod) -> Self {
        Self { count, period }
    }

    /// How many in a period.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// What it counts in.
    #[must_use]
    pub const fn period(self) -> RatePeriod {
        self.period
    }

    /// How many a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / f64::from(self.period.seconds())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, self.period.name())
    }
}

impl Setting for Rate {
    /// How many in a period, whichever it is.
    type Allowed = Within<u32>;

    fn kind() -> String {
        "a rate such as \"10/s\", \"600/min\" or \"5000/h\"".to_owned()
    }

    fn range(allowed: &Within<u32>) -> Option<String> {
        Some(allowed.words(|count| count.to_string()))
    }

    fn from_text(text: &str, allowed: &Within<u32>) -> Result<Self, Refusal> {
        let (number, period) = number_and_unit(text).ok_or(Refusal::Kind)?;
        let period = period.strip_prefix('/').ok_or(Refusal::Kind)?.trim_start();
        let (_, period) = PERIODS.iter().find(|(name, _)| *name == period).ok_or(Refusal::Kind)?;
        let count = allowed.check(u32::try_from(number).map_err(|_| Refusal::Range)?)?;
        Ok(Self { count, period: *period })
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }

    #[cfg(test)]
    fn any(allowed: &Within<u32>) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let periods = proptest::sample::select(PERIODS);
        (allowed.least..=allowed.most, periods)
            .prop_map(|(count, (_, period))| Self { count, period })
            .boxed()
    }
}
