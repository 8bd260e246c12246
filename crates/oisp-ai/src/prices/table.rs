//! The price table: read once, when the first call needs it.

use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use serde::Deserialize;

const JSON: &str = include_str!("table.json");

/// Prices of many services' models.
#[derive(Debug, Deserialize)]
pub struct PriceTable {
    /// Where the prices come from.
    pub source: String,
    /// On what terms.
    pub licence: String,
    /// The source's version.
    pub version: String,
    /// The day on which the table was derived, `2026-11-22`.
    pub date: String,
    providers: Vec<Provider>,
}

#[derive(Debug, Deserialize)]
struct Provider {
    id: String,
    /// Whose models it offers as well, at their prices.
    others: Vec<String>,
    models: Vec<Model>,
}

/// A model's prices.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) id: String,
    #[serde(rename = "match")]
    clause: Clause,
    pub(super) prices: Vec<Listed>,
    #[serde(default)]
    pub(super) variants: Vec<Variant>,
}

/// How a model is named.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Clause {
    Is(String),
    Start(String),
    End(String),
    Has(String),
    Re(Pattern),
    Not(Box<Clause>),
    Or(Vec<Clause>),
    And(Vec<Clause>),
}

/// A pattern that is compiled when it is first looked for.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }
}

/// Prices and when they hold; of several, the last that holds counts.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    pub(super) when: When,
    #[serde(flatten)]
    pub(super) amounts: Amounts,
}

/// Other prices for calls of which something else is known.
#[derive(Debug, Deserialize)]
pub(super) struct Variant {
    #[serde(rename = "when")]
    pub(super) facts: std::collections::BTreeMap<String, String>,
    #[serde(flatten)]
    pub(super) listed: Listed,
}

/// When prices hold, by UTC.
#[derive(Debug, Default, Deserialize)]
pub(super) struct When {
    /// A day, `2026-03-13`.
    from: Option<String>,
    /// Seconds of the day; over midnight where the second is less.
    between: Option<(i64, i64)>,
}

/// US dollars for a million tokens, for a thousand web searches or requests.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Amounts {
    pub(super) input: Option<Amount>,
    pub(super) output: Option<Amount>,
    pub(super) cache_read: Option<Amount>,
    pub(super) cache_write: Option<Amount>,
    pub(super) cache_write_1h: Option<Amount>,
    pub(super) input_audio: Option<Amount>,
    pub(super) output_audio: Option<Amount>,
    pub(super) cache_audio_read: Option<Amount>,
    pub(super) input_image: Option<Amount>,
    pub(super) output_image: Option<Amount>,
    pub(super) cache_image_read: Option<Amount>,
    pub(super) web_search: Option<Amount>,
    pub(super) request: Option<Amount>,
}

/// A price that may depend on how long the prompt is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Amount {
    base: f64,
    /// Input tokens above which all tokens of the call have another price, and that, in rising order.
    #[serde(default)]
    above: Vec<(u64, f64)>,
}

impl Amount {
    /// For a call with so many input tokens.
    pub(super) fn at(&self, input_tokens: u64) -> f64 {
        let above = self.above.iter().rev().find(|(start, _)| input_tokens > *start);
        above.map_or(self.base, |(_, price)| *price)
    }
}

impl Amounts {
    /// Takes over what the other has.
    pub(super) fn overlay(&mut self, other: &Self) {
        let Self {
            input,
            output,
            cache_read,
            cache_write,
            cache_write_1h,
            input_audio,
            output_audio,
            cache_audio_read,
            input_image,
            output_image,
            cache_image_read,
            web_search,
            request,
        } = other;
        for (to, from) in [
            (&mut self.input, input),
            (&mut self.output, output),
            (&mut self.cache_read, cache_read),
            (&mut self.cache_write, cache_write),
            (&mut self.cache_write_1h, cache_write_1h),
            (&mut self.input_audio, input_audio),
            (&mut self.output_audio, output_audio),
            (&mut self.cache_audio_read, cache_audio_read),
            (&mut self.input_image, input_image),
            (&mut self.output_image, output_image),
            (&mut self.cache_image_read, cache_image_read),
            (&mut self.web_search, web_search),
            (&mut self.request, request),
        ] {
            if from.is_some() {
                to.clone_from(from);
            }
        }
    }
}

