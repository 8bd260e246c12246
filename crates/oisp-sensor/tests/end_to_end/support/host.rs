//! The machine: what it lacks, its `libssl`, the client program.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use oisp_capture_ebpf::{planned_probes, requirements, tls_libraries_of_host};
use oisp_testkit::peers::{PeerError, Peers};

/// Long against anything that is waited for, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this machine can be recorded. Where it cannot, it says why, and fails where all is required.
pub(crate) fn can_record() -> bool {
    let lacking = if rustix::process::geteuid().is_root() {
        requirements::first_unmet().map(|requirement| requirement.to_string())
    } else {
        Some("these tests need root".to_owned())
    };
    lacking.is_none_or(|lacking| !is_missing(&lacking))
}

/// Something that a test needs is not there: says so, and fails where all is required.
pub(crate) fn is_missing(what: &dyn std::fmt::Display) -> bool {
    assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none_or(|value| value != "1"), "{what}");
    eprintln!("skipped: {what}");
    true
}

/// What was asked for; `None` where it is not on this machine.
pub(crate) fn unless_missing<T>(peer: Result<T, PeerError>) -> Option<T> {
    match peer {
        Err(PeerError::Missing(missing)) if is_missing(&missing) => None,
        other => Some(other.unwrap_or_else(|error| panic!("{error}"))),
    }
}

/// Waits for something that must come.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn send_signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Clients and servers to be set upon each other, in a folder of their own.
pub(crate) fn peers(folder: &Path) -> Peers {
    let target = Path::new(env!("CARGO_BIN_EXE_oisp-sensor")).ancestors().nth(2).expect("a folder");
    Peers::in_folder(folder, target.join("go-cache")).unwrap()
}

static TEST_CLIENT: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(given) = std::env::var_os("OISP_TEST_CLIENT") {
        return PathBuf::from(given);
    }
    // Cargo builds the programs of the tested package alone; this one stands in the same folder.
    let profile = Path::new(env!("CARGO_BIN_EXE_oisp-sensor")).parent().expect("a folder");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--quiet", "--package", "oisp-testkit", "--bin", "oisp-test-client"]);
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(profile.parent().expect("a folder"));
    assert!(build.status().expect("cargo").success(), "oisp-test-client does not build");
    profile.join("oisp-test-client")
});

/// `oisp-test-client` with these arguments.
pub(crate) fn test_client(arguments: &str) -> Command {
    let mut command = Command::new(&*TEST_CLIENT);
    command.args(arguments.split_whitespace());
    command
}

/// A copy of the host's `libssl` in a folder of its own, which no linker cache knows.
pub(crate) struct LibraryCopy {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl LibraryCopy {
    pub(crate) fn new() -> Self {
        let original = tls_libraries_of_host()
            .into_iter()
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libssl.so")))
            .expect("libssl is needed: apt-get install libssl3");
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // The name that programs are linked with; the cache may name a link to it.
        let name = fs::canonicalize(&original).unwrap().file_name().unwrap().to_owned();
        let file = folder.path().join(name);
        fs::copy(original, &file).unwrap();
        Self { folder, file }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

#[cfg(target_arch = "x86_64")]
const BREAKPOINT: &[u8] = &[0xcc];
#[cfg(target_arch = "aarch64")]
const BREAKPOINT: &[u8] = &0xd420_00a0_u32.to_le_bytes();

/// Whether every function of the copy that the sensor reads has a breakpoint in the memory of a process.
pub(crate) fn is_probed(pid: u32, library: &LibraryCopy) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let file = library.file().to_str().unwrap();
    let code = maps.lines().filter(|line| line.ends_with(file)).find_map(|line| {
        let mut fields = line.split(' ');
        let start = u64::from_str_radix(fields.next()?.split('-').next()?, 16).ok()?;
        let is_code = fields.next()?.contains('x');
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        is_code.then_some((start, offset))
    });
    let Some((start, offset)) = code else { return false };
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let analysis = oisp_elf::analyze(library.file()).unwrap();
    let probes: Vec<_> = planned_probes(&analysis).into_iter().flat_map(Result::unwrap).collect();
    assert!(!probes.is_empty(), "libssl has functions to probe");
    probes.iter().all(|probe| {
        let mut found = [0; BREAKPOINT.len()];
        memory.read_exact_at(&mut found, start + probe.site.file_offset - offset).unwrap();
        found == BREAKPOINT
    })
}
