//! HTTP/2: the same answers on interleaving streams.
//!
//! A connection has a thread of its own, and on it a runtime of its own: the library that frames is
//! written for one. What is logged is what crosses below the framing, that is the plaintext.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use h2::SendStream;
use h2::server::SendResponse;
use http::HeaderMap;
use rustls::StreamOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use super::answer::{Answer, Asked, ProviderFormat};
use super::connection::{DECODED_LIMIT, answer, decompress, digest};
use super::log::{ExchangeLog, Record};
use super::tls::{Acceptor, TlsStream};
use crate::http1::{Headers, HttpError, Request, header, lists, push_headers};

/// Bytes that a client may send on a stream before the provider has read them.
const WINDOW: u32 = 1 << 20;
const MAX_STREAMS: u32 = 128;
/// What an HTTP/2 connection without TLS begins with, as far as no HTTP/1 request does.
const PREFACE_START: &[u8] = b"PRI ";

type Formats = Arc<[Box<dyn ProviderFormat>]>;

/// What became of a connection.
pub(super) enum Accepted {
    /// It was HTTP/2 and is over.
    Served,
    /// HTTP/1 without TLS, nothing read yet.
    PlainHttp1(TcpStream),
    /// HTTP/1 over TLS, the handshake done.
    TlsHttp1(Box<TlsStream>),
}

/// Serves a connection if the client chose HTTP/2, else hands it back.
pub(super) fn accept(
    stream: TcpStream,
    tls: Option<&Acceptor>,
    record: &Record,
    formats: &Formats,
) -> Result<Accepted, HttpError> {
    if tls.is_none() && !begins_with_preface(&stream)? {
        return Ok(Accepted::PlainHttp1(stream));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let accepted = LocalSet::new().block_on(&runtime, async {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let Some(acceptor) = tls else {
            serve(stream, record, formats).await?;
            return Ok(Accepted::Served);
        };
        let stream = TlsAcceptor::from(acceptor.config()).accept(stream).await?;
        record.server_name(stream.get_ref().1.server_name());
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            serve(stream, record, formats).await?;
            return Ok(Accepted::Served);
        }
        let (stream, connection) = stream.into_inner();
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok(Accepted::TlsHttp1(Box::new(StreamOwned::new(connection, stream))))
    });
    accepted.map_err(HttpError::Io)
}

fn begins_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE_START.len()];
    loop {
        let length = stream.peek(&mut start)?;
        if length == 0 || start[..length] != PREFACE_START[..length] {
            return Ok(false);
        }
        if length == PREFACE_START.len() {
            return Ok(true);
        }
        // A part of it: there is no way to wait for more than has come.
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn serve<S>(stream: S, record: &Record, formats: &Formats) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = Logged { stream, record: record.clone(), waiting: Vec::new(), written: 0 };
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .max_concurrent_streams(MAX_STREAMS)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(io::Error::other)?;
    let mut index = 0;
    while let Some(accepted) = connection.accept().await {
        let (request, response) = accepted.map_err(io::Error::other)?;
        let (record, formats) = (record.clone(), Arc::clone(formats));
        tokio::task::spawn_local(async move {
            // A stream that its client has reset says so in the log: its exchange stays incomplete.
            let _reset = respond(request, response, index, &record, &formats).await;
        });
        index += 1;
    }
    Ok(())
}

async fn respond(
    request: http::Request<h2::RecvStream>,
    mut response: SendResponse<Bytes>,
    index: u64,
    record: &Record,
    formats: &Formats,
) -> io::Result<()> {
    let stream = response.stream_id().as_u32();
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    let target = parts.uri.path_and_query().map_or("*", |target| target.as_str()).to_owned();
    let mut headers: Headers = Vec::new();
    if let Some(authority) = parts.uri.authority() {
        headers.push(("host".to_owned(), authority.to_string()));
    }
    headers.extend(readable(&parts.headers));
    let raw_body = collect(body).await?;

    let (body, unreadable) = match decompress(&headers, raw_body) {
        Ok(body) => (body, None),
        Err(refusal) => (Vec::new(), Some(refusal)),
    };
    let request = Request { method, target, headers, body };
    let digest = digest(&request);
    let asked = Asked { request: &request, digest: &digest, index };
    let (format, answer) = match unreadable {
        Some(refusal) => ("none", refusal),
        None => answer(formats, &asked),
    };
    let mut request_head = format!("{} {} HTTP/2\r\n", request.method, request.target).into_bytes();
    push_headers(&mut request_head, &request.headers);
    request_head.extend_from_slice(b"\r\n");
    let number = record.begin(ExchangeLog {
        format,
        request_head,
        request_body: request.body.clone(),
        status: answer.status,
        stream: Some(stream),
        ..ExchangeLog::default()
    });
    let gzip = lists(&request.headers, "accept-encoding", "gzip")
        && (answer.gzip || header(&request.headers, "x-test-gzip") == Some("1"));
    let has_body = request.method != "HEAD";
    write_answer(&mut response, &answer, gzip, has_body, |head, body, is_last| {
        record.respond_to(number, head, body, is_last);
    })
    .await
}

