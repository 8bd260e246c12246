//! `oisp-sensor status`

mod render;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use oisp_control::{ClientError, Connection, SensorName, Status};

use crate::control::{SensorChoice, failure};
use crate::exit::{FAILED, Failure};

/// Probed files, coverage, queues, losses, memory and CPU of a running sensor.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sudo oisp-sensor status\n  sudo oisp-sensor status --watch 2\n  \
                        sudo oisp-sensor status host --json | jq .kernel_losses")]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) sensor: SensorChoice,

    /// Print JSON; with --watch an object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Refresh every so many seconds until Ctrl-C or until the sensor ends
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub(crate) watch: Option<u32>,
}

pub(crate) fn run(options: &StatusOptions) -> Result<ExitCode, Failure> {
    match output(options) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Problem::Client(error)) => Err(failure(error)),
        // Whoever reads has enough.
        Err(Problem::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Problem::Output(error)) => Err(Failure::new(FAILED, format!("standard output: {error}"))),
    }
}

enum Problem {
    Client(ClientError),
    Output(io::Error),
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn output(options: &StatusOptions) -> Result<(), Problem> {
    let Some(seconds) = options.watch else {
        let (_, status) = ask(options.sensor.connect()?)?;
        return Ok(show(&status, options.json, false)?);
    };
    let connection = options.sensor.connect()?;
    // The same one from now on, whatever others start.
    let sensor = SensorChoice {
        name: Some(connection.name().clone()),
        directory: connection.path().parent().map(Path::to_owned),
    };
    let (name, mut status) = ask(connection)?;
    let pid = status.pid;
    loop {
        show(&status, options.json, true)?;
        thread::sleep(Duration::from_secs(seconds.into()));
        status = match sensor.connect().and_then(ask) {
            Ok((_, status)) if status.pid == pid => status,
            Ok((_, another)) => {
                eprintln!(
                    "oisp-sensor: sensor {name} (process {pid}) has ended; process {} has its name now",
                    another.pid
                );
                return Ok(());
            }
            Err(ClientError::NoSensor | ClientError::NotFound { .. } | ClientError::Ended { .. }) => {
                eprintln!("oisp-sensor: sensor {name} (process {pid}) has ended");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
    }
}

fn ask(mut connection: Connection) -> Result<(SensorName, Status), ClientError> {
    let mut status = connection.status()?;
    // What is printed controls no terminal, whoever answered.
    status.bound();
    Ok((connection.name().clone(), status))
}

fn show(status: &Status, json: bool, again: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if json {
        let text = if again { serde_json::to_string(status) } else { serde_json::to_string_pretty(status) };
        writeln!(output, "{}", text?)?;
    } else if io::stdout().is_terminal() {
        let (columns, rows) = terminal_size();
        let text = render::text(status, columns);
        if again {
            // In place: each line over the one before, and no more lines than there are.
            output.write_all(b"\x1b[H")?;
            for line in text.lines().take(rows.saturating_sub(1)) {
                write!(output, "{line}\x1b[K\r\n")?;
            }
            output.write_all(b"\x1b[J")?;
        } else {
            output.write_all(text.as_bytes())?;
        }
    } else {
        output.write_all(render::text(status, usize::MAX).as_bytes())?;
        if again {
            writeln!(output)?;
        }
    }
    output.flush()
}

/// Columns and rows of the terminal; 80 by 24 where it does not say.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}
