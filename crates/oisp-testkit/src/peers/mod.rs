//! Clients and servers that no hand of ours wrote an encoder for: curl, Python, Node.js, Go and nginx, each to talk to
//! each.
//!
//! A server gets its listening socket as standard input, so nobody waits for it and no port is taken twice. It ends at
//! [`PeerServer::end_signal`]. A client gets pairs of path and file, posts each file to its path, and reads the
//! answer whole; over HTTP/2 all at once.
//!
//! The query of a path says how: `length=unknown` sends the body without saying how long it is, `expect=continue` waits
//! for the server's consent. The servers of Python, Node.js and Go answer `size=` characters, in one piece or as
//! `chunks=` events, in the `encoding=` asked for. nginx asks the provider behind it, and compresses its answer.
//!
//! Each prints one JSON object a line: a client what was answered ([`Reply`]), a server what it was asked and what it
//! answers, before it does ([`Served`]), both of a WebSocket each message ([`Said`]).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use serde_json::Value;
use thiserror::Error;

mod go;

pub use go::{GO_VARIABLE, GoBuild, GoMode, listed_go, newest_go, system_go};

use crate::certificates::{CertificateFiles, Certificates};
use crate::clients::{Missing, program, python, without_proxies};

/// The environment variable that names nginx where it is not in the search path.
pub const NGINX_VARIABLE: &str = "OISP_TEST_NGINX";

/// A program that posts files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerClient {
    /// curl with nghttp2.
    Curl,
    /// Python with httpx: h11, hyper's h2.
    Python,
    /// Node.js: its own HTTP/1.1, nghttp2.
    Node,
    /// Go's standard library, with a TLS of its own.
    Go,
}

/// A program that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerServer {
    /// A proxy that compresses; everything in it is nginx's own.
    Nginx,
    /// hyper's h2 over Python's `ssl`: HTTP/2 only.
    Python,
    /// Node.js: its own HTTP/1.1, nghttp2.
    Node,
    /// Go's standard library, with a TLS of its own.
    Go,
    /// Python's websockets: answers each message with two.
    PythonWebSocket,
}

/// What a client is to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Path and query; no two of a run are the same.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Path and query.
    pub path: String,
    /// The status code.
    pub status: u64,
    /// Over HTTP/2, not HTTP/1.1.
    pub http2: bool,
}

/// What a server was asked and answered; digests are SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Path and query.
    pub path: String,
    /// Digest of the request's body.
    pub request: String,
    /// Digest of the answer's body before it was compressed.
    pub response: String,
}

/// A message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// By the other side.
    pub received: bool,
    /// Text, not binary.
    pub text: bool,
    /// SHA-256 of the content.
    pub digest: String,
}

/// Why a peer can't be started.
#[derive(Debug, Error)]
pub enum PeerError {
    /// It is not on this machine.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A file can't be written, a socket not opened, or a compiler not started.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// No certificates.
    #[error("can't make the certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Go's compiler refused the program.
    #[error("`go build` failed: {0}")]
    Build(String),
    /// Something else than what was agreed was printed.
    #[error("a peer printed something else than a report: {0}")]
    Report(String),
}

/// The programs, written out where they can be started, with certificates for the servers.
pub struct Peers {
    folder: PathBuf,
    go_cache: PathBuf,
    certificates: CertificateFiles,
}

const FILES: [(&str, &str); 5] = [
    ("peer.go", include_str!("../../peers/peer.go")),
    ("peer.mjs", include_str!("../../peers/peer.mjs")),
    ("peer.py", include_str!("../../peers/peer.py")),
    ("websocket_peer.mjs", include_str!("../../peers/websocket_peer.mjs")),
    ("websocket_peer.py", include_str!("../../peers/websocket_peer.py")),
];

const NGINX_CONFIGURATION: &str = include_str!("../../peers/nginx.conf");

impl PeerServer {
    /// Ends it at once, without an error. nginx closes its connections first.
    #[must_use]
    pub fn end_signal(self) -> i32 {
        if self == Self::Nginx { libc::SIGQUIT } else { libc::SIGTERM }
    }

    /// Whether it speaks HTTP/1.1 too.
    #[must_use]
    pub fn speaks_http1(self) -> bool {
        self != Self::Python
    }
}

