//! The redactor: modes, markers, and what was found.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use oisp_event::Event;

use crate::Redacted;
use crate::arguments::redact_arguments;
use crate::detect::{Catalogue, Finding, is_placeholder, strip_query, strip_scheme};
use crate::event::{cut_texts, redact_event};
use crate::key::HashKey;

/// How much of an event is kept. Later variants keep less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RedactionMode {
    /// Content as it is; credentials in headers and URLs are removed.
    Full,
    /// Structure and text kept; every secret in them replaced by a marker.
    #[default]
    Safe,
    /// No content: roles, lengths, hashes and counts; names of programs, not their paths and arguments.
    Minimal,
}

impl RedactionMode {
    /// The name on the command line, in the configuration and in `confidence.redaction_profile`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Safe => "safe",
            Self::Minimal => "minimal",
        }
    }
}

impl fmt::Display for RedactionMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Not the name of a redaction mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown redaction mode {0:?}: use safe, minimal or full")]
pub struct UnknownMode(String);

impl FromStr for RedactionMode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        [Self::Full, Self::Safe, Self::Minimal]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// What a [`Redactor`] needs to know.
#[derive(Clone, Debug)]
pub struct RedactionConfig {
    /// How much is kept.
    pub mode: RedactionMode,
    /// The key of the hashes that stand for what was removed.
    pub key: HashKey,
}

/// Redacts events and text. Has no state that a text could change: may be shared between threads.
pub struct Redactor {
    mode: RedactionMode,
    key: HashKey,
    /// Every detector.
    all: Catalogue,
    /// Those for headers and URLs.
    always: Catalogue,
    /// Bytes that are kept of one text of an event.
    longest_text: usize,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redactor").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Redactor {
    /// A redactor. Compiles the detectors: make one and share it.
    #[must_use]
    pub fn new(config: RedactionConfig) -> Self {
        let RedactionConfig { mode, key } = config;
        let (all, always) = (Catalogue::new(false), Catalogue::new(true));
        Self { mode, key, all, always, longest_text: usize::MAX }
    }

    /// Keeps of each text in an event (a message, an argument, a result) its first `bytes` at most. It is cut after it
    /// was redacted, so that no part of a secret is left at the edge; the event says so in
    /// `confidence.limitations`.
    #[must_use]
    pub fn cutting_texts_at(mut self, bytes: usize) -> Self {
        self.longest_text = bytes;
        self
    }

    /// The mode it was made with.
    #[must_use]
    pub fn mode(&self) -> RedactionMode {
        self.mode
    }

    /// The event as its mode lets it out.
    ///
    /// An event that was redacted before (read back from a file) keeps the hashes it has and the name of the
    /// stricter mode.
    #[must_use]
    pub fn redact(&self, mut event: Event) -> Redacted<Event> {
        redact_event(&mut event, &mut Scrubber::new(self));
        cut_texts(&mut event, self.longest_text);
        Redacted::seal(event)
    }

    /// `text` without secrets of any kind, whatever the mode: for logs, error messages and terminals, which
    /// never need one. Doing it twice does nothing more.
    #[must_use]
    pub fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.replace(&self.all, text, |_| {})
    }

    /// Arguments of a program, as `exec` was given them: also what is a secret because of the argument before it.
    #[must_use]
    pub fn redact_arguments(&self, mut arguments: Vec<String>) -> Vec<String> {
        redact_arguments(&mut arguments, &mut Scrubber::new(self));
        arguments
    }

    /// `url` without query, fragment and user information, and without secrets in its path.
    #[must_use]
    pub fn redact_url<'t>(&self, url: &'t str) -> Cow<'t, str> {
        self.redact_text(strip_query(url))
    }

    /// Replaces what `catalogue` finds.
    pub(crate) fn replace<'t>(
        &self,
        catalogue: &Catalogue,
        text: &'t str,
        mut found: impl FnMut(&'static str),
    ) -> Cow<'t, str> {
        let findings = catalogue.find(text);
        if findings.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.without(text, 0..text.len(), &findings, &mut found))
    }

    /// A part of `text` without the findings, which must lie within it.
    pub(crate) fn without(
        &self,
        text: &str,
        part: Range<usize>,
        findings: &[Finding],
        mut found: impl FnMut(&'static str),
    ) -> String {
        let mut output = String::with_capacity(part.len());
        let mut copied = part.start;
        for Finding { range, name, .. } in findings {
            let secret = &text[range.clone()];
            // What an earlier redaction left.
            if is_marker(secret) {
                continue;
            }
            output.push_str(&text[copied..range.start]);
            output.push_str(&self.marker(name, secret));
            copied = range.end;
            found(name);
        }
        output.push_str(&text[copied..part.end]);
        output
    }

    /// The detectors for text of events in this mode.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        if self.mode == RedactionMode::Full { &self.always } else { &self.all }
    }

    pub(crate) fn longest_text(&self) -> usize {
        self.longest_text
    }

    pub(crate) fn marker(&self, name: &str, secret: &str) -> String {
        format!("[REDACTED:{name}:{}:{}]", secret.chars().count(), self.key.short_hash(secret))
    }
}

