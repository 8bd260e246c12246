//! Lists of glob patterns.

use std::fmt;

use globset::{Glob, GlobBuilder};
use regex::bytes::{RegexSet, RegexSetBuilder};
use toml::Spanned;
use toml::de::DeValue;

use super::{Refusal, Refused, Setting, quoted};

/// Glob patterns, any of which may match the whole of a text.
///
/// `*` is any run of characters (`/` too), `?` one character of ASCII, `[ab]` and `[a-z]` one of a set, `{a,b}` one of
/// several, and `\` takes the meaning from what follows.
#[derive(Clone)]
pub struct Patterns {
    texts: Vec<String>,
    case: Case,
    compiled: RegexSet,
}

/// Whether capitals matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `A` is not `a`.
    Sensitive,
    /// `A` is `a`, as in names of hosts.
    Insensitive,
}

/// Compiled together, so many of so many bytes take some megabytes at the worst.
const MOST_PATTERNS: usize = 1000;
const MOST_BYTES: usize = 256;

impl Patterns {
    /// No pattern: matches nothing.
    #[must_use]
    pub fn none(case: Case) -> Self {
        Self { texts: Vec::new(), case, compiled: RegexSet::empty() }
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether one of them matches the whole text. The time is linear in the text's length.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        !self.is_empty() && self.compiled.is_match(text.as_bytes())
    }

    /// As they were written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    fn new(texts: Vec<String>, globs: Vec<Glob>, case: Case) -> Result<Self, Refusal> {
        if globs.len() > MOST_PATTERNS {
            return Err(Refusal::Because(format!("must be {MOST_PATTERNS} patterns at most")));
        }
        // Not globset's own set: that takes texts for paths, and a name that ends in `..` has no last part then.
        let compiled = RegexSetBuilder::new(globs.iter().map(Glob::regex))
            .dot_matches_new_line(true)
            .build()
            .map_err(|_| Refusal::Because("these patterns are too large together".to_owned()))?;
        Ok(Self { texts, case, compiled })
    }
}

fn glob(text: &str, case: Case) -> Result<Glob, Refusal> {
    if text.is_empty() {
        return Err(Refusal::Because("an empty pattern matches nothing; use * for everything".to_owned()));
    }
    if text.len() > MOST_BYTES {
        return Err(Refusal::Because(format!("a pattern must be {MOST_BYTES} bytes at most")));
    }
    GlobBuilder::new(text)
        .case_insensitive(case == Case::Insensitive)
        .literal_separator(false)
        .backslash_escape(true)
        .build()
        .map_err(|error| Refusal::Because(format!("is not a pattern: {}", error.kind())))
}

/// Equal when they were written alike.
impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts && self.case == other.case
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(formatter)
    }
}

impl Setting for Patterns {
    type Allowed = Case;

    fn kind() -> String {
        "a list of patterns such as [\"a*\", \"b\"]".to_owned()
    }

    fn range(_: &Case) -> Option<String> {
        None
    }

    /// Separated by commas; a comma within `{}` or `[]`, or after `\`, belongs to the pattern.
    fn from_text(text: &str, case: &Case) -> Result<Self, Refusal> {
        let texts = split(text);
        let globs = texts.iter().map(|text| glob(text, *case)).collect::<Result<_, _>>()?;
        Self::new(texts, globs, *case)
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, case: &Case) -> Result<Self, Vec<Refused>> {
        let whole = |refusal| vec![Refused { span: value.span(), refusal }];
        let elements = value.get_ref().as_array().ok_or_else(|| whole(Refusal::Kind))?;
        let (mut texts, mut globs, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for element in elements {
            let pattern = element
                .get_ref()
                .as_str()
                .ok_or_else(|| Refusal::Because("a pattern must be a string".to_owned()))
                .and_then(|text| glob(text, *case).map(|glob| (text.to_owned(), glob)));
            match pattern {
                Ok((text, glob)) => {
                    texts.push(text);
                    globs.push(glob);
                }
                Err(refusal) => refused.push(Refused { span: element.span(), refusal }),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Self::new(texts, globs, *case).map_err(whole)
    }

    fn to_toml(&self) -> String {
        format!("[{}]", self.texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
    }

    #[cfg(test)]
    fn any(case: &Case) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let case = *case;
        let text = proptest::string::string_regex("[a-z*?.,/\"' é-]{1,12}|\\[ab\\]|\\{a,b\\}c").unwrap();
        proptest::collection::vec(text, 0..4)
            .prop_map(move |texts| {
                let globs = texts.iter().map(|text| glob(text, case).unwrap()).collect();
                Self::new(texts, globs, case).unwrap()
            })
            .boxed()
    }
}

fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut escaped) = (Vec::new(), String::new(), 0_u32, false);
    for c in text.chars() {
        match c {
            ',' if depth == 0 && !escaped => {
                parts.push(part.trim().to_owned());
                part.clear();
                continue;
            }
            '{' | '[' if !escaped => depth += 1,
            '}' | ']' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        part.push(c);
    }
    if !text.trim().is_empty() {
        parts.push(part.trim().to_owned());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str, case: Case) -> Patterns {
        Patterns::from_text(text, &case).unwrap()
    }

    #[test]
    fn pattern_matches_the_whole_text_and_star_crosses_slashes() {
        let one = patterns("/usr/bin/*", Case::Sensitive);
        assert!(one.matches("/usr/bin/python3") && one.matches("/usr/bin/x/y"));
        assert!(!one.matches("/usr/bin") && !one.matches("x/usr/bin/python3"));
        let several = patterns("node, python3.{11,12} ,gpt-[45]*", Case::Sensitive);
        assert_eq!(several.texts(), ["node", "python3.{11,12}", "gpt-[45]*"]);
        for text in ["node", "python3.11", "python3.12", "gpt-4", "gpt-5/mini"] {
            assert!(several.matches(text), "{text}");
        }
        for text in ["nodejs", "Node", "python3", "gpt-3", "a/node", ""] {
            assert!(!several.matches(text), "{text}");
        }
    }

    #[test]
    fn case_of_hosts_does_not_matter() {
        assert!(patterns("*.OpenAI.com", Case::Insensitive).matches("api.openai.COM"));
        assert!(!patterns("*.OpenAI.com", Case::Sensitive).matches("api.openai.com"));
    }

    #[test]
    fn no_pattern_matches_nothing_and_empty_text_is_none() {
        assert!(!Patterns::none(Case::Sensitive).matches(""));
        assert_eq!(patterns("", Case::Sensitive), Patterns::none(Case::Sensitive));
    }

    #[test]
    fn comma_after_a_backslash_belongs_to_the_pattern() {
        let one = patterns(r"a\,b", Case::Sensitive);
        assert!(one.matches("a,b") && !one.matches("a"));
    }

    proptest::proptest! {
        #[test]
        fn text_is_matched_by_itself_and_by_star_whatever_it_holds(text in "(?s).{1,20}", end in "[a-z./]{0,5}") {
            let text = text + &end;
            let escaped = |text: &str| globset::escape(text).replace('\\', r"\\");
            for pattern in [escaped(&text), "*".to_owned(), format!("*{}", escaped(&end))] {
                let glob = glob(&pattern, Case::Sensitive).unwrap();
                let one = Patterns::new(vec![pattern.clone()], vec![glob], Case::Sensitive).unwrap();
                proptest::prop_assert!(one.matches(&text), "{:?} {:?}", pattern, text);
            }
        }
    }
}
