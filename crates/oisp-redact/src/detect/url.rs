//! Credentials in URLs: user information and query parameters.

use std::ops::Range;

use super::name::classify_query;
use super::text::Text;
use super::value::{is_marked, is_placeholder, is_secret_value, name_before, unquoted_end};
use super::{Attempt, Detector, Matcher, Reach};

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        name: "url_credentials",
        reach: Reach::Always,
        // JSON may escape slashes, and JSON inside JSON the backslashes.
        anchors: &["://", r":\/\/", r":\\/\\/", r":\\\\/\\\\/", r":\\\\\\\\/\\\\\\\\/"],
        matcher: Matcher::Function(user_information),
        positives: &[
            ("postgres://app:Tr0ub4dor@db.internal:5432/app", "Tr0ub4dor"),
            ("amqps://guest:p@ss/w0rd@mq.internal/vhost", "p@ss/w0rd"),
            ("redis://:r3d1spass@cache:6379/0", "r3d1spass"),
            ("https://0a1b2c3d4e5f@git.example.com/a.git", "0a1b2c3d4e5f"),
            (r"https:\/\/alice:w0nder@example.com\/x", "w0nder"),
            ("mongodb+srv://u:s3cr3t%21@c0.example.net/?w=1", "s3cr3t%21"),
            ("git clone https://oauth2:xyz123@gitlab.example.com/x", "xyz123"),
        ],
        negatives: &[
            "https://api.openai.com/v1/chat/completions",
            "ssh://git@github.com/a/b.git",
            "http://localhost:8080/@scope/name",
            "http://[::1]:11434/api",
            "postgres://app@db/app",
            "postgres://$USER:$PASSWORD@db/app",
            "see https://example.com or mail alice@example.com",
        ],
    },
    Detector {
        name: "url_key",
        reach: Reach::Always,
        anchors: &[
            "key=",
            "token=",
            "secret=",
            "password=",
            "passwd=",
            "pwd=",
            "pass=",
            "sig=",
            "signature=",
            "credential=",
            "auth=",
            "code=",
            "session=",
            "sid=",
            "jwt=",
            "assertion=",
            "ticket=",
        ],
        matcher: Matcher::Function(query_parameter),
        positives: &[
            ("https://h/v1beta/models/g:generateContent?key=xyz123&alt=sse", "xyz123"),
            (r"https://h/p?alt=sse\u0026api_key=q1w2e3\u0026x=1", "q1w2e3"),
            ("GET /x?access_token=zz9 HTTP/1.1", "zz9"),
            ("https://b.blob.example/c?sv=2024&amp;sig=Jk8%2Bx&amp;se=1", "Jk8%2Bx"),
            ("https://s3.example/o?X-Amz-Signature=fe5f80f77d5fa3&X-Amz-Date=1", "fe5f80f77d5fa3"),
            ("https://h/cb?code=4%2F0AY0e-g7abc123", "0AY0e-g7abc123"),
            ("https://h/?next=%2Fa%3Ftoken=t0k3n", "t0k3n"),
        ],
        negatives: &[
            "https://h/list?page_token=abc&sort_key=name",
            "https://h/x?code=404",
            "https://h/x?key=$API_KEY",
            "https://h/x?monkey=banana",
        ],
    },
];

/// `url` without query and fragment.
pub(crate) fn strip_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or("")
}

/// `scheme://user:password@host`: the password; for HTTP the user too, which is where tokens are put.
fn user_information(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    const LONGEST: usize = 512;
    let start = anchor.end;
    let stop = |byte: u8| byte <= b' ' || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\');
    let authority_end = text.run(start, LONGEST, |byte| !stop(byte) && !matches!(byte, b'/' | b'?' | b'#'));
    let authority = text.slice(start, authority_end);
    let http = text.slice(anchor.start.saturating_sub(5), anchor.start).to_ascii_lowercase();
    let http = http.ends_with("http") || http.ends_with("https");
    let length = match authority.rfind('@') {
        Some(length) if http || !authority[..length].contains(':') => length,
        // A password may go on past an `@` or a `/` that nobody encoded.
        Some(length) => {
            let end = text
                .run(authority_end, LONGEST - (authority_end - start), |byte| !stop(byte) && byte != b'?');
            let rest = text.slice(start + length + 1, end);
            match rest.rfind('@') {
                Some(further) if !rest[..further].contains(':') => length + 1 + further,
                _ => length,
            }
        }
        None => {
            // A password with `/`, `?` or `#` that nobody encoded.
            let Some((_, rest)) = authority.split_once(':') else { return Attempt::Nothing };
            if http
                || rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
                || rest.starts_with(['{', '$', ':'])
            {
                return Attempt::Nothing;
            }
            let end = text.run(start, LONGEST, |byte| !stop(byte));
            let Some(length) = text.slice(start, end).rfind('@') else { return Attempt::Nothing };
            length
        }
    };
    let information = text.slice(start, start + length);
    let (user, password) = match information.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (information, None),
    };
    match password {
        Some(password) if is_placeholder(password) => Attempt::Nothing,
        // `https://key:@host`: the user is the key.
        Some(_) if http => Attempt::Found(start..start + length),
        Some(_) => Attempt::Found(start + user.len() + 1..start + length),
        None if http && !is_placeholder(user) => Attempt::Found(start..start + length),
        None => Attempt::Nothing,
    }
}

/// `?key=…`, `&access_token=…`, the separators also as JSON, HTML and percent encoding write them.
fn query_parameter(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let name = name_before(text, anchor.end - 1);
    let separated = match text.before(name.start) {
        Some(b'?' | b'&' | b'#') => true,
        Some(b';') => name.start >= 5 && text.starts_with_ignoring_case(name.start - 5, "&amp;"),
        _ => {
            name.start >= 3
                && ["%26", "%3f", "%23"]
                    .iter()
                    .any(|code| text.starts_with_ignoring_case(name.start - 3, code))
                || name.start >= 6
                    && [r"\u0026", r"\u003f"]
                        .iter()
                        .any(|code| text.starts_with_ignoring_case(name.start - 6, code))
        }
    };
    if !separated || is_marked(text, anchor.end) {
        return Attempt::Nothing;
    }
    let Some(secret) = classify_query(text.slice(name.start, name.end)) else { return Attempt::Nothing };
    let head_end = unquoted_end(text, anchor.end, super::value::ALWAYS_SECRET);
    if !is_secret_value(text.slice(anchor.end, head_end), secret.kind, true) {
        return Attempt::Nothing;
    }
    Attempt::FoundAs(secret.label, anchor.end..unquoted_end(text, head_end, usize::MAX))
}
