//! Credentials in HTTP headers, as text, JSON, code and command lines write them.

use std::ops::Range;

use super::assignment::{Operator, assigned, skip_layout};
use super::name::classify_header;
use super::text::{Text, is_blank, is_name};
use super::value::{
    LINE_SCHEMES, Quote, WORD_SCHEMES, is_mixed, is_placeholder, line_end, name_before, names_marker,
    strip_scheme, unquoted_end,
};
use super::{Attempt, Detector, Matcher, Reach};

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        name: "authorization_header",
        reach: Reach::Always,
        anchors: &["authorization"],
        matcher: Matcher::Function(authorization),
        positives: &[
            ("Authorization: Bearer abc.def-123", "abc.def-123"),
            ("Proxy-Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
            ("curl -H 'Authorization: Bearer q1w2e3r4' https://h", "q1w2e3r4"),
            (r#"{"authorization":"Bearer a-b-c-d"}"#, "a-b-c-d"),
            (r#"{\"Authorization\": \"Bearer zyx987\"}"#, "zyx987"),
            (r#"["authorization","Bearer pq12rs"]"#, "pq12rs"),
            (r#"{"name":"Authorization","value":"Bearer hj77kl"}"#, "hj77kl"),
            ("authorization: Digest username=\"al\", response=\"6629fae49393a053\"\r\n", "6629fae49393a053"),
            (
                "Authorization: AWS4-HMAC-SHA256 Credential=X, Signature=fe5f80f77d5fa3bec\n",
                "fe5f80f77d5fa3bec",
            ),
            (r"GET / HTTP/1.1\r\nAuthorization: Bearer mn44op\r\nHost: h", "mn44op"),
            ("headers['Authorization'] = f'Token 9944b09199c6'", "9944b09199c6"),
            ("Authorization: 0a9b8c7d6e5f4g3h", "0a9b8c7d6e5f4g3h"),
        ],
        negatives: &[
            "Authorization: Bearer $OPENAI_API_KEY",
            "authorization: required for all users",
            "the authorization header",
            r#"{"authorization": null}"#,
            "-H \"Authorization: Bearer ${TOKEN}\"",
            "authorization_endpoint: https://h/authorize",
        ],
    },
    Detector {
        name: "cookie",
        reach: Reach::Always,
        anchors: &["cookie"],
        matcher: Matcher::Function(cookie),
        positives: &[
            ("Cookie: sid=31d4d96e407aad42; theme=dark", "31d4d96e407aad42"),
            ("Set-Cookie: id=a3fWa; Expires=Thu, 31 Oct 2030 07:28:00 GMT; Secure\r\n", "a3fWa"),
            (r#"{"cookie":"a=b; session=zz\"q\"zz"}"#, "zz"),
            (r#"{"set-cookie":["a=kk11; Path=/","b=kk22"]}"#, "kk22"),
            ("curl -H 'Cookie: s=t0ps3cret'", "t0ps3cret"),
            ("curl --cookie 'x=yy88zz' https://h", "yy88zz"),
        ],
        negatives: &["cookie: a small cake", "the cookie jar", "cookies: 3", r#"{"cookies": {}}"#],
    },
    Detector {
        name: "api_key_header",
        reach: Reach::Always,
        anchors: &[
            "api-key",
            "x-auth-token",
            "x-access-token",
            "x-amz-security-token",
            "x-functions-key",
            "ocp-apim-subscription-key",
            "private-token",
            "x-gitlab-token",
            "x-vault-token",
        ],
        matcher: Matcher::Function(key_header),
        positives: &[
            ("x-api-key: q9w8e7r6t5", "q9w8e7r6t5"),
            (r#"{"api-key":"shortkey"}"#, "shortkey"),
            ("curl -H \"x-goog-api-key: xyz\" https://h", "xyz"),
            (r"x-api-key: z1x2c3v4\r\nhost: h", "z1x2c3v4"),
        ],
        negatives: &["x-api-key: required", "-H \"x-api-key: $KEY\"", "set the api-key header"],
    },
    Detector {
        name: "bearer_token",
        reach: Reach::Always,
        anchors: &["bearer ", "basic "],
        matcher: Matcher::Function(bearer),
        positives: &[
            ("sent with Bearer 8a7b6c5d4e3f2a1b0c", "8a7b6c5d4e3f2a1b0c"),
            ("Basic YWxpY2U6d29uZGVybGFuZDE=", "YWxpY2U6d29uZGVybGFuZDE="),
        ],
        negatives: &["a bearer of good news", "basic understanding-of-things", "Bearer authentication"],
    },
];

/// The value of a header. Its end is looked for only when it is known to be a credential.
struct HeaderValue {
    start: usize,
    /// Where the quotes close that the value, or name and value, stand in.
    close: Option<usize>,
    /// Whether the value has quotes of its own.
    quoted: bool,
    /// Whether this is plainly a header's value (in quotes) and not perhaps prose.
    plain: bool,
}

impl HeaderValue {
    fn bound(&self, text: &Text<'_>) -> usize {
        self.close.unwrap_or(text.len())
    }

    fn end(&self, text: &Text<'_>) -> usize {
        match self.close {
            Some(close) if self.quoted => close,
            _ => line_end(text, self.start, self.bound(text)),
        }
    }

    /// Where the word that starts at `start` ends; the whole value where it has quotes of its own.
    fn word_end(&self, text: &Text<'_>, start: usize, limit: usize) -> usize {
        match self.close {
            Some(close) if self.quoted => close,
            close => unquoted_end(text, start, limit).min(close.unwrap_or(usize::MAX)),
        }
    }

    fn is_placeholder(&self, text: &Text<'_>, start: usize) -> bool {
        let bound = self.bound(text).min(start + 128);
        let end = if self.quoted { bound } else { line_end(text, start, bound) };
        is_placeholder(text.slice(start, end))
    }
}

/// The longest value in quotes.
const LONGEST: usize = 1 << 16;

fn header_value(text: &Text<'_>, name: &Range<usize>) -> Option<HeaderValue> {
    let assigned = assigned(text, name)?;
    let start = assigned.start;
    if let Some(quote) = assigned.quote {
        let mut close = quote.close(text, start, LONGEST);
        // A list of values: all of them.
        while let (true, Some(end)) = (assigned.list, close) {
            let after = text.run(end, 65, |byte| matches!(byte, b'\\' | b'"' | b'\''));
            let comma = skip_layout(text, after);
            if text.byte(comma) != Some(b',') {
                break;
            }
            let next = skip_layout(text, comma + 1);
            match Quote::at(text, next) {
                Some((next_quote, inside)) if next_quote == quote => {
                    close = quote.close(text, inside, LONGEST);
                }
                _ => break,
            }
        }
        return Some(HeaderValue { start, close, quoted: true, plain: true });
    }
    if assigned.key_quoted || assigned.operator == Operator::Comma {
        return None;
    }
    let around = Quote::before(text, name.start);
    let close = around.and_then(|quote| quote.close(text, start, LONGEST));
    Some(HeaderValue { start, close, quoted: false, plain: around.is_some() })
}

/// The header's name that ends with the anchor, if it is one.
fn header_name(text: &Text<'_>, anchor: &Range<usize>) -> Option<Range<usize>> {
    if text.byte(anchor.end).is_some_and(is_name) {
        return None;
    }
    let name = name_before(text, anchor.end);
    if names_marker(text, name.start) {
        return None;
    }
    let written = text.slice(name.start, name.end);
    // `HTTP_AUTHORIZATION`, `headers.authorization`, `--cookie` are the same header.
    let last = written.rsplit(['.', '_']).next().unwrap_or(written);
    (classify_header(written).is_some() || classify_header(last.trim_start_matches('-')).is_some())
        .then_some(name)
}

fn authorization(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let Some(value) = header_name(text, &anchor).and_then(|name| header_value(text, &name)) else {
        return Attempt::Nothing;
    };
    let HeaderValue { start, plain, .. } = value;
    let bound = value.bound(text);
    let scheme_end = text.run(start, 24, |byte| byte.is_ascii_alphanumeric() || byte == b'-').min(bound);
    let scheme = text.slice(start, scheme_end).to_ascii_lowercase();
    let credential = text.run(scheme_end, 8, is_blank).min(bound);
    let one_word = |start: usize| {
        if value.is_placeholder(text, start)
            || is_placeholder(text.slice(start, value.word_end(text, start, 128)))
        {
            return Attempt::Nothing;
        }
        Attempt::Found(start..value.word_end(text, start, usize::MAX))
    };
    match scheme.as_str() {
        scheme if credential > scheme_end && WORD_SCHEMES.contains(&scheme) => one_word(credential),
        scheme if credential > scheme_end && LINE_SCHEMES.contains(&scheme) => {
            Attempt::Found(credential..value.end(text))
        }
        _ if plain && value.is_placeholder(text, start) => Attempt::Nothing,
        _ if plain => Attempt::Found(start..value.end(text)),
        // No known scheme and no quotes: prose, unless a word looks like a token.
        _ => [start, credential]
            .into_iter()
            .find(|start| is_tokenlike(text.slice(*start, value.word_end(text, *start, 64))))
            .map_or(Attempt::Nothing, one_word),
    }
}

/// Whether an unquoted word looks like a credential and not like a word of prose.
fn is_tokenlike(word: &str) -> bool {
    word.len() >= 8 && is_mixed(word) || word.len() >= 24
}

fn cookie(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let Some(value) = header_name(text, &anchor).and_then(|name| header_value(text, &name)) else {
        return Attempt::Nothing;
    };
    let start = value.start;
    let name_end = text.run(start, 128, |byte| byte > b' ' && !matches!(byte, b'=' | b';' | b','));
    let is_pair = name_end > start && name_end < value.bound(text) && text.byte(name_end) == Some(b'=');
    if is_pair || value.quoted && !value.is_placeholder(text, start) {
        return Attempt::Found(start..value.end(text));
    }
    Attempt::Nothing
}

fn key_header(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let Some(value) = header_name(text, &anchor).and_then(|name| header_value(text, &name)) else {
        return Attempt::Nothing;
    };
    let head = text.slice(value.start, value.word_end(text, value.start, 128).min(value.start + 128));
    let start = value.start + head.len() - strip_scheme(head).len();
    if value.is_placeholder(text, start) || is_placeholder(head) || !(value.plain || is_tokenlike(head)) {
        return Attempt::Nothing;
    }
    Attempt::Found(start..value.word_end(text, start, usize::MAX))
}

/// `Bearer …` without its header.
fn bearer(text: &Text<'_>, anchor: Range<usize>) -> Attempt {
    let is_credential = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
    };
    let head_end = text.run(anchor.end, 64, is_credential);
    let head = text.slice(anchor.end, head_end);
    if head.len() < 16 || !is_mixed(head) || is_placeholder(head) {
        return Attempt::Nothing;
    }
    Attempt::Found(anchor.end..text.run(head_end, usize::MAX, is_credential))
}
