//! Wall-clock time as events carry it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in wall-clock time, written as RFC 3339 in UTC with microseconds
/// (`2026-01-31T12:00:00.123456Z`); nanoseconds are kept inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// From nanoseconds since the Unix epoch; saturates at the ends of the representable range
    /// (years -9999 to 9999).
    #[must_use]
    pub fn from_unix_nanoseconds(nanoseconds: i128) -> Self {
        let clamped =
            nanoseconds.clamp(jiff::Timestamp::MIN.as_nanosecond(), jiff::Timestamp::MAX.as_nanosecond());
        Self(jiff::Timestamp::from_nanosecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_nanoseconds(self) -> i128 {
        self.0.as_nanosecond()
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Milliseconds since the Unix epoch, 0 for times before it (a ULID has no sign).
    #[must_use]
    pub fn unix_milliseconds(self) -> u64 {
        u64::try_from(self.0.as_millisecond()).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.6}", self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_is_written_in_utc_with_six_digits() {
        let time = Timestamp::from_unix_nanoseconds(1_769_860_800_123_456_789);
        assert_eq!(time.to_string(), "2026-01-31T12:00:00.123456Z");
        assert_eq!(Timestamp::from_unix_nanoseconds(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn timestamp_outside_the_calendar_saturates() {
        assert!(Timestamp::from_unix_nanoseconds(i128::MAX) > Timestamp::from_unix_nanoseconds(0));
        assert_eq!(Timestamp::from_unix_nanoseconds(-5_000_000).unix_milliseconds(), 0);
    }
}
