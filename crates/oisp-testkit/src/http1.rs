//! HTTP/1.1 framing (RFC 9112) for both sides of a connection: where a message ends, and nothing about what
//! it says.

use std::io::{self, Read, Write};

use thiserror::Error;

/// Longest request or status line with its headers.
const HEAD_LIMIT: usize = 64 * 1024;
/// Largest body that is read into memory.
const BODY_LIMIT: usize = 256 * 1024 * 1024;
const READ_SIZE: usize = 16 * 1024;
const MAX_HEADERS: usize = 128;

/// Header names and values in the order in which they stand.
pub type Headers = Vec<(String, String)>;

/// A request, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `POST`, for example.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All headers except those that frame the body.
    pub headers: Headers,
    /// The body after chunks were joined.
    pub body: Vec<u8>,
}

/// A response, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as received.
    pub headers: Headers,
    /// The body after chunks were joined; a content coding is left as it is.
    pub body: Vec<u8>,
}

/// Why a message could not be read or written.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a message.
    #[error("the connection ended inside a {part}")]
    Truncated {
        /// Head, body, or chunk.
        part: &'static str,
    },
    /// The bytes are not HTTP/1.1.
    #[error("not an HTTP/1.1 {part}")]
    Malformed {
        /// What was expected there.
        part: &'static str,
    },
    /// More bytes than are kept in memory.
    #[error("a {part} of more than {limit} bytes")]
    TooLarge {
        /// Head or body.
        part: &'static str,
        /// Bytes.
        limit: usize,
    },
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// Exactly so many bytes.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Up to the end of the connection; responses only.
    UntilClose,
}

/// The value of a header, whatever the case of its name.
#[must_use]
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Whether a comma-separated header lists a token, whatever its case.
#[must_use]
pub fn lists(headers: &Headers, name: &str, token: &str) -> bool {
    header(headers, name).is_some_and(|value| {
        value
            .split(',')
            .any(|item| item.split(';').next().is_some_and(|item| item.trim().eq_ignore_ascii_case(token)))
    })
}

/// A request line and its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// `POST`, for example.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// In order.
    pub headers: Headers,
}

impl RequestHead {
    /// Reads the bytes that [`MessageReader::head`] returned.
    ///
    /// # Errors
    /// [`HttpError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HttpError> {
        let malformed = HttpError::Malformed { part: "request head" };
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut fields);
        match (parsed.parse(bytes), parsed.method, parsed.path, parsed.version) {
            (Ok(httparse::Status::Complete(_)), Some(method), Some(target), Some(minor_version)) => {
                Ok(Self {
                    method: method.to_owned(),
                    target: target.to_owned(),
                    minor_version,
                    headers: owned(parsed.headers)?,
                })
            }
            _ => Err(malformed),
        }
    }

    /// How this request's body ends.
    ///
    /// # Errors
    /// [`HttpError::Malformed`] for a length that is no number.
    pub fn framing(&self) -> Result<BodyFraming, HttpError> {
        Ok(declared_framing(&self.headers)?.unwrap_or(BodyFraming::Length(0)))
    }
}

/// Reads messages from a byte stream one after the other and knows at which offset each begins.
#[derive(Debug)]
pub struct MessageReader<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
    consumed: u64,
}

