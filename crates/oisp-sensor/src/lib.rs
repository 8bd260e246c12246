//! The `oisp-sensor` command: its arguments, the wiring of the stages, signals and exit codes.
//!
//! The stages themselves are crates of their own; nothing here knows the inside of one.

mod arguments;
mod check;
mod command;
mod control;
mod demo;
mod exit;
mod hash_key;
pub mod logging;
mod narrative;
mod pipeline;
mod record;
mod recording;
mod signals;
mod status;
mod summary;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Action, Arguments};
use exit::Failure;

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    logging::hide_panics();
    let arguments = Arguments::parse();
    let outcome = match arguments.action {
        Action::Record(options) => record::run(&options),
        Action::Demo(options) => demo::run(&options),
        Action::DemoClient(options) => demo::run_client(&options),
        Action::Check => check::run(),
        Action::Tls(options) => tls::run(&options),
        Action::Status(options) => status::run(&options),
        Action::Stop(options) => control::stop(&options),
        Action::Reload(options) => control::reload(&options),
    };
    outcome.unwrap_or_else(|failure: Failure| {
        eprintln!("oisp-sensor: {failure}");
        failure.code()
    })
}
