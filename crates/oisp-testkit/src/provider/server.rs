//! Starting, accepting, stopping.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use thiserror::Error;

use super::answer::ProviderFormat;
use super::connection::serve;
use super::log::{LogBook, ProviderLog, Record, lock};
use super::tls::{Acceptor, TlsStream};
use super::{anthropic::Anthropic, openai::OpenAi, plain::Plain};
use crate::certificates::Certificates;

/// How a provider is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `ca.pem` is written for clients; made if absent.
    pub folder: PathBuf,
    /// The port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// TLS, or plain HTTP as local model servers speak it.
    pub tls: bool,
    /// Names that the certificate is valid for besides [`crate::certificates::SERVER_NAMES`].
    pub names: Vec<String>,
    /// Connections served at once; further ones wait unanswered.
    pub max_connections: usize,
    /// HTTP/2 for clients that offer it in their handshake or, without TLS, begin with its preface.
    #[cfg(feature = "full-protocols")]
    pub http2: bool,
    /// Bytes that the log keeps in all; further ones are counted and digested.
    pub log_limit: usize,
}

impl Config {
    /// TLS on a free port, 256 connections, 512 MiB of log.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            port: 0,
            tls: true,
            names: Vec::new(),
            max_connections: 256,
            #[cfg(feature = "full-protocols")]
            http2: false,
            log_limit: 512 << 20,
        }
    }

    /// Without TLS.
    #[must_use]
    pub fn plain_http(self) -> Self {
        Self { tls: false, ..self }
    }

    /// With HTTP/2 for those who ask for it.
    #[cfg(feature = "full-protocols")]
    #[must_use]
    pub fn with_http2(self) -> Self {
        Self { http2: true, ..self }
    }
}

/// Why a provider did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The port is taken, or the folder can't be written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A name that can't stand in a certificate, or no randomness.
    #[error("can't make the certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused the certificate.
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A running provider; dropping it closes every connection and waits for their threads.
pub struct FakeProvider {
    address: SocketAddr,
    tls: bool,
    ca_file: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    log: LogBook,
    formats: Arc<[Box<dyn ProviderFormat>]>,
    tls: Option<Acceptor>,
    #[cfg(feature = "full-protocols")]
    http2: bool,
    max_connections: usize,
    stopping: AtomicBool,
    /// Open connections by number, to be shut down on stop.
    open: Mutex<HashMap<u64, TcpStream>>,
    /// Signalled when a connection closes and when the provider stops.
    changed: Condvar,
}