impl<S: Read> MessageReader<S> {
    /// Reads from the stream's present position, which counts as offset 0.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, consumed: 0 }
    }

    /// The stream, for writing.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Gives the stream back; bytes that were read ahead are lost.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Gives the stream back, and the bytes that were read ahead.
    #[must_use]
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        let ahead = self.buffer.split_off(self.start);
        (self.stream, ahead)
    }

    /// Bytes handed out as part of messages so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.consumed
    }

    /// The next message's head including the empty line; `None` when the peer closed between messages.
    ///
    /// # Errors
    /// A failed or truncated connection, or a head over the limit.
    pub fn head(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let mut searched = 0;
        loop {
            let from = searched.max(3) - 3;
            let waiting = &self.buffer[self.start..];
            if let Some(at) = waiting[from..].windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(Some(self.take(from + at + 4)));
            }
            searched = waiting.len();
            if searched > HEAD_LIMIT {
                return Err(HttpError::TooLarge { part: "head", limit: HEAD_LIMIT });
            }
            if self.fill()? == 0 {
                return if searched == 0 { Ok(None) } else { Err(HttpError::Truncated { part: "head" }) };
            }
        }
    }

    /// The body that follows the head just read.
    ///
    /// # Errors
    /// A failed or truncated connection, a malformed chunk, or a body over the limit.
    pub fn body(&mut self, framing: BodyFraming) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        match framing {
            BodyFraming::Length(length) => self.take_into(&mut body, length, "body")?,
            BodyFraming::UntilClose => loop {
                let waiting = self.waiting();
                self.take_into(&mut body, waiting, "body")?;
                if self.fill()? == 0 {
                    break;
                }
            },
            BodyFraming::Chunked => loop {
                let line = self.line()?;
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(size)
                    .ok()
                    .and_then(|size| usize::from_str_radix(size.trim(), 16).ok())
                    .ok_or(HttpError::Malformed { part: "chunk size" })?;
                if size == 0 {
                    // Trailers end with an empty line.
                    while !self.line()?.is_empty() {}
                    break;
                }
                self.take_into(&mut body, size, "chunk")?;
                if !self.line()?.is_empty() {
                    return Err(HttpError::Malformed { part: "chunk end" });
                }
            },
        }
        Ok(body)
    }

    /// The next final response to a request made with `method`.
    ///
    /// # Errors
    /// A failed connection, or an answer that is not HTTP/1.1.
    pub fn response(&mut self, method: &str) -> Result<Response, HttpError> {
        loop {
            let head = self.head()?.ok_or(HttpError::Truncated { part: "response" })?;
            let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Response::new(&mut fields);
            let (Ok(httparse::Status::Complete(_)), Some(status)) = (parsed.parse(&head), parsed.code) else {
                return Err(HttpError::Malformed { part: "response head" });
            };
            if (100..200).contains(&status) {
                continue;
            }
            let headers = owned(parsed.headers)?;
            let framing = if method == "HEAD" || matches!(status, 204 | 304) {
                BodyFraming::Length(0)
            } else {
                declared_framing(&headers)?.unwrap_or(BodyFraming::UntilClose)
            };
            let body = self.body(framing)?;
            return Ok(Response { status, headers, body });
        }
    }

    fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.buffer[self.start..self.start + length].to_vec();
        self.start += length;
        self.consumed += length as u64;
        taken
    }

    fn take_into(&mut self, body: &mut Vec<u8>, length: usize, part: &'static str) -> Result<(), HttpError> {
        if length > BODY_LIMIT.saturating_sub(body.len()) {
            return Err(HttpError::TooLarge { part: "body", limit: BODY_LIMIT });
        }
        let mut missing = length;
        while missing > 0 {
            if self.waiting() == 0 && self.fill()? == 0 {
                return Err(HttpError::Truncated { part });
            }
            let length = self.waiting().min(missing);
            body.extend_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
            self.consumed += length as u64;
            missing -= length;
        }
        Ok(())
    }

    /// A line without its line end.
    fn line(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut searched = 0;
        loop {
            let waiting = &self.buffer[self.start..];
            if let Some(at) = waiting[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.take(searched + at + 1);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = waiting.len();
            if searched > HEAD_LIMIT {
                return Err(HttpError::TooLarge { part: "line", limit: HEAD_LIMIT });
            }
            if self.fill()? == 0 {
                return Err(HttpError::Truncated { part: "chunk" });
            }
        }
    }

    /// Reads once; 0 means the peer closed, politely or not.
    fn fill(&mut self) -> Result<usize, HttpError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + READ_SIZE, 0);
        let result = loop {
            match self.stream.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A TLS peer that closed without close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(0),
                other => break other,
            }
        };
        self.buffer.truncate(before + result.as_ref().copied().unwrap_or(0));
        Ok(result?)
    }
}

