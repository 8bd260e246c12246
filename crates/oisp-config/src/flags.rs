//! The flags of the command line, from the table.
//!
//! Every key can be set with `--set KEY=VALUE`; the important ones have a flag of their own. A program flattens
//! [`Flags`] into its arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::merge::FlagValue;
use crate::settings::{Settings, keys};
use crate::table::{Flag, Key};

/// The flags that were typed. Values are looked at when all places are merged, so that every mistake is said at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`, which names one run's file and has no key.
    pub config: Option<PathBuf>,
    /// Those that set keys, in the order in which they were typed.
    pub values: Vec<FlagValue>,
}

const CONFIG: &str = "config";
const SET: &str = "set";

/// Adds `--config`, `--set` and the keys' own flags, but for those of the keys named.
#[must_use]
pub fn with_flags(command: Command, without: &[&str]) -> Command {
    let config =
        Arg::new(CONFIG).long("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help(
            "Configuration file [default: $OISP_CONFIG, else config.toml in ~/.config/oisp-sensor or \
               /etc/oisp-sensor]",
        );
    let set = Arg::new(SET)
        .long("set")
        .value_name("KEY=VALUE")
        .value_parser(value_parser!(OsString))
        .action(ArgAction::Append)
        .help("Set any key of the configuration; `oisp-sensor config` lists them");
    let own = own_flags().filter(|(key, _)| !without.contains(&key.path)).map(|(key, flag)| own(key, flag));
    command.args(own).args([config, set])
}

/// What was typed of the flags that [`with_flags`] added.
#[must_use]
pub fn from_matches(matches: &ArgMatches) -> Flags {
    let mut values: Vec<(usize, FlagValue)> = Vec::new();
    let mut add = |id: &str, make: &dyn Fn(OsString) -> FlagValue| {
        // What is not there was left out by the caller.
        if let Ok(Some(given)) = matches.try_get_many::<OsString>(id) {
            let indices = matches.indices_of(id).into_iter().flatten();
            values.extend(indices.zip(given).map(|(index, text)| (index, make(text.clone()))));
        }
    };
    add(SET, &FlagValue::Set);
    for (key, _) in own_flags() {
        add(key.path, &|text| FlagValue::Own(key, text));
    }
    values.sort_by_key(|(index, _)| *index);
    Flags {
        config: matches.try_get_one::<PathBuf>(CONFIG).ok().flatten().cloned(),
        values: values.into_iter().map(|(_, value)| value).collect(),
    }
}

fn own_flags() -> impl Iterator<Item = (&'static Key, Flag)> {
    keys().filter_map(|key| key.flag.map(|flag| (key, flag)))
}

fn own(key: &'static Key, flag: Flag) -> Arg {
    let text = key.description().replace('`', "");
    let sentence = text.split_once(". ").map_or(text.as_str(), |(first, _)| first).trim_end_matches('.');
    let arg = Arg::new(key.path)
        .long(flag.long)
        .short(flag.short)
        .hide(!flag.shown)
        .value_parser(value_parser!(OsString))
        .action(ArgAction::Append);
    if key.is_switch {
        arg.num_args(0).default_missing_value("true").help(sentence.to_owned())
    } else {
        let default = key.value(&Settings::default());
        arg.value_name(flag.value).help(format!("{sentence} [default: {}]", default.trim_matches('"')))
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        with_flags(command, &[])
    }

    fn augment_args_for_update(command: Command) -> Command {
        with_flags(command, &[])
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(from_matches(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = from_matches(matches);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(arguments: &[&str], without: &[&str]) -> Result<Flags, clap::Error> {
        let command = with_flags(Command::new("test").no_binary_name(true), without);
        Ok(from_matches(&command.try_get_matches_from(arguments)?))
    }

    fn own(path: &str, value: &str) -> FlagValue {
        FlagValue::Own(crate::key(path).unwrap(), value.into())
    }

    #[test]
    fn flags_come_in_the_order_in_which_they_were_typed() {
        let flags = typed(
            &[
                "--set",
                "output=a",
                "-o",
                "b",
                "-q",
                "--config",
                "c.toml",
                "--redaction=full",
                "--set=x",
                "-o",
                "d",
            ],
            &[],
        );
        let values = vec![
            FlagValue::Set("output=a".into()),
            own("output", "b"),
            own("quiet", "true"),
            own("redaction.mode", "full"),
            FlagValue::Set("x".into()),
            own("output", "d"),
        ];
        assert_eq!(flags.unwrap(), Flags { config: Some("c.toml".into()), values });
        assert_eq!(typed(&[], &[]).unwrap(), Flags::default());
    }

    #[test]
    fn flag_of_a_key_that_is_left_out_is_not_there() {
        assert!(typed(&["-o", "x"], &["output"]).is_err());
        assert_eq!(typed(&["-q"], &["output"]).unwrap().values, [own("quiet", "true")]);
    }
}
