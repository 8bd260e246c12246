//! A JSON array that arrives piece by piece.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::json_array(bytes));
