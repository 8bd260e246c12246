//! Judging the value of something whose name says that it is a secret.

use std::ops::Range;

use super::name::NameKind;
use super::text::Text;

/// A weak value this long is taken for a secret whatever it is made of: so that judging is bounded.
pub(crate) const ALWAYS_SECRET: usize = 64;

/// Whether letters and digits occur both.
pub(crate) fn is_mixed(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether `value` can be the secret that a name of `kind` announces. `literal` says that the value is known
/// to be one (quoted, in an environment assignment, a process argument), not perhaps a piece of code.
pub(crate) fn is_secret_value(value: &str, kind: NameKind, literal: bool) -> bool {
    if value.is_empty() || is_placeholder(value) {
        return false;
    }
    if kind == NameKind::Header {
        return true;
    }
    if !literal && is_code(value) {
        return false;
    }
    if value.len() >= ALWAYS_SECRET {
        return true;
    }
    let wordy =
        !is_mixed(value) && !value.bytes().any(|byte| matches!(byte, b'!'..=b'+' | b'@' | b'^' | b'~'));
    match kind {
        NameKind::Header => true,
        NameKind::Password => value.len() >= 4 && (literal || !wordy || is_number(value)),
        NameKind::Secret => value.len() >= 8 && !is_number(value) && (literal || !wordy || is_random(value)),
        NameKind::Token => value.len() >= 8 && !is_number(value) && (!wordy || is_random(value)),
        NameKind::Key => value.len() >= 20 && is_mixed(value) && is_random(value) && !is_uuid(value),
    }
}

/// Whether a value stands in for a secret: a variable, a template, an example, or a marker of ours.
pub(crate) fn is_placeholder(value: &str) -> bool {
    let value = value.trim_end_matches([',', ';']);
    let Some(first) = value.bytes().next() else { return true };
    if value.starts_with("[REDACTED:") {
        return is_marker(value);
    }
    let repeated = value.len() >= 3 && value.bytes().all(|byte| byte == first);
    if repeated || value.bytes().all(|byte| matches!(byte, b'.' | b'*' | b'x' | b'X')) {
        return value.len() < ALWAYS_SECRET;
    }
    if value.len() > ALWAYS_SECRET {
        return false;
    }
    let inner = match first {
        b'$' if value.starts_with("$(") || value.starts_with("$((") => return true,
        b'$' => value.trim_start_matches('$').trim_matches(['{', '}']),
        b'<' if value.ends_with('>') => &value[1..value.len() - 1],
        b'{' => value.trim_matches(['{', '}']),
        b'%' if value.len() > 2 && value.ends_with('%') => value.trim_matches('%'),
        _ => {
            let lower = value.to_ascii_lowercase();
            const WORDS: &[&str] = &[
                "true",
                "false",
                "null",
                "none",
                "nil",
                "undefined",
                "string",
                "str",
                "bytes",
                "bool",
                "boolean",
                "int",
                "integer",
                "number",
                "object",
                "required",
                "optional",
                "redacted",
                "any",
                "unknown",
                "default",
                "basic",
                "bearer",
                "sensitive",
                "hidden",
                "masked",
                "empty",
                "password",
                "secret",
                "token",
                "text",
            ];
            let letters =
                lower.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-' | b' '));
            return WORDS.contains(&lower.as_str())
                || letters
                    && ["your", "example", "placeholder", "insert"].iter().any(|word| lower.contains(word));
        }
    };
    // A variable's name: all capitals, or lower case without digits. `$ecret1` is a password.
    let capitals =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b' ' | b'-');
    let small = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.' | b' ' | b'-' | b':');
    inner.bytes().all(capitals) || inner.bytes().all(small)
}

/// Whether a marker of ours stands at the start of `text`.
pub(crate) fn is_marker(text: &str) -> bool {
    marker_length(text).is_some()
}

/// Whether the name that starts at `start` is a marker's type.
pub(crate) fn names_marker(text: &Text<'_>, start: usize) -> bool {
    const OPENING: &str = "[REDACTED:";
    let Some(opening) = start.checked_sub(OPENING.len()) else { return false };
    text.before(start) == Some(b':')
        && text.starts_with(opening, OPENING)
        && is_marker(text.slice(opening, opening + 96))
}

/// Whether a marker stands where a value starts.
pub(crate) fn is_marked(text: &Text<'_>, start: usize) -> bool {
    text.byte(start) == Some(b'[') && is_marker(text.slice(start, start + 96))
}

