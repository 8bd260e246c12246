//! Lengths of time.

use std::time::Duration;

use super::{Refusal, Setting, Within, number_and_unit, quoted};

/// From the longest to the shortest, in nanoseconds.
const UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// In the longest unit that gives a whole number.
fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let shown = UNITS
        .iter()
        .find(|(_, unit)| nanos != 0 && nanos.is_multiple_of(u128::from(*unit)))
        .map(|(name, unit)| format!("{}{name}", nanos / u128::from(*unit)));
    shown.unwrap_or_else(|| "0s".to_owned())
}

impl Setting for Duration {
    type Allowed = Within<Self>;

    fn kind() -> String {
        "a duration such as \"5s\", \"100ms\" or \"2m\"".to_owned()
    }

    fn range(allowed: &Within<Self>) -> Option<String> {
        Some(allowed.words(show))
    }

    fn from_text(text: &str, allowed: &Within<Self>) -> Result<Self, Refusal> {
        let (number, unit) = number_and_unit(text).ok_or(Refusal::Kind)?;
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(Refusal::Kind)?;
        allowed.check(Self::from_nanos(number.checked_mul(*nanos).ok_or(Refusal::Range)?))
    }

    fn to_toml(&self) -> String {
        quoted(&show(*self))
    }

    #[cfg(test)]
    fn any(allowed: &Within<Self>) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
        (nanos(allowed.least)..=nanos(allowed.most), 0..UNITS.len())
            .prop_map(|(nanos, unit)| Duration::from_nanos(nanos / UNITS[unit].1 * UNITS[unit].1))
            .boxed()
    }
}
