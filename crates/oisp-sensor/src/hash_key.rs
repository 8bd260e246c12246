//! Where the key of the hashes in redacted events is kept.

use std::path::PathBuf;

use oisp_redact::HashKey;

use crate::exit::{FAILED, Failure};

/// The host's key, made when it is first needed. Where it cannot be kept, one for this run, with a warning: then hashes
/// of two runs cannot be compared, but nothing is less redacted.
pub(crate) fn load() -> Result<HashKey, Failure> {
    let problem = match path() {
        Some(path) => match create_folder(&path)
            .map_err(|error| error.to_string())
            .and_then(|()| HashKey::load_or_create(&path).map_err(|error| error.to_string()))
        {
            Ok(key) => return Ok(key),
            Err(problem) => problem,
        },
        None => "there is no home directory to keep it in".to_owned(),
    };
    eprintln!(
        "oisp-sensor: warning: no lasting key for the hashes of redacted values: {problem}; this run uses its own"
    );
    HashKey::ephemeral().map_err(|error| Failure::new(FAILED, error))
}

fn path() -> Option<PathBuf> {
    // systemd names a service's state folder so (StateDirectory=); of several it is the first.
    if let Some(folders) = std::env::var_os("STATE_DIRECTORY")
        && let Some(folder) = std::env::split_paths(&folders).next().filter(|path| path.is_absolute())
    {
        return Some(folder.join("hash.key"));
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/oisp-sensor/hash.key"));
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.or_else(home)?.join("oisp-sensor/hash.key"))
}

fn create_folder(file: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match file.parent() {
        Some(folder) => std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}
