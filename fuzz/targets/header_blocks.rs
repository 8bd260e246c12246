//! Header blocks of HTTP/2, which share a table.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::header_blocks(bytes));
