//! Values that are one of a few words.

use std::fmt;

use super::{Refusal, Setting, quoted};

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The one that a word means.
            #[must_use]
            pub fn of(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|choice| choice.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl Setting for $name {
            type Allowed = ();

            fn kind() -> String {
                words(&[$($word),+])
            }

            fn range((): &()) -> Option<String> {
                None
            }

            fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
                Self::of(text).ok_or(Refusal::Kind)
            }

            fn to_toml(&self) -> String {
                quoted(self.as_str())
            }

            #[cfg(test)]
            fn any((): &()) -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy as _;
                proptest::sample::select(Self::ALL).boxed()
            }
        }
    )+};
}

choices! {
    /// What is kept of content.
    RedactionMode {
        /// Structure and text, with a marker for every secret that is recognised.
        Safe = "safe",
        /// No content: roles, lengths, hashes and counts.
        Minimal = "minimal",
        /// All but credentials in headers and URLs.
        Full = "full",
    }

    /// How the log is written.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }

    /// From what severity on the log is written.
    LogLevel {
        /// What ended something.
        Error = "error",
        /// What was lost or is not as it should be.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// What was decided, and why.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// The words as in "safe, minimal or full".
fn words(all: &[&str]) -> String {
    match all {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => all.concat(),
    }
}
