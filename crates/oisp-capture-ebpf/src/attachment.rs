//! Probes on files.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use oisp_elf::{Analysis, Architecture, ElfError, Evidence, Image, Refusal, SiteError};

use crate::analyses::Analyses;
use crate::kernel::{Kernel, chain};
use crate::placement::{self, NoPlace, Placed, Plan, Rules};
use crate::sandbox;

/// A file: device and inode. While a file is probed the kernel holds its inode, so the pair cannot come to mean
/// another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file with probes on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedFile {
    /// Where it was found.
    pub path: PathBuf,
    /// The TLS libraries in it.
    pub libraries: Vec<&'static str>,
    /// The probed functions.
    pub functions: Vec<AttachedFunction>,
    /// Its number in records, from 1. Used again only after its probes were removed.
    pub number: u16,
    /// Whether functions were found by what they do: then they may turn out to be others.
    pub by_behaviour: bool,
}

/// A probed function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedFunction {
    /// Its name.
    pub name: &'static str,
    /// Its place in the file.
    pub file_offset: u64,
}

/// What came of looking at a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Probes were attached.
    Attached(AttachedFile),
    /// They had been attached before.
    AlreadyAttached,
    /// It has no TLS stack that the sensor can locate.
    NoTls,
    /// It has one, for another CPU.
    ForeignArchitecture,
    /// It has one, but this process maps it and would not survive the probes.
    Sandboxed(u32),
    /// The probes were removed for good: it was not looked at.
    Ended,
}

