//! Notices of files that processes in scope map as code: programs that they start, libraries that they open.
//!
//! A software perf event that counts nothing reports them with device and inode, without a probe or a tracepoint.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::PathBuf;

use oisp_capture::MonotonicNanos;
use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, SampleFlag, Sampler};

use crate::process::CodeMapping;

/// Bytes of the ring of one CPU's notices; each takes some 100 to 200.
const RING_BYTES: usize = 128 << 10;

/// Follows the mappings of processes.
pub(crate) struct MappingWatch {
    watched: Watched,
    samplers: Vec<Sampler>,
}

/// A file was mapped as code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappingNotice {
    /// By which watch it came.
    pub(crate) watched: Watched,
    pub(crate) pid: u32,
    pub(crate) mapping: CodeMapping,
    pub(crate) generation: u64,
    pub(crate) time: MonotonicNanos,
}

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Mapped(MappingNotice),
    Lost(u64),
}

/// Whose mappings to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// A process that has one thread, and everything that will descend from it.
    TreeOf(u32),
    /// Every process: of a process that runs already each thread would have to be followed by itself, for each CPU.
    /// Notices of processes out of scope are dropped where they are read.
    Everyone,
}

impl MappingWatch {
    pub(crate) fn open(watched: Watched) -> io::Result<Self> {
        let samplers =
            online_cpus()?.into_iter().map(|cpu| open_on(cpu, watched)).collect::<io::Result<_>>()?;
        Ok(Self { watched, samplers })
    }

    /// Readable when there are notices.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.samplers.iter().map(|sampler| {
            // SAFETY: the descriptor lives as long as the sampler, which is borrowed.
            unsafe { BorrowedFd::borrow_raw(sampler.as_raw_fd()) }
        })
    }

    /// Takes the notices that have come.
    pub(crate) fn take(&mut self, mut give: impl FnMut(Notice)) {
        for sampler in &mut self.samplers {
            while let Some(record) = sampler.next_record() {
                let time = trailing_time(&record.to_contiguous());
                match record.parse_record() {
                    Ok(Record::Mmap2(mapping)) => {
                        if let Some(notice) = notice(self.watched, &mapping, time) {
                            give(Notice::Mapped(notice));
                        }
                    }
                    Ok(Record::Lost(lost)) => give(Notice::Lost(lost.lost)),
                    Ok(_) => {}
                    Err(_) => give(Notice::Lost(1)),
                }
            }
        }
    }
}

fn open_on(cpu: usize, watched: Watched) -> io::Result<Sampler> {
    let mut builder = Builder::new(Software::DUMMY);
    builder.one_cpu(cpu).enabled(true).mmap(true).sample(SampleFlag::TIME);
    // Without content of the kernel, as much as an unprivileged profiler sees.
    builder.exclude_kernel(true).exclude_hv(true);
    match watched {
        Watched::TreeOf(pid) => {
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            builder.observe_pid(pid).inherit(true);
        }
        Watched::Everyone => {
            builder.any_pid();
        }
    }
    let attributes = builder.attrs_mut();
    attributes.set_mmap2(1);
    attributes.set_sample_id_all(1);
    attributes.set_use_clockid(1);
    attributes.clockid = libc::CLOCK_MONOTONIC;
    // Wake at the first byte.
    attributes.set_watermark(1);
    attributes.__bindgen_anon_2.wakeup_watermark = 1;
    builder.build()?.sampled(RING_BYTES)
}

fn notice(
    watched: Watched,
    mapping: &perf_event::data::Mmap2<'_>,
    time: MonotonicNanos,
) -> Option<MappingNotice> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(
        mapping.filename.split(|&byte| byte == 0).next().unwrap_or_default(),
    ));
    // Anonymous memory and the vDSO have names that are no paths (`//anon`, `[vdso]`).
    if !path.is_absolute() || path.as_os_str().as_bytes().starts_with(b"//") {
        return None;
    }
    Some(MappingNotice {
        watched,
        pid: mapping.pid,
        generation: mapping.ino_generation()?,
        mapping: CodeMapping {
            start: mapping.addr,
            end: mapping.addr.checked_add(mapping.len)?,
            device: (mapping.maj()?, mapping.min()?),
            inode: mapping.ino()?,
            path,
        },
        time,
    })
}

/// The record's time, which stands at its end (`struct sample_id` with `PERF_SAMPLE_TIME` alone).
fn trailing_time(record: &[u8]) -> MonotonicNanos {
    oisp_capture::Nanos(record.last_chunk::<8>().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

/// CPUs that are on line (`/sys/devices/system/cpu/online`: `0-3,6`).
fn online_cpus() -> io::Result<Vec<usize>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let malformed = || io::Error::other(format!("/sys/devices/system/cpu/online: `{}`", text.trim()));
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| malformed())?;
        let last: usize = last.parse().map_err(|_| malformed())?;
        cpus.extend(first..=last);
    }
    Ok(cpus)
}