fn is_marker(text: &str) -> bool {
    text.starts_with("[REDACTED:") && is_placeholder(text)
}

/// One event's way through redaction: what is done to each class of field, and what was done so far.
pub(crate) struct Scrubber<'r> {
    redactor: &'r Redactor,
    findings: BTreeMap<&'static str, u64>,
    /// Whether the event came in redacted already.
    pub(crate) redacted_before: bool,
    /// Whether anything was replaced or removed.
    pub(crate) changed: bool,
}

impl<'r> Scrubber<'r> {
    pub(crate) fn new(redactor: &'r Redactor) -> Self {
        Self { redactor, findings: BTreeMap::new(), redacted_before: false, changed: false }
    }

    pub(crate) fn mode(&self) -> RedactionMode {
        self.redactor.mode
    }

    /// Whether the mode keeps no content.
    pub(crate) fn hides_content(&self) -> bool {
        self.redactor.mode == RedactionMode::Minimal
    }

    pub(crate) fn findings(&self) -> &BTreeMap<&'static str, u64> {
        &self.findings
    }

    /// Counts something that was found and taken away whole.
    pub(crate) fn note(&mut self, name: &'static str) {
        *self.findings.entry(name).or_default() += 1;
        self.changed = true;
    }

    /// Text that every mode keeps: ids, names of models, kinds of errors. Secrets in it are replaced.
    pub(crate) fn label(&mut self, text: &mut String) {
        let catalogue = self.redactor.catalogue();
        let findings = &mut self.findings;
        let mut changed = false;
        let replaced = self.redactor.replace(catalogue, text, |name| {
            *findings.entry(name).or_default() += 1;
            changed = true;
        });
        if let (true, Cow::Owned(replaced)) = (changed, replaced) {
            *text = replaced;
            self.changed = true;
        }
    }

    pub(crate) fn optional_label(&mut self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.label(text);
        }
    }

    pub(crate) fn labels(&mut self, texts: &mut [String]) {
        for text in texts {
            self.label(text);
        }
    }

    /// Text that `minimal` leaves out: what people and models wrote, paths, names that they chose.
    pub(crate) fn hidden_text(&mut self, text: &mut Option<String>) {
        if self.hides_content() {
            self.changed |= text.take().is_some();
        } else {
            self.optional_label(text);
        }
    }

    /// As [`Self::hidden_text`], for a list.
    pub(crate) fn hidden_texts(&mut self, texts: &mut Vec<String>) {
        if self.hides_content() {
            self.changed |= !texts.is_empty();
            texts.clear();
        } else {
            self.labels(texts);
        }
    }

    /// A path to a program: `minimal` keeps its last part.
    pub(crate) fn program(&mut self, path: &mut String) {
        // Before the path is cut: a secret is often known by what stands before it.
        self.label(path);
        if let (true, Some(slash)) = (self.hides_content(), path.rfind('/')) {
            path.drain(..=slash);
            self.changed = true;
        }
    }

    /// A URL that was called: no query, no user information.
    pub(crate) fn url(&mut self, url: &mut String) {
        let kept = strip_query(url).len();
        if kept < url.len() {
            url.truncate(kept);
            self.note("url_query");
        }
        self.label(url);
    }

    /// What replaces a value that is a secret as a whole. A scheme before it (`Bearer `) is kept.
    pub(crate) fn whole(&mut self, name: &'static str, value: &str) -> String {
        let secret = strip_scheme(value);
        self.note(name);
        format!("{}{}", &value[..value.len() - secret.len()], self.redactor.marker(name, secret))
    }

    /// What replaces content that the mode hides, where a string must stand.
    pub(crate) fn hidden_marker(&mut self, content: &str) -> String {
        self.changed = true;
        self.redactor.marker("content", content)
    }

    /// The keyed hash of content. An event that was redacted before keeps the hash it has: that of the
    /// original.
    pub(crate) fn set_hash(&mut self, hash: &mut Option<String>, content: Option<&str>) {
        if self.redacted_before && hash.is_some() {
            self.optional_label(hash);
        } else {
            *hash = content.map(|content| self.hash(content));
        }
    }

    pub(crate) fn hash(&self, content: &str) -> String {
        self.redactor.key.hash(content)
    }

    pub(crate) fn hash_number(&self, content: &str) -> u128 {
        self.redactor.key.number(content)
    }
}

#[cfg(test)]
mod tests;
