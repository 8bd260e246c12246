//! `oisp-sensor demo`: a bundled client calls a bundled provider over TLS, and is recorded as any program would be.

use std::process::{Command, ExitCode};

use oisp_event::Event;
use oisp_export::{JsonlSink, Sink, SinkError};
use oisp_redact::Redacted;
use oisp_testkit::demo::ClientOptions;
use oisp_testkit::endpoint::Endpoint;
use oisp_testkit::openssl_client::OpenSsl;
use oisp_testkit::provider::{Config, FakeProvider};

use crate::arguments::{DemoClientOptions, DemoOptions};
use crate::config;
use crate::exit::{FAILED, Failure};
use crate::narrative::tell;
use crate::record::Recording;
use crate::summary::{Tally, text};

pub(crate) fn run(options: &DemoOptions) -> Result<ExitCode, Failure> {
    let settings = config::load(&options.flags.0)?.settings;
    let failure =
        |what: &str, error: &dyn std::fmt::Display| Failure::new(FAILED, format!("demo: {what}: {error}"));
    // Asked here, so that it is said before anything is set up.
    OpenSsl::load(None).map_err(|error| failure("the bundled client", &error))?;
    let folder = tempfile::tempdir().map_err(|error| failure("a temporary folder", &error))?;
    let provider = FakeProvider::start(Config::new(folder.path()))
        .map_err(|error| failure("the bundled provider", &error))?;
    let program = std::env::current_exe().map_err(|error| failure("this program's path", &error))?;
    let mut client = Command::new(&program);
    client.arg("demo-client").arg("--base").arg(provider.base_url()).arg("--ca").arg(provider.ca_file());

    let mut sink: Box<dyn Sink> = match &options.output {
        Some(path) => Box::new(JsonlSink::open(path).map_err(|error| Failure::new(FAILED, error))?),
        None => Box::new(Shown),
    };
    println!("A client calls a provider on this machine, over TLS; this is what the sensor sees of it:\n");
    let recording = Recording::new(&settings, FAILED)?;
    let mut tally = Tally::default();
    let (outcome, status) = recording.command(&program, client, sink.as_mut(), &mut |event| {
        tally.add(event);
        if let Some(lines) = tell(event) {
            print!("{lines}");
        }
    })?;
    drop(provider);
    println!();
    let destination = options.output.as_ref().map(|path| path.display().to_string());
    print!("{}", recording.redactor.redact_text(&text(&tally, &outcome, destination.as_deref())));
    if !status.success() {
        return Err(Failure::new(
            FAILED,
            format!("demo: the client failed ({status}); what it said stands above"),
        ));
    }
    println!("\nYour own program:  oisp-sensor record -- COMMAND");
    Ok(ExitCode::SUCCESS)
}

/// The client's side, in the process that is recorded.
pub(crate) fn run_client(options: &DemoClientOptions) -> Result<ExitCode, Failure> {
    let endpoint = Endpoint::parse(&options.base).map_err(|error| Failure::new(FAILED, error))?;
    let client = ClientOptions { endpoint, ca_file: options.ca.clone(), library_folder: None };
    oisp_testkit::demo::run_client(&client).map_err(|error| Failure::new(FAILED, error))?;
    Ok(ExitCode::SUCCESS)
}

/// Events are shown as they come and not kept.
struct Shown;

impl Sink for Shown {
    fn name(&self) -> &str {
        "terminal"
    }

    fn write(&mut self, _event: &Redacted<Event>) -> Result<(), SinkError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
