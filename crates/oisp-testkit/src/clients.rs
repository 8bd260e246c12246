//! Real client programs: found, started against a provider, and asked what they understood.
//!
//! The Python SDKs come from the virtual environment that `OISP_TEST_VENV` names
//! (`python3 -m venv DIR && DIR/bin/pip install openai anthropic 'httpx[http2]' websockets`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use serde_json::Value;
use thiserror::Error;

use crate::calls::{AnswerError, Api};
use crate::http1::{HttpError, MessageReader};

/// The environment variable that names the virtual environment with the SDKs.
pub const VENV_VARIABLE: &str = "OISP_TEST_VENV";

/// A program that makes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Python's standard library; OpenSSL through `SSL_read_ex` and `SSL_write_ex`.
    PythonUrllib,
    /// OpenAI's Python SDK.
    PythonOpenAi,
    /// Anthropic's Python SDK.
    PythonAnthropic,
    /// Node.js' `fetch`; OpenSSL inside the executable, over memory BIOs.
    NodeFetch,
    /// Node.js' `https` module.
    NodeHttps,
    /// curl.
    Curl,
    /// Node.js' `http2` module: every call at once on one connection.
    NodeHttp2,
    /// Python's httpx over HTTP/2: every call at once on one connection.
    PythonHttpx,
    /// Python's websockets, at OpenAI's Responses: every call after the other on one connection.
    PythonWebSocket,
}

/// What a client is to do.
#[derive(Clone, Debug)]
pub struct ClientCall<'a> {
    /// `https://localhost:PORT`.
    pub base_url: &'a str,
    /// The certificate to trust; not needed for plain HTTP.
    pub ca_file: Option<&'a Path>,
    /// The format; an SDK speaks only its own.
    pub api: Api,
    /// Chooses the answer, see [`crate::provider::Script`].
    pub model: &'a str,
    /// Size of the user message.
    pub bytes: usize,
    /// Calls one after the other.
    pub requests: usize,
    /// Ask for streamed answers.
    pub stream: bool,
}

/// What a client understood of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAnswer {
    /// The provider's id of the answer.
    pub id: String,
    /// The assembled text.
    pub text: String,
    /// The provider's usage object.
    pub usage: Value,
}

/// Something that a client needs is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} is missing; install it with: {install}")]
pub struct Missing {
    /// The program or package.
    pub what: String,
    /// The command that mends it.
    pub install: String,
}

