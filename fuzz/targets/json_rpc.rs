//! A JSON-RPC message.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::json_rpc(bytes));