impl When {
    /// Whether it holds at a time.
    pub(super) fn is_met(&self, unix_seconds: i64) -> bool {
        let days = unix_seconds.div_euclid(86_400);
        let second = unix_seconds.rem_euclid(86_400);
        let began = self.from.as_deref().is_none_or(|from| day(from).is_some_and(|from| days >= from));
        let within = self.between.is_none_or(|(start, end)| {
            if end < start { second >= start || second < end } else { (start..end).contains(&second) }
        });
        began && within
    }
}

/// Days from 1970 to a date such as `2026-03-13`.
fn day(date: &str) -> Option<i64> {
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // The years begin with March, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468)
}

impl Clause {
    fn is_met(&self, name: &str) -> bool {
        match self {
            Self::Is(text) => name == text,
            Self::Start(text) => name.starts_with(text.as_str()),
            Self::End(text) => name.ends_with(text.as_str()),
            Self::Has(text) => name.contains(text.as_str()),
            Self::Re(pattern) => pattern
                .compiled
                .get_or_init(|| Regex::new(&pattern.text).ok())
                .as_ref()
                .is_some_and(|regex| regex.is_match(name)),
            Self::Not(clause) => !clause.is_met(name),
            Self::Or(clauses) => clauses.iter().any(|clause| clause.is_met(name)),
            Self::And(clauses) => clauses.iter().all(|clause| clause.is_met(name)),
        }
    }
}

/// Longer names are no models'.
const LONGEST_NAME: usize = 256;

static TABLE: LazyLock<PriceTable> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a test reads the same text")]
    serde_json::from_str(JSON).expect("the built-in price table is well formed")
});

impl PriceTable {
    /// The table that this program was built with.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &TABLE
    }

    /// A model of a service, by the name that requests and answers give it.
    pub(super) fn model(&self, provider: &str, name: &str) -> Option<&Model> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        let name = name.to_lowercase();
        let by_id = |id: &str| self.providers.iter().find(|provider| provider.id == id);
        let provider = by_id(provider)?;
        let others = provider.others.iter().filter_map(|other| by_id(other));
        std::iter::once(provider)
            .chain(others)
            .find_map(|provider| provider.models.iter().find(|model| model.clause.is_met(&name)))
    }

    /// The patterns that cannot be compiled.
    #[cfg(test)]
    pub(super) fn broken_patterns(&self) -> Vec<&str> {
        fn of<'a>(clause: &'a Clause, out: &mut Vec<&'a str>) {
            match clause {
                Clause::Re(pattern) if Regex::new(&pattern.text).is_err() => out.push(&pattern.text),
                Clause::Not(clause) => of(clause, out),
                Clause::Or(clauses) | Clause::And(clauses) => {
                    clauses.iter().for_each(|clause| of(clause, out))
                }
                _ => {}
            }
        }
        let mut out = Vec::new();
        self.providers
            .iter()
            .flat_map(|provider| &provider.models)
            .for_each(|model| of(&model.clause, &mut out));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (date, expected) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2000-03-01", 11_017), ("2026-11-22", 20_779)]
        {
            assert_eq!(day(date), Some(expected), "{date}");
        }
        assert_eq!(day("soon"), None);
    }

    #[test]
    fn prices_hold_from_their_day_and_within_their_hours() {
        let when = When { from: Some("2026-03-13".into()), between: None };
        let begin = 86_400 * day("2026-03-13").expect("a day");
        assert!(!when.is_met(begin - 1) && when.is_met(begin));
        let night = When { from: None, between: Some((59_400, 1_800)) };
        assert!(night.is_met(59_400) && night.is_met(86_399) && night.is_met(0) && night.is_met(1_799));
        assert!(!night.is_met(1_800) && !night.is_met(59_399));
    }

    #[test]
    fn every_pattern_of_the_table_can_be_compiled() {
        assert_eq!(PriceTable::built_in().broken_patterns(), Vec::<&str>::new());
        assert!(PriceTable::built_in().providers.len() > 20);
    }
}
