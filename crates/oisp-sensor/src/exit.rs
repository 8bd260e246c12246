//! Exit codes, as in the table of the manual.

use std::fmt;
use std::process::ExitCode;

/// Something went wrong in the sensor itself while it was to run a command: as `env`, `nohup` and `docker run` have it.
pub(crate) const WRAPPER_FAILED: u8 = 125;
/// The command was found, but cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;
/// Wrong arguments or a wrong configuration.
pub(crate) const MISUSED: u8 = 2;
/// Anything else that went wrong.
pub(crate) const FAILED: u8 = 1;

/// What went wrong, for the person at the keyboard, and the exit code for it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), code }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}
