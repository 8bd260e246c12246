//! The whole host as scope.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::Discriminant;
use std::path::{Path, PathBuf};

use oisp_capture::CoverageReason;

use super::{EbpfCapture, FileIdentity, MappingNotice, has_tls_name, now};
use crate::kernel::{LoadError, Options, Scope};
use crate::mappings::Watched;
use crate::process::CodeMapping;
use crate::{libraries, process, sandbox};

/// Findings that are remembered so as not to be told again; beyond it they are.
const MAX_TOLD: usize = 4096;
/// Processes through which a file is opened, one after the other: they end meanwhile.
const MAX_MAPPERS: usize = 8;
/// Processes looked at before looking for new mappings again.
const PROCESSES_BETWEEN_MAPPINGS: usize = 64;
/// Probed files before it is looked for those that are gone.
const FILES_BEFORE_RELEASE: usize = 64;

/// What is kept of the host.
pub(super) struct Host {
    /// What was told: the kind of a finding, and the file or the program that it is about.
    told: HashSet<(Discriminant<CoverageReason>, PathBuf)>,
    /// With so many probed files it is looked for those that are gone.
    release_at: usize,
}

impl Host {
    fn new() -> Self {
        Self { told: HashSet::new(), release_at: FILES_BEFORE_RELEASE }
    }

    /// Whether this was not told before: a host has many processes of one kind, and one finding is enough for all.
    pub(super) fn is_news(&mut self, pid: Option<u32>, file: Option<&Path>, reason: &CoverageReason) -> bool {
        match reason {
            // Each is about another file, other notices or connections: they are as many as they happen.
            CoverageReason::AttachedLate { .. }
            | CoverageReason::MappingNoticesLost { .. }
            | CoverageReason::NotJoined { .. }
            | CoverageReason::ContentUnplaced { .. }
            | CoverageReason::SandboxedProcess => return true,
            CoverageReason::AttachFailed { .. }
            | CoverageReason::Unreadable { .. }
            | CoverageReason::ForeignArchitecture
            | CoverageReason::MappingsNotFollowed { .. }
            | CoverageReason::SocketsNotFollowed { .. }
            | CoverageReason::PipesNotFollowed
            | CoverageReason::WrongMatch { .. }
            | CoverageReason::NotLocated { .. } => {}
        }
        let subject = file.map(Path::to_owned).or_else(|| Some(process::name(pid?)?.into()));
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        self.told.insert((std::mem::discriminant(reason), subject.unwrap_or_default()))
    }
}

/// What was found on the host at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostProcesses {
    /// The processes that run programs, but for this one.
    pub processes: Vec<u32>,
    /// Files that they map as code; each was looked at once.
    pub files: usize,
}

/// A file as `maps` tells it, and the mount namespace: on some file systems device and inode alone are not unique.
type MappedFile = (u64, (u32, u32), u64, PathBuf);

impl EbpfCapture {
    /// Loads the kernel programs with every process but this one in scope, and probes the TLS libraries of the linker
    /// cache and what the processes have mapped. What is mapped later is looked at while the capture runs.
    ///
    /// # Errors
    /// As [`EbpfCapture::load`]; or the processes cannot be listed. What cannot be probed is a finding, not an error.
    pub fn record_host(options: &Options) -> Result<(Self, HostProcesses), LoadError> {
        raise_descriptor_limit();
        let mut capture = Self::with_scope(options, Scope::Host { since_ns: now().0 })?;
        capture.host = Some(Host::new());
        // First what comes, then what is there: nothing falls between.
        capture.follow_mappings(Watched::Everyone, std::process::id());
        for library in libraries::tls_libraries_of_host() {
            capture.attach_path(&library, None);
        }
        let found = capture.probe_what_is_mapped()?;
        Ok((capture, found))
    }

    fn probe_what_is_mapped(&mut self) -> Result<HostProcesses, LoadError> {
        let (processes, files) = self.mapped_files()?;
        let found = HostProcesses { processes, files: files.len() };
        let mut files: Vec<_> = files.into_iter().collect();
        // TLS libraries first: every moment counts for them, and the others take long to look at.
        files.sort_by_cached_key(|((.., path), _)| !has_tls_name(path));
        for (index, ((.., path), mappers)) in files.into_iter().enumerate() {
            if index % PROCESSES_BETWEEN_MAPPINGS == 0 {
                self.take_mappings();
            }
            self.probe_mapped(&path, &mappers);
        }
        Ok(found)
    }

    /// The processes with programs, and the files that they map as code, each with some of who maps it.
    #[expect(clippy::type_complexity, reason = "taken apart at once by its only caller")]
    fn mapped_files(
        &mut self,
    ) -> Result<(Vec<u32>, HashMap<MappedFile, Vec<(u32, CodeMapping)>>), LoadError> {
        let listed =
            process::all().map_err(|source| LoadError::Io { what: "list of processes (/proc)", source })?;
        let mut processes = Vec::new();
        let mut files: HashMap<MappedFile, Vec<(u32, CodeMapping)>> = HashMap::new();
        for (index, pid) in listed.into_iter().filter(|pid| *pid != std::process::id()).enumerate() {
            if index % PROCESSES_BETWEEN_MAPPINGS == 0 {
                self.take_mappings();
            }
            let mappings = match process::code_mappings(pid) {
                Ok(mappings) => mappings,
                Err(error) => {
                    if process::is_running(pid) {
                        let reason = CoverageReason::Unreadable { error: error.to_string() };
                        self.early_finding(Some(pid), None, reason);
                    }
                    continue;
                }
            };
            // Kernel threads run no program, and what has ended none any more.
            if mappings.is_empty() {
                continue;
            }
            processes.push(pid);
            let namespace = process::mount_namespace(pid).unwrap_or(0);
            for mapping in mappings {
                let key = (namespace, mapping.device, mapping.inode, mapping.path.clone());
                let mappers = files.entry(key).or_default();
                if mappers.len() < MAX_MAPPERS {
                    mappers.push((pid, mapping));
                }
            }
        }
        Ok((processes, files))
    }

