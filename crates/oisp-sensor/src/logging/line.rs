//! One line of the log.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::level_name;

/// Bytes of a message or of a field's value.
const MAX_VALUE: usize = 2048;
/// Fields of a line.
const MAX_FIELDS: usize = 16;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: `2026-01-02T03:04:05.678901Z warn  oisp_decode: message field=value`.
    #[default]
    Text,
    /// A JSON object with `time`, `level`, `target`, `message` and `fields`.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("not a format of the log: {text:?}; use text or json")),
        }
    }
}

/// The message and the fields of an event, cut to their limits.
pub(super) fn collect(event: &Event<'_>) -> (String, Vec<(&'static str, String)>) {
    let mut visitor = Visitor { message: String::new(), fields: Vec::new() };
    event.record(&mut visitor);
    (visitor.message, visitor.fields)
}

struct Visitor {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Visitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Not as Rust writes it, in quotes and with escapes.
        self.put(field, format_args!("{value}"));
    }
}

impl Visitor {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // Fails when it is full: the rest is not even formatted.
        let cut = text.write_fmt(value).is_err();
        let mut text = text.0;
        if cut {
            text.push('…');
        }
        if field.name() == "message" {
            self.message = text;
        } else if self.fields.len() < MAX_FIELDS {
            self.fields.push((field.name(), text));
        }
    }
}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_VALUE - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// A line, redacted.
pub(super) struct Line<'a> {
    time: Timestamp,
    pub(super) level: Level,
    target: &'a str,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        level: Level,
        target: &'a str,
        message: String,
        fields: Vec<(&'static str, String)>,
    ) -> Self {
        Self { time: Timestamp::now(), level, target, message, fields }
    }

    /// Message and fields as text, in one line.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        push_plain(&mut text, &self.message);
        for (name, value) in &self.fields {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            if value.is_empty() || value.contains([' ', '"', '=']) {
                text.push('"');
                push_plain(&mut text, &value.replace('"', "\\\""));
                text.push('"');
            } else {
                push_plain(&mut text, value);
            }
        }
        text
    }

    /// With its newline.
    pub(super) fn formatted(&self, format: Format) -> String {
        let (time, level) = (format!("{:.6}", self.time), level_name(self.level));
        match format {
            Format::Text => format!("{time} {level:5} {}: {}\n", self.target, self.text()),
            Format::Json => {
                let mut line = Map::new();
                line.insert("time".to_owned(), time.into());
                line.insert("level".to_owned(), level.into());
                line.insert("target".to_owned(), self.target.into());
                line.insert("message".to_owned(), self.message.clone().into());
                if !self.fields.is_empty() {
                    let fields =
                        self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
                    line.insert("fields".to_owned(), Value::Object(fields.collect()));
                }
                format!("{}\n", Value::Object(line))
            }
        }
    }
}

/// Names of files and processes can hold newlines, which would begin a line that the sensor did not write, and escape
/// sequences, which a terminal would follow.
fn push_plain(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}
