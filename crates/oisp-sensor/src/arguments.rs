//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use oisp_redact::RedactionMode;

/// Sees every AI call that a program makes, and which process made it.
///
/// Nothing is proxied and no certificate is installed: the bytes are read with eBPF where the TLS library has them in
/// clear, decoded, redacted, and written as OISP events.
#[derive(Debug, Parser)]
#[command(
    name = "oisp-sensor",
    version,
    max_term_width = 100,
    after_help = "Example:\n  sudo oisp-sensor record -- python3 agent.py\n\nExit codes: 0 success, 1 failure, \
                  2 wrong arguments; with a command its own status, 125 when the sensor failed, \
                  126 when the command cannot be executed, 127 when it was not found."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Record a command or a running process, with all that descends from it
    Record(RecordOptions),
    /// Record three AI calls of a bundled client to a bundled provider, and show what was seen
    Demo(DemoOptions),
    #[command(hide = true)]
    DemoClient(DemoClientOptions),
    /// Say whether this host can be recorded, and what to do if not
    Check,
    /// Show which TLS functions would be probed in a file or a process
    Tls(TlsOptions),
    /// Show what a running sensor does, sees and loses
    Status(crate::status::StatusOptions),
    /// End a running sensor in good order
    Stop(crate::control::StopOptions),
    /// Have a running sensor read its configuration again
    Reload(crate::control::ReloadOptions),
}

/// Writes one OISP event a line. With a command, exits with the command's status.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  oisp-sensor record -- curl https://api.openai.com/v1/models\n  \
                        oisp-sensor record -o - --pid 4711 | jq .event_type")]
#[command(
    override_usage = "oisp-sensor record [OPTIONS] -- <COMMAND>...\n       oisp-sensor record [OPTIONS] --pid <PID>"
)]
#[group(id = "scope", required = true, multiple = false)]
pub(crate) struct RecordOptions {
    /// File to append events to (made with mode 0600); - for standard output, which the command writes to as well, and
    /// whose closing ends the recording but not the command
    #[arg(short, long, value_name = "FILE", default_value = "events.jsonl")]
    pub(crate) output: PathBuf,

    /// Record this running process and its descendants, until it ends or Ctrl-C
    #[arg(long, value_name = "PID", group = "scope", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,

    #[command(flatten)]
    pub(crate) common: CommonOptions,

    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Command to start and record, with its arguments
    #[arg(last = true, value_name = "COMMAND", group = "scope")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct CommonOptions {
    /// What is kept of content: `safe` replaces secrets, `minimal` keeps none, `full` keeps all but credentials in
    /// headers and URLs
    #[arg(long, value_name = "MODE", default_value = "safe", value_parser = redaction_mode)]
    pub(crate) redaction: RedactionMode,

    /// Size of the kernel's ring in bytes, rounded up to a power of two; a small one loses data (for tests)
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, hide = true)]
    pub(crate) ring_bytes: u32,
}

fn redaction_mode(text: &str) -> Result<RedactionMode, String> {
    text.parse().map_err(|error: oisp_redact::UnknownMode| error.to_string())
}

/// Needs what recording needs (see `oisp-sensor check`), and OpenSSL's library for the client. Uses no network.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Keep the events in this file as well
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: CommonOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DemoClientOptions {
    /// The provider's base URL
    #[arg(long)]
    pub(crate) base: String,
    /// The certificate that the provider's was signed with
    #[arg(long)]
    pub(crate) ca: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oisp-sensor tls /usr/lib/x86_64-linux-gnu/libssl.so.3")]
#[group(id = "target", required = true, multiple = false)]
pub(crate) struct TlsOptions {
    /// Executable or library
    #[arg(value_name = "FILE", group = "target")]
    pub(crate) file: Option<PathBuf>,

    /// Running process: everything that it has mapped as code
    #[arg(long, value_name = "PID", group = "target", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("oisp-sensor").chain(arguments.iter().copied()))
    }

    #[test]
    fn definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn command_is_everything_after_two_dashes() {
        let arguments = parse(&["record", "-o", "x", "--", "curl", "-o", "y", "--pid", "3"]).expect("parsed");
        let Action::Record(options) = arguments.action else { panic!("record") };
        assert_eq!(options.command, ["curl", "-o", "y", "--pid", "3"]);
        assert_eq!(options.output, PathBuf::from("x"));
        assert_eq!(options.pid, None);
    }

    #[test]
    fn malformed_arguments_say_what_is_wrong() {
        for (arguments, expected) in [
            (&["record"][..], "required arguments were not provided"),
            (&["record", "--pid", "0"], "0 is not in 1.."),
            (&["record", "--pid", "me"], "invalid digit"),
            (&["record", "--pid", "1", "--", "true"], "cannot be used with"),
            (&["record", "--redaction", "none", "--", "true"], "use safe, minimal or full"),
            (&["record", "--outptu", "x", "--", "true"], "a similar argument exists: '--output'"),
            (&["recrod"], "some similar subcommands exist: 'reload', 'record'"),
            (&["tls"], "required arguments were not provided"),
            (&["tls", "/bin/sh", "--pid", "1"], "cannot be used with"),
            (&["status", "../x"], "not a sensor's name"),
            (&["status", "--watch", "0"], "0 is not in 1.."),
        ] {
            let error = parse(arguments).expect_err("refused").to_string();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn every_help_fits_a_screen() {
        let mut command = Arguments::command();
        command.build();
        for subcommand in command.get_subcommands_mut() {
            let help = subcommand.render_long_help().to_string();
            assert!(help.lines().count() <= 50, "{}:\n{help}", subcommand.get_name());
        }
    }
}
