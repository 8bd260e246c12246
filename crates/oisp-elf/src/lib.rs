//! Finds the TLS functions to probe in an executable or a shared library.
//!
//! Takes a file, gives an [`Analysis`]: every TLS stack that the file contains, with the functions of each and the
//! place of each in the file. Reads the file through a memory map, section by section; never writes, knows neither
//! eBPF nor processes.
//!
//! A file is hostile input: a malformed one is an [`ElfError`], never a panic.
//!
//! One file in `stack/` a TLS library: which symbols it is known by, and what each of them is to the sensor. `site/` chooses
//! where each function is probed, and checks the choice against the file before probes are placed.

mod analysis;
mod cache;
mod code;
mod dependencies;
pub mod fuzz;
mod image;
mod kept;
mod site;
mod stack;

pub use analysis::{
    Analysis, CostClass, Evidence, Function, FunctionSite, Library, ProbeSite, Refusal, RefusalReason,
    Returns, Stack, analyze, analyze_file,
};
pub use cache::{AnalysisCache, CacheError, CacheLimits, Looked};
pub use dependencies::{Dependencies, dependencies};
pub use image::{Architecture, ElfError, Image};
pub use site::SiteError;

/// Whether a library's file name is that of a TLS library that the sensor knows (`libssl.so.3`).
#[must_use]
pub fn is_tls_library_name(file_name: &str) -> bool {
    stack::LIBRARY_NAMES.iter().any(|prefix| file_name.starts_with(prefix))
}
