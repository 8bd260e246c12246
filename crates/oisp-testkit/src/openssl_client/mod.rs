//! The host's OpenSSL, opened at run time and called as an application calls it.
//!
//! [`OpenSsl::load`] opens the libraries, a [`Context`] holds certificates, an [`Ssl`] is one `SSL` object.
//! Which function moves the bytes is chosen with [`Call`]; where they go with the transport: a socket
//! (`SSL_set_fd`) or two memory BIOs whose ciphertext the caller carries. [`Ssl`] implements
//! [`std::io::Read`] and [`std::io::Write`] for blocking use; [`Ssl::try_read`] and [`Ssl::try_write`] show
//! `WANT_READ` and `WANT_WRITE`.

mod api;
mod connection;
mod load;

pub use connection::{Call, Context, Ssl};
pub use load::{OpenSsl, OpenSslError};

use thiserror::Error;

use crate::endpoint::Endpoint;
use crate::http1::{HttpError, MessageReader, Request, Response};

/// Why a list of requests did not come to its end.
#[derive(Debug, Error)]
pub enum RequestError {
    /// No connection.
    #[error(transparent)]
    OpenSsl(#[from] OpenSslError),
    /// No response.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Sends requests one after the other on one connection, each in one write, and reads their responses.
///
/// # Errors
/// A failed connection, or a response that is not HTTP/1.1.
pub fn run_requests(
    context: &Context,
    endpoint: &Endpoint,
    call: Call,
    requests: &[Request],
) -> Result<Vec<Response>, RequestError> {
    let mut ssl = context.connect(endpoint)?;
    ssl.set_call(call);
    let mut connection = MessageReader::new(ssl);
    let responses: Result<_, HttpError> =
        requests.iter().map(|request| connection.exchange(request)).collect();
    connection.into_stream().close();
    Ok(responses?)
}
