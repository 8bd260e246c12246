//! An executable or shared library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_elf::fuzz::file(bytes));
