//! Settings from the text of a TOML file.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::merge::Origin;
use crate::nearest::nearest;
use crate::problem::{Fault, Place, Problem, excerpt};
use crate::settings::{GROUPS, Settings, first_of_table, key, keys};
use crate::table::Key;

/// So many are said of one file. Who has more has another file in hand than they think.
const MOST_PROBLEMS: usize = 100;

/// Sets what a file sets; gives everything that is wrong in it, in the order of its lines.
pub(crate) fn apply(
    path: &Path,
    text: &str,
    settings: &mut Settings,
    origins: &mut BTreeMap<&'static str, Origin>,
) -> Vec<Problem> {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(start_of);
    let mut reader = Reader { path, text, lines: Lines::of(text), settings, origins, problems: Vec::new() };
    reader.table("", table.get_ref());
    let obscured = obscured(text, &reader.lines, errors.iter().map(start_of));
    let lines = &reader.lines;
    reader.problems.retain(|(start, _)| !obscured[lines.line(*start)]);
    let count = reader.problems.len() + errors.len();
    reader
        .problems
        .extend(errors.iter().take(MOST_PROBLEMS).map(|error| (start_of(error), syntax(text, error))));
    reader.problems.sort_by_key(|(start, _)| *start);
    let more = count.saturating_sub(MOST_PROBLEMS);
    let more = (more > 0).then(|| (None, Fault::Other(format!("and {more} mistakes more"))));
    let problems = reader.problems.into_iter().take(MOST_PROBLEMS);
    let problems = problems.map(|(start, fault)| (Some(reader.lines.line(start)), fault));
    let place = |line| Place::File { path: path.to_owned(), line };
    problems.chain(more).map(|(line, fault)| Problem { place: place(line), fault }).collect()
}

fn start_of(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    Fault::Other(match error.message() {
        "duplicate key" => {
            let name = error.span().and_then(|span| text.get(span)).map(excerpt).unwrap_or_default();
            format!("duplicate key {name}: it stands above already")
        }
        message => message.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// For each line, by its number, whether what was understood of it is in doubt: a line with a mistake in its syntax,
/// and the lines below a broken heading, which may belong to another table. Nothing more is said of these.
fn obscured(text: &str, lines: &Lines, mistakes: impl Iterator<Item = usize>) -> Vec<bool> {
    let all: Vec<_> = text.lines().collect();
    let is_heading = |line: &&str| line.trim_start().starts_with('[');
    let mut obscured = vec![false; all.len() + 2];
    for start in mistakes {
        let line = lines.line(start);
        let heading = all.get(line - 1).is_some_and(is_heading);
        if std::mem::replace(&mut obscured[line], true) || !heading {
            continue;
        }
        for (below, _) in (line + 1..).zip(all[line..].iter().take_while(|line| !is_heading(line))) {
            obscured[below] = true;
        }
    }
    obscured
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    lines: Lines,
    settings: &'a mut Settings,
    origins: &'a mut BTreeMap<&'static str, Origin>,
    /// With the position in the text.
    problems: Vec<(usize, Fault)>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let start = name.span().start;
            let path = format!("{prefix}{}", name.get_ref());
            // A name with a dot in it is no path, though it would look like one.
            let is_path = !name.get_ref().contains('.');
            if let Some(key) = key(&path).filter(|_| is_path) {
                self.value(key, start, value);
                continue;
            }
            let inner = format!("{path}.");
            match (value.get_ref(), first_of_table(&path).filter(|_| is_path)) {
                (DeValue::Table(table), Some(_)) => self.table(&inner, table),
                (_, Some(example)) => {
                    let what = format!("{path} is a table: write {} = …, or [{path}] above", example.path);
                    self.problems.push((start, Fault::Other(what)));
                }
                (value, None) => {
                    let what = if value.is_table() { "table" } else { "key" };
                    let groups = GROUPS.iter().map(|group| group.name).filter(|_| value.is_table());
                    let meant = nearest(&path, groups.chain(keys().map(|key| key.path)));
                    let nearest = meant.map(ToOwned::to_owned);
                    let name = if is_path { excerpt(&path) } else { format!("\"{}\"", excerpt(&path)) };
                    self.problems.push((start, Fault::Unknown { what, name, nearest }));
                }
            }
        }
    }

    fn value(&mut self, key: &'static Key, start: usize, value: &toml::Spanned<DeValue<'_>>) {
        match (key.set_toml)(self.settings, value) {
            Ok(()) => {
                let origin = Origin::File { path: self.path.to_owned(), line: self.lines.line(start) };
                self.origins.insert(key.path, origin);
            }
            Err(refused) => {
                for (span, why) in refused {
                    // Where the value is the whole, its key says better where it is: the two may be tables apart.
                    let start = if span == value.span() { start } else { span.start };
                    let given = self.text.get(span).filter(|_| !key.secret).map(excerpt);
                    self.problems.push((start, Fault::Value { key: key.path, given, why }));
                }
            }
        }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after_breaks).collect())
    }

    /// The number of the line that a position is in, from 1.
    fn line(&self, position: usize) -> usize {
        self.0.partition_point(|start| *start <= position)
    }
}
