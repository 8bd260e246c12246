//! Bodies made of messages: NDJSON, a JSON array, an AWS event stream, gRPC.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::bodies(bytes));