fn marker_length(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("[REDACTED:")?;
    let name = rest
        .bytes()
        .take(48)
        .take_while(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9'));
    let name = name.count();
    let rest = rest[name..].strip_prefix(':')?;
    let digits = rest.bytes().take(20).take_while(u8::is_ascii_digit).count();
    let rest = rest[digits..].strip_prefix(':')?;
    let hash = rest.bytes().take(crate::key::MARKER_DIGITS).take_while(u8::is_ascii_hexdigit).count();
    (name > 0 && digits > 0 && hash == crate::key::MARKER_DIGITS && rest[hash..].starts_with(']'))
        .then_some("[REDACTED:".len() + name + 1 + digits + 1 + hash + 1)
}

/// Authentication schemes whose credential is one word.
pub(crate) const WORD_SCHEMES: &[&str] =
    &["bearer", "basic", "token", "apikey", "api-key", "key", "bot", "pat"];

/// Authentication schemes whose credential goes on to the end of the line.
pub(crate) const LINE_SCHEMES: &[&str] = &[
    "digest",
    "aws4-hmac-sha256",
    "oauth",
    "negotiate",
    "ntlm",
    "hawk",
    "signature",
    "sharedkey",
    "dpop",
    "gnap",
    "mutual",
    "vapid",
];

/// Whether a word is an authentication scheme.
pub(crate) fn is_scheme(word: &str) -> bool {
    WORD_SCHEMES.iter().chain(LINE_SCHEMES).any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Without the scheme that stands before a credential in a header (`Bearer `, `Basic `).
pub(crate) fn strip_scheme(value: &str) -> &str {
    let trimmed = value.trim_start();
    for scheme in ["bearer ", "basic ", "token ", "apikey "] {
        if trimmed.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)) {
            return trimmed[scheme.len()..].trim_start();
        }
    }
    value
}

/// Something that a program computes: `get_token()`, `settings.api_key`, `os.environ["X"]`.
fn is_code(value: &str) -> bool {
    let identifier = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let head =
        value.bytes().take(ALWAYS_SECRET).take_while(|byte| identifier(*byte) || *byte == b'.').count();
    let starts_as_name = value.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if starts_as_name && matches!(value.as_bytes().get(head), Some(b'(' | b'[')) {
        return true;
    }
    if matches!(value.as_bytes().first(), Some(b'[' | b'{' | b'(' | b'&' | b'*' | b'|' | b'>')) {
        return true;
    }
    const OWNERS: &[&str] = &[
        "self",
        "this",
        "os",
        "process",
        "config",
        "cfg",
        "settings",
        "env",
        "args",
        "options",
        "opts",
        "request",
        "req",
        "ctx",
        "context",
        "state",
        "params",
        "kwargs",
        "data",
        "secrets",
        "var",
        "local",
        "module",
        "user",
        "credentials",
        "response",
        "res",
        "resp",
        "client",
        "session",
        "account",
        "auth",
        "props",
        "event",
        "input",
        "import",
        "std",
    ];
    starts_as_name && value.split_once('.').is_some_and(|(owner, _)| OWNERS.contains(&owner))
}

fn is_number(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b','))
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36 && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Whether at least 16 characters are as varied as random ones: Shannon entropy of 3 bits a character (random
/// hexadecimal digits have up to 4, English words joined by `_` mostly contain no digit and fail before).
fn is_random(value: &str) -> bool {
    let head = value.as_bytes().get(..ALWAYS_SECRET).unwrap_or(value.as_bytes());
    if head.len() < 16 {
        return false;
    }
    let varied = is_mixed(value)
        || value.bytes().any(|byte| byte.is_ascii_uppercase())
            && value.bytes().any(|byte| byte.is_ascii_lowercase());
    let mut counts = [0_u32; 256];
    for byte in head {
        counts[usize::from(*byte)] += 1;
    }
    let length = head.len() as f64;
    let entropy: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum();
    varied && entropy >= 3.0
}

/// The most backslashes before a quote that are told apart: JSON six times in JSON.
const DEEPEST: usize = 64;

/// A quote with the backslashes before it: JSON inside JSON inside JSON keeps adding them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    mark: u8,
    backslashes: usize,
}

impl Quote {
    /// The quote that starts at `at`, backslashes first, and the offset after it.
    pub(crate) fn at(text: &Text<'_>, at: usize) -> Option<(Self, usize)> {
        let end = text.run(at, DEEPEST, |byte| byte == b'\\');
        let mark = text.byte(end).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
        Some((Self { mark, backslashes: end - at }, end + 1))
    }

    /// The quote that ends just before `at`.
    pub(crate) fn before(text: &Text<'_>, at: usize) -> Option<Self> {
        let mark = text.before(at).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
        let start = text.run_back(at - 1, DEEPEST, |byte| byte == b'\\');
        Some(Self { mark, backslashes: at - 1 - start })
    }

