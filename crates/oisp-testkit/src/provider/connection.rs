//! One HTTP/1.1 connection: requests in, answers out, both logged.

use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use serde_json::json;

use super::answer::{Answer, Asked, ProviderFormat};
use super::log::{ExchangeLog, Logged, Record};
use crate::http1::{
    BodyFraming, Headers, HttpError, LAST_CHUNK, MessageReader, Request, RequestHead, header, lists,
    push_chunk, push_headers,
};
use crate::transcript::sha256_hex;

/// Largest request body after decompression.
pub(super) const DECODED_LIMIT: u64 = 256 << 20;

/// Answers requests until the client closes, asks to close, or sends what is not HTTP. `pause` waits and says
/// whether to go on.
pub(super) fn serve<S: Read + Write>(
    stream: S,
    record: &Record,
    formats: &[Box<dyn ProviderFormat>],
    pause: &dyn Fn(Duration) -> bool,
) -> Result<S, HttpError> {
    let mut reader = MessageReader::new(Logged { stream, record: record.clone() });
    let mut index = 0;
    loop {
        let received_start = reader.offset();
        let sent_start = record.sent_offset();
        let Some(head_bytes) = reader.head()? else { break };
        let head = RequestHead::parse(&head_bytes)?;
        if lists(&head.headers, "expect", "100-continue") {
            let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
            record.sent(interim);
            write(&mut reader.stream_mut().stream, interim)?;
        }
        #[cfg(feature = "full-protocols")]
        if super::websocket::is_asked_for(&head) {
            let exchange = ExchangeLog {
                format: "openai",
                request_head: head_bytes,
                status: 101,
                received_range: received_start..reader.offset(),
                sent_range: sent_start..sent_start,
                ..ExchangeLog::default()
            };
            let (logged, ahead) = reader.into_parts();
            return super::websocket::serve(logged, ahead, &head, exchange, pause);
        }
        let framing = head.framing()?;
        if framing == BodyFraming::UntilClose {
            return Err(HttpError::Malformed { part: "request head" });
        }
        let raw_body = reader.body(framing)?;
        let keep_alive = if head.minor_version == 0 {
            lists(&head.headers, "connection", "keep-alive")
        } else {
            !lists(&head.headers, "connection", "close")
        };

        let (body, unreadable) = match decompress(&head.headers, raw_body) {
            Ok(body) => (body, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let request = Request {
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.clone(),
            body,
        };
        let digest = digest(&request);
        let asked = Asked { request: &request, digest: &digest, index };
        let (format, answer) = match unreadable {
            Some(refusal) => ("none", refusal),
            None => answer(formats, &asked),
        };
        let _number = record.begin(ExchangeLog {
            format,
            request_head: head_bytes,
            request_body: request.body.clone(),
            status: answer.status,
            received_range: received_start..reader.offset(),
            sent_range: sent_start..sent_start,
            ..ExchangeLog::default()
        });
        let wanted = Wanted {
            gzip: lists(&head.headers, "accept-encoding", "gzip")
                && (answer.gzip || header(&head.headers, "x-test-gzip") == Some("1")),
            http10: head.minor_version == 0,
            keep_alive: keep_alive && !(head.minor_version == 0 && answer.streamed),
            body: head.method != "HEAD",
        };
        if !respond(&mut reader.stream_mut().stream, record, &answer, &wanted, pause)? || !wanted.keep_alive {
            break;
        }
        index += 1;
    }
    Ok(reader.into_stream().stream)
}

/// Requests and responses without a connection.
pub(super) struct InMemory<'a> {
    pub(super) incoming: &'a [u8],
    pub(super) outgoing: Vec<u8>,
}

impl Read for InMemory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.incoming.read(buffer)
    }
}

impl Write for InMemory<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the client's head says about the response.
struct Wanted {
    gzip: bool,
    http10: bool,
    keep_alive: bool,
    body: bool,
}

pub(super) fn answer(formats: &[Box<dyn ProviderFormat>], asked: &Asked<'_>) -> (&'static str, Answer) {
    formats
        .iter()
        .find_map(|format| Some((format.name(), format.answer(asked)?)))
        .unwrap_or_else(|| ("none", Answer::json(404, &json!({ "error": { "message": "no such path" } }))))
}

