//! Runs the fake provider by hand and writes its log as JSON when it ends.

use std::io::Read;
use std::path::PathBuf;
use std::{fs, io};

use anyhow::Context;
use clap::Parser;
use oisp_testkit::provider::{Config, FakeProvider};

/// A fake AI provider on 127.0.0.1. It runs until its standard input ends (Ctrl-D) and prints its address and
/// certificate as JSON when it is ready.
///
/// Example: oisp-fake-provider --folder /tmp/provider --port 8443
#[derive(Parser)]
struct Arguments {
    /// Where ca.pem and log.json are written
    #[arg(long)]
    folder: PathBuf,
    /// 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Speak HTTP without TLS
    #[arg(long)]
    plain_http: bool,
    /// Speak HTTP/2 with clients that ask for it
    #[cfg(feature = "full-protocols")]
    #[arg(long)]
    http2: bool,
    /// A further name for the certificate; may be repeated
    #[arg(long = "name")]
    names: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let log_file = arguments.folder.join("log.json");
    let mut config = Config::new(arguments.folder);
    config.port = arguments.port;
    config.tls = !arguments.plain_http;
    config.names = arguments.names;
    #[cfg(feature = "full-protocols")]
    {
        config.http2 = arguments.http2;
    }
    let mut provider = FakeProvider::start(config)?;
    let ready = serde_json::json!({
        "base_url": provider.base_url(),
        "port": provider.port(),
        "ca_file": provider.ca_file(),
        "pid": std::process::id(),
    });
    println!("{ready}");
    io::stdin().read_to_end(&mut Vec::new()).context("can't wait for standard input")?;
    provider.stop();
    fs::write(&log_file, provider.log().to_json().to_string())
        .with_context(|| format!("can't write {}", log_file.display()))
}
