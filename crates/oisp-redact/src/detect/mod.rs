//! Finding secrets in text.
//!
//! One pass over the text with one automaton that knows the *anchors* of all detectors: the fixed
//! characters that a secret starts with, or that stand beside it (`ghp_`, `://`, `authorization`). At each
//! anchor its detector looks at the surroundings and says what the secret's range is. The work is linear in
//! the text whatever the text is:
//! - a detector that finds nothing has looked at a bounded number of bytes, or says up to where none of its
//!   other anchors can succeed ([`Attempt::NothingBefore`]);
//! - a detector that finds something is not asked again within what it found.
//!
//! A new detector is one entry in the list of its family ([`tokens`], [`structured`], [`header`],
//! [`assignment`], [`url`]) with its own positive and negative samples; the tests run over all entries.

mod assignment;
mod header;
mod name;
mod structured;
mod text;
mod tokens;
mod url;
mod value;

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use regex::Regex;

pub(crate) use assignment::flag_label;
pub(crate) use name::{classify, classify_header};
use text::Text;
pub(crate) use tokens::{fixed_part, fixed_part_of_prefix};
pub(crate) use url::strip_query;
pub(crate) use value::{is_placeholder, is_scheme, is_secret_value, strip_scheme};

/// In which modes a detector runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In every mode, `full` too: credentials in headers and URLs.
    Always,
    /// Where text is kept but secrets are not.
    Safe,
}

/// One kind of secret.
pub(crate) struct Detector {
    /// The type that the marker names, unless the matcher knows a closer one.
    pub(crate) name: &'static str,
    pub(crate) reach: Reach,
    /// Found regardless of ASCII case; a matcher that minds the case looks again.
    pub(crate) anchors: &'static [&'static str],
    pub(crate) matcher: Matcher,
    /// Text with a secret in it, and the secret.
    #[cfg_attr(not(test), expect(dead_code, reason = "sample data that the tests run over"))]
    pub(crate) positives: &'static [(&'static str, &'static str)],
    /// Text that looks alike and must stay as it is.
    #[cfg_attr(not(test), expect(dead_code, reason = "sample data that the tests run over"))]
    pub(crate) negatives: &'static [&'static str],
}