impl FakeProvider {
    /// Starts to listen on 127.0.0.1.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: Config) -> Result<Self, StartError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| StartError::Io { what, source }
        };
        let certificates = Certificates::generate(&config.names)?;
        // Clients may run in another working directory.
        let ca_file =
            std::path::absolute(config.folder.join("ca.pem")).map_err(failed("can't find the folder"))?;
        fs::create_dir_all(&config.folder)
            .and_then(|()| fs::write(&ca_file, &certificates.ca_pem))
            .map_err(failed(&format!("can't write {}", ca_file.display())))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port))
            .map_err(failed(&format!("can't listen on 127.0.0.1:{}", config.port)))?;
        let address = listener.local_addr().map_err(failed("can't read the port"))?;
        let shared = Arc::new(Shared {
            log: LogBook::new(config.log_limit),
            formats: formats().into(),
            tls: config.tls.then(|| Acceptor::new(&certificates, alpn(&config))).transpose()?,
            #[cfg(feature = "full-protocols")]
            http2: config.http2,
            max_connections: config.max_connections.max(1),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = thread::Builder::new()
            .name("provider-accept".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || accept(&listener, &shared)
            })
            .map_err(failed("can't start a thread"))?;
        Ok(Self { address, tls: config.tls, ca_file, shared, acceptor: Some(acceptor) })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// 127.0.0.1 and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://localhost:PORT`, or `http` without TLS. The certificate is valid for 127.0.0.1 too.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.port())
    }

    /// The certificate that clients must trust.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// A copy of everything logged so far. A response that a client has read completely is in it completely.
    #[must_use]
    pub fn log(&self) -> ProviderLog {
        self.shared.log.snapshot()
    }

    /// Waits until no connection is open, so that the log says how each ended; false when `limit` passed first.
    #[must_use]
    pub fn wait_idle(&self, limit: Duration) -> bool {
        let open = lock(&self.shared.open);
        let (_open, result) = self
            .shared
            .changed
            .wait_timeout_while(open, limit, |open| !open.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// Closes every connection and waits for their threads. The log stays readable.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, whether it waits for a connection or for a free place.
        drop(TcpStream::connect(self.address));
        {
            let open = lock(&self.shared.open);
            for stream in open.values() {
                // A connection that closed by itself meanwhile is what is wanted.
                let _closed = stream.shutdown(Shutdown::Both);
            }
            self.shared.changed.notify_all();
        }
        let _panicked = acceptor.join();
        let mut open = lock(&self.shared.open);
        while !open.is_empty() {
            open = self.shared.changed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every format, the one that takes any path last.
pub(super) fn formats() -> Vec<Box<dyn ProviderFormat>> {
    vec![Box::new(OpenAi), Box::new(Anthropic), Box::new(Plain)]
}

/// What is offered in the handshake, the preferred first.
fn alpn(config: &Config) -> Vec<Vec<u8>> {
    let protocols = vec![b"http/1.1".to_vec()];
    #[cfg(feature = "full-protocols")]
    let protocols = if config.http2 { [vec![b"h2".to_vec()], protocols].concat() } else { protocols };
    #[cfg(not(feature = "full-protocols"))]
    let _only_http1 = config;
    protocols
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, or the client is gone already.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        shared.wait_for_a_place();
        let record = shared.log.open(peer.port());
        if let Err(error) = start_connection(shared, stream, record.clone()) {
            record.end(format!("not served: {error}"));
        }
    }
}

fn start_connection(shared: &Arc<Shared>, stream: TcpStream, record: Record) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let number = record.id();
    {
        let mut open = lock(&shared.open);
        if shared.stopping.load(Ordering::SeqCst) {
            return Err(io::Error::other("the provider stops"));
        }
        open.insert(number, stream.try_clone()?);
    }
    let spawned = thread::Builder::new().name("provider".to_owned()).spawn({
        let shared = Arc::clone(shared);
        move || {
            let _place = Place { shared: &shared, number };
            record.end(match shared.serve(stream, &record) {
                Ok(()) => "closed".to_owned(),
                Err(error) => error.to_string(),
            });
        }
    });
    if spawned.is_err() {
        shared.leave(number);
    }
    spawned.map(drop)
}

/// Frees the connection's place when its thread ends, however it ends.
struct Place<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.leave(self.number);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, record: &Record) -> Result<(), crate::http1::HttpError> {
        #[cfg(feature = "full-protocols")]
        let stream = if self.http2 {
            match super::http2::accept(stream, self.tls.as_ref(), record, &self.formats)? {
                super::http2::Accepted::Served => return Ok(()),
                super::http2::Accepted::PlainHttp1(stream) => stream,
                super::http2::Accepted::TlsHttp1(stream) => return self.serve_tls(*stream, record),
            }
        } else {
            stream
        };
        match &self.tls {
            None => drop(serve(stream, record, &self.formats, &|delay| self.pause(delay))?),
            Some(acceptor) => self.serve_tls(acceptor.accept(stream)?, record)?,
        }
        Ok(())
    }

    fn serve_tls(&self, stream: TlsStream, record: &Record) -> Result<(), crate::http1::HttpError> {
        record.server_name(stream.conn.server_name());
        let mut stream = serve(stream, record, &self.formats, &|delay| self.pause(delay))?;
        stream.conn.send_close_notify();
        // The client may be gone; then nobody needs the notice.
        let _sent = stream.conn.complete_io(&mut stream.sock);
        Ok(())
    }

    /// Waits, but not beyond the provider's stop; false when it stops.
    fn pause(&self, delay: Duration) -> bool {
        if delay.is_zero() {
            return !self.stopping.load(Ordering::SeqCst);
        }
        let until = Instant::now() + delay;
        let mut open = lock(&self.open);
        loop {
            if self.stopping.load(Ordering::SeqCst) {
                return false;
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return true;
            };
            open = self.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_a_place(&self) {
        let mut open = lock(&self.open);
        while open.len() >= self.max_connections && !self.stopping.load(Ordering::SeqCst) {
            open = self.changed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self, number: u64) {
        lock(&self.open).remove(&number);
        self.changed.notify_all();
    }
}
