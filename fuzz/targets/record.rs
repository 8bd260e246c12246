//! A record from the kernel's ring.
#![no_main]

use oisp_ebpf_common::record::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Record::Tls(record)) = Record::parse(bytes) {
        assert!(record.payload.len() <= bytes.len());
    }
});
