//! The `oisp-sensor` command: its arguments, the wiring of the stages, signals and exit codes.
//!
//! The stages themselves are crates of their own; nothing here knows the inside of one.

mod allocator;
mod arguments;
mod check;
mod chunks;
mod command;
mod config;
mod connection;
mod control;
mod demo;
mod exit;
mod generate;
mod hash_key;
pub mod logging;
mod narrative;
mod pipeline;
mod plan;
mod raw;
mod record;
mod replay;
mod runtime;
mod select;
mod session;
mod signals;
mod sockets;
mod status;
mod summary;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;
use oisp_redact::{HashKey, RedactionConfig, RedactionMode, Redactor};

use arguments::{Action, Arguments};
use exit::Failure;

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    allocator::bound();
    logging::hide_panics();
    let arguments = Arguments::parse();
    let outcome = match arguments.action {
        Action::Record(options) => record::run(&options),
        Action::Demo(options) => demo::run(&options),
        Action::DemoClient(options) => demo::run_client(&options),
        Action::Check => check::run(),
        Action::Config(options) => config::run(&options),
        Action::Tls(options) => tls::run(&options),
        Action::Generate(options) => generate::run(&options),
        Action::Replay(options) => replay::run(&options),
        Action::Status(options) => status::run(&options),
        Action::Stop(options) => control::stop(&options),
        Action::Reload(options) => control::reload(&options),
    };
    outcome.unwrap_or_else(|failure: Failure| {
        eprintln!("oisp-sensor: {}", without_secrets(&failure.to_string()));
        failure.code()
    })
}

/// Paths, arguments and lines of configuration that a failure quotes may hold secrets. It may come before there is a
/// redactor, so this makes one.
fn without_secrets(text: &str) -> String {
    match HashKey::ephemeral() {
        Ok(key) => {
            let redactor = Redactor::new(RedactionConfig { mode: RedactionMode::Safe, key });
            redactor.redact_text(text).into_owned()
        }
        // Without random bytes for a key nothing can be shown to be redacted.
        Err(error) => format!("failed, and what went wrong cannot be redacted: {error}"),
    }
}
