//! The cases that a capture has to get right, each as a short run whose bytes are known.
//!
//! A scenario makes calls through [`crate::openssl_client`] and returns the [`Truth`]: what each `SSL` object
//! of the process wrote and read. Where a server is needed that the provider can't be (memory BIOs, a peer that
//! does not read), it is an `SSL` object of the same process and stands in the truth too.

mod in_process;
mod remote;
mod truth;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::calls::{AnswerError, Api};
use crate::endpoint::Endpoint;
use crate::http1::{HttpError, Request};
use crate::openssl_client::{Call, OpenSsl, OpenSslError};

pub use truth::{ObjectTruth, Role, Traced, Truth};

/// What all scenarios share.
#[derive(Clone)]
pub struct Options {
    /// The library that is called.
    pub library: OpenSsl,
    /// The provider.
    pub endpoint: Endpoint,
    /// The certificate that the provider's was signed with.
    pub ca_file: PathBuf,
    /// Where in-process servers may write their certificates.
    pub folder: PathBuf,
    /// `SSL_write` or `SSL_write_ex`.
    pub call: Call,
    /// The format of the calls.
    pub api: Api,
    /// The model, which chooses the answer, see [`crate::provider::Script`].
    pub model: String,
    /// Size of each request's body.
    pub bytes: usize,
    /// Calls on each connection.
    pub calls: usize,
    /// Ask for streamed answers.
    pub stream: bool,
    /// Keep the bytes themselves in the truth, not only their digests.
    pub keep: bool,
}

/// The cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One connection, calls one after the other.
    Plain,
    /// Client and server over memory BIOs on one thread; each request is one write.
    MemoryBio,
    /// Two connections used in turn by one thread, requests cut into pieces that alternate.
    TwoConnections,
    /// A non-blocking socket whose peer does not read at first: writes are retried after `WANT_WRITE`.
    WantWrite {
        /// With `SSL_MODE_ENABLE_PARTIAL_WRITE`.
        partial: bool,
    },
    /// Connections one after the other, each `SSL` object freed before the next is made.
    Reuse {
        /// How many.
        connections: usize,
    },
    /// Parent and child each make a connection after `fork`, with objects that are likely at one address.
    Fork,
    /// Connections at once, a thread each, all with different requests.
    Parallel {
        /// How many.
        connections: usize,
    },
    /// Calls on one connection for some time.
    Loop {
        /// How long.
        duration: Duration,
        /// Waited between calls.
        pause: Duration,
    },
}

/// Why a scenario failed.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The library or the connection.
    #[error(transparent)]
    OpenSsl(#[from] OpenSslError),
    /// The response.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer in it.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The system.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The in-process server's certificate.
    #[error("can't make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The case that was to be shown did not happen.
    #[error("the scenario did not show its case: {0}")]
    NotShown(&'static str),
    /// The scenarios call a TLS library.
    #[error("the provider's base URL must begin with https://")]
    NotTls,
    /// Another thread or process of the scenario failed.
    #[error("{0}")]
    Elsewhere(String),
}

/// Runs a scenario to its end.
///
/// # Errors
/// See [`ScenarioError`]; an answer that is not understood is an error too.
pub fn run(scenario: Scenario, options: &Options) -> Result<Truth, ScenarioError> {
    if !options.endpoint.tls {
        return Err(ScenarioError::NotTls);
    }
    match scenario {
        Scenario::Plain => remote::plain(options),
        Scenario::MemoryBio => in_process::memory_bio(options),
        Scenario::TwoConnections => remote::two_connections(options),
        Scenario::WantWrite { partial } => in_process::want_write(options, partial),
        Scenario::Reuse { connections } => remote::reuse(options, connections),
        Scenario::Fork => remote::fork(options),
        Scenario::Parallel { connections } => remote::parallel(options, connections),
        Scenario::Loop { duration, pause } => remote::repeat(options, duration, pause),
    }
}

impl Options {
    /// The request that this number stands for; different numbers give different contents.
    fn request(&self, number: usize) -> Request {
        self.api.sized_request(&self.endpoint.host, &self.model, number as u64, self.bytes, self.stream)
    }
}

fn io_error(what: &'static str) -> impl FnOnce(std::io::Error) -> ScenarioError {
    move |source| ScenarioError::Io { what, source }
}
