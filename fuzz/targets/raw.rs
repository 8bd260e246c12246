//! A raw recording.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oisp_capture::raw::fuzz::<oisp_correlate::LookupAnswer>(bytes));
