//! Both directions of a connection, cut and lost anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::connection(bytes));
