//! Values of settings: how each type is read, what is allowed, how it is written.

mod choice;
mod duration;
mod fraction;
mod log_filter;
mod patterns;
mod rate;
mod scalar;
mod services;
mod size;

use std::ffi::OsStr;
use std::fmt::Debug;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

pub use choice::{LogFormat, LogLevel, RedactionMode};
pub use fraction::Fraction;
pub use log_filter::LogFilter;
pub use patterns::{Case, Patterns};
pub use rate::{Rate, RatePeriod};
pub use services::{Service, Services};
pub use size::ByteSize;

/// A type that a setting may have.
pub trait Setting: Clone + PartialEq + Debug + Sized + 'static {
    /// What narrows the type down for one key: a range, or nothing.
    type Allowed: 'static;

    /// Whether a flag without a value turns it on.
    const SWITCH: bool = false;

    /// What kind of value it is, as in "must be …".
    fn kind() -> String;

    /// The range, as in "must be …", where the kind alone does not say it.
    fn range(allowed: &Self::Allowed) -> Option<String>;

    /// What may be given: the kind and the range.
    fn describe(allowed: &Self::Allowed) -> String {
        match Self::range(allowed) {
            Some(range) => format!("{}, {range}", Self::kind()),
            None => Self::kind(),
        }
    }

    /// Reads it from an environment variable or a flag.
    ///
    /// # Errors
    /// A refusal, which never repeats the text: it may be secret.
    fn from_text(text: &str, allowed: &Self::Allowed) -> Result<Self, Refusal>;

    /// Reads it from an environment variable or a flag that may not be UTF-8.
    ///
    /// # Errors
    /// As [`Setting::from_text`].
    fn from_os_text(text: &OsStr, allowed: &Self::Allowed) -> Result<Self, Refusal> {
        match text.to_str() {
            Some(text) => Self::from_text(text, allowed),
            None => Err(Refusal::Because("is not UTF-8".to_owned())),
        }
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// Every refusal in it, with the place; as [`Setting::from_text`] none repeats the text.
    fn from_toml(value: &Spanned<DeValue<'_>>, allowed: &Self::Allowed) -> Result<Self, Vec<Refused>> {
        let read = match value.get_ref() {
            DeValue::String(text) => Self::from_text(text, allowed),
            _ => Err(Refusal::Kind),
        };
        read.map_err(|refusal| vec![Refused { span: value.span(), refusal }])
    }

    /// Writes it as a value of TOML that [`Setting::from_toml`] reads as the same.
    fn to_toml(&self) -> String;

    /// Any allowed value.
    #[cfg(test)]
    fn any(allowed: &Self::Allowed) -> proptest::strategy::BoxedStrategy<Self>;
}

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is something else than the key's kind.
    Kind,
    /// It is of the right kind and out of range.
    Range,
    /// Something that the kind and the range do not say. Does not repeat the value.
    Because(String),
}

impl Refusal {
    /// In words, for a key with this range.
    pub(crate) fn explain<T: Setting>(&self, allowed: &T::Allowed) -> String {
        match (self, T::range(allowed)) {
            (Self::Because(why), _) => why.clone(),
            (Self::Range, Some(range)) => format!("must be {range}"),
            _ => format!("must be {}", T::describe(allowed)),
        }
    }
}

/// A refusal and where in the file it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// Why.
    pub refusal: Refusal,
}

/// A range with both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within<T> {
    least: T,
    most: T,
    unit: &'static str,
}

/// From `least` to `most`, both allowed.
pub(crate) const fn within<T: Copy>(least: T, most: T) -> Within<T> {
    Within { least, most, unit: "" }
}

impl<T: PartialOrd + Copy> Within<T> {
    /// Counts these; said where the range is.
    #[must_use]
    pub(crate) const fn of(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    fn check(&self, value: T) -> Result<T, Refusal> {
        if value >= self.least && value <= self.most { Ok(value) } else { Err(Refusal::Range) }
    }

    fn words(&self, show: impl Fn(T) -> String) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
        format!("{} to {}{unit}", show(self.least), show(self.most))
    }
}

/// The text as a string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Splits a number from the unit behind it. The unit is empty where there is none; a space between is allowed.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}