/// How a detector decides at an anchor.
pub(crate) enum Matcher {
    /// The anchor in exact case and then at least `minimum` bytes of `body`; all of the run is the secret.
    Token {
        body: fn(u8) -> bool,
        minimum: usize,
        /// Whether the body has both letters and digits, as random characters do and words don't.
        mixed: bool,
    },
    /// A regular expression that must match where the anchor starts, on at most `window` bytes; the group
    /// `secret` is the secret, or else the whole match.
    Pattern { expression: &'static str, window: usize },
    /// Anything else: is given the anchor's range.
    Function(fn(&Text<'_>, Range<usize>) -> Attempt),
}

/// What a matcher says of one anchor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// A secret of the detector's own type.
    Found(Range<usize>),
    /// A secret whose surroundings tell a closer type.
    FoundAs(&'static str, Range<usize>),
    /// No secret at this anchor.
    Nothing,
    /// No secret at any of the detector's anchors before this offset.
    NothingBefore(usize),
}

/// A secret in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) range: Range<usize>,
    pub(crate) name: &'static str,
    /// Position in the catalogue: closer types come first.
    rank: usize,
}

/// Compiled detectors.
pub(crate) struct Catalogue {
    detectors: Vec<(&'static Detector, Option<Regex>)>,
    automaton: AhoCorasick,
    /// For each pattern of the automaton its detector.
    owners: Vec<usize>,
    longest_anchor: usize,
}

/// How far a text that is still growing was searched.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Anchors that end here or before are decided.
    decided: usize,
    /// For each detector: up to where it is not asked any more.
    done: Vec<usize>,
    /// What was found and not taken yet.
    pub(crate) findings: Vec<Finding>,
}

impl Search {
    /// Follows the text when its first `bytes` are dropped. Nothing that was found may lie in them.
    pub(crate) fn drop_front(&mut self, bytes: usize) {
        self.decided = self.decided.saturating_sub(bytes);
        self.done.iter_mut().for_each(|done| *done = done.saturating_sub(bytes));
        for finding in &mut self.findings {
            finding.range = finding.range.start - bytes..finding.range.end - bytes;
        }
    }
}

/// A secret begins at most this far before the anchor that it is found by.
pub(crate) const BEFORE_ANCHOR: usize = 64;

/// All detectors, closest types first: where two find overlapping ranges, the earlier one's name is written.
fn families() -> [&'static [Detector]; 5] {
    [tokens::DETECTORS, structured::DETECTORS, url::DETECTORS, header::DETECTORS, assignment::DETECTORS]
}

impl Catalogue {
    /// The detectors that run in a mode: all, or those that run always.
    #[expect(clippy::expect_used, reason = "the catalogue is constant, and a test compiles all of it")]
    pub(crate) fn new(only_always: bool) -> Self {
        let detectors: Vec<_> = families()
            .into_iter()
            .flatten()
            .filter(|detector| !only_always || detector.reach == Reach::Always)
            .map(|detector| {
                let regex = match detector.matcher {
                    Matcher::Pattern { expression, .. } => {
                        Some(Regex::new(&format!("^(?:{expression})")).expect("valid expression"))
                    }
                    Matcher::Token { .. } | Matcher::Function(_) => None,
                };
                (detector, regex)
            })
            .collect();
        let mut owners = Vec::new();
        let mut anchors = Vec::new();
        for (index, (detector, _)) in detectors.iter().enumerate() {
            for anchor in detector.anchors {
                anchors.push(*anchor);
                owners.push(index);
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&anchors)
            .expect("a few hundred short anchors");
        let longest_anchor = anchors.iter().map(|anchor| anchor.len()).max().unwrap_or_default();
        Self { detectors, automaton, owners, longest_anchor }
    }

    /// Secrets in `text` in their order, none overlapping another.
    pub(crate) fn find(&self, text: &str) -> Vec<Finding> {
        self.find_counting(text).0
    }

    /// The findings, and how many bytes the detectors looked at beyond the automaton's one pass.
    fn find_counting(&self, text: &str) -> (Vec<Finding>, u64) {
        let view = Text::new(text);
        let mut search = Search::default();
        self.search(&view, text, &mut search, true);
        (search.findings, view.examined())
    }

    /// Goes on searching a text that has grown; gives the offset up to which everything is decided, whatever follows.
    /// Once it is `complete` that is its end.
    pub(crate) fn find_more(&self, text: &str, search: &mut Search, complete: bool) -> usize {
        let undecided = self.search(&Text::new(text), text, search, complete);
        if complete {
            return text.len();
        }
        // The beginning of an anchor may stand at the end.
        let undecided = undecided.unwrap_or(text.len().saturating_sub(self.longest_anchor));
        let mut end = undecided.saturating_sub(BEFORE_ANCHOR);
        // What begins behind it may lengthen what reaches beyond it.
        for finding in search.findings.iter().rev() {
            if finding.range.end > end {
                end = end.min(finding.range.start);
            }
        }
        text.floor_char_boundary(end)
    }

    /// Asks the detectors at every anchor that was not decided. Of a text that is not complete it stops at the first that
    /// cannot be decided without what follows, and gives its offset.
    fn search(&self, view: &Text<'_>, text: &str, search: &mut Search, complete: bool) -> Option<usize> {
        let Search { decided, done, findings } = search;
        let from = decided.saturating_sub(self.longest_anchor);
        let mut undecided = None;
        for hit in self.automaton.find_overlapping_iter(Input::new(text).range(from..)) {
            if hit.end() <= *decided {
                continue;
            }
            // Allocated at the first anchor: most texts are short and have none.
            if done.is_empty() {
                done.resize(self.detectors.len(), 0);
            }
            let rank = self.owners[hit.pattern().as_usize()];
            if hit.start() < done[rank] {
                continue;
            }
            let (detector, regex) = &self.detectors[rank];
            view.take_met_end();
            let attempt = attempt(detector, regex.as_ref(), view, hit.range());
            if view.take_met_end() && !complete {
                undecided = Some(hit);
                break;
            }
            let (name, range) = match attempt {
                Attempt::Found(range) => (detector.name, range),
                Attempt::FoundAs(name, range) => (name, range),
                Attempt::Nothing => continue,
                Attempt::NothingBefore(offset) => {
                    done[rank] = offset;
                    continue;
                }
            };
            done[rank] = range.end;
            if !range.is_empty() {
                findings.push(Finding { range, name, rank });
            }
        }
        // Others that end where it does are asked again and say the same.
        *decided = undecided.as_ref().map_or(text.len(), |hit| hit.end() - 1);
        *findings = merge(std::mem::take(findings));
        undecided.map(|hit| hit.start())
    }
}

fn attempt(detector: &Detector, regex: Option<&Regex>, text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    match &detector.matcher {
        Matcher::Token { body, minimum, mixed } => {
            if !detector.anchors.contains(&text.slice(anchor.start, anchor.end)) {
                return Attempt::Nothing;
            }
            // Only success may cost more than a bounded look.
            let head_end = text.run(anchor.end, (*minimum).max(64), body);
            let head = text.slice(anchor.end, head_end);
            if head.len() < *minimum || (*mixed && !value::is_mixed(head)) {
                return Attempt::Nothing;
            }
            let end = text.run(head_end, usize::MAX, body);
            Attempt::Found(anchor.start..end)
        }
        Matcher::Pattern { window, .. } => {
            text.count(*window);
            let view = text.slice(anchor.start, anchor.start.saturating_add(*window));
            let Some(captures) = regex.and_then(|regex| regex.captures(view)) else {
                return Attempt::Nothing;
            };
            match captures.name("secret").or_else(|| captures.get(0)) {
                Some(found) => Attempt::Found(anchor.start + found.start()..anchor.start + found.end()),
                None => Attempt::Nothing,
            }
        }
        Matcher::Function(function) => function(text, anchor),
    }
}

/// Joins overlapping findings, so that nothing that any detector found survives.
fn merge(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (finding.range.start, finding.rank));
    let mut merged: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        match merged.last_mut() {
            Some(last) if finding.range.start < last.range.end => {
                last.range.end = last.range.end.max(finding.range.end);
                if finding.rank < last.rank {
                    last.rank = finding.rank;
                    last.name = finding.name;
                }
            }
            _ => merged.push(finding),
        }
    }
    merged
}

#[cfg(test)]
pub(crate) fn samples() -> impl Iterator<Item = &'static Detector> {
    families().into_iter().flatten()
}

#[cfg(test)]
mod tests;
