//! Frames of both directions of an HTTP/2 connection, cut and lost anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::http2(bytes));