/// Why a file could not be probed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// It could not be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The kernel refused a probe.
    #[error("{function}: {reason}")]
    Refused { function: &'static str, reason: String },
    /// A place is not what it was found to be.
    #[error(transparent)]
    Changed(#[from] SiteError),
    /// This kernel and this function do not go together.
    #[error("{function}: {reason}")]
    NoPlace { function: &'static str, reason: NoPlace },
    /// All numbers are in use.
    #[error("65,535 files have probes, and no more can be told apart")]
    TooManyFiles,
    /// The kernel took a probe, but the instruction in memory is still the original one.
    #[error("{0}: the kernel accepted the probe but did not place it")]
    NotPlaced(&'static str),
}

/// The probes on all files. Dropping it removes them.
pub(crate) struct Attachments {
    analyses: Analyses,
    files: HashMap<FileIdentity, AttachedProbes>,
    /// Every file that was probed, also after its probes were removed.
    history: Vec<AttachedFile>,
    /// Files without TLS, with the time of their last change: what a file is may change in place.
    without_tls: HashMap<FileIdentity, (i64, i64)>,
    /// TLS libraries that were not located, of files for which this was not told yet.
    refusals: HashMap<FileIdentity, Vec<Refusal>>,
    /// Files whose functions turned out to be others: not probed again.
    refuted: HashSet<FileIdentity>,
    /// Whether return probes kill processes in a sandbox.
    return_probes_kill: bool,
    /// The sensor's own program: it has the marks that it looks for, and nothing to see.
    own: Option<FileIdentity>,
    /// The number that was given last.
    last_number: u16,
    ended: bool,
}

/// The probes of one file. An owned link detaches when it is dropped. In this order: entries before returns, so that no
/// call is entered whose return would not be seen.
struct AttachedProbes {
    file: AttachedFile,
    entries: Vec<UProbeLink>,
    returns: Vec<UProbeLink>,
    has_return_probes: bool,
}

/// Files without TLS that are remembered; beyond it they are looked at again.
const MAX_REMEMBERED: usize = 65_536;

impl Attachments {
    /// None yet. Where `return_probes_kill` processes in a sandbox, a function gets a return probe only if its result can
    /// be seen in no other way, and its file only while no such process maps it.
    pub(crate) fn new(analyses: Analyses, return_probes_kill: bool) -> Self {
        Self {
            analyses,
            files: HashMap::new(),
            history: Vec::new(),
            without_tls: HashMap::new(),
            refusals: HashMap::new(),
            refuted: HashSet::new(),
            return_probes_kill,
            // Without it the worst is a finding about the sensor.
            own: fs::metadata("/proc/self/exe").ok().map(|metadata| FileIdentity::of(&metadata)),
            last_number: 0,
            ended: false,
        }
    }

    /// Looks at a file, and probes it if it has a TLS stack. `path` is for people.
    pub(crate) fn attach(
        &mut self,
        kernel: &mut Kernel,
        file: &File,
        path: &Path,
    ) -> Result<Outcome, AttachError> {
        if self.ended {
            return Ok(Outcome::Ended);
        }
        let metadata = file.metadata().map_err(ElfError::from)?;
        let identity = FileIdentity::of(&metadata);
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        if self.files.contains_key(&identity) {
            return Ok(Outcome::AlreadyAttached);
        }
        if self.own == Some(identity)
            || self.refuted.contains(&identity)
            || self.without_tls.get(&identity) == Some(&changed)
        {
            return Ok(Outcome::NoTls);
        }
        let analysis = self.analyses.of(file)?;
        if !analysis.refusals.is_empty() {
            if self.refusals.len() >= MAX_REMEMBERED {
                self.refusals.clear();
            }
            self.refusals.insert(identity, analysis.refusals.clone());
        }
        if analysis.stacks.is_empty() {
            if self.without_tls.len() >= MAX_REMEMBERED {
                self.without_tls.clear();
            }
            self.without_tls.insert(identity, changed);
            return Ok(Outcome::NoTls);
        }
        if Architecture::host() != Some(analysis.architecture) {
            return Ok(Outcome::ForeignArchitecture);
        }
        analysis.verify(&Image::map(file)?)?;
        let rules = Rules { has_cookies: kernel.has_cookies, return_probes_kill: self.return_probes_kill };
        let plans = plans(&analysis, rules)?;
        let has_return_probes = plans.iter().any(|(_, plan)| plan.has_return_probe);
        if has_return_probes
            && self.return_probes_kill
            && let Some(pid) = sandbox::process_that_maps(identity)
        {
            return Ok(Outcome::Sandboxed(pid));
        }
        let mut libraries: Vec<_> = analysis.stacks.iter().map(|stack| stack.library.name()).collect();
        libraries.dedup();
        let functions = plans.iter().map(|(function, _)| *function).collect();
        let number = self.free_number()?;
        let by_behaviour = analysis
            .stacks
            .iter()
            .flat_map(|stack| &stack.functions)
            .any(|site| site.evidence == Evidence::Behaviour);
        let attached = AttachedFile { path: path.to_owned(), libraries, functions, number, by_behaviour };
        let probes = AttachedProbes::attach(kernel, file, attached.clone(), &plans)?;
        self.last_number = number;
        self.history.push(attached.clone());
        self.files.insert(identity, probes);
        Ok(Outcome::Attached(attached))
    }

    /// A number that no file with probes has: the one that was not used for longest.
    fn free_number(&self) -> Result<u16, AttachError> {
        let used: HashSet<u16> = self.files.values().map(|probes| probes.file.number).collect();
        (1..=u16::MAX)
            .map(|step| self.last_number.wrapping_add(step))
            .find(|number| *number != 0 && !used.contains(number))
            .ok_or(AttachError::TooManyFiles)
    }

    /// Whether files with return probes must lose them when a process in a sandbox maps them.
    pub(crate) fn spares_sandboxed(&self) -> bool {
        self.return_probes_kill
    }

    /// Removes the probes of a file where they would kill a process in a sandbox; says whether it had such.
    pub(crate) fn spare(&mut self, identity: FileIdentity) -> bool {
        self.files.get(&identity).is_some_and(|probes| probes.has_return_probes) && self.release(identity)
    }

    /// The TLS libraries of a file that were not located; given once.
    pub(crate) fn take_refusals(&mut self, file: &File) -> Vec<Refusal> {
        let identity = file.metadata().map(|metadata| FileIdentity::of(&metadata));
        identity.ok().and_then(|identity| self.refusals.remove(&identity)).unwrap_or_default()
    }

    /// Removes the probes of the file with this number, for good; gives the file.
    pub(crate) fn refute(&mut self, number: u16) -> Option<AttachedFile> {
        let (identity, probes) = self.files.iter().find(|(_, probes)| probes.file.number == number)?;
        let (identity, file) = (*identity, probes.file.clone());
        self.release(identity);
        if self.refuted.len() >= MAX_REMEMBERED {
            self.refuted.clear();
        }
        self.refuted.insert(identity);
        Some(file)
    }

    /// The file with probes that has this number.
    pub(crate) fn numbered(&self, number: u16) -> Option<&AttachedFile> {
        self.files.values().map(|probes| &probes.file).find(|file| file.number == number)
    }

    /// Files that have probes now.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Removes the probes of a file; says whether it had any.
    pub(crate) fn release(&mut self, identity: FileIdentity) -> bool {
        let Some(probes) = self.files.remove(&identity) else { return false };
        detach_aside(vec![probes]);
        true
    }

    /// Removes the probes of files that nobody can map any more: they are not among `mapped`, and are not where they were
    /// found. Says how many.
    pub(crate) fn release_gone(&mut self, mapped: &HashSet<FileIdentity>) -> usize {
        let is_there = |path: &Path, identity| {
            fs::metadata(path).is_ok_and(|metadata| FileIdentity::of(&metadata) == identity)
        };
        let gone: Vec<FileIdentity> = self
            .files
            .iter()
            .filter(|(identity, probes)| {
                !mapped.contains(identity) && !is_there(&probes.file.path, **identity)
            })
            .map(|(identity, _)| *identity)
            .collect();
        let released: Vec<_> = gone.iter().filter_map(|identity| self.files.remove(identity)).collect();
        let count = released.len();
        detach_aside(released);
        count
    }

    /// The files that were probed, in the order in which they were.
    pub(crate) fn history(&self) -> &[AttachedFile] {
        &self.history
    }

    /// Removes all probes; none is placed any more.
    pub(crate) fn detach_all(&mut self) {
        self.ended = true;
        let (mut entries, mut returns) = (Vec::new(), Vec::new());
        for (_, probes) in self.files.drain() {
            entries.extend(probes.entries);
            returns.extend(probes.returns);
        }
        detach(entries);
        detach(returns);
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        self.detach_all();
    }
}

/// Removes the probes of files in a thread of its own: it takes seconds, in which the ring would run full. Where a file
/// is probed again meanwhile, a call that meets both probes is seen once: its key is the same.
fn detach_aside(files: Vec<AttachedProbes>) {
    if files.is_empty() {
        return;
    }
    let run = move || {
        let (entries, returns): (Vec<_>, Vec<_>) =
            files.into_iter().map(|probes| (probes.entries, probes.returns)).unzip();
        detach(entries.into_iter().flatten().collect());
        detach(returns.into_iter().flatten().collect());
    };
    // Without a thread they are dropped here, which only takes longer. The end of this process ends the thread and with it
    // every probe.
    let _thread = std::thread::Builder::new().name("detach".to_owned()).spawn(run);
}

/// Removes probes all at once. The kernel waits for all CPUs twice for each, and probes that wait together share a part of
/// it: 1 s instead of 2.7 s for the ten of a `libssl`, measured on Linux 6.18.
fn detach(links: Vec<UProbeLink>) {
    const AT_ONCE: usize = 32;
    std::thread::scope(|scope| {
        let mut shares: Vec<Vec<UProbeLink>> = Vec::new();
        for (index, link) in links.into_iter().enumerate() {
            if index < AT_ONCE {
                shares.push(vec![link]);
            } else {
                shares[index % AT_ONCE].push(link);
            }
        }
        for share in shares {
            // Without a thread the share is dropped here, which only takes longer.
            let _thread = std::thread::Builder::new().spawn_scoped(scope, move || drop(share));
        }
    });
}

/// The functions of all stacks that there are programs for, and the probes of each.
fn plans(analysis: &Analysis, rules: Rules) -> Result<Vec<(AttachedFunction, Plan<'_>)>, AttachError> {
    let mut plans = Vec::new();
    for stack in &analysis.stacks {
        let of_stack = placement::plans(&stack.functions, rules)
            .map_err(|(function, reason)| AttachError::NoPlace { function, reason })?;
        plans.extend(of_stack.into_iter().map(|(site, plan)| {
            (AttachedFunction { name: site.function.name(), file_offset: site.file_offset }, plan)
        }));
    }
    Ok(plans)
}

impl AttachedProbes {
    /// Places all probes of a file, or none.
    fn attach(
        kernel: &mut Kernel,
        file: &File,
        attached: AttachedFile,
        plans: &[(AttachedFunction, Plan<'_>)],
    ) -> Result<Self, AttachError> {
        let has_return_probes = plans.iter().any(|(_, plan)| plan.has_return_probe);
        let mut probes = Self { file: attached, entries: Vec::new(), returns: Vec::new(), has_return_probes };
        match probes.place_all(kernel, file, plans) {
            Ok(()) => Ok(probes),
            Err(error) => {
                detach(std::mem::take(&mut probes.entries));
                detach(std::mem::take(&mut probes.returns));
                Err(error)
            }
        }
    }

    fn place_all(
        &mut self,
        kernel: &mut Kernel,
        file: &File,
        plans: &[(AttachedFunction, Plan<'_>)],
    ) -> Result<(), AttachError> {
        // By descriptor: the path may by now name another file, or exist only in another mount namespace.
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Returns first, for the same reason as above.
        for (function, plan) in plans {
            for placed in &plan.returns {
                self.returns.push(place(kernel, function.name, placed, self.file.number, &target)?);
            }
        }
        for (function, plan) in plans {
            if let Some(placed) = &plan.entry {
                self.entries.push(place(kernel, function.name, placed, self.file.number, &target)?);
            }
        }
        for (function, plan) in plans {
            for placed in plan.returns.iter().chain(&plan.entry) {
                if !is_placed(file, placed.site.file_offset).map_err(ElfError::from)? {
                    return Err(AttachError::NotPlaced(function.name));
                }
            }
        }
        Ok(())
    }
}

fn place(
    kernel: &mut Kernel,
    function: &'static str,
    placed: &Placed<'_>,
    number: u16,
    target: &Path,
) -> Result<UProbeLink, AttachError> {
    let refused = |reason: String| AttachError::Refused { function, reason };
    let cookie = kernel.has_cookies.then(|| placed.cookie(number).pack());
    let program = kernel.uprobe(placed.program).map_err(|error| refused(error.to_string()))?;
    let location = UProbeAttachLocation::AbsoluteOffset(placed.site.file_offset);
    let id = program
        .attach(UProbeAttachPoint { location, cookie }, target, UProbeScope::AllProcesses)
        .map_err(|error| refused(chain(&error)))?;
    // An owned link: a link that stays with the program is not detached when its id is dropped.
    program.take_link(id).map_err(|error| refused(chain(&error)))
}

/// The breakpoint that the kernel writes for a uprobe.
#[cfg(target_arch = "x86_64")]
const BREAKPOINT: &[u8] = &[0xcc];
/// `BRK #5` (`BRK64_OPCODE_UPROBES` in `arch/arm64/include/asm/debug-monitors.h`).
#[cfg(target_arch = "aarch64")]
const BREAKPOINT: &[u8] = &0xd420_00a0_u32.to_le_bytes();

/// Whether the kernel places its breakpoint where the file is mapped as code: some file systems accept a probe and drop
/// it. Seen in a mapping of our own, which the kernel treats as any other; nothing in it is executed.
fn is_placed(file: &File, offset: u64) -> std::io::Result<bool> {
    let page = rustix::param::page_size() as u64;
    let start = offset / page * page;
    let within = usize::try_from(offset - start).map_err(std::io::Error::other)?;
    let length = within + BREAKPOINT.len();
    // SAFETY: a new private mapping at an address of the kernel's choice, read-only and unmapped below. It is read by
    // `read_volatile` because the kernel has changed it behind the compiler's back.
    unsafe {
        use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
        let mapping = mmap(
            std::ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::EXEC,
            MapFlags::PRIVATE,
            file,
            start,
        )?;
        let placed = BREAKPOINT
            .iter()
            .enumerate()
            .all(|(index, &byte)| mapping.cast::<u8>().add(within + index).read_volatile() == byte);
        munmap(mapping, length)?;
        Ok(placed)
    }
}