pub(super) fn digest(request: &Request) -> String {
    let mut bytes = format!("{} {}\n", request.method, request.target).into_bytes();
    bytes.extend_from_slice(&request.body);
    sha256_hex(&bytes)
}

/// Undoes the request's content coding, or gives the answer that refuses it.
pub(super) fn decompress(headers: &Headers, body: Vec<u8>) -> Result<Vec<u8>, Answer> {
    let refusal = |status, message: &str| Answer::json(status, &json!({ "error": { "message": message } }));
    let mut plain = Vec::new();
    let read = match header(headers, "content-encoding").map(str::trim) {
        None | Some("identity" | "") => return Ok(body),
        Some("gzip") => GzDecoder::new(&body[..]).take(DECODED_LIMIT).read_to_end(&mut plain),
        Some("deflate") => ZlibDecoder::new(&body[..]).take(DECODED_LIMIT).read_to_end(&mut plain),
        Some(_) => return Err(refusal(415, "only gzip and deflate request bodies are understood")),
    };
    match read {
        Ok(length) if (length as u64) < DECODED_LIMIT => Ok(plain),
        Ok(_) => Err(refusal(413, "the decompressed body is too large")),
        Err(_) => Err(refusal(400, "the body is not in its declared content encoding")),
    }
}

/// Writes an answer; false when the provider stopped meanwhile.
fn respond<S: Write>(
    stream: &mut S,
    record: &Record,
    answer: &Answer,
    wanted: &Wanted,
    pause: &dyn Fn(Duration) -> bool,
) -> Result<bool, HttpError> {
    let chunked = answer.streamed && !wanted.http10;
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status)).into_bytes();
    push_headers(&mut head, &answer.headers);
    if wanted.gzip {
        head.extend_from_slice(b"content-encoding: gzip\r\n");
    }
    if !wanted.keep_alive {
        head.extend_from_slice(b"connection: close\r\n");
    }
    let mut encoder = wanted.gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));

    if !answer.streamed {
        let plain = answer.parts.concat();
        let coded = match encoder.take() {
            Some(mut encoder) => {
                encoder.write_all(&plain)?;
                encoder.finish()?
            }
            None => plain.clone(),
        };
        head.extend_from_slice(format!("content-length: {}\r\n\r\n", coded.len()).as_bytes());
        let wire = if wanted.body { [&head[..], &coded].concat() } else { head.clone() };
        record.respond(&wire, &head, if wanted.body { &plain } else { &[] }, true);
        write(stream, &wire)?;
        return Ok(true);
    }

    head.extend_from_slice(if chunked { b"transfer-encoding: chunked\r\n\r\n" } else { b"\r\n" });
    if !wanted.body {
        record.respond(&head, &head, &[], true);
        write(stream, &head)?;
        return Ok(true);
    }
    let mut wire = head.clone();
    record.respond(&wire, &head, &[], answer.parts.is_empty());
    write(stream, &wire)?;
    for (number, part) in answer.parts.iter().enumerate() {
        if number > 0 && !pause(answer.delay) {
            return Ok(false);
        }
        let is_last = number + 1 == answer.parts.len();
        let coded = match encoder.as_mut() {
            Some(encoder) => {
                encoder.write_all(part)?;
                if is_last {
                    encoder.try_finish()?
                } else {
                    encoder.flush()?
                }
                std::mem::take(encoder.get_mut())
            }
            None => part.clone(),
        };
        wire.clear();
        if chunked {
            push_chunk(&mut wire, &coded);
        } else {
            wire.extend_from_slice(&coded);
        }
        // In one write with the last event: a client that leaves at `[DONE]` finds the log complete.
        if chunked && is_last {
            wire.extend_from_slice(LAST_CHUNK);
        }
        record.respond(&wire, &[], part, is_last);
        write(stream, &wire)?;
    }
    Ok(true)
}

fn write<S: Write>(stream: &mut S, bytes: &[u8]) -> Result<(), HttpError> {
    stream.write_all(bytes)?;
    stream.flush()?;
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unassigned",
    }
}
