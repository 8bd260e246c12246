//! Recognises the beginning of a message by its first line.

use crate::http2::PREFACE as HTTP2_PREFACE;

/// Methods that a request line may begin with. None ends another, so that a piece of a line that
/// was cut within its method is not taken for a whole one.
const METHODS: [&[u8]; 17] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"TRACE",
    b"QUERY",
    b"SEARCH",
    b"PROPFIND",
    b"REPORT",
    b"PURGE",
    b"MKCOL",
    b"COPY",
    b"MOVE",
];
/// Empty lines before a request line that are overlooked (RFC 9112 section 2.2), in bytes.
const MAX_LEADING_LINE_ENDS: usize = 4;

/// What bytes begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// Fewer bytes than it takes to tell.
    Undecided,
    /// A whole HTTP/1 request line.
    Request,
    /// An HTTP/1 status line, as far as the status code.
    Response,
    /// The HTTP/2 preface.
    Http2,
    /// None of these.
    Other,
}

/// Tells what a piece of a stream begins with; looks at no more than about `limit` bytes.
///
/// Biased to "other": only well-known methods and request lines up to `limit` count.
pub(crate) fn classify(bytes: &[u8], limit: usize) -> Start {
    let ends = bytes.iter().take(MAX_LEADING_LINE_ENDS).take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let bytes = &bytes[ends.count()..];
    if is_prefix(bytes, HTTP2_PREFACE) {
        return if bytes.len() >= HTTP2_PREFACE.len() { Start::Http2 } else { Start::Undecided };
    }
    if bytes.starts_with(b"HTTP") || b"HTTP".starts_with(bytes) {
        return status_line(bytes);
    }
    request_line(bytes, limit)
}

/// Whether the shorter of both begins the longer.
fn is_prefix(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.iter().zip(pattern).all(|(a, b)| a == b)
}

fn status_line(bytes: &[u8]) -> Start {
    const PATTERN: &[u8; 12] = b"HTTP/1.v ddd";
    let matches = bytes.iter().zip(PATTERN).all(|(byte, expected)| match expected {
        b'v' => matches!(byte, b'0' | b'1'),
        b'd' => byte.is_ascii_digit(),
        _ => byte == expected,
    });
    match bytes.get(PATTERN.len()) {
        _ if !matches => Start::Other,
        Some(b' ' | b'\r' | b'\n') => Start::Response,
        Some(_) => Start::Other,
        None => Start::Undecided,
    }
}

fn request_line(bytes: &[u8], limit: usize) -> Start {
    let Some(method) = METHODS.iter().find(|method| is_prefix(bytes, method)) else { return Start::Other };
    let rest = match bytes.get(method.len()) {
        None => return Start::Undecided,
        Some(b' ') => &bytes[method.len() + 1..],
        Some(_) => return Start::Other,
    };
    let Some(end) = rest.iter().take(limit).position(|byte| *byte == b'\n') else {
        return if bytes.len() > limit { Start::Other } else { Start::Undecided };
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    let target = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0"));
    match target {
        Some(target) if !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f) => {
            Start::Request
        }
        _ => Start::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_told_apart() {
        let cases: &[(&[u8], Start)] = &[
            (b"POST /v1/messages HTTP/1.1\r\n", Start::Request),
            (b"\r\nGET / HTTP/1.0\n", Start::Request),
            (b"CONNECT a:1 HTTP/1.1\r\nHost", Start::Request),
            (b"BREW /pot HTTP/1.1\r\n", Start::Other),
            (b"OST /v1/messages HTTP/1.1\r\n", Start::Other),
            (b"P", Start::Undecided),
            (b"POST /v1/mess", Start::Undecided),
            (b"POS", Start::Undecided),
            (b"", Start::Undecided),
            (b"H", Start::Undecided),
            (b"HEAD", Start::Undecided),
            (b"HEAD / HTTP/1.1\r\n", Start::Request),
            (b"HTTP/1.1 20", Start::Undecided),
            (b"HTTP/1.1 200", Start::Undecided),
            (b"HTTP/1.1 200 OK\r\n", Start::Response),
            (b"HTTP/1.1 204\r\n", Start::Response),
            (b"HTTP/1.1 2000", Start::Other),
            (b"HTTP/2 200 OK\r\n", Start::Other),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Start::Http2),
            (b"PRI * HTTP/2.0\r\n", Start::Undecided),
            (b"PROPFIND / HTTP/1.1\r\n", Start::Request),
            (b"GET key\r\n", Start::Other),
            (b"GET / HTTP/1.2\r\n", Start::Other),
            (b"GET a b HTTP/1.1\r\n", Start::Other),
            (b"GET  HTTP/1.1\r\n", Start::Other),
            (b"get / HTTP/1.1\r\n", Start::Other),
            (b"{\"model\":", Start::Other),
            (b"\0\0\x12\x04\0\0\0\0\0", Start::Other),
        ];
        for (bytes, expected) in cases {
            assert_eq!(classify(bytes, 100), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn no_method_ends_another() {
        for method in METHODS {
            assert_eq!(METHODS.iter().filter(|other| other.ends_with(method)).count(), 1);
            assert_eq!(METHODS.iter().filter(|other| other.starts_with(method)).count(), 1);
        }
    }

    #[test]
    fn a_first_line_beyond_the_limit_is_given_up() {
        let line = [b"GET /".to_vec(), vec![b'a'; 100]].concat();
        assert_eq!(classify(&line[..90], 100), Start::Undecided);
        assert_eq!(classify(&line, 100), Start::Other);
        assert_eq!(classify(&[b'A'; 30], 100), Start::Other);
    }
}
