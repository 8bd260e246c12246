//! Values of one word: switches, counts, paths, and values that may be absent.

use std::ffi::OsStr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{Refusal, Refused, Setting, Within, quoted};

impl Setting for bool {
    type Allowed = ();

    const SWITCH: bool = true;

    fn kind() -> String {
        "true or false".to_owned()
    }

    fn range((): &()) -> Option<String> {
        None
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        text.parse().map_err(|_| Refusal::Kind)
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, (): &()) -> Result<Self, Vec<Refused>> {
        value.get_ref().as_bool().ok_or_else(|| vec![Refused { span: value.span(), refusal: Refusal::Kind }])
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }

    #[cfg(test)]
    fn any((): &()) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        proptest::bool::ANY.boxed()
    }
}

/// A count: a whole number in a range.
macro_rules! counts {
    ($($type:ty)*) => {$(
        impl Setting for $type {
            type Allowed = Within<$type>;

            fn kind() -> String {
                "a whole number".to_owned()
            }

            fn range(allowed: &Within<$type>) -> Option<String> {
                Some(allowed.words(|value| value.to_string()))
            }

            fn from_text(text: &str, allowed: &Within<$type>) -> Result<Self, Refusal> {
                // What is larger than the type is a number still.
                let number = text.trim().parse::<i128>().map_err(|_| Refusal::Kind)?;
                allowed.check(<$type>::try_from(number).map_err(|_| Refusal::Range)?)
            }

            fn from_toml(
                value: &Spanned<DeValue<'_>>,
                allowed: &Within<$type>,
            ) -> Result<Self, Vec<Refused>> {
                let read = whole(value.get_ref())
                    .and_then(|number| <$type>::try_from(number).map_err(|_| Refusal::Range))
                    .and_then(|number| allowed.check(number));
                read.map_err(|refusal| vec![Refused { span: value.span(), refusal }])
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }

            #[cfg(test)]
            fn any(allowed: &Within<$type>) -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy as _;
                (allowed.least..=allowed.most).boxed()
            }
        }
    )*};
}

counts!(u32 usize);

/// A whole number of a file. One that fits no type at all is out of every range.
pub(super) fn whole(value: &DeValue<'_>) -> Result<i128, Refusal> {
    let integer = value.as_integer().ok_or(Refusal::Kind)?;
    i128::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| Refusal::Range)
}

impl Setting for PathBuf {
    type Allowed = ();

    fn kind() -> String {
        "a path".to_owned()
    }

    fn range((): &()) -> Option<String> {
        None
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text.is_empty() || text.contains('\0') { Err(Refusal::Kind) } else { Ok(Self::from(text)) }
    }

    fn from_os_text(text: &OsStr, (): &()) -> Result<Self, Refusal> {
        if text.is_empty() { Err(Refusal::Kind) } else { Ok(Self::from(text)) }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }

    #[cfg(test)]
    fn any((): &()) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        proptest::string::string_regex("[^\0]{1,40}")
            .unwrap()
            .prop_filter("not the word for absent", |text| text != NONE)
            .prop_map(Self::from)
            .boxed()
    }
}

/// Says in every place that there is no value, so that a later place can take back what an earlier one gave.
const NONE: &str = "none";

impl<T: Setting> Setting for Option<T> {
    type Allowed = T::Allowed;

    fn kind() -> String {
        T::kind()
    }

    fn range(allowed: &T::Allowed) -> Option<String> {
        T::range(allowed)
    }

    fn describe(allowed: &T::Allowed) -> String {
        format!("{}; or \"{NONE}\"", T::describe(allowed))
    }

    fn from_text(text: &str, allowed: &T::Allowed) -> Result<Self, Refusal> {
        if text == NONE { Ok(None) } else { T::from_text(text, allowed).map(Some) }
    }

    fn from_os_text(text: &OsStr, allowed: &T::Allowed) -> Result<Self, Refusal> {
        if text == NONE { Ok(None) } else { T::from_os_text(text, allowed).map(Some) }
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, allowed: &T::Allowed) -> Result<Self, Vec<Refused>> {
        if value.get_ref().as_str() == Some(NONE) { Ok(None) } else { T::from_toml(value, allowed).map(Some) }
    }

    fn to_toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted(NONE), Setting::to_toml)
    }

    #[cfg(test)]
    fn any(allowed: &T::Allowed) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let some = T::any(allowed).prop_map(Some);
        proptest::prop_oneof![proptest::strategy::Just(()).prop_map(|()| None), some].boxed()
    }
}