    /// Where what this quote opened ends, if within `limit` bytes: before the closing quote's backslashes, or
    /// at the end of the line, which no credential goes past. A quote with more backslashes belongs to
    /// something further inside.
    pub(crate) fn close(self, text: &Text<'_>, from: usize, limit: usize) -> Option<usize> {
        let bound = from.saturating_add(limit).min(text.len());
        let mut at = from;
        loop {
            let found =
                text.run(at, bound - at, |byte| byte != self.mark && !matches!(byte, b'\\' | b'\n' | b'\r'));
            if found >= bound {
                return None;
            }
            let end = text.run(found, DEEPEST, |byte| byte == b'\\');
            match text.byte(end) {
                Some(byte) if byte == self.mark && end - found <= self.backslashes => return Some(found),
                Some(b'\n' | b'\r') => return Some(found),
                Some(b'n' | b'r') if end > found => return Some(found),
                _ => at = end.max(found + 1),
            }
            // The quote itself, where it is one that belongs further inside.
            if text.byte(at) == Some(self.mark) {
                at += 1;
            }
            if at >= bound {
                return None;
            }
        }
    }
}

/// The end of an unquoted value: before a blank, a quote, a bracket, a separator, or an escape sequence that
/// means one of these. A backslash before anything else belongs to the value.
pub(crate) fn unquoted_end(text: &Text<'_>, from: usize, limit: usize) -> usize {
    let bound = from.saturating_add(limit).min(text.len());
    let mut at = from;
    loop {
        at = text.run(at, bound - at, |byte| {
            byte > b' '
                && !matches!(
                    byte,
                    b'"' | b'\'' | b'`' | b',' | b';' | b')' | b'}' | b']' | b'>' | b'&' | b'|' | b'\\'
                )
        });
        if at >= bound || text.byte(at) != Some(b'\\') {
            return at.min(bound);
        }
        let ends = matches!(
            text.byte(at + 1),
            None | Some(b'n' | b'r' | b't' | b'"' | b'\'' | b'u' | b'\\' | b' ' | b'\n')
        );
        if ends {
            return at;
        }
        at += 1;
    }
}

/// Where the line ends that `from` is on, or `bound`: before a line break, a plain or an escaped one.
pub(crate) fn line_end(text: &Text<'_>, from: usize, bound: usize) -> usize {
    let mut at = from;
    loop {
        at = text.run(at, bound.saturating_sub(at), |byte| !matches!(byte, b'\n' | b'\r' | b'\\'));
        if at >= bound || text.byte(at) != Some(b'\\') {
            return at.min(bound);
        }
        let end = text.run(at, DEEPEST, |byte| byte == b'\\');
        if matches!(text.byte(end), None | Some(b'n' | b'r')) {
            return at;
        }
        at = end;
    }
}

/// The name that ends at `end`: its range, without the letter of an escape sequence (`\n`, `\u0026`, `%26`,
/// `ESC[31m`) that stands before it.
pub(crate) fn name_before(text: &Text<'_>, end: usize) -> Range<usize> {
    let start = text.run_back(end, 64, super::text::is_name);
    let escape = match text.before(start) {
        Some(b'\\') => match text.byte(start) {
            Some(b'n' | b'r' | b't' | b'b' | b'f') => 1,
            Some(b'u') if text.run(start + 1, 4, |byte| byte.is_ascii_hexdigit()) == start + 5 => 5,
            _ => 0,
        },
        Some(b'[' | b';') => {
            let digits = text.run(start, 3, |byte| byte.is_ascii_digit());
            if text.byte(digits) == Some(b'm') && (digits > start) { digits + 1 - start } else { 0 }
        }
        Some(b'%') if text.run(start, 2, |byte| byte.is_ascii_hexdigit()) == start + 2 => 2,
        _ => 0,
    };
    (start + escape).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_secrets() {
        for value in [
            "$OPENAI_API_KEY",
            "${TOKEN}",
            "$(cat key)",
            "<your token>",
            "{{ secrets.token }}",
            "{api_key}",
            "%TOKEN%",
            "your-api-key",
            "YOUR_API_KEY",
            "xxxxxxxx",
            "********",
            "...",
            "null",
            "string",
            "[REDACTED:openai_api_key:51:9f3a2c1b]",
        ] {
            assert!(is_placeholder(value), "{value}");
        }
        for value in ["$ecret1", "hunter2", "[REDACTED:", "[REDACTED:x:1:zzzzzzzz]", "<a1b2", "sk-ant-api03"]
        {
            assert!(!is_placeholder(value), "{value}");
        }
    }

    #[test]
    fn quote_closes_at_its_own_depth() {
        let text = Text::new(r#"{\"a\": \"b \\\"c\\\" d\", \"e\": 1}"#);
        let (quote, inside) = Quote::at(&text, 8).unwrap();
        let end = quote.close(&text, inside, 100).unwrap();
        assert_eq!(text.slice(inside, end), r#"b \\\"c\\\" d"#);
    }

    #[test]
    fn name_leaves_out_the_escape_before_it() {
        for (source, name) in [
            ("a=b\\napi_key", "api_key"),
            ("x\\u0026key", "key"),
            ("?a%26token", "token"),
            ("[1;31mtoken", "token"),
        ] {
            let text = Text::new(source);
            assert_eq!(&source[name_before(&text, source.len())], name);
        }
    }
}
