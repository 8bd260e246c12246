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
    /// As in `maps`: that of the whole file system, where its parts have numbers of their own.
    pub(crate) device: (u32, u32),
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
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next()?.trim_start();
    (permissions.as_bytes().get(2) == Some(&b'x') && path.starts_with('/')).then(|| CodeMapping {
        start: u64::from_str_radix(start, 16).unwrap_or(0),
        end: u64::from_str_radix(end, 16).unwrap_or(0),
        device: (u32::from_str_radix(major, 16).unwrap_or(0), u32::from_str_radix(minor, 16).unwrap_or(0)),
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

/// All processes, as far as they can be listed.
pub(crate) fn all() -> io::Result<Vec<u32>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // One that ended while the list was read is no error of it.
        let Ok(entry) = entry else { continue };
        processes.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(processes)
}

/// The name of a process's program, of 15 bytes at most.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// The mount namespace that a process is in.
pub(crate) fn mount_namespace(pid: u32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino())
}

/// The children of all threads of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
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

/// Whether a process has a thread that runs: one that has ended, but was not waited for, still exists.
pub(crate) fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return false };
    is_running_by(&String::from_utf8_lossy(&stat))
}

/// By `/proc/PID/stat` (proc(5)): state is field 3, after the name in parentheses, and the number of threads field 20.
fn is_running_by(stat: &str) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    let ended = matches!(fields.next(), Some("Z" | "X") | None);
    // Its first thread may have ended before the others.
    !ended || fields.nth(16).and_then(|threads| threads.parse().ok()).is_some_and(|threads: u32| threads > 1)
}

/// A process's working directory, if it still is the one with this inode: the process runs on meanwhile.
pub(crate) fn working_directory(pid: u32, inode: u64) -> Option<PathBuf> {
    let link = format!("/proc/{pid}/cwd");
    let path = fs::read_link(&link).ok()?;
    (fs::metadata(&link).ok()?.ino() == inode).then_some(path)
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
        assert_eq!(mapping.device, (0xfe, 0));
        assert_eq!(mapping.path, Path::new("/opt/a b/lib.so"));
        assert_eq!(parse_mapping("7f00-8f00 rw-p 00001000 fe:00 42   /lib.so"), None);
        assert_eq!(parse_mapping("7f00-8f00 r-xp 00000000 00:00 0    [vdso]"), None);
        assert_eq!(parse_mapping("garbage"), None);
    }

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let found = children(std::process::id());
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(found.contains(&child.id()));
    }

    #[test]
    fn process_runs_as_long_as_any_of_its_threads() {
        let stat = |state: &str, threads: u32| {
            format!("41 (a) Z (b) {state} 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 100 0 0")
        };
        assert!(is_running_by(&stat("S", 1)));
        assert!(is_running_by(&stat("Z", 2)));
        assert!(!is_running_by(&stat("Z", 1)));
        assert!(!is_running_by("garbage"));
        assert!(is_running(std::process::id()));
        assert!(!is_running(u32::MAX));
    }
}