/// Sends an answer; `log` is told of each part before it is sent.
async fn write_answer(
    response: &mut SendResponse<Bytes>,
    answer: &Answer,
    gzip: bool,
    has_body: bool,
    log: impl Fn(&[u8], &[u8], bool),
) -> io::Result<()> {
    let mut encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let mut headers = answer.headers.clone();
    if gzip {
        headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
    // A known length is declared, so the whole body is one part.
    let whole = [answer.parts.concat()];
    let parts = if answer.streamed { &answer.parts[..] } else { &whole[..] };
    let mut first = None;
    if !answer.streamed {
        let coded = code(encoder.as_mut(), &whole[0], true)?;
        headers.push(("content-length".to_owned(), coded.len().to_string()));
        first = Some(coded);
    }
    let mut head = http::Response::builder().status(answer.status);
    for (name, value) in &headers {
        head = head.header(name, value);
    }
    let head = head.body(()).map_err(io::Error::other)?;
    let mut head_text = format!("HTTP/2 {}\r\n", answer.status).into_bytes();
    push_headers(&mut head_text, &headers);
    head_text.extend_from_slice(b"\r\n");
    let is_over = !has_body || parts.is_empty();
    log(&head_text, &[], is_over);
    let mut stream = response.send_response(head, is_over).map_err(io::Error::other)?;
    if is_over {
        return Ok(());
    }
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(answer.delay).await;
        }
        let is_last = number + 1 == parts.len();
        let coded = match first.take() {
            Some(coded) => coded,
            None => code(encoder.as_mut(), part, is_last)?,
        };
        log(&[], part, is_last);
        send(&mut stream, coded.into(), is_last).await?;
    }
    Ok(())
}

fn code(encoder: Option<&mut GzEncoder<Vec<u8>>>, part: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
    let Some(encoder) = encoder else { return Ok(part.to_vec()) };
    encoder.write_all(part)?;
    if is_last {
        encoder.try_finish()?;
    } else {
        encoder.flush()?;
    }
    Ok(std::mem::take(encoder.get_mut()))
}

/// Sends bytes as the client's windows allow.
async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes, is_last: bool) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let granted = poll_fn(|context| stream.poll_capacity(context)).await;
        let granted = granted.ok_or(io::ErrorKind::ConnectionReset)?.map_err(io::Error::other)?;
        let piece = bytes.split_to(granted.min(bytes.len()));
        let ends = is_last && bytes.is_empty();
        stream.send_data(piece, ends).map_err(io::Error::other)?;
        if ends {
            return Ok(());
        }
    }
    if is_last { stream.send_data(Bytes::new(), true).map_err(io::Error::other) } else { Ok(()) }
}

async fn collect(mut body: h2::RecvStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(io::Error::other)?;
        body.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > DECODED_LIMIT {
            return Err(io::Error::other("the request body is too large"));
        }
    }
    Ok(bytes)
}

fn readable(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    })
}

/// A stream whose plaintext is logged. What is to be written is taken at once and logged before any of it
/// leaves, so that a client never holds a byte that the log lacks.
struct Logged<S> {
    stream: S,
    record: Record,
    waiting: Vec<u8>,
    /// How many of the waiting bytes are written.
    written: usize,
}

impl<S: AsyncWrite + Unpin> Logged<S> {
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Logged<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.record.received(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Logged<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_waiting(context))?;
        self.record.sent(bytes);
        self.waiting.extend_from_slice(bytes);
        // What does not leave now leaves with the next write or flush.
        if let Poll::Ready(Err(error)) = self.poll_waiting(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
