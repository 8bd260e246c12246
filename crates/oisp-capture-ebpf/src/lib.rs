//! Capture by eBPF: loads the kernel programs, finds and probes TLS libraries, and turns the kernel's records into
//! [`oisp_capture::CaptureEvent`]s.
//!
//! The only crate that uses aya. Knows nothing of HTTP, AI or policy.
//!
//! [`EbpfCapture::load`] loads; [`EbpfCapture::record_command`] and [`EbpfCapture::record_process`] say what is in scope
//! and probe what it uses, [`EbpfCapture::record_host`] does it for every process; then the capture runs as a
//! [`oisp_capture::CaptureSource`]. Everything that was attached is
//! held by file descriptors: dropping the capture, or the death of the process by whatever signal, takes it all down.

mod analyses;
mod attachment;
mod btf;
mod connections;
mod counters;
mod delay;
mod halves;
mod held;
mod kernel;
mod libraries;
mod linker;
mod mappings;
mod piped;
mod placement;
mod process;
mod programs;
mod proof;
mod records;
pub mod requirements;
mod sandbox;
mod sockets;
mod source;
mod streams;

pub use attachment::{AttachedFile, AttachedFunction};
pub use held::HeldCommand;
pub use kernel::{KernelMemory, LoadError, Options};
pub use libraries::{Candidate, candidates_of_command, candidates_of_process, tls_libraries_of_host};
pub use placement::{PlannedProbe, Seen, planned_probes};
pub use source::{CaptureStatistics, EbpfCapture, HostProcesses, TableUse};
