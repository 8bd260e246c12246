//! Sizes in bytes.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::scalar::whole;
use super::{Refusal, Refused, Setting, Within, number_and_unit, quoted};

/// A number of bytes: `"16 MiB"`, `"64 KB"`, `65536`. KiB is 1024 bytes, KB is 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// The binary ones first: of two that are equally short, the first is written.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

impl ByteSize {
    /// Of so many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Of so many times 1024 bytes.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// Of so many times 1024 × 1024 bytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// Of so many times 1024 × 1024 × 1024 bytes.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, or the largest that this machine can address.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The shortest unit that gives a whole number; none where that is as short.
    fn shortest(self) -> (u64, Option<&'static str>) {
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0);
        UNITS
            .iter()
            .filter(|(name, unit)| *name != "B" && self.0 != 0 && self.0.is_multiple_of(*unit))
            .map(|(name, unit)| (self.0 / unit, *name))
            .min_by_key(|(number, _)| digits(*number))
            .filter(|(number, _)| digits(*number) < digits(self.0))
            .map_or((self.0, None), |(number, name)| (number, Some(name)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = self.shortest();
        write!(formatter, "{number} {}", unit.unwrap_or("B"))
    }
}

impl Setting for ByteSize {
    type Allowed = Within<Self>;

    fn kind() -> String {
        "a size such as \"16 MiB\", \"64 KB\" or 65536".to_owned()
    }

    fn range(allowed: &Within<Self>) -> Option<String> {
        Some(allowed.words(|size| size.to_string()))
    }

    fn from_text(text: &str, allowed: &Within<Self>) -> Result<Self, Refusal> {
        let (number, unit) = number_and_unit(text).ok_or(Refusal::Kind)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, bytes) =
            UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(Refusal::Kind)?;
        allowed.check(Self(number.checked_mul(*bytes).ok_or(Refusal::Range)?))
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, allowed: &Within<Self>) -> Result<Self, Vec<Refused>> {
        let read = match value.get_ref() {
            DeValue::String(text) => Self::from_text(text, allowed),
            other => whole(other)
                .and_then(|number| u64::try_from(number).map_err(|_| Refusal::Range))
                .and_then(|number| allowed.check(Self(number))),
        };
        read.map_err(|refusal| vec![Refused { span: value.span(), refusal }])
    }

    fn to_toml(&self) -> String {
        match self.shortest() {
            (number, None) => number.to_string(),
            (number, Some(unit)) => quoted(&format!("{number} {unit}")),
        }
    }

    #[cfg(test)]
    fn any(allowed: &Within<Self>) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let Within { least, most, .. } = *allowed;
        let exact = least.0..=most.0;
        let round = (exact.clone(), 0..UNITS.len()).prop_map(move |(bytes, unit)| {
            let unit = UNITS[unit].1;
            (bytes / unit * unit).max(least.0)
        });
        proptest::prop_oneof![exact, round].prop_map(Self).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Within<ByteSize> = super::super::within(ByteSize(0), ByteSize(u64::MAX));

    #[test]
    fn size_is_written_in_the_shortest_exact_form() {
        for (bytes, written) in [
            (0, "0"),
            (5, "5"),
            (512, "512"),
            (1000, "\"1 KB\""),
            (1024, "\"1 KiB\""),
            (1025, "1025"),
            (65_536, "\"64 KiB\""),
            (16 << 20, "\"16 MiB\""),
            (1_000_000, "\"1 MB\""),
            (1_024_000, "\"1000 KiB\""),
            (3 << 40, "\"3 TiB\""),
        ] {
            assert_eq!(ByteSize(bytes).to_toml(), written);
        }
    }

    #[test]
    fn units_are_told_apart_and_may_stand_close() {
        for (text, bytes) in [
            ("64 KiB", 65_536),
            ("64KiB", 65_536),
            (" 64 kib ", 65_536),
            ("64 KB", 64_000),
            ("7", 7),
            ("7 B", 7),
            ("1 GB", 1_000_000_000),
        ] {
            assert_eq!(ByteSize::from_text(text, &ANY), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "K", "1 K", "1.5 MiB", "-1", "MiB", "1 MiB 2", "0x10"] {
            assert_eq!(ByteSize::from_text(text, &ANY), Err(Refusal::Kind), "{text}");
        }
        assert_eq!(ByteSize::from_text("99999999 TiB", &ANY), Err(Refusal::Range));
    }
}
