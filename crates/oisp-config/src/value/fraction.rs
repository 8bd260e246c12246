//! Shares of a whole.

use toml::Spanned;
use toml::de::DeValue;

use super::{Refusal, Refused, Setting};

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// Everything.
    pub const ONE: Self = Self(1.0);

    /// A share; `None` if it is not from 0 to 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        // Adding zero makes the negative zero, which equals zero, the same as it.
        (0.0..=1.0).contains(&share).then_some(Self(share + 0.0))
    }

    /// From 0 to 1.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0
    }
}

impl Setting for Fraction {
    type Allowed = ();

    fn kind() -> String {
        "a number".to_owned()
    }

    fn range((): &()) -> Option<String> {
        Some("0 to 1 (0.1 is every tenth)".to_owned())
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        Self::new(text.trim().parse().map_err(|_| Refusal::Kind)?).ok_or(Refusal::Range)
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, (): &()) -> Result<Self, Vec<Refused>> {
        let read = match value.get_ref() {
            DeValue::Float(float) => Self::from_text(float.as_str(), &()),
            DeValue::Integer(integer) if integer.radix() == 10 => Self::from_text(integer.as_str(), &()),
            _ => Err(Refusal::Kind),
        };
        read.map_err(|refusal| vec![Refused { span: value.span(), refusal }])
    }

    fn to_toml(&self) -> String {
        format!("{:?}", self.0)
    }

    #[cfg(test)]
    fn any((): &()) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        (0.0..=1.0).prop_map(Self).boxed()
    }
}
