//! The command to record: found as a shell would find it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, NOT_EXECUTABLE, NOT_FOUND, WRAPPER_FAILED};

/// The file that a command's name stands for.
pub(crate) fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    find_in(name, std::env::var_os("PATH"))
}

fn find_in(name: &OsStr, search: Option<OsString>) -> Result<PathBuf, Failure> {
    let shown = name.to_string_lossy().into_owned();
    if shown.contains('/') {
        return match std::fs::metadata(name) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Failure::new(NOT_EXECUTABLE, format!("`{shown}` is a directory, not a command")))
            }
            Ok(_) => Ok(PathBuf::from(name)),
            Err(error) => Err(not_started(&shown, &error)),
        };
    }
    let search = search.unwrap_or_default();
    let mut not_executable = None;
    for folder in std::env::split_paths(&search) {
        let path = folder.join(name);
        if is_executable(&path) {
            return Ok(path);
        }
        if path.is_file() {
            not_executable.get_or_insert(path);
        }
    }
    match not_executable {
        Some(path) => {
            let advice =
                format!("{} is not executable: chmod +x it, or name its interpreter", path.display());
            Err(Failure::new(NOT_EXECUTABLE, advice))
        }
        None => Err(Failure::new(
            NOT_FOUND,
            format!("command not found: `{shown}` is in no folder of PATH ({})", search.to_string_lossy()),
        )),
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Why a command that was found did not start.
pub(crate) fn not_started(command: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            NOT_FOUND,
            format!(
                "command not found: `{command}` does not exist, or the interpreter in its first line does not"
            ),
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            NOT_EXECUTABLE,
            format!("`{command}` is not executable: chmod +x it, or name its interpreter before it"),
        ),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => Failure::new(
            NOT_EXECUTABLE,
            format!(
                "`{command}` is neither a program nor a script with a #! line: name its interpreter before it"
            ),
        ),
        _ => Failure::new(WRAPPER_FAILED, format!("`{command}` cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_found_in_the_search_path_or_said_not_to_be() {
        let found = find_in(OsStr::new("sh"), Some("/nonexistent:/bin".into())).expect("there is a shell");
        assert_eq!(found, Path::new("/bin/sh"));
        let failure = find_in(OsStr::new("no-such-command"), Some("/bin".into())).expect_err("absent");
        assert_eq!(
            failure.to_string(),
            "command not found: `no-such-command` is in no folder of PATH (/bin)"
        );
    }

    #[test]
    fn file_that_is_not_executable_is_said_to_be_so() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tool"), "x").expect("written");
        let failure = find_in(OsStr::new("tool"), Some(folder.path().into())).expect_err("refused");
        assert!(
            failure.to_string().ends_with("tool is not executable: chmod +x it, or name its interpreter")
        );
    }
}
