//! Names of functions out of a recording.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::de::{Deserializer, Error as _, Visitor};

use crate::FunctionName;

/// A longer name is none.
const LONGEST: usize = 64;
/// Names that a process keeps. Events hold names that live for ever; recordings could name any number.
const MAX_NAMES: usize = 256;

static NAMES: Mutex<BTreeSet<FunctionName>> = Mutex::new(BTreeSet::new());

/// Reads a name and keeps it for as long as the process lives.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FunctionName, D::Error> {
    struct Name;
    impl<'de> Visitor<'de> for Name {
        type Value = Cow<'de, str>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("the name of a function")
        }

        fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(name))
        }

        fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(name.to_owned()))
        }
    }
    let name = deserializer.deserialize_str(Name)?;
    kept(&name).ok_or_else(|| D::Error::custom("not the name of a function, or too many different ones"))
}

fn kept(name: &str) -> Option<FunctionName> {
    if name.len() > LONGEST || !name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return None;
    }
    // Nothing panics while it is held, and a set of names has no half-changed state.
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= MAX_NAMES {
        return None;
    }
    let name: FunctionName = String::leak(name.to_owned());
    names.insert(name);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_what_is_no_name_is_refused() {
        let first = kept("SSL_write").expect("a name");
        assert!(std::ptr::eq(first, kept("SSL_write").expect("the same")));
        assert_eq!(kept("crypto/tls.(*Conn).Write"), Some("crypto/tls.(*Conn).Write"));
        assert_eq!(kept("line\nbreak"), None);
        assert_eq!(kept(&"x".repeat(LONGEST + 1)), None);
    }
}
