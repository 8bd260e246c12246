//! Finding and reading the file: the only I/O here.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::flags::Flags;
use crate::merge::{Configuration, Layers, merge};
use crate::problem::{Fault, Place, Problem, Problems};
use crate::value::ByteSize;

/// The variable that names the file.
pub const FILE_VARIABLE: &str = "OISP_CONFIG";

/// A file larger than this is not one of ours.
const LARGEST: u64 = 1 << 20;

/// Reads the file that holds, and puts everything together. The file is the one that the flags name, else the one that
/// `OISP_CONFIG` names, else the first of [`default_paths`] that exists, else none.
///
/// # Errors
/// Everything that is wrong, and a file that is named and cannot be read.
pub fn load(flags: &Flags, environment: Vec<(OsString, OsString)>) -> Result<Configuration, Problems> {
    let variable = value_of(&environment, FILE_VARIABLE).map(PathBuf::from);
    let named = match (&flags.config, variable) {
        (Some(path), _) => Some((path.clone(), "--config")),
        (None, Some(path)) => Some((path, FILE_VARIABLE)),
        (None, None) => None,
    };
    let file = match named {
        Some((path, by)) => read(&path)
            .map(Some)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!("there is no such file; {by} names it"),
                _ => cannot_be_read(&error),
            })
            .map_err(|what| whole(&path, what))?
            .map(|text| (path, text)),
        None => first_that_exists(&default_paths(&environment))?,
    };
    let file = file.map(|(path, bytes)| text(&path, bytes).map(|text| (path, text))).transpose()?;
    merge(&Layers { file, environment, flags: flags.values.clone() })
}

/// Reads one file, with no environment and no flags.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(path: &Path) -> Result<Configuration, Problems> {
    let bytes = read(path).map_err(|error| whole(path, cannot_be_read(&error)))?;
    let file = Some((path.to_owned(), text(path, bytes)?));
    merge(&Layers { file, ..Layers::default() })
}

/// Where the file is looked for when none is named, in this order.
#[must_use]
pub fn default_paths(environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let folder = |name| value_of(environment, name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    user.into_iter()
        .chain([PathBuf::from("/etc")])
        .map(|folder| folder.join("oisp-sensor/config.toml"))
        .collect()
}

/// A variable that is set and not empty.
fn value_of<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let value = environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str());
    value.filter(|value| !value.is_empty())
}

fn first_that_exists(paths: &[PathBuf]) -> Result<Option<(PathBuf, Vec<u8>)>, Problems> {
    for path in paths {
        match read(path) {
            Ok(bytes) => return Ok(Some((path.clone(), bytes))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(whole(path, cannot_be_read(&error))),
        }
    }
    Ok(None)
}

/// Reads a byte more than is allowed, so that a file that is too large shows.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Problems> {
    if bytes.len() as u64 > LARGEST {
        let largest = ByteSize::new(LARGEST);
        return Err(whole(path, format!("is larger than {largest}, which no configuration is")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = Some(before.iter().filter(|byte| **byte == b'\n').count() + 1);
        let place = Place::File { path: path.to_owned(), line };
        Problems(vec![Problem { place, fault: Fault::Other("is not UTF-8".to_owned()) }])
    })
}

fn cannot_be_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::IsADirectory => "is a folder; name the file in it".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn whole(path: &Path, what: String) -> Problems {
    let place = Place::File { path: path.to_owned(), line: None };
    Problems(vec![Problem { place, fault: Fault::Other(what) }])
}
