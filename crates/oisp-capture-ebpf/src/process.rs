//! What `/proc` says of processes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file mapped as code in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeMapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) inode: u64,
    pub(crate) path: PathBuf,
}

/// The files that a process has mapped as code, each once.
pub(crate) fn code_mappings(pid: u32) -> io::Result<Vec<CodeMapping>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    let text = String::from_utf8_lossy(&maps);
    let mut mappings: Vec<CodeMapping> = Vec::new();
    for mapping in text.lines().filter_map(parse_mapping) {
        if !mappings.iter().any(|known| known.path == mapping.path && known.inode == mapping.inode) {
            mappings.push(mapping);
        }
    }
    Ok(mappings)
}

/// A line of `maps` (proc(5)): `start-end perms offset dev inode path`.
fn parse_mapping(line: &str) -> Option<CodeMapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let inode = fields.nth(2)?.parse().ok()?;
    let path = fields.next()?.trim_start();
    (permissions.as_bytes().get(2) == Some(&b'x') && path.starts_with('/')).then(|| CodeMapping {
        start: u64::from_str_radix(start, 16).unwrap_or(0),
        end: u64::from_str_radix(end, 16).unwrap_or(0),
        inode,
        path: PathBuf::from(path.strip_suffix(" (deleted)").unwrap_or(path)),
    })
}

/// Opens a file that a process has mapped: the very file, though it may be deleted, replaced, or in another mount
/// namespace.
pub(crate) fn open_mapped(pid: u32, mapping: &CodeMapping) -> io::Result<File> {
    let by_address = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    match File::open(&by_address) {
        Ok(file) => Ok(file),
        // Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, and the process: else by name, as the process sees it or, when it
        // has ended, as it is here; if that is still the same file.
        Err(error) => {
            let file = File::open(in_root_of(pid, &mapping.path))
                .or_else(|_| File::open(&mapping.path))
                .map_err(|_| error)?;
            if file.metadata()?.ino() == mapping.inode {
                Ok(file)
            } else {
                Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{} is not the file that was mapped", mapping.path.display()),
                ))
            }
        }
    }
}

/// A path as a process sees it, seen from here.
pub(crate) fn in_root_of(pid: u32, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    path.strip_prefix("/").map_or_else(|_| root.join(path), |relative| root.join(relative))
}

/// A process and everything that descends from it.
pub(crate) fn with_descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        for child in children(parent) {
            if !found.contains(&child) {
                found.push(child);
            }
        }
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Whether there is such a process.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
}

/// A process's working directory.
pub(crate) fn working_directory(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_mappings_can_be_opened() {
        let pid = std::process::id();
        let mappings = code_mappings(pid).expect("readable");
        let own = std::env::current_exe().expect("known");
        let mapping = mappings.iter().find(|mapping| mapping.path == own).expect("this program is mapped");
        let file = open_mapped(pid, mapping).expect("opened");
        assert_eq!(file.metadata().expect("known").ino(), fs::metadata(&own).expect("known").ino());
    }

    #[test]
    fn mapping_lines_with_spaces_and_deleted_files_are_read() {
        let line = "7f00-8f00 r-xp 00001000 fe:00 42                         /opt/a b/lib.so (deleted)";
        let mapping = parse_mapping(line).expect("a code mapping");
        assert_eq!((mapping.start, mapping.end, mapping.inode), (0x7f00, 0x8f00, 42));
        assert_eq!(mapping.path, Path::new("/opt/a b/lib.so"));
        assert_eq!(parse_mapping("7f00-8f00 rw-p 00001000 fe:00 42   /lib.so"), None);
        assert_eq!(parse_mapping("7f00-8f00 r-xp 00000000 00:00 0    [vdso]"), None);
        assert_eq!(parse_mapping("garbage"), None);
    }

    #[test]
    fn descendants_include_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let found = with_descendants(std::process::id());
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(found.contains(&child.id()));
    }
}
