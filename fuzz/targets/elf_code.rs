//! The machine code of a program with the texts of every TLS library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_elf::fuzz::code(bytes));
