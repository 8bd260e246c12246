//! `oisp-sensor stop` and `oisp-sensor reload`, and how every command finds the sensor that it is about.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use oisp_control::{ClientError, Connection, ReloadReport, SensorName, directories, find};

use crate::exit::{FAILED, Failure};

/// Which sensor.
#[derive(Clone, Debug, Args)]
pub(crate) struct SensorChoice {
    /// Name of the sensor, where several run; they are listed if none is given
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<SensorName>,

    /// Look for sensors in this directory instead of /run/oisp-sensor and $XDG_RUNTIME_DIR/oisp-sensor
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
}

impl SensorChoice {
    pub(crate) fn connect(&self) -> Result<Connection, ClientError> {
        let directories = self.directory.clone().map_or_else(directories, |directory| vec![directory]);
        find(&directories, self.name.as_ref())
    }
}

/// The recording drains and ends as it does at SIGTERM; waits until it has.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sudo oisp-sensor stop\n  sudo oisp-sensor stop record-4711")]
pub(crate) struct StopOptions {
    #[command(flatten)]
    pub(crate) sensor: SensorChoice,

    /// Seconds to wait for its end; 0 for not to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) wait: u32,
}

/// Prints what changed, what needs a restart, and what is wrong. With anything wrong the sensor goes on as before.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo oisp-sensor reload host")]
pub(crate) struct ReloadOptions {
    #[command(flatten)]
    pub(crate) sensor: SensorChoice,
}

pub(crate) fn stop(options: &StopOptions) -> Result<ExitCode, Failure> {
    let connection = options.sensor.connect().map_err(failure)?;
    let sensor = described(&connection);
    let ending = connection.stop().map_err(failure)?;
    if options.wait == 0 {
        eprintln!("oisp-sensor: {sensor} was told to stop");
    } else if ending.wait(Duration::from_secs(options.wait.into())).map_err(failure)? {
        eprintln!("oisp-sensor: {sensor} has ended");
    } else {
        return Err(Failure::new(
            FAILED,
            format!(
                "{sensor} was told to stop and still runs after {} s: it may wait for its command, or for a sink; \
                 see `oisp-sensor status`",
                options.wait
            ),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn reload(options: &ReloadOptions) -> Result<ExitCode, Failure> {
    let mut connection = options.sensor.connect().map_err(failure)?;
    let mut report = connection.reload().map_err(failure)?;
    // What is printed controls no terminal, whoever answered.
    report.bound();
    eprint!("{}", reload_text(connection.name(), &report));
    Ok(if report.applied { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn reload_text(sensor: &SensorName, report: &ReloadReport) -> String {
    let file = report.file.as_deref().unwrap_or("its configuration");
    let mut text = match (report.applied, report.changed.is_empty()) {
        (true, true) => format!("oisp-sensor: sensor {sensor} read {file}: nothing changes while it runs\n"),
        (true, false) => format!("oisp-sensor: sensor {sensor} read {file}\n"),
        (false, _) => format!("oisp-sensor: sensor {sensor} refused {file} and goes on as before\n"),
    };
    for (title, lines) in [
        ("changed", &report.changed),
        ("needs a restart", &report.needs_restart),
        ("wrong", &report.problems),
    ] {
        for line in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {title}: {line}");
        }
    }
    text
}

pub(crate) fn described(connection: &Connection) -> String {
    match connection.pid() {
        Some(pid) => format!("sensor {} (process {pid})", connection.name()),
        None => format!("sensor {}", connection.name()),
    }
}

pub(crate) fn failure(error: ClientError) -> Failure {
    Failure::new(FAILED, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_tells_what_changed_what_waits_and_what_is_wrong() {
        let report = ReloadReport {
            file: Some("/etc/c.toml".into()),
            applied: false,
            changed: Vec::new(),
            needs_restart: vec!["ring_bytes: 1 -> 2".into()],
            problems: vec!["line 3: unknown key `rin`".into()],
        };
        assert_eq!(
            reload_text(&SensorName::host(), &report),
            "oisp-sensor: sensor host refused /etc/c.toml and goes on as before\n  \
             needs a restart: ring_bytes: 1 -> 2\n  wrong: line 3: unknown key `rin`\n"
        );
        let applied = ReloadReport { applied: true, changed: vec!["log: a -> b".into()], ..report };
        let text = reload_text(&SensorName::host(), &applied);
        assert!(text.contains("read /etc/c.toml\n  changed: log: a -> b\n"), "{text}");
    }
}
