//! Texts out of a cached analysis, kept for as long as the process lives.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize as _;
use serde::de::{Deserializer, Error as _};

/// A longer text is none.
const LONGEST: usize = 512;
/// An analysis holds texts of the program; a cache could hold any number.
const MAX_TEXTS: usize = 256;

static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Reads a text and keeps it.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    let text = String::deserialize(deserializer)?;
    keep(text).ok_or_else(|| D::Error::custom("too long, or too many different texts"))
}

fn keep(text: String) -> Option<&'static str> {
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return None;
    }
    // Nothing panics while it is held, and a set of texts has no half-changed state.
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text.as_str()) {
        return Some(known);
    }
    if texts.len() >= MAX_TEXTS {
        return None;
    }
    let text: &'static str = String::leak(text);
    texts.insert(text);
    Some(text)
}
