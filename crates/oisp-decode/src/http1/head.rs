//! Message heads and trailer sections: finds their end, then parses them once.

use bytes::Bytes;

use crate::Limits;
use crate::headers::{Header, Headers};
use crate::message::{HttpVersion, Nanos, ProblemKind, RequestHead, ResponseHead};

/// Collects lines up to the empty one. Each byte is looked at once, however the input is cut.
#[derive(Debug)]
pub(super) struct LineBlock {
    bytes: Vec<u8>,
    line_start: usize,
    limit: usize,
    /// Empty lines before the first line are overlooked (heads) or end the block (trailers).
    skip_leading: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BlockStatus {
    Partial,
    Complete,
    TooLarge,
}

impl LineBlock {
    pub(super) fn head(limits: &Limits) -> Self {
        Self { bytes: Vec::new(), line_start: 0, limit: limits.head_bytes, skip_leading: true }
    }

    pub(super) fn trailers(limits: &Limits) -> Self {
        Self { skip_leading: false, ..Self::head(limits) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes bytes up to the end of the block; returns how many it took.
    pub(super) fn push(&mut self, input: &[u8]) -> (usize, BlockStatus) {
        let mut taken = 0;
        while let Some(length) = memchr::memchr(b'\n', &input[taken..]) {
            let line = &input[taken..=taken + length];
            taken += line.len();
            if self.bytes.len() + line.len() > self.limit {
                return (taken, BlockStatus::TooLarge);
            }
            self.bytes.extend_from_slice(line);
            let is_empty = matches!(&self.bytes[self.line_start..], b"\n" | b"\r\n");
            if is_empty && self.line_start == 0 && self.skip_leading {
                self.bytes.clear();
            } else if is_empty {
                return (taken, BlockStatus::Complete);
            }
            self.line_start = self.bytes.len();
        }
        let rest = &input[taken..];
        if self.bytes.len() + rest.len() > self.limit {
            return (input.len(), BlockStatus::TooLarge);
        }
        self.bytes.extend_from_slice(rest);
        (input.len(), BlockStatus::Partial)
    }
}

/// Peculiarities of a block, some of which serve request smuggling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Oddities {
    folding: bool,
    bare_carriage_return: bool,
    bare_line_feed: bool,
}

impl Oddities {
    pub(super) fn problems(self) -> impl Iterator<Item = ProblemKind> {
        [
            self.folding.then_some(ProblemKind::ObsoleteFolding),
            self.bare_carriage_return.then_some(ProblemKind::BareCarriageReturn),
            self.bare_line_feed.then_some(ProblemKind::BareLineFeed),
        ]
        .into_iter()
        .flatten()
    }
}

/// A parsed block, or why it could not be parsed.
pub(super) type Parsed<T> = (Result<T, ProblemKind>, Oddities);

pub(super) fn request(block: LineBlock, first_byte: Nanos, limits: &Limits) -> Parsed<RequestHead> {
    let (bytes, oddities, lines) = normalised(block);
    (parse_request(&bytes, lines, first_byte, limits), oddities)
}

pub(super) fn response(block: LineBlock, first_byte: Nanos, limits: &Limits) -> Parsed<ResponseHead> {
    let (bytes, oddities, lines) = normalised(block);
    (parse_response(&bytes, lines, first_byte, limits), oddities)
}

pub(super) fn trailers(block: LineBlock, limits: &Limits) -> Result<Headers, ProblemKind> {
    let (bytes, _, lines) = normalised(block);
    let mut fields = field_slots(lines, limits)?;
    match httparse::parse_headers(&bytes, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => Ok(headers(&bytes, fields)),
        Ok(httparse::Status::Partial) | Err(_) => Err(ProblemKind::MalformedTrailers),
    }
}

fn parse_request(
    bytes: &Bytes,
    lines: usize,
    first_byte: Nanos,
    limits: &Limits,
) -> Result<RequestHead, ProblemKind> {
    let mut fields = field_slots(lines, limits)?;
    let mut request = httparse::Request::new(&mut fields);
    match (request.parse(bytes), request.method, request.path, request.version) {
        (Ok(httparse::Status::Complete(_)), Some(method), Some(target), Some(version)) => Ok(RequestHead {
            method: method.to_owned(),
            target: target.to_owned(),
            version: self::version(version),
            headers: headers(bytes, request.headers),
            first_byte,
        }),
        _ => Err(ProblemKind::MalformedHead),
    }
}

fn parse_response(
    bytes: &Bytes,
    lines: usize,
    first_byte: Nanos,
    limits: &Limits,
) -> Result<ResponseHead, ProblemKind> {
    let mut fields = field_slots(lines, limits)?;
    let mut response = httparse::Response::new(&mut fields);
    match (response.parse(bytes), response.code, response.version) {
        (Ok(httparse::Status::Complete(_)), Some(status @ 100..), Some(version)) => Ok(ResponseHead {
            status,
            reason: response.reason.unwrap_or_default().to_owned(),
            version: self::version(version),
            headers: headers(bytes, response.headers),
            first_byte,
        }),
        _ => Err(ProblemKind::MalformedHead),
    }
}

fn version(minor: u8) -> HttpVersion {
    if minor == 0 { HttpVersion::Http10 } else { HttpVersion::Http11 }
}

/// Room for as many fields as there are lines, if the limit allows.
fn field_slots<'a>(lines: usize, limits: &Limits) -> Result<Vec<httparse::Header<'a>>, ProblemKind> {
    // The start line and the empty line are no fields.
    if lines.saturating_sub(2) > limits.headers {
        return Err(ProblemKind::HeadTooLarge);
    }
    Ok(vec![httparse::EMPTY_HEADER; lines])
}

fn headers(block: &Bytes, fields: &[httparse::Header<'_>]) -> Headers {
    fields.iter().map(|field| Header::new(field.name, block.slice_ref(field.value.trim_ascii()))).collect()
}

/// The block with folded lines joined (RFC 9112 section 5.2), its peculiarities, its line count.
fn normalised(block: LineBlock) -> (Bytes, Oddities, usize) {
    let mut bytes = block.bytes;
    let mut oddities = Oddities::default();
    let mut lines = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let end = at + found;
        let line_feed = if bytes[end] == b'\n' { end } else { end + 1 };
        if bytes.get(line_feed) != Some(&b'\n') {
            oddities.bare_carriage_return = true;
            at = end + 1;
            continue;
        }
        oddities.bare_line_feed |= line_feed == end;
        lines += 1;
        at = line_feed + 1;
        // A continued start line is not folding but nonsense, and is left for the parser to reject.
        if lines > 1 && matches!(bytes.get(at), Some(b' ' | b'\t')) {
            oddities.folding = true;
            lines -= 1;
            bytes[end..at].fill(b' ');
        }
    }
    (Bytes::from(bytes), oddities, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &[u8], piece: usize) -> LineBlock {
        let mut block = LineBlock::head(&Limits::default());
        for piece in text.chunks(piece) {
            assert_ne!(block.push(piece).1, BlockStatus::TooLarge);
        }
        block
    }

    #[test]
    fn a_head_ends_at_its_empty_line_and_takes_no_byte_more() {
        let mut block = LineBlock::head(&Limits::default());
        assert_eq!(block.push(b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nbody"), (26, BlockStatus::Complete));
    }

    #[test]
    fn folded_lines_are_joined_and_reported() {
        let (head, oddities) =
            request(block(b"GET / HTTP/1.1\r\nA: b\r\n  c\r\nD: e\r\n\r\n", 1), Nanos(0), &Limits::default());
        let head = head.unwrap();
        assert_eq!(head.headers.get("a").as_deref(), Some("b    c"));
        assert_eq!(head.headers.get("d").as_deref(), Some("e"));
        assert_eq!(oddities.problems().collect::<Vec<_>>(), [ProblemKind::ObsoleteFolding]);
    }

    #[test]
    fn a_bare_carriage_return_is_reported_and_rejected() {
        let (head, oddities) =
            request(block(b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", 7), Nanos(0), &Limits::default());
        assert_eq!(head.unwrap_err(), ProblemKind::MalformedHead);
        assert_eq!(oddities.problems().collect::<Vec<_>>(), [ProblemKind::BareCarriageReturn]);
    }

    #[test]
    fn bare_line_feeds_are_read_and_reported() {
        let (head, oddities) = response(block(b"HTTP/1.1 200 OK\nA: b\n\n", 3), Nanos(0), &Limits::default());
        assert_eq!(head.unwrap().headers.get("a").as_deref(), Some("b"));
        assert_eq!(oddities.problems().collect::<Vec<_>>(), [ProblemKind::BareLineFeed]);
    }

    #[test]
    fn blanks_before_a_colon_are_rejected() {
        let (head, _) = request(
            block(b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", 100),
            Nanos(0),
            &Limits::default(),
        );
        assert_eq!(head.unwrap_err(), ProblemKind::MalformedHead);
    }

    #[test]
    fn the_number_of_fields_is_bounded_exactly() {
        let limits = Limits { headers: 3, ..Limits::default() };
        let head = |fields: usize| {
            let text = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(fields));
            request(block(text.as_bytes(), 9), Nanos(0), &limits).0
        };
        assert_eq!(head(3).unwrap().headers.len(), 3);
        assert_eq!(head(4).unwrap_err(), ProblemKind::HeadTooLarge);
    }

    #[test]
    fn the_size_of_a_head_is_bounded_whether_its_line_ends_or_not() {
        let limits = Limits { head_bytes: 20, ..Limits::default() };
        assert_eq!(LineBlock::head(&limits).push(&[b'a'; 21]).1, BlockStatus::TooLarge);
        assert_eq!(LineBlock::head(&limits).push(b"aaaaaaaaaaaaaaaaaaaaaaaaaa\n").1, BlockStatus::TooLarge);
        assert_eq!(LineBlock::head(&limits).push(&[b'a'; 20]).1, BlockStatus::Partial);
    }

    #[test]
    fn values_that_are_not_ascii_are_kept() {
        let (head, _) =
            request(block("GET /é HTTP/1.1\r\nA: ü\r\n\r\n".as_bytes(), 5), Nanos(0), &Limits::default());
        let head = head.unwrap();
        assert_eq!((head.target.as_str(), head.headers.get("a").as_deref()), ("/é", Some("ü")));
    }
}
