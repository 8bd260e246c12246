//! The machine: what it lacks, its `libssl`, the memory and descriptors of processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use oisp_capture_ebpf::{Candidate, PlannedProbe, planned_probes, requirements, tls_libraries_of_host};
use oisp_elf::{Image, analyze_file};

/// Long against anything that is waited for, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this machine can be recorded. Where it cannot, it says why, and fails where all is required.
pub(crate) fn can_record() -> bool {
    let lacking = if !rustix::process::geteuid().is_root() {
        Some("these tests need root".to_owned())
    } else {
        requirements::first_unmet().map(|requirement| requirement.to_string())
    };
    let Some(lacking) = lacking else { return true };
    assert!(std::env::var_os("OISP_REQUIRE_ALL").is_none_or(|value| value != "1"), "{lacking}");
    eprintln!("skipped: {lacking}");
    false
}

/// Waits for something that must come.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A copy of the host's `libssl` in a folder of its own, which no linker cache knows.
pub(crate) struct LibraryCopy {
    folder: tempfile::TempDir,
    file: PathBuf,
    /// Found once: a state is looked at again and again.
    planned: OnceLock<Vec<PlannedProbe>>,
}

impl LibraryCopy {
    pub(crate) fn new() -> Self {
        let original = tls_libraries_of_host()
            .into_iter()
            // Not the name without a version, which only linkers look for.
            .find(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libssl.so."))
            })
            .expect("libssl is needed: apt-get install libssl3");
        let folder = tempfile::tempdir().unwrap();
        // Readable for the users that tests run as.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join(original.file_name().unwrap());
        fs::copy(&original, &file).unwrap();
        Self { folder, file, planned: OnceLock::new() }
    }

    /// For `--library-folder`, and for whatever a test wants to write.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The copy, as a recording takes it.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate { path: self.file.clone(), why: "copied for this test" }
    }

    /// Places in the file that get a probe.
    pub(crate) fn sites(&self) -> Vec<u64> {
        let probes = self.planned_probes();
        BTreeSet::from_iter(probes.iter().map(|probe| probe.site.file_offset)).into_iter().collect()
    }

    /// The functions that are probed.
    pub(crate) fn functions(&self) -> BTreeSet<&'static str> {
        self.planned_probes().iter().map(|probe| probe.function.name()).collect()
    }

    fn planned_probes(&self) -> &[PlannedProbe] {
        self.planned.get_or_init(|| {
            let analysis = analyze_file(&Image::open(&self.file).unwrap()).unwrap();
            planned_probes(&analysis).into_iter().flat_map(Result::unwrap).collect()
        })
    }
}

/// What stands at the probed functions in the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeState {
    /// The library's own instructions.
    Original,
    /// A breakpoint at each function.
    Breakpoints,
    /// Some of both, or something else.
    Mixed,
}

#[cfg(target_arch = "x86_64")]
const BREAKPOINT: &[u8] = &[0xcc];
#[cfg(target_arch = "aarch64")]
const BREAKPOINT: &[u8] = &0xd420_00a0_u32.to_le_bytes();

/// Looks into a process that has the copy mapped.
pub(crate) fn probe_state(pid: u32, library: &LibraryCopy) -> ProbeState {
    let sites = library.sites();
    assert!(sites.len() >= 5, "libssl has at least read, write, their other forms and free: {sites:?}");
    probe_state_at(pid, library.file(), &sites)
}

/// The same for places in any file that it has mapped.
pub(crate) fn probe_state_at(pid: u32, file: &Path, sites: &[u64]) -> ProbeState {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let file = file.to_str().unwrap();
    let (start, offset) = maps
        .lines()
        .filter(|line| line.ends_with(file))
        .find_map(|line| {
            let mut fields = line.split(' ');
            let range = fields.next()?;
            let is_code = fields.next()?.contains('x');
            let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
            is_code.then(|| (u64::from_str_radix(range.split('-').next().unwrap(), 16).unwrap(), offset))
        })
        .expect("the process has the library mapped as code");
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let original = fs::read(file).unwrap();
    let states: Vec<ProbeState> = sites
        .iter()
        .map(|&site| {
            let mut found = [0; BREAKPOINT.len()];
            memory.read_exact_at(&mut found, start + site - offset).unwrap();
            if found == BREAKPOINT {
                ProbeState::Breakpoints
            } else if found == original[usize::try_from(site).unwrap()..][..BREAKPOINT.len()] {
                ProbeState::Original
            } else {
                ProbeState::Mixed
            }
        })
        .collect();
    if states.iter().all(|state| *state == states[0]) { states[0] } else { ProbeState::Mixed }
}

/// Descriptors that this process has open.
pub(crate) fn open_descriptors() -> usize {
    // The listing's own descriptor is in every count alike.
    fs::read_dir("/proc/self/fd").unwrap().count()
}
