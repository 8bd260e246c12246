//! A record from the kernel's ring.
#![no_main]

use oisp_ebpf_common::record::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let content = match Record::parse(bytes) {
        Ok(Record::Tls(record)) => record.payload.len(),
        Ok(Record::Exec(record)) => record.filename.len() + record.interpreter.len() + record.arguments.len(),
        _ => return,
    };
    assert!(content <= bytes.len());
});
