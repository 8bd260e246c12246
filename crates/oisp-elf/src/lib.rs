//! Finds the TLS functions to probe in an executable or a shared library.
//!
//! Takes a file, gives an [`Analysis`]: every TLS stack that the file contains, with the functions of each and the
//! place of each in the file. Reads the file through a memory map, section by section; never writes, knows neither
//! eBPF nor processes.
//!
//! A file is hostile input: a malformed one is an [`ElfError`], never a panic.
//!
//! One file in `stack/` a TLS library: which symbols it is known by, and what each of them is to the sensor.

mod analysis;
mod image;
mod stack;

pub use analysis::{Analysis, Evidence, Function, FunctionSite, Library, Stack, analyze, analyze_file};
pub use image::{Architecture, ElfError, Image};
