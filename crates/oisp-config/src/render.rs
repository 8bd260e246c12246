//! The commented default file, the reference page, and settings as they are.

use std::fmt::Write as _;

use crate::merge::{Configuration, OTHER_VARIABLES};
use crate::settings::{GROUPS, Settings, keys};
use crate::table::{Applies, Group, Key, paragraph};

/// A file with every key, what it does and what is allowed. All are commented out, so it changes nothing.
#[must_use]
pub fn default_file() -> String {
    let mut text = comment(
        "Configuration of oisp-sensor. Every key is here with its default: take the # away to set one. \
         `oisp-sensor config --check FILE` says what is wrong with a file, `oisp-sensor config --effective` what holds.",
    );
    for (group, keys) in groups() {
        if let Some(group) = group {
            let _ = write!(text, "\n{}[{}]\n", comment(&paragraph(group.doc)), group.name);
        }
        for key in keys {
            let _ = write!(text, "\n{}", comment(&key.description()));
            let _ =
                write!(text, "{}", comment(&format!("Allowed: {}. {}", key.allowed(), takes_effect(key))));
            let name = key.path.rsplit('.').next().unwrap_or(key.path);
            let _ = writeln!(text, "#{name} = {}", key.value(&Settings::default()));
        }
    }
    text
}

/// Every key with its value and where that comes from: a file that gives the same settings.
#[must_use]
pub fn effective(configuration: &Configuration) -> String {
    let lines: Vec<_> =
        keys().map(|key| (format!("{} = {}", key.path, key.value(&configuration.settings)), key)).collect();
    // Long lists do not push the others' origins aside.
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max();
    let mut text = match &configuration.file {
        Some(path) => format!("# file: {}\n", path.display()),
        None => "# file: none\n".to_owned(),
    };
    for (line, key) in lines {
        let _ = writeln!(text, "{line:width$}  # {}", configuration.origin(key), width = width.unwrap_or(0));
    }
    text
}

/// The settings as a file, without a word.
#[must_use]
pub fn to_toml(settings: &Settings) -> String {
    keys().fold(String::new(), |mut text, key| {
        let _ = writeln!(text, "{} = {}", key.path, (key.print)(settings));
        text
    })
}

/// The reference page.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for (name, what) in OTHER_VARIABLES {
        let _ = writeln!(text, "- `{name}`: {what}");
    }
    text.push_str(VALUES);
    for (group, keys) in groups() {
        match group {
            Some(group) => {
                let _ = write!(text, "\n## `[{}]`\n\n{}\n", group.name, wrap(&paragraph(group.doc), ""));
            }
            None => text.push_str("\n## At the top\n"),
        }
        for key in keys {
            let _ = write!(text, "\n### `{}`\n\n{}\n\n", key.path, wrap(&key.description(), ""));
            let _ = writeln!(text, "- default: `{}`", key.value(&Settings::default()));
            let _ = writeln!(text, "- allowed: {}", key.allowed());
            let flag = key.flag.map(|flag| match flag.short {
                Some(letter) => format!(", `-{letter}`, `--{}`", flag.long),
                None => format!(", `--{}`", flag.long),
            });
            let _ = writeln!(text, "- also: `{}`{}", key.variable(), flag.unwrap_or_default());
            let _ = writeln!(text, "- {}", takes_effect(key));
        }
    }
    text
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table in crates/oisp-config/src/settings.rs: OISP_TEST_BLESS=1 cargo test -p oisp-config -->

Nothing needs to be configured. What is, comes from four places; a later one goes before an earlier one:

1. the defaults below;
2. a file in TOML: the one that `--config FILE` names, else `$OISP_CONFIG`, else `oisp-sensor/config.toml` in
   `$XDG_CONFIG_HOME` (`~/.config`), else `/etc/oisp-sensor/config.toml`. The first that exists is read, and no other;
3. environment variables: `OISP_CAPTURE_RING_SIZE` for `capture.ring_size`, and so for each key;
4. flags: `--set capture.ring_size=32MiB`, and so for each key; some have a flag of their own.

`oisp-sensor config` prints a file with every key, `oisp-sensor config --check FILE` says everything that is wrong with
one, `oisp-sensor config --effective` prints what holds and where it comes from. `--pid`, the command, the `-o` of
`demo` and `--config` itself name what one run is about, and have no key. A variable `OISP_CONFIG` that is empty counts as
not set.

A key that there is not is an error, in every place. These variables begin with `OISP_` and are not keys:

";

const VALUES: &str = "
Sizes are in bytes, or with a unit: KiB, MiB, GiB, TiB count in 1024, KB, MB, GB, TB in 1000. Durations have a unit: h, m,
s, ms, us, ns. Rates are per s, min or h. In patterns `*` is any run of characters (`/` too), `?` one character of ASCII,
`[ab]` one of a set, `{a,b}` one of several, `\\` takes the meaning from what follows; a pattern matches the whole text. In
a variable or a flag a list's patterns stand between commas.
";

fn groups() -> impl Iterator<Item = (Option<&'static Group>, impl Iterator<Item = &'static Key>)> {
    let of = |name: &'static str| keys().filter(move |key| key.group == name);
    std::iter::once((None, of(""))).chain(GROUPS.iter().map(move |group| (Some(group), of(group.name))))
}

fn takes_effect(key: &Key) -> &'static str {
    match key.applies {
        Applies::Live => "A change takes effect at a reload.",
        Applies::Restart => "A change takes effect when the sensor is started again.",
    }
}

fn comment(text: &str) -> String {
    wrap(text, "# ") + "\n"
}

/// The longest line of what is made.
const WIDTH: usize = 110;

fn wrap(text: &str, prefix: &str) -> String {
    let mut lines = vec![prefix.to_owned()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() == prefix.len() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{prefix}{word}")),
        }
    }
    lines.join("\n")
}
