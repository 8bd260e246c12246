//! Programs in folders of their own.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Copies a program, executable for everybody.
///
/// Another process writes the copy: a thread of this one that starts a program meanwhile would hand the open file on to it,
/// and as long as anybody has it open for writing it cannot be executed (`ETXTBSY`).
///
/// # Errors
/// It cannot be read or written.
pub fn copy_program(original: &Path, copy: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg("--").args([original, copy]).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cp of {} failed: {status}", original.display())));
    }
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o755))
}
