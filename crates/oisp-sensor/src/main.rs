//! The `oisp-sensor` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    oisp_sensor::run()
}
