//! A provider with the clients that call it.

use std::path::Path;
use std::process::Command;

use oisp_testkit::calls::Api;
use oisp_testkit::clients::{Client, ClientCall, ClientError, Clients};
use oisp_testkit::provider::{Config, FakeProvider, ProviderLog};

use super::host::{is_missing, test_client};

pub(crate) struct Provider {
    // Before the folder that it uses.
    provider: FakeProvider,
    base_url: String,
    clients: Clients,
    _folder: tempfile::TempDir,
}

/// What a client is to do; the provider and its certificate are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) api: Api,
    pub(crate) model: &'static str,
    pub(crate) bytes: usize,
    pub(crate) requests: usize,
    pub(crate) stream: bool,
}

impl Provider {
    pub(crate) fn start() -> Self {
        Self::start_with(|config| config)
    }

    /// One that offers HTTP/2.
    pub(crate) fn start_http2() -> Self {
        Self::start_with(Config::with_http2)
    }

    fn start_with(configure: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = FakeProvider::start(configure(Config::new(folder.path()))).unwrap();
        let clients = Clients::in_folder(folder.path().join("clients")).unwrap();
        Self { base_url: provider.base_url(), provider, clients, _folder: folder }
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.provider.address()
    }

    pub(crate) fn ca_file(&self) -> &Path {
        self.provider.ca_file()
    }

    /// The script that Node.js, Bun and Deno run.
    pub(crate) fn script(&self) -> std::path::PathBuf {
        self.clients.script_file("fetch_call.mjs")
    }

    /// What crossed the wire, as the provider saw it.
    pub(crate) fn log(&self) -> ProviderLog {
        self.provider.log()
    }

    pub(crate) fn call(&self, task: Task) -> ClientCall<'_> {
        let Task { api, model, bytes, requests, stream } = task;
        let ca_file = Some(self.ca_file());
        ClientCall { base_url: &self.base_url, ca_file, api, model, bytes, requests, stream }
    }

    /// The client's command; `None` where it is not on this machine.
    pub(crate) fn client(&self, client: Client, call: &ClientCall<'_>) -> Option<Command> {
        match self.clients.command(client, call) {
            Err(ClientError::Missing(missing)) if is_missing(&missing) => None,
            other => Some(other.unwrap()),
        }
    }

    /// `oisp-test-client`, which calls this provider.
    pub(crate) fn test_client(&self, arguments: &str) -> Command {
        let mut command = test_client(arguments);
        command.args(["--base", &self.base_url, "--ca"]).arg(self.ca_file());
        command
    }

    /// curl with a request of the caller's own, and with further arguments.
    pub(crate) fn curl(&self, api: Api, body: &serde_json::Value, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(self.ca_file());
        for (name, value) in api.headers("").iter().filter(|(name, _)| name != "Host") {
            command.arg("--header").arg(format!("{name}: {value}"));
        }
        command.args(arguments).arg("--data-binary").arg(body.to_string());
        command.arg(format!("{}{}", self.base_url, api.path()));
        command
    }
}
