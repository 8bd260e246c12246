//! A fake AI provider on loopback: deterministic answers, exact log.
//!
//! One thread serves one connection, and their number is bounded. TLS and framing stand apart from
//! the providers' formats: a format ([`ProviderFormat`]) turns a [`crate::http1::Request`] into an
//! [`Answer`] and knows nothing of the connection, so another protocol or another provider joins with one file.
//!
//! With the feature `full-protocols` it speaks HTTP/2 where [`Config`] asks for it, and WebSocket at
//! `/v1/realtime` and `/v1/responses`.
//!
//! The model's name chooses the answer, see [`Script`].

mod answer;
mod anthropic;
mod connection;
#[cfg(feature = "full-protocols")]
mod http2;
mod log;
mod openai;
mod plain;
mod server;
mod tls;
#[cfg(feature = "full-protocols")]
mod websocket;

pub use answer::{Answer, Asked, ProviderFormat, Script};
pub use log::{ConnectionLog, ExchangeLog, MessageLog, ProviderLog};
pub use server::{Config, FakeProvider, StartError};

/// What a provider would send back for these bytes, without a connection and without delays.
///
/// # Errors
/// When the bytes are not whole HTTP/1.1 requests.
pub fn answer_bytes(requests: &[u8]) -> Result<Vec<u8>, crate::http1::HttpError> {
    let record = log::LogBook::new(0).open(0);
    let stream = connection::InMemory { incoming: requests, outgoing: Vec::new() };
    let stream = connection::serve(stream, &record, &server::formats(), &|_| true)?;
    Ok(stream.outgoing)
}
