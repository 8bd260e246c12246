//! `oisp-sensor generate`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use oisp_capture::generator::{Generator, GeneratorConfig, GeneratorPace, GeneratorRate, Sizes};
use oisp_capture::monotonic_now;
use oisp_config::Flags;
use oisp_export::{JsonlSink, Sink};

use crate::exit::{FAILED, Failure, MISUSED};
use crate::record::{Origin, Recorder};
use crate::runtime::WhenFull;

/// Makes up programs that call models, and takes their traffic through all stages but the capture. Needs no rights. Its
/// events say `"origin": "generator"` under `ext.oisp_sensor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  oisp-sensor generate --calls 10 -o -\n  \
                        oisp-sensor generate --rate 500 --duration 60 --redaction minimal -o load.jsonl\n\nFor shaping traffic also: --connections NUMBER, --lost SHARE (0 to 1), --prompt BYTES, --seed NUMBER")]
pub(crate) struct GenerateOptions {
    /// Calls to make; without this or --duration it goes on until Ctrl-C
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,

    /// Seconds in which calls begin
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    duration: Option<u32>,

    /// Calls a second (10), or `max`: what the stages cannot take is then dropped and counted
    #[arg(long, value_name = "RATE", default_value = "10", hide_default_value = true, value_parser = rate)]
    rate: Pace,

    /// Connections that are open at once; 8 if not given
    #[arg(long, hide = true, value_name = "NUMBER", default_value_t = 8, hide_default_value = true)]
    connections: usize,

    /// Share of captured pieces that are lost, from 0 to 1
    #[arg(long, hide = true, value_name = "SHARE", default_value_t = 0.0, hide_default_value = true)]
    lost: f64,

    /// Bytes of what users say: the middle of sizes that vary
    #[arg(long, hide = true, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=400_000))]
    prompt: Option<u64>,

    /// Wait for the stages where they cannot keep up, instead of dropping as a recording does
    #[arg(long)]
    wait: bool,

    /// The same number gives the same traffic
    #[arg(long, hide = true, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Keep the traffic in this new file, for `oisp-sensor replay`
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Max,
    CallsPerSecond(f64),
}

fn rate(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Pace::CallsPerSecond(rate)),
        _ => Err("use `max` or a number above 0".to_owned()),
    }
}

impl GenerateOptions {
    fn config(&self) -> GeneratorConfig {
        let calls_per_second = match self.rate {
            Pace::Max => None,
            Pace::CallsPerSecond(rate) => Some(rate),
        };
        let defaults = GeneratorConfig::default();
        GeneratorConfig {
            seed: self.seed,
            start: monotonic_now(),
            connections: self.connections,
            lost: self.lost,
            prompt_bytes: self
                .prompt
                .and_then(|bytes| Sizes::new(1.max(bytes / 50), bytes, bytes.saturating_mul(20)))
                .unwrap_or(defaults.prompt_bytes),
            rate: GeneratorRate { calls_per_second, content_bytes_per_second: None },
            pace: match self.rate {
                Pace::Max => GeneratorPace::Unpaced,
                Pace::CallsPerSecond(_) => GeneratorPace::RealTime,
            },
            calls: self.calls,
            duration: self.duration.map(|seconds| Duration::from_secs(seconds.into())),
            ..defaults
        }
    }
}

pub(crate) fn run(options: &GenerateOptions) -> Result<ExitCode, Failure> {
    let generator = Generator::new(options.config()).map_err(|error| Failure::new(MISUSED, error))?;
    let recorder = Recorder::new(&options.flags, FAILED)?.with_raw(options.raw.as_deref());
    let settings = recorder.settings();
    let sink = JsonlSink::open(&settings.output).map_err(|error| Failure::new(FAILED, error))?;
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(sink)];
    let scope = "generated traffic";
    let when_full = if options.wait { WhenFull::Wait } else { WhenFull::Drop };
    let outcome = recorder.source(Box::new(generator), Origin::Generator(when_full), scope, sinks)?;
    recorder.tell(&outcome, settings.quiet, recorder.destination().as_deref());
    let failed = outcome.has_failed();
    Ok(ExitCode::from(if failed { FAILED } else { 0 }))
}
