//! `oisp-sensor demo`: a bundled client calls a bundled provider over TLS, and is recorded as any program would be; where
//! that cannot be, generated traffic that is said to be so.

use std::io::Write as _;
use std::process::{Command, ExitCode};

use oisp_capture::generator::{Generator, GeneratorConfig};
use oisp_capture::monotonic_now;
use oisp_event::Event;
use oisp_export::{JsonlSink, Sink, SinkError};
use oisp_redact::Redacted;
use oisp_testkit::demo::ClientOptions;
use oisp_testkit::endpoint::Endpoint;
use oisp_testkit::openssl_client::OpenSsl;
use oisp_testkit::provider::{Config, FakeProvider};

use crate::arguments::{DemoClientOptions, DemoOptions};
use crate::exit::{FAILED, Failure};
use crate::narrative::tell;
use crate::record::{Origin, Recorder};
use crate::runtime::{Outcome, WhenFull};
use crate::summary::text;

/// Calls of generated traffic that are shown where nothing can be recorded.
const GENERATED_CALLS: u64 = 3;

pub(crate) fn run(options: &DemoOptions) -> Result<ExitCode, Failure> {
    let recorder = Recorder::new(&options.flags.0, FAILED)?;
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Shown)];
    let destination = recorder.chosen_destination();
    if let Some(path) = &destination {
        sinks.push(Box::new(JsonlSink::open(path).map_err(|error| Failure::new(FAILED, error))?));
    }
    let outcome = match why_not() {
        None => recorded(&recorder, sinks)?,
        Some(why) => {
            eprintln!("oisp-sensor: demo: nothing can be recorded here: {why}");
            println!("\nWhat follows is GENERATED: no program made these calls, and no kernel saw them.\n");
            generated(&recorder, sinks)?
        }
    };
    println!();
    let destination = destination.map(|path| path.display().to_string());
    print!("{}", recorder.redactor.redact_text(&text(&outcome, destination.as_deref())));
    println!("\nYour own program:  oisp-sensor record -- COMMAND");
    Ok(ExitCode::SUCCESS)
}

/// Why this host or user cannot record, where it can't.
fn why_not() -> Option<String> {
    let unmet = oisp_capture_ebpf::requirements::all().into_iter().find(|requirement| !requirement.met);
    unmet
        .map(|requirement| format!("{requirement} (see `oisp-sensor check`)"))
        .or_else(|| OpenSsl::load(None).err().map(|error| format!("the bundled client: {error}")))
}

/// A client in a process of its own, recorded as any program would be.
fn recorded(recorder: &Recorder, sinks: Vec<Box<dyn Sink>>) -> Result<Outcome, Failure> {
    let failure =
        |what: &str, error: &dyn std::fmt::Display| Failure::new(FAILED, format!("demo: {what}: {error}"));
    let folder = tempfile::tempdir().map_err(|error| failure("a temporary folder", &error))?;
    let provider = FakeProvider::start(Config::new(folder.path()))
        .map_err(|error| failure("the bundled provider", &error))?;
    let program = std::env::current_exe().map_err(|error| failure("this program's path", &error))?;
    let mut client = Command::new(&program);
    client.arg("demo-client").arg("--base").arg(provider.base_url()).arg("--ca").arg(provider.ca_file());
    println!("A client calls a provider on this machine, over TLS; this is what the sensor sees of it:\n");
    let (outcome, status) = recorder.command(&program, client, sinks)?;
    if !status.success() {
        return Err(Failure::new(
            FAILED,
            format!("demo: the client failed ({status}); what it said stands above"),
        ));
    }
    Ok(outcome)
}

fn generated(recorder: &Recorder, sinks: Vec<Box<dyn Sink>>) -> Result<Outcome, Failure> {
    let config = GeneratorConfig {
        start: monotonic_now(),
        calls: Some(GENERATED_CALLS),
        connections: 1,
        ..GeneratorConfig::default()
    };
    let generator = Generator::new(config).map_err(|error| Failure::new(FAILED, error))?;
    recorder.source(
        Box::new(generator),
        Origin::Generator(WhenFull::Wait),
        "the demo's generated traffic",
        sinks,
    )
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

    fn write(&mut self, event: &Redacted<Event>) -> Result<(), SinkError> {
        if let Some(lines) = tell(event) {
            // A terminal that is gone takes nothing more; the recording is not for it alone.
            let _ = std::io::stdout().write_all(lines.as_bytes());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let _ = std::io::stdout().flush();
        Ok(())
    }
}