    /// Probes a file through the first process that still maps it.
    fn probe_mapped(&mut self, path: &Path, mappers: &[(u32, CodeMapping)]) {
        let mut refused = None;
        for (pid, mapping) in mappers {
            match process::open_mapped(*pid, mapping) {
                Ok(file) => {
                    self.attach(&file, path, Some(*pid));
                    return;
                }
                Err(error) if process::is_running(*pid) => refused = Some((*pid, error)),
                // It has ended, and whoever maps the file from now on is noticed.
                Err(_) => {}
            }
        }
        if let Some((pid, error)) = refused {
            let reason = CoverageReason::Unreadable { error: error.to_string() };
            self.early_finding(Some(pid), Some(path), reason);
        }
    }

    /// Takes the probes off a file that a sandboxed process has just mapped, where they would kill it; says whether there
    /// were any.
    pub(super) fn spare_sandboxed(&mut self, notice: &MappingNotice) -> bool {
        if !self.attachments.spares_sandboxed() || !sandbox::is_sandboxed(notice.pid) {
            return false;
        }
        let identity = process::open_mapped(notice.pid, &notice.mapping)
            .and_then(|file| file.metadata())
            .map(|metadata| FileIdentity::of(&metadata));
        // A process that has ended needs no sparing.
        let is_released = identity.is_ok_and(|identity| self.attachments.spare(identity));
        if is_released {
            let reason = CoverageReason::SandboxedProcess;
            self.early_finding(Some(notice.pid), Some(&notice.mapping.path), reason);
        }
        is_released
    }

    /// Takes the probes off files that were deleted and that nobody maps any more, now and then: containers come and go,
    /// each with libraries of its own.
    pub(super) fn release_files_that_are_gone(&mut self) {
        let Some(host) = &self.host else { return };
        if self.attachments.len() < host.release_at {
            return;
        }
        // Where it cannot be known, all stay.
        if let Some(mapped) = mapped_identities()
            && self.attachments.release_gone(&mapped) > 0
        {
            // Whoever maps one of them again is looked at again.
            self.seen_mappings.clear();
        }
        let release_at = (self.attachments.len() * 2).max(FILES_BEFORE_RELEASE);
        if let Some(host) = &mut self.host {
            host.release_at = release_at;
        }
    }
}

/// Every file that a process maps as code, but for processes that this one may not look into: what they map was not
/// opened through them either. `None` where it cannot be known, as without a free descriptor.
fn mapped_identities() -> Option<HashSet<FileIdentity>> {
    let mut identities = HashSet::new();
    let mut seen: HashSet<MappedFile> = HashSet::new();
    for pid in process::all().ok()? {
        let mappings = match process::code_mappings(pid) {
            Ok(mappings) => mappings,
            Err(error) if is_refused(&error) || !process::is_running(pid) => continue,
            Err(_) => return None,
        };
        let namespace = process::mount_namespace(pid).unwrap_or(0);
        for mapping in mappings {
            if seen.contains(&(namespace, mapping.device, mapping.inode, mapping.path.clone())) {
                continue;
            }
            match process::open_mapped(pid, &mapping).and_then(|file| file.metadata()) {
                Ok(metadata) => identities.insert(FileIdentity::of(&metadata)),
                Err(error) if is_refused(&error) || !process::is_running(pid) => continue,
                Err(_) => return None,
            };
            seen.insert((namespace, mapping.device, mapping.inode, mapping.path));
        }
    }
    Some(identities)
}

/// Not permitted, or unmapped meanwhile.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
}

/// Every probe is a descriptor, and a host has many files with TLS. Where it cannot be raised, a file that finds no
/// descriptor is a finding.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_about_a_file_or_a_kind_of_program_is_told_once() {
        let mut host = Host::new();
        let own = Some(std::process::id());
        let unreadable = |error: &str| CoverageReason::Unreadable { error: error.to_owned() };
        assert!(host.is_news(own, Some(Path::new("/a")), &unreadable("one")));
        assert!(!host.is_news(None, Some(Path::new("/a")), &unreadable("two")));
        assert!(host.is_news(own, Some(Path::new("/b")), &unreadable("one")));
        assert!(host.is_news(own, Some(Path::new("/a")), &CoverageReason::ForeignArchitecture));
        assert!(host.is_news(own, None, &unreadable("one")));
        assert!(!host.is_news(own, None, &unreadable("one")));
        let late = CoverageReason::AttachedLate { latency: 1 };
        assert!(host.is_news(own, Some(Path::new("/a")), &late));
        assert!(host.is_news(own, Some(Path::new("/a")), &late), "of another container");
    }

    #[test]
    fn what_was_told_is_bounded() {
        let mut host = Host::new();
        for number in 0..2 * MAX_TOLD {
            let path = PathBuf::from(format!("/{number}"));
            assert!(host.is_news(None, Some(&path), &CoverageReason::ForeignArchitecture));
        }
        assert!(host.told.len() <= MAX_TOLD);
    }

    #[test]
    fn files_of_this_process_are_among_those_mapped() {
        let own = std::env::current_exe().and_then(std::fs::metadata).expect("known");
        let mapped = mapped_identities().expect("descriptors are free");
        assert!(mapped.contains(&FileIdentity::of(&own)));
    }
}
