//! What makes the types of the settings, and the list of keys, from one table.

use std::ffi::OsStr;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use crate::merge::PREFIX;
use crate::settings::Settings;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// At a reload.
    Live,
    /// When the sensor starts.
    Restart,
}

/// One setting: what there is to know of it apart from its value.
pub struct Key {
    /// Its name in the file, `capture.ring_size`.
    pub path: &'static str,
    /// The table that it is in, empty at the top.
    pub group: &'static str,
    /// What it does, in lines that begin with a space.
    pub(crate) doc: &'static [&'static str],
    /// When a changed value takes effect.
    pub applies: Applies,
    /// The flag that it has besides `--set`.
    pub flag: Option<Flag>,
    /// Whether its value is kept out of messages and of what is printed.
    pub secret: bool,
    pub(crate) is_switch: bool,
    pub(crate) allowed: fn() -> String,
    pub(crate) set_text: fn(&mut Settings, &OsStr) -> Result<(), String>,
    pub(crate) set_toml: fn(&mut Settings, &Spanned<DeValue<'_>>) -> Result<(), Vec<Unfit>>,
    pub(crate) print: fn(&Settings) -> String,
    pub(crate) equal: fn(&Settings, &Settings) -> bool,
    pub(crate) copy: fn(from: &Settings, to: &mut Settings),
    #[cfg(test)]
    pub(crate) any: fn() -> proptest::strategy::BoxedStrategy<Settings>,
}

/// What is wrong in a value of a file: where in the file, and in words.
pub(crate) type Unfit = (Range<usize>, String);

/// A flag of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    /// The letter, where there is one.
    pub short: Option<char>,
    /// What the help calls the value.
    pub value: &'static str,
    /// Whether the help shows it.
    pub shown: bool,
}

/// A flag that the help shows.
pub(crate) const fn flag(long: &'static str, value: &'static str) -> Flag {
    Flag { long, short: None, value, shown: true }
}

impl Flag {
    pub(crate) const fn or(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    pub(crate) const fn hidden(self) -> Self {
        Self { shown: false, ..self }
    }
}

/// A group of settings: a table of the file.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static [&'static str],
}

/// Equality of keys is that of their names, of which there is one each.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.path)
    }
}

impl Key {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "_").to_uppercase())
    }

    /// What it does, a paragraph.
    #[must_use]
    pub fn description(&self) -> String {
        paragraph(self.doc)
    }

    /// What may be given, in words.
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Its value in some settings, as TOML.
    #[must_use]
    pub fn value(&self, settings: &Settings) -> String {
        if self.secret { "\"(not shown)\"".to_owned() } else { (self.print)(settings) }
    }
}

/// The lines of a comment as one.
pub(crate) fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Makes [`Settings`], a struct for each group, and the lists of keys and groups.
///
/// A key is: its comment, which is also its documentation in the reference and the default file; name, type, default;
/// what is allowed; `Live` or `Restart`; and, if it has one, `flag …`; and, if its value must not be shown,
/// `secret true`.
macro_rules! settings {
    (
        { $($top:tt)* }
        $($(#[doc = $group_doc:literal])+ $group:ident: $name:ident { $($keys:tt)* })*
    ) => {
        settings!(@struct
            /// All settings.
            Settings { $($top)* } { $($(#[doc = $group_doc])+ $group: $name,)* }
        );
        $(settings!(@struct $(#[doc = $group_doc])+ $name { $($keys)* } {});)*

        /// The tables of the file, in the order of the reference.
        pub(crate) static GROUPS: &[$crate::table::Group] = &[
            $($crate::table::Group { name: stringify!($group), doc: &[$($group_doc),+] },)*
        ];

        /// Every setting, a list for each group, in the order of the reference.
        static KEYS_OF_GROUPS: &[&[$crate::table::Key]] = &[
            settings!(@keys [] { $($top)* }),
            $(settings!(@keys [$group] { $($keys)* }),)*
        ];
    };

    (@struct $(#[$doc:meta])+ $name:ident {
        $(
            $(#[doc = $key_doc:literal])+
            $key:ident: $type:ty = $default:expr, $allowed:expr, $applies:ident
            $(, flag $flag:expr)? $(, secret $secret:literal)?;
        )*
    } { $($(#[$group_doc:meta])+ $group:ident: $group_type:ty,)* }) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $key_doc])+ pub $key: $type,)*
            $($(#[$group_doc])+ pub $group: $group_type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* $($group: <$group_type>::default(),)* }
            }
        }
    };

    (@keys $group:tt {
        $(
            $(#[doc = $key_doc:literal])+
            $key:ident: $type:ty = $default:expr, $allowed:expr, $applies:ident
            $(, flag $flag:expr)? $(, secret $secret:literal)?;
        )*
    }) => {
        &[$(settings!(@key $group [$($key_doc),+] $key, $type, $allowed, $applies, [$($flag)?], [$($secret)?]),)*]
    };

    (@key
        [$($group:ident)?] $doc:tt $key:ident, $type:ty, $allowed:expr, $applies:ident,
        [$($flag:expr)?], [$($secret:literal)?]
    ) => {{
        /// What the table allows for this key.
        const ALLOWED: <$type as $crate::value::Setting>::Allowed = $allowed;
        $crate::table::Key {
            path: concat!($(stringify!($group), ".",)? stringify!($key)),
            group: concat!($(stringify!($group))?),
            doc: &$doc,
            applies: $crate::table::Applies::$applies,
            flag: [$(Some($flag),)? None][0],
            secret: [$($secret,)? false][0],
            is_switch: <$type as $crate::value::Setting>::SWITCH,
            allowed: || <$type as $crate::value::Setting>::describe(&ALLOWED),
            set_text: |settings, text| {
                settings$(.$group)?.$key = <$type as $crate::value::Setting>::from_os_text(text, &ALLOWED)
                    .map_err(|refusal| refusal.explain::<$type>(&ALLOWED))?;
                Ok(())
            },
            set_toml: |settings, value| {
                settings$(.$group)?.$key = <$type as $crate::value::Setting>::from_toml(value, &ALLOWED)
                    .map_err(|all| {
                        all.into_iter()
                            .map(|refused| (refused.span, refused.refusal.explain::<$type>(&ALLOWED)))
                            .collect::<Vec<_>>()
                    })?;
                Ok(())
            },
            print: |settings| $crate::value::Setting::to_toml(&settings$(.$group)?.$key),
            equal: |one, other| one$(.$group)?.$key == other$(.$group)?.$key,
            copy: |from, to| to$(.$group)?.$key = from$(.$group)?.$key.clone(),
            #[cfg(test)]
            any: || {
                use proptest::strategy::Strategy as _;
                <$type as $crate::value::Setting>::any(&ALLOWED)
                    .prop_map(|value| {
                        let mut settings = Settings::default();
                        settings$(.$group)?.$key = value;
                        settings
                    })
                    .boxed()
            },
        }
    }};
}

pub(crate) use settings;