impl<S: Read + Write> MessageReader<S> {
    /// Sends a request in one write and reads its response; informational responses are passed over.
    ///
    /// # Errors
    /// A failed connection, or an answer that is not HTTP/1.1.
    pub fn exchange(&mut self, request: &Request) -> Result<Response, HttpError> {
        self.send(&encode_request(request))?;
        self.response(&request.method)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// A failed connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(())
    }
}

/// A request as bytes, with `Content-Length` unless the headers already say how the body ends (then the body
/// is taken to be framed already).
#[must_use]
pub fn encode_request(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(request.body.len() + 1024);
    bytes.extend_from_slice(format!("{} {} HTTP/1.1\r\n", request.method, request.target).as_bytes());
    push_headers(&mut bytes, &request.headers);
    let framed = header(&request.headers, "transfer-encoding").is_some()
        || header(&request.headers, "content-length").is_some();
    if !framed && (!request.body.is_empty() || request.method == "POST") {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", request.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}

/// Appends headers in wire form.
pub fn push_headers(bytes: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
}

/// Appends one chunk; an empty part adds nothing, since an empty chunk would end the body.
pub fn push_chunk(bytes: &mut Vec<u8>, part: &[u8]) {
    if !part.is_empty() {
        bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// What ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn owned(fields: &[httparse::Header<'_>]) -> Result<Headers, HttpError> {
    fields
        .iter()
        .map(|field| {
            let value = std::str::from_utf8(field.value)
                .map_err(|_| HttpError::Malformed { part: "header value" })?;
            Ok((field.name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn declared_framing(headers: &Headers) -> Result<Option<BodyFraming>, HttpError> {
    if lists(headers, "transfer-encoding", "chunked") {
        return Ok(Some(BodyFraming::Chunked));
    }
    header(headers, "content-length")
        .map(|length| {
            length
                .trim()
                .parse()
                .map(BodyFraming::Length)
                .map_err(|_| HttpError::Malformed { part: "content length" })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out the bytes in pieces of the given sizes, then one by one.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        sizes: Vec<usize>,
    }

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes.pop().unwrap_or(1).min(buffer.len()).min(self.bytes.len() - self.at);
            buffer[..size].copy_from_slice(&self.bytes[self.at..self.at + size]);
            self.at += size;
            Ok(size)
        }
    }

    proptest! {
        #[test]
        fn any_split_of_pipelined_requests_gives_the_same_messages(sizes in prop::collection::vec(1usize..40, 0..60)) {
            let mut bytes = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello".to_vec();
            bytes.extend_from_slice(b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            push_chunk(&mut bytes, b"in two ");
            push_chunk(&mut bytes, b"chunks");
            bytes.extend_from_slice(b"0\r\nTrailer: 1\r\n\r\n");
            let length = bytes.len() as u64;
            let mut reader = MessageReader::new(Pieces { bytes, at: 0, sizes });
            let mut bodies = Vec::new();
            while let Some(head) = reader.head().unwrap() {
                let head = RequestHead::parse(&head).unwrap();
                bodies.push((head.target.clone(), reader.body(head.framing().unwrap()).unwrap()));
            }
            prop_assert_eq!(bodies, vec![("/a".to_owned(), b"hello".to_vec()), ("/b".to_owned(), b"in two chunks".to_vec())]);
            prop_assert_eq!(reader.offset(), length);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut reader = MessageReader::new(&bytes[..]);
            while let Ok(Some(head)) = reader.head() {
                let _ = RequestHead::parse(&head).and_then(|head| head.framing());
            }
            let _ = MessageReader::new(&bytes[..]).body(BodyFraming::Chunked);
        }
    }

    #[test]
    fn a_connection_that_ends_inside_a_body_is_truncated_not_short() {
        let mut reader = MessageReader::new(&b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"[..]);
        let head = RequestHead::parse(&reader.head().unwrap().unwrap()).unwrap();
        assert!(matches!(reader.body(head.framing().unwrap()), Err(HttpError::Truncated { part: "body" })));
    }

    #[test]
    fn an_endless_head_is_refused() {
        let endless = vec![b'a'; HEAD_LIMIT * 2];
        assert!(matches!(MessageReader::new(&endless[..]).head(), Err(HttpError::TooLarge { .. })));
    }
}
