//! Records with offsets, put in order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::assemble(bytes));