impl Peers {
    /// Writes programs and certificates into `folder`, which only the caller should be able to write to. `go_cache`
    /// keeps what Go compiled for the next time.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn in_folder(folder: impl Into<PathBuf>, go_cache: impl Into<PathBuf>) -> Result<Self, PeerError> {
        let (folder, go_cache) = (folder.into(), go_cache.into());
        let certificates = Certificates::generate(&[])?.write_to(&folder).map_err(failed(&folder))?;
        for (name, text) in FILES {
            let file = folder.join(name);
            fs::write(&file, text).map_err(failed(&file))?;
        }
        Ok(Self { folder, go_cache, certificates })
    }

    /// The certificates, for a server that is not one of these.
    #[must_use]
    pub fn certificates(&self) -> &CertificateFiles {
        &self.certificates
    }

    /// The certificate that a client must trust.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.certificates.ca
    }

    /// A server, to be started by whoever wants to watch it, and its base URL. `provider` is asked by nginx.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn server(&self, server: PeerServer, provider: SocketAddr) -> Result<(Command, String), PeerError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.map_err(failed(Path::new("a socket on 127.0.0.1")))?;
        let port = listener.local_addr().map_err(failed(Path::new("a socket's port")))?.port();
        let mut command = match server {
            PeerServer::Nginx => self.nginx(port, provider)?,
            PeerServer::Python => self.script(python(Some("h2"))?, "peer.py"),
            PeerServer::Node => self.script(node()?, "peer.mjs"),
            PeerServer::Go => Command::new(self.default_go()?),
            PeerServer::PythonWebSocket => self.script(python(Some("websockets"))?, "websocket_peer.py"),
        };
        if server != PeerServer::Nginx {
            command.arg("server").arg(&self.certificates.server).arg(&self.certificates.server_key);
        }
        command.stdin(Stdio::from(OwnedFd::from(listener)));
        Ok((command, format!("https://localhost:{port}")))
    }

    /// A client that posts, to be started by whoever wants to watch it.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn client(
        &self,
        client: PeerClient,
        http2: bool,
        base_url: &str,
        asks: &[Ask],
    ) -> Result<Command, PeerError> {
        let files = self.write_asks(asks)?;
        let mut command = match client {
            PeerClient::Curl => return self.curl(http2, base_url, &files),
            PeerClient::Python => self.script(python(Some("h2"))?, "peer.py"),
            PeerClient::Node => self.script(node()?, "peer.mjs"),
            PeerClient::Go => Command::new(self.default_go()?),
        };
        command.args(["client", if http2 { "http2" } else { "http1" }, base_url]).arg(self.ca_file());
        for (path, file) in files {
            command.arg(path).arg(file);
        }
        without_proxies(&mut command);
        Ok(command)
    }

    /// Python's websockets as a client: asyncio, or with `threads` one that reads and one that writes.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn python_websocket(&self, base_url: &str, threads: bool) -> Result<Command, PeerError> {
        let mut command = self.script(python(Some("websockets"))?, "websocket_peer.py");
        command.args([if threads { "client-with-threads" } else { "client" }, base_url]).arg(self.ca_file());
        Ok(command)
    }

    /// The WebSocket of Node.js itself as a client; `None` where this one has none (before 20.10).
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn node_websocket(&self, base_url: &str) -> Result<Option<Command>, PeerError> {
        let node = node()?;
        let probe = "process.exit(typeof WebSocket === 'function' ? 0 : 1)";
        for arguments in [&[][..], &["--experimental-websocket", "--no-warnings"]] {
            let mut has = Command::new(&node);
            has.args(arguments).args(["-e", probe]).stdin(Stdio::null()).stderr(Stdio::null());
            if has.status().map_err(failed(&node))?.success() {
                let mut command = Command::new(&node);
                command.args(arguments).arg(self.folder.join("websocket_peer.mjs")).arg(base_url);
                command.env("NODE_EXTRA_CA_CERTS", self.ca_file());
                without_proxies(&mut command);
                return Ok(Some(command));
            }
        }
        Ok(None)
    }

    fn script(&self, interpreter: PathBuf, name: &str) -> Command {
        let mut command = Command::new(interpreter);
        command.arg(self.folder.join(name));
        command
    }

    fn nginx(&self, port: u16, provider: SocketAddr) -> Result<Command, PeerError> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let configuration = NGINX_CONFIGURATION
            .replace("@folder@", &path(&self.folder))
            .replace("@certificate@", &path(&self.certificates.server))
            .replace("@key@", &path(&self.certificates.server_key))
            .replace("@port@", &port.to_string())
            .replace("@upstream@", &provider.to_string());
        let file = self.folder.join("nginx.conf");
        fs::write(&file, configuration).map_err(failed(&file))?;
        let mut command = Command::new(nginx()?);
        // Before it has read its configuration it would complain in the place that it was compiled for.
        command.args(["-e", "stderr"]).arg("-p").arg(&self.folder).arg("-c").arg(file);
        // The numbers of the descriptors that it inherits, as it does from itself at an upgrade.
        command.env("NGINX", "0;");
        Ok(command)
    }

    fn default_go(&self) -> Result<PathBuf, PeerError> {
        self.go(&GoBuild { toolchain: go::system_go()?, arguments: &["-trimpath"] })
    }

    /// Writes the bodies out: path and file of each.
    fn write_asks<'a>(&self, asks: &'a [Ask]) -> Result<Vec<(&'a str, PathBuf)>, PeerError> {
        let mut files = Vec::new();
        for (number, ask) in asks.iter().enumerate() {
            let file = self.folder.join(format!("ask-{number}"));
            fs::write(&file, &ask.body).map_err(failed(&file))?;
            files.push((ask.path.as_str(), file));
        }
        Ok(files)
    }

    fn curl(&self, http2: bool, base_url: &str, files: &[(&str, PathBuf)]) -> Result<Command, PeerError> {
        let mut command = Command::new(program("curl", "apt-get install curl")?);
        if http2 {
            command.args(["--parallel", "--no-progress-meter"]);
        }
        for (number, (path, file)) in files.iter().enumerate() {
            if number > 0 {
                command.arg("--next");
            }
            command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
            command.arg(if http2 { "--http2" } else { "--http1.1" });
            command.arg("--cacert").arg(self.ca_file());
            for header in
                ["Content-Type: application/json", "Authorization: Bearer dummy", "Accept-Encoding: gzip"]
            {
                command.args(["--header", header]);
            }
            if path.contains("length=unknown") {
                command.args(["--header", "Transfer-Encoding: chunked"]);
            }
            let expect = path.contains("expect=continue");
            command.args(["--expect100-timeout", "60", "--header"]);
            command.arg(if expect { "Expect: 100-continue" } else { "Expect:" });
            let mut body = std::ffi::OsString::from("@");
            body.push(file);
            command.arg("--data-binary").arg(body).args(["--output", "/dev/null", "--write-out"]);
            command.arg(format!(
                "{{\"path\":\"{path}\",\"status\":%{{http_code}},\"version\":\"%{{http_version}}\"}}\\n"
            ));
            command.arg(format!("{base_url}{path}"));
        }
        without_proxies(&mut command);
        Ok(command)
    }
}

