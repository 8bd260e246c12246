//! Frames of both directions after an upgrade to WebSocket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_decode::fuzz::websocket(bytes));
