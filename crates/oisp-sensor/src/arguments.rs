//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};
use oisp_config::Flags;

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
                  2 wrong arguments or configuration; with a command its own status, 125 when the sensor failed, \
                  126 when the command cannot be executed, 127 when it was not found."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Record a command, a running process with its descendants, or the whole host
    Record(RecordOptions),
    /// Record three AI calls of a bundled client to a bundled provider, and show what was seen
    Demo(DemoOptions),
    #[command(hide = true)]
    DemoClient(DemoClientOptions),
    /// Say whether this host can be recorded, and what to do if not
    Check,
    /// Print a configuration file with every key and its default, or what holds, or what is wrong with a file
    Config(ConfigOptions),
    /// Show which TLS functions would be probed in a file or a process
    Tls(TlsOptions),
    /// Make up traffic and take it through the stages: for trying settings and outputs, without rights
    Generate(crate::generate::GenerateOptions),
    /// Take a raw recording through the stages again
    Replay(crate::replay::ReplayOptions),
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
    override_usage = "oisp-sensor record [OPTIONS] -- <COMMAND>...\n       oisp-sensor record [OPTIONS] --pid <PID>\n       \
                      oisp-sensor record [OPTIONS] --host"
)]
#[group(id = "scope", required = true, multiple = false)]
pub(crate) struct RecordOptions {
    /// Record this running process and its descendants, until it ends or Ctrl-C
    #[arg(long, value_name = "PID", group = "scope", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,

    /// Record every process of the host, until Ctrl-C; one sensor at a time can. Every program that uses a probed TLS
    /// library pays for its probes, whether it makes AI calls or not
    #[arg(long, group = "scope")]
    pub(crate) host: bool,

    /// Keep everything that is captured, unredacted, in this new file, for `oisp-sensor replay`
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,

    /// What sets keys of the configuration. `--pid`, `--host` and the command name what this run is about, and have no key.
    #[command(flatten)]
    pub(crate) flags: Flags,

    /// Command to start and record, with its arguments
    #[arg(last = true, value_name = "COMMAND", group = "scope")]
    pub(crate) command: Vec<OsString>,
}

/// Needs what recording needs (see `oisp-sensor check`), and OpenSSL's library for the client; without them it shows
/// generated traffic, and says so. Uses no network.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    pub(crate) flags: DemoFlags,
}

/// All flags but `--quiet`, which would leave nothing of it.
#[derive(Debug)]
pub(crate) struct DemoFlags(pub(crate) Flags);

impl Args for DemoFlags {
    fn augment_args(command: Command) -> Command {
        oisp_config::with_flags(command, &["quiet"])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DemoFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(oisp_config::from_matches(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = oisp_config::from_matches(matches);
        Ok(())
    }
}

/// Without an option, prints a file with every key, what it does and its default. All lines are commented out, so the
/// file changes nothing until one is used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  oisp-sensor config > /etc/oisp-sensor/config.toml\n  \
                        oisp-sensor config --check config.toml\n  \
                        oisp-sensor config --effective --set memory.limit=128MiB\n\n\
                        Exit codes of --check: 0 nothing is wrong, 1 something is, all of it said.")]
pub(crate) struct ConfigOptions {
    /// Say everything that is wrong with this file
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(crate) check: Option<PathBuf>,

    /// Print what holds, of the file, the environment and these flags, and where each value comes from
    #[arg(long)]
    pub(crate) effective: bool,

    #[command(flatten)]
    pub(crate) flags: Flags,
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
#[command(after_help = "Examples:\n  oisp-sensor tls --explain /usr/lib/x86_64-linux-gnu/libssl.so.3\n  \
                        oisp-sensor tls --json --pid 4711 | jq .stacks[].library\n\nExit codes: 0 functions were \
                        found, 1 none were, 2 wrong arguments or configuration.")]
#[command(group = ArgGroup::new("target").required(true))]
#[group(skip)]
pub(crate) struct TlsOptions {
    /// Executable or library
    #[arg(value_name = "FILE", group = "target")]
    pub(crate) file: Option<PathBuf>,

    /// Running process: everything that it has mapped as code
    #[arg(long, value_name = "PID", group = "target", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,

    /// Say of each function how it was found, where it is probed, what a probe costs there and why it is there
    #[arg(long)]
    pub(crate) explain: bool,

    /// Print everything as JSON, one object a line for each file
    #[arg(long, conflicts_with = "explain")]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("oisp-sensor").chain(arguments.iter().copied()))
    }

    #[test]
    fn a_files_functions_can_be_explained_or_given_as_json_but_not_both() {
        assert!(parse(&["tls", "--explain", "file"]).is_ok());
        assert!(parse(&["tls", "--json", "--pid", "4711"]).is_ok());
        for wrong in
            [&["tls", "--json"][..], &["tls", "--json", "--explain", "file"], &["tls", "file", "--pid", "1"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
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
        let output = oisp_config::key("output").expect("a key");
        assert_eq!(options.flags.values, [oisp_config::FlagValue::Own(output, "x".into())]);
        assert_eq!(options.pid, None);
    }

    #[test]
    fn malformed_arguments_say_what_is_wrong() {
        for (arguments, expected) in [
            (&["record"][..], "required arguments were not provided"),
            (&["record", "--pid", "0"], "0 is not in 1.."),
            (&["record", "--pid", "me"], "invalid digit"),
            (&["record", "--pid", "1", "--", "true"], "cannot be used with"),
            (&["record", "--host", "--", "true"], "cannot be used with"),
            (&["record", "--host", "--pid", "1"], "cannot be used with"),
            (&["record", "--outptu", "x", "--", "true"], "a similar argument exists: '--output'"),
            (&["recrod"], "'record'"),
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
        let command = Arguments::command();
        for subcommand in command.get_subcommands() {
            let help =
                parse(&[subcommand.get_name(), "--help"]).expect_err("help in place of a run").to_string();
            assert!(
                help.contains("Usage:") && help.lines().count() <= 50,
                "{}:\n{help}",
                subcommand.get_name()
            );
        }
    }
}
