//! `oisp-sensor replay`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use oisp_capture::ReplaySpeed;
use oisp_config::Flags;
use oisp_correlate::Replay;
use oisp_export::{JsonlSink, Sink};

use crate::exit::{FAILED, Failure};
use crate::raw::LABEL;
use crate::record::{Origin, Recorder};

/// Takes a raw recording (`record --raw FILE`) through all stages but the capture: decoding, interpretation, redaction,
/// output. Needs no rights and no kernel.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  oisp-sensor replay agent.raw -o -\n  \
                        oisp-sensor replay agent.raw --speed 1 --redaction minimal -o again.jsonl")]
pub(crate) struct ReplayOptions {
    /// The raw recording
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How fast: `max`, or so many times as fast as it was recorded
    #[arg(long, value_name = "FACTOR", default_value = "max")]
    speed: ReplaySpeed,

    #[command(flatten)]
    pub(crate) flags: Flags,
}

pub(crate) fn run(options: &ReplayOptions) -> Result<ExitCode, Failure> {
    let named = |error: &dyn std::fmt::Display| {
        Failure::new(FAILED, format!("cannot replay {}: {error}", options.file.display()))
    };
    let Replay { source, correlator, answers } =
        oisp_correlate::replay(&options.file, options.speed).map_err(|error| named(&error))?;
    let label = source.header().more.get(LABEL).and_then(|label| label.as_str()).map(str::to_owned);
    let recorder = Recorder::new(&options.flags, FAILED)?;
    let settings = recorder.settings();
    let sink = JsonlSink::open(&settings.output).map_err(|error| Failure::new(FAILED, error))?;
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(sink)];
    let origin = Origin::Recording { correlator: Box::new(correlator), label };
    let scope = format!("the raw recording {}", options.file.display());
    let outcome = recorder.source(Box::new(source), origin, &scope, sinks)?;
    recorder.tell(&outcome, settings.quiet, recorder.destination().as_deref());
    let statistics = answers.statistics();
    if statistics.unanswered + statistics.dropped > 0 {
        eprintln!(
            "oisp-sensor: warning: the recording has no answer to {} questions about processes, which these settings \
             ask and its own did not: facts are missing in events",
            statistics.unanswered
        );
    }
    let failed = outcome.has_failed();
    Ok(ExitCode::from(if failed { FAILED } else { 0 }))
}