impl Reply {
    /// Reads what a client printed.
    ///
    /// # Errors
    /// [`PeerError::Report`].
    pub fn all(stdout: &[u8]) -> Result<Vec<Self>, PeerError> {
        lines(stdout, |line| {
            Some(Self {
                path: line["path"].as_str()?.to_owned(),
                status: line["status"].as_u64()?,
                http2: line["http2"].as_bool().or_else(|| Some(line["version"].as_str()? == "2"))?,
            })
        })
    }
}

impl Served {
    /// Reads what a server printed.
    ///
    /// # Errors
    /// [`PeerError::Report`].
    pub fn all(stdout: &[u8]) -> Result<Vec<Self>, PeerError> {
        lines(stdout, |line| {
            Some(Self {
                path: line["path"].as_str()?.to_owned(),
                request: line["request"].as_str()?.to_owned(),
                response: line["response"].as_str()?.to_owned(),
            })
        })
    }
}

impl Said {
    /// Reads what one side of a WebSocket printed.
    ///
    /// # Errors
    /// [`PeerError::Report`].
    pub fn all(stdout: &[u8]) -> Result<Vec<Self>, PeerError> {
        lines(stdout, |line| {
            Some(Self {
                received: line["received"].as_bool()?,
                text: line["text"].as_bool()?,
                digest: line["message"].as_str()?.to_owned(),
            })
        })
    }
}

fn lines<T>(stdout: &[u8], read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, PeerError> {
    String::from_utf8_lossy(stdout)
        .lines()
        .map(|line| {
            let value = serde_json::from_str(line).unwrap_or_default();
            read(&value).ok_or_else(|| PeerError::Report(line.to_owned()))
        })
        .collect()
}

fn node() -> Result<PathBuf, Missing> {
    program("node", "apt-get install nodejs")
}

fn nginx() -> Result<PathBuf, Missing> {
    // Where Debian installs it, which is in the search path of root's login alone.
    let installed = || Some(PathBuf::from("/usr/sbin/nginx")).filter(|file| file.is_file());
    let given = env::var_os(NGINX_VARIABLE).map(PathBuf::from);
    given.or_else(|| program("nginx", "").ok()).or_else(installed).ok_or_else(|| Missing {
        what: "nginx".to_owned(),
        install: format!(
            "apt-get download nginx && dpkg-deb --extract nginx_*.deb DIR, then set {NGINX_VARIABLE}=DIR/usr/sbin/nginx"
        ),
    })
}

fn failed(what: &Path) -> impl FnOnce(io::Error) -> PeerError {
    let what = what.display().to_string();
    move |source| PeerError::Io { what, source }
}