/// Why a client's run gave no answers.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It can't be started.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It can't be started for another reason.
    #[error("can't run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("{client:?} ended with {status}: {stderr}")]
    Failed {
        /// Which client.
        client: Client,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// Its output is not as agreed.
    #[error("{client:?} printed something else than answers: {output}")]
    Output {
        /// Which client.
        client: Client,
        /// What it printed.
        output: String,
    },
    /// curl's response is not HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// curl's response is no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// The client programs, written out where they can be started.
#[derive(Clone, Debug)]
pub struct Clients {
    folder: PathBuf,
}

const SCRIPTS: [(&str, &str); 6] = [
    ("urllib_call.py", include_str!("../clients/urllib_call.py")),
    ("openai_call.py", include_str!("../clients/openai_call.py")),
    ("anthropic_call.py", include_str!("../clients/anthropic_call.py")),
    ("httpx_call.py", include_str!("../clients/httpx_call.py")),
    ("websocket_call.py", include_str!("../clients/websocket_call.py")),
    ("fetch_call.mjs", include_str!("../clients/fetch_call.mjs")),
];

impl Client {
    /// Those that speak HTTP/1.1.
    pub const ALL: [Self; 6] = [
        Self::PythonUrllib,
        Self::PythonOpenAi,
        Self::PythonAnthropic,
        Self::NodeFetch,
        Self::NodeHttps,
        Self::Curl,
    ];

    /// Those that need a provider with the feature `full-protocols`.
    pub const FULL_PROTOCOLS: [Self; 3] = [Self::NodeHttp2, Self::PythonHttpx, Self::PythonWebSocket];

    /// Whether it can make calls in this format.
    #[must_use]
    pub fn speaks(self, api: Api) -> bool {
        match self {
            Self::PythonOpenAi | Self::PythonWebSocket => api == Api::OpenAi,
            Self::PythonAnthropic => api == Api::Anthropic,
            Self::PythonUrllib
            | Self::NodeFetch
            | Self::NodeHttps
            | Self::Curl
            | Self::NodeHttp2
            | Self::PythonHttpx => true,
        }
    }
}

impl Clients {
    /// Writes the scripts into `folder`, which only the caller should be able to write to.
    ///
    /// # Errors
    /// When the folder can't be made or written.
    pub fn in_folder(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        for (name, text) in SCRIPTS {
            fs::write(folder.join(name), text)?;
        }
        Ok(Self { folder })
    }

    /// One of the scripts, for an interpreter of the caller's own.
    #[must_use]
    pub fn script_file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The command that makes the calls, to be started by whoever wants to watch it.
    ///
    /// # Errors
    /// [`Missing`], and for curl a request file that can't be written.
    pub fn command(&self, client: Client, call: &ClientCall<'_>) -> Result<Command, ClientError> {
        let mut command = match client {
            Client::Curl => return self.curl(call),
            Client::PythonUrllib => self.script(python(None)?, "urllib_call.py"),
            Client::PythonOpenAi => self.script(python(Some("openai"))?, "openai_call.py"),
            Client::PythonAnthropic => self.script(python(Some("anthropic"))?, "anthropic_call.py"),
            Client::PythonHttpx => self.script(python(Some("h2"))?, "httpx_call.py"),
            Client::PythonWebSocket => self.script(python(Some("websockets"))?, "websocket_call.py"),
            Client::NodeFetch | Client::NodeHttps | Client::NodeHttp2 => {
                let mut command = self.script(program("node", "apt-get install nodejs")?, "fetch_call.mjs");
                command.arg("--module").arg(match client {
                    Client::NodeFetch => "fetch",
                    Client::NodeHttp2 => "http2",
                    _ => "https",
                });
                command
            }
        };
        command.args(["--base", call.base_url, "--model", call.model]).args([
            "--bytes",
            &call.bytes.to_string(),
            "--requests",
            &call.requests.to_string(),
        ]);
        if !matches!(client, Client::PythonOpenAi | Client::PythonAnthropic) {
            command.args(["--provider", call.api.name()]);
        }
        if call.stream {
            command.arg("--stream");
        }
        if let Some(ca_file) = call.ca_file {
            command.env("SSL_CERT_FILE", ca_file).env("NODE_EXTRA_CA_CERTS", ca_file);
        }
        without_proxies(&mut command);
        Ok(command)
    }

    /// Runs a client to its end and returns its answers in order.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn run(&self, client: Client, call: &ClientCall<'_>) -> Result<Vec<ClientAnswer>, ClientError> {
        let mut command = self.command(client, call)?;
        let output = command.stdin(Stdio::null()).output().map_err(|source| ClientError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        if !output.status.success() {
            return Err(ClientError::Failed {
                client,
                status: output.status.to_string(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Self::answers(client, call, &output.stdout)
    }

    /// Reads what a client started by [`Clients::command`] printed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn answers(
        client: Client,
        call: &ClientCall<'_>,
        stdout: &[u8],
    ) -> Result<Vec<ClientAnswer>, ClientError> {
        if client == Client::Curl {
            return curl_answers(call, stdout);
        }
        let output = String::from_utf8_lossy(stdout);
        output
            .lines()
            .map(|line| {
                let answer: Value = serde_json::from_str(line).unwrap_or_default();
                match (answer["id"].as_str(), answer["text"].as_str()) {
                    (Some(id), Some(text)) => Ok(ClientAnswer {
                        id: id.to_owned(),
                        text: text.to_owned(),
                        usage: answer["usage"].clone(),
                    }),
                    _ => Err(ClientError::Output { client, output: line.to_owned() }),
                }
            })
            .collect()
    }

    fn script(&self, interpreter: PathBuf, name: &str) -> Command {
        let mut command = Command::new(interpreter);
        command.arg(self.folder.join(name));
        command
    }

    /// One curl makes all calls on one connection; the responses come one after the other, heads included.
    fn curl(&self, call: &ClientCall<'_>) -> Result<Command, ClientError> {
        let mut command = Command::new(program("curl", "apt-get install curl")?);
        for number in 0..call.requests {
            let overhead = call.api.simple_body(call.model, "", call.stream).to_string().len();
            let request =
                call.api.sized_request("", call.model, number as u64, overhead + call.bytes, call.stream);
            let body = self.folder.join(format!("curl-{}-{number}.json", call.api.name()));
            fs::write(&body, &request.body).map_err(|source| ClientError::Start {
                program: format!("curl: can't write {}", body.display()),
                source,
            })?;
            if number > 0 {
                command.arg("--next");
            }
            command.args(["--silent", "--show-error", "--include", "--raw", "--http1.1", "--noproxy", "*"]);
            if let Some(ca_file) = call.ca_file {
                command.arg("--cacert").arg(ca_file);
            }
            for (name, value) in request.headers.iter().filter(|(name, _)| name != "Host") {
                command.arg("--header").arg(format!("{name}: {value}"));
            }
            command.arg("--data-binary").arg(format!("@{}", body.display()));
            command.arg(format!("{}{}", call.base_url, call.api.path()));
        }
        without_proxies(&mut command);
        Ok(command)
    }
}

fn curl_answers(call: &ClientCall<'_>, stdout: &[u8]) -> Result<Vec<ClientAnswer>, ClientError> {
    let mut responses = MessageReader::new(stdout);
    (0..call.requests)
        .map(|_| {
            let answer = call.api.read_answer(&responses.response("POST")?)?;
            Ok(ClientAnswer { id: answer.id, text: answer.text, usage: answer.usage })
        })
        .collect()
}

/// A proxy of this machine's environment would be asked for localhost too.
pub(crate) fn without_proxies(command: &mut Command) {
    for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(variable);
    }
}

pub(crate) fn program(name: &str, install: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Missing { what: name.to_owned(), install: install.to_owned() })
}

/// The virtual environment's Python if a package is needed, else any.
pub(crate) fn python(package: Option<&str>) -> Result<PathBuf, Missing> {
    let Some(package) = package else { return program("python3", "apt-get install python3") };
    let missing = |what: String| {
        let install = format!(
            "python3 -m venv DIR && DIR/bin/pip install openai anthropic 'httpx[http2]' websockets, then set {VENV_VARIABLE}=DIR"
        );
        Missing { what, install }
    };
    let venv = env::var_os(VENV_VARIABLE)
        .map(PathBuf::from)
        .ok_or_else(|| missing(format!("the Python package {package} ({VENV_VARIABLE} is not set)")))?;
    let python = venv.join("bin/python3");
    let installed = fs::read_dir(venv.join("lib"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|version| version.path().join("site-packages").join(package).is_dir());
    if python.is_file() && installed {
        Ok(python)
    } else {
        Err(missing(format!("the Python package {package} (in {})", venv.display())))
    }
}
