//! Values that a name makes secret: `PASSWORD=…`, `"client_secret": "…"`, `--api-key …`.

use std::ops::Range;

use super::name::{NameKind, SecretName, classify};
use super::text::{Text, is_blank, is_name};
use super::value::{
    ALWAYS_SECRET, Quote, is_marked, is_secret_value, name_before, names_marker, strip_scheme, unquoted_end,
};
use super::{Attempt, Detector, Matcher, Reach};

pub(super) const DETECTORS: &[Detector] = &[Detector {
    name: "secret",
    reach: Reach::Safe,
    anchors: &[
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "apikey",
        "api_key",
        "api-key",
        "api.key",
        "accesskey",
        "access_key",
        "access-key",
        "accountkey",
        "privatekey",
        "private_key",
        "private-key",
        "credential",
        "_key",
        "-key",
        "authkey",
    ],
    matcher: Matcher::Function(assignment),
    positives: &[
        ("MISTRAL_API_KEY=0aB1cD2eF3gH4iJ5", "0aB1cD2eF3gH4iJ5"),
        ("export COHERE_API_KEY=\"kJ8hG7fD6sA5pO4i\"", "kJ8hG7fD6sA5pO4i"),
        ("together_api_key: 5f4dcc3b5aa765d61d8327deb882cf99", "5f4dcc3b5aa765d61d8327deb882cf99"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY",
        ),
        ("password: hunter2", "hunter2"),
        ("DB_PASSWORD=correcthorse", "correcthorse"),
        (r#"{"password":"correct horse"}"#, "correct horse"),
        (r#"{\"client_secret\": \"s3cr3t-value-42\"}"#, "s3cr3t-value-42"),
        (r#"{\\\"password\\\":\\\"n3st3d\\\"}"#, "n3st3d"),
        (r"A=1\nTOKEN=abc123def456\nB=2", "abc123def456"),
        ("--api-key q1w2e3r4t5", "q1w2e3r4t5"),
        ("--api-key=q1w2e3r4t5", "q1w2e3r4t5"),
        (r#"["--token", "q1w2e3r4t5"]"#, "q1w2e3r4t5"),
        ("mysql --password 'my pass word'", "my pass word"),
        ("api_key: str = \"z9y8x7w6v5\"", "z9y8x7w6v5"),
        ("<password>S3cur3!</password>", "S3cur3!"),
        ("AccountName=a;AccountKey=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA==;", "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA"),
        ("Server=db;User=sa;Pwd=Sup3r", "Sup3r"),
        ("//registry.example.com/:_authToken=0a1b2c3d-4e5f", "0a1b2c3d-4e5f"),
        ("client_secret=qwertyuiopASDFGHJKL", "qwertyuiopASDFGHJKL"),
    ],
    negatives: &[
        "max_tokens: 4096",
        r#"{"max_tokens":4096,"token":" Hello","tokens":[1,2]}"#,
        "password: str",
        "password = get_password()",
        "token = self.token",
        "api_key=os.environ[\"OPENAI_API_KEY\"]",
        "api_key = settings.api_key",
        "OPENAI_API_KEY=$OPENAI_API_KEY",
        "OPENAI_API_KEY=your-api-key",
        r#"{"secret":{"type":"string"}}"#,
        r#"{"token_type":"bearer","prompt_cache_key":"session-0123456789abcdef0123"}"#,
        "the secret: nobody knows",
        "--token-limit 4096",
        "a secret, a token and a password",
        "if token == None:",
    ],
}];

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Colon,
    Equals,
    /// `>` of an XML element.
    Element,
    /// A blank after a flag.
    Blank,
    /// A comma, between two strings of a list.
    Comma,
}

/// The value that stands after a name.
#[derive(Debug)]
pub(super) struct Assigned {
    /// Where the value starts, after its quote.
    pub(super) start: usize,
    pub(super) quote: Option<Quote>,
    pub(super) operator: Operator,
    /// Whether the name itself was quoted, as a JSON key is.
    pub(super) key_quoted: bool,
    /// Whether the value is the first of a list.
    pub(super) list: bool,
    /// Whether operator and value follow the name without blanks.
    tight: bool,
}

/// What is assigned to the name in the range `name`.
pub(super) fn assigned(text: &Text<'_>, name: &Range<usize>) -> Option<Assigned> {
    const BLANKS: usize = 16;
    let mut at = name.end;
    let closing = Quote::at(text, at);
    if let Some((_, after)) = closing {
        at = after;
    }
    // headers["authorization"] = …
    if closing.is_some() && text.byte(at) == Some(b']') {
        at += 1;
    }
    let operator_at = text.run(at, BLANKS, is_blank);
    let flag = text.byte(name.start) == Some(b'-');
    let (operator, after) = match text.byte(operator_at) {
        Some(b':') if text.byte(operator_at + 1) == Some(b'=') => (Operator::Equals, operator_at + 2),
        Some(b':') => (Operator::Colon, operator_at + 1),
        Some(b'=') => (Operator::Equals, text.run(operator_at, 3, |byte| matches!(byte, b'=' | b'>'))),
        Some(b',') if closing.is_some() => (Operator::Comma, operator_at + 1),
        Some(b'>') if closing.is_none() && text.before(name.start) == Some(b'<') => {
            (Operator::Element, operator_at + 1)
        }
        Some(_) if flag && operator_at > at && closing.is_none() => (Operator::Blank, operator_at),
        _ => return None,
    };
    let mut start = match operator {
        Operator::Comma => skip_layout(text, after),
        _ => text.run(after, BLANKS, is_blank),
    };
    let tight = operator_at == name.end && start == after && operator != Operator::Blank;
    if operator == Operator::Comma {
        start = after_value_key(text, start).unwrap_or(start);
    }
    if operator == Operator::Colon && closing.is_none() {
        start = after_annotation(text, start).unwrap_or(start);
    }
    let list = text.byte(start) == Some(b'[');
    if list && Quote::at(text, skip_layout(text, start + 1)).is_some() {
        start = skip_layout(text, start + 1);
    }
    // A string's prefix: f"…", b'…', r"…".
    let prefix = text.run(start, 2, |byte| byte.is_ascii_alphabetic());
    let quote =
        Quote::at(text, start).or_else(|| (prefix == start + 1).then(|| Quote::at(text, prefix)).flatten());
    let start = quote.map_or(start, |(_, inside)| inside);
    let quote = quote.map(|(quote, _)| quote);
    if is_marked(text, start) {
        return None;
    }
    // `'x-api-key: ' + key`, `"token="`: the quote that seems to open closes the string that the name is in.
    if quote.is_some() && closing.is_none() && quote == Quote::before(text, name.start) {
        return None;
    }
    Some(Assigned { start, quote, operator, key_quoted: closing.is_some(), list, tight })
}

/// Past blanks and line breaks, escaped ones too.
pub(super) fn skip_layout(text: &Text<'_>, from: usize) -> usize {
    let mut at = from;
    for _ in 0..8 {
        at = text.run(at, 64, |byte| byte <= b' ');
        let end = text.run(at, 16, |byte| byte == b'\\');
        if end > at && matches!(text.byte(end), Some(b'n' | b'r' | b't')) {
            at = end + 1;
        } else {
            break;
        }
    }
    at
}

/// In `"name": "Cookie", "value": "…"`: where the value starts, given the offset of `"value"`.
fn after_value_key(text: &Text<'_>, at: usize) -> Option<usize> {
    let (_, inside) = Quote::at(text, at)?;
    if !text.starts_with_ignoring_case(inside, "value") {
        return None;
    }
    let (_, after) = Quote::at(text, inside + 5)?;
    let colon = text.run(after, 8, is_blank);
    (text.byte(colon) == Some(b':')).then(|| skip_layout(text, colon + 1))
}

/// In `api_key: str = "…"`: where the value starts, given the offset of the type.
fn after_annotation(text: &Text<'_>, at: usize) -> Option<usize> {
    let type_end = text.run(at, 40, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'[' | b']' | b'|' | b' ')
    });
    let annotated = text.before(type_end) == Some(b' ') && text.byte(type_end) == Some(b'=');
    let value = text.run(type_end + 1, 8, is_blank);
    (annotated && Quote::at(text, value).is_some()).then_some(value)
}

/// What a flag of a command line says about the argument after it.
pub(crate) fn flag_label(argument: &str) -> Option<SecretName> {
    if !argument.starts_with('-') || argument.contains('=') {
        return None;
    }
    classify(argument)
}

fn assignment(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let name_end = text.run(anchor.end, 32, is_name);
    let name = name_before(text, name_end);
    if name.start > anchor.start || names_marker(text, name.start) {
        return Attempt::Nothing;
    }
    // Looked at before the name, which takes longer to judge: most are `"total_tokens": 7`.
    let Some(assigned) = assigned(text, &name) else { return Attempt::Nothing };
    if assigned.quote.is_none() && assigned.key_quoted {
        return Attempt::Nothing;
    }
    let written = text.slice(name.start, name.end);
    let Some(secret) = classify(written) else { return Attempt::Nothing };
    let secret = match (secret.kind, secret.label) {
        (NameKind::Header, "api_key_header") => SecretName { kind: NameKind::Secret, label: "api_key" },
        (NameKind::Header, _) => return Attempt::Nothing,
        _ => secret,
    };
    let flag = written.starts_with('-');
    if assigned.operator == Operator::Comma && !flag {
        return Attempt::Nothing;
    }
    let start = assigned.start;
    if let Some(quote) = assigned.quote
        && let Some(end) = quote.close(text, start, 1 << 16)
    {
        return quoted(text, start..end, secret);
    }
    // A quote that does not close is a text that was cut.
    let head_end = match assigned.operator {
        Operator::Element => text.run(start, ALWAYS_SECRET, |byte| byte > b' ' && byte != b'<'),
        _ => unquoted_end(text, start, ALWAYS_SECRET),
    };
    let head = text.slice(start, head_end);
    let capitals = written.bytes().all(|byte| !byte.is_ascii_lowercase());
    let literal = assigned.quote.is_some()
        || assigned.operator == Operator::Element
        || assigned.tight && assigned.operator == Operator::Equals && (capitals || flag);
    if assigned.operator == Operator::Blank && head.starts_with('-')
        || !is_secret_value(head, secret.kind, literal)
    {
        return Attempt::Nothing;
    }
    let end = match assigned.operator {
        Operator::Element => text.run(head_end, usize::MAX, |byte| byte > b' ' && byte != b'<'),
        _ => unquoted_end(text, head_end, usize::MAX),
    };
    Attempt::FoundAs(secret.label, start..end)
}

/// A quoted value: literal, but perhaps a sentence.
fn quoted(text: &Text<'_>, value: Range<usize>, secret: SecretName) -> Attempt {
    let whole = text.slice(value.start, value.end);
    let credential = strip_scheme(whole);
    let start = value.end - credential.len();
    let head = text.slice(start, value.end.min(start + ALWAYS_SECRET + 1));
    let sentence = head.bytes().any(|byte| byte <= b' ');
    let allowed = !sentence || secret.kind == NameKind::Password && credential.len() <= ALWAYS_SECRET;
    if allowed && is_secret_value(head, secret.kind, true) {
        Attempt::FoundAs(secret.label, start..value.end)
    } else {
        Attempt::Nothing
    }
}
