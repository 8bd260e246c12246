//! What is written comes back; what is cut or changed gives a prefix and is told.

use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use oisp_capture::CaptureEvent;
use oisp_capture::raw::{
    MAX_RECORD_BYTES, RawHeader, RawReadError, RawReader, RawRecord, RawWriteError, RawWriter, VERSION,
};
use proptest::prelude::*;

use crate::support::{any_event, content, header, noise, one_of_each};

type Answer = (u32, Option<String>);
type Record = RawRecord<Answer>;

/// The length of the end.
const END: usize = 24;

fn written(records: &[Record], frames: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = RawWriter::new(&mut bytes, &header()).unwrap();
    for (number, record) in records.iter().enumerate() {
        write(&mut writer, record);
        if number % frames == 0 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap();
    assert_eq!(writer.records(), records.len() as u64);
    drop(writer);
    bytes
}

fn write(writer: &mut RawWriter<impl std::io::Write>, record: &Record) {
    match record {
        RawRecord::Event(event) => writer.event(event).unwrap(),
        RawRecord::Answer(answer) => writer.answer(answer).unwrap(),
    }
}

fn encoded(event: CaptureEvent) -> Vec<u8> {
    postcard::to_extend(&Record::Event(event), Vec::new()).unwrap()
}

/// What can be read, and the error that ended it.
fn read(bytes: &[u8]) -> (Vec<Record>, Option<RawReadError>) {
    let mut reader = match RawReader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut records = Vec::new();
    let error = loop {
        match reader.next() {
            None => break None,
            Some(Ok(record)) => records.push(record),
            Some(Err(error)) => break Some(error),
        }
    };
    assert!(reader.next().is_none(), "nothing comes after the end");
    assert_eq!(reader.records(), records.len() as u64);
    (records, error)
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let name = prop::option::of(prop::sample::select(vec!["root", "", "Ελλάδα"]));
    let answer =
        (any::<u32>(), name).prop_map(|(uid, name)| RawRecord::Answer((uid, name.map(str::to_owned))));
    prop::collection::vec(prop_oneof![4 => any_event().prop_map(RawRecord::Event), 1 => answer], 0..20)
}

fn records(events: Vec<CaptureEvent>) -> Vec<Record> {
    events.into_iter().map(RawRecord::Event).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_comes_back_as_it_was(records in any_records(), frames in 1..8_usize) {
        let (back, error) = read(&written(&records, frames));
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(back, records);
    }

    #[test]
    fn any_truncation_gives_a_prefix_and_is_told(
        records in any_records(), frames in 1..8_usize, cut in any::<prop::sample::Index>(),
    ) {
        let bytes = written(&records, frames);
        let (back, error) = read(&bytes[..cut.index(bytes.len())]);
        prop_assert!(records.starts_with(&back));
        prop_assert!(matches!(error, Some(RawReadError::EndsEarly { .. } | RawReadError::NotRaw)), "{error:?}");
    }

    #[test]
    fn any_changed_byte_gives_a_prefix_and_is_told(
        records in any_records(),
        frames in 1..8_usize,
        place in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let mut bytes = written(&records, frames);
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        let (back, error) = read(&bytes);
        prop_assert!(records.starts_with(&back));
        prop_assert!(error.is_some(), "byte {place} is not covered");
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
        let mut file = if real { written(&[], 1)[..12].to_vec() } else { Vec::new() };
        file.extend(&bytes);
        oisp_capture::raw::fuzz::<Answer>(&[&[0], &*file].concat());
        oisp_capture::raw::fuzz::<Answer>(&bytes);
    }

    #[test]
    fn any_changed_record_behind_a_right_checksum_is_read_without_a_panic(
        event in any_event(), place in any::<prop::sample::Index>(), change in any::<u8>(),
    ) {
        let record = encoded(event);
        let mut plain = [&[1], &u32::try_from(record.len()).unwrap().to_le_bytes()[..], &record].concat();
        let place = 1 + place.index(plain.len() - 1);
        plain[place] ^= change;
        oisp_capture::raw::fuzz::<Answer>(&plain);
    }
}

#[test]
fn recording_that_was_killed_is_read_up_to_its_last_whole_frame() {
    let records = records(one_of_each());
    let mut bytes = Vec::new();
    let mut writer = RawWriter::new(&mut bytes, &header()).unwrap();
    for (number, record) in records.iter().enumerate() {
        write(&mut writer, record);
        if number == 2 {
            writer.flush().unwrap();
        }
    }
    // Without an end, as when the sensor panics: what waits is written all the same.
    drop(writer);
    let (back, error) = read(&bytes);
    assert_eq!(back, records);
    assert_eq!(
        error.unwrap().to_string(),
        format!("the raw recording ends early: 0 bytes after record {} are not a whole frame", records.len())
    );
    let (back, error) = read(&bytes[..bytes.len() - 7]);
    assert_eq!(back, records[..3]);
    assert!(
        matches!(error, Some(RawReadError::EndsEarly { records: 3, bytes: left }) if left > 0),
        "{error:?}"
    );
}

#[test]
fn frame_that_was_taken_out_is_told_though_every_checksum_is_right() {
    let records = records(one_of_each());
    let (none, one, two) = (written(&[], 1), written(&records[..1], 1), written(&records[..2], 1));
    let (header_end, first_end) = (none.len() - END, one.len() - END);
    let (back, error) = read(&[&two[..header_end], &two[first_end..]].concat());
    assert!(back.is_empty());
    let offset = header_end as u64;
    assert!(
        matches!(&error, Some(RawReadError::Damaged { offset: at, reason, .. })
            if *at == offset && reason.contains("missing")),
        "{error:?}"
    );
}

#[test]
fn other_files_and_other_versions_are_refused_with_what_to_do() {
    for other in [&b""[..], b"{\"oisp_version\":\"0.1\"}\n", &[0x1f, 0x8b, 8, 0], &[0; 100]] {
        assert!(matches!(RawReader::<Answer, _>::new(other), Err(RawReadError::NotRaw)), "{other:?}");
    }
    let mut bytes = written(&[], 1);
    bytes[8..12].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let error = read(&bytes).1.unwrap();
    assert!(
        matches!(error, RawReadError::UnknownVersion { found, known: VERSION } if found == VERSION + 1),
        "{error:?}"
    );
    assert!(error.to_string().contains("replay it with the version"), "{error}");
}

#[test]
fn length_that_lies_is_read_no_further_than_the_limit() {
    struct Counted<R>(R, u64);
    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.0.read(buffer)?;
            self.1 += length as u64;
            Ok(length)
        }
    }
    let limit = u32::try_from(MAX_RECORD_BYTES).unwrap();
    for (plain, packed) in [(u32::MAX, 10), (10, u32::MAX), (10, limit)] {
        let mut bytes = written(&[], 1)[..12].to_vec();
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(plain.to_le_bytes());
        bytes.extend(packed.to_le_bytes());
        bytes.extend([0; 4]);
        // A file without end.
        let mut input = Counted(Cursor::new(bytes).chain(std::io::repeat(0)), 0);
        let error = RawReader::<Answer, _>::new(&mut input).err();
        assert!(matches!(error, Some(RawReadError::Damaged { .. })), "{error:?}");
        assert!(input.1 <= u64::from(limit) + 100, "{}", input.1);
    }
}

#[test]
fn frame_that_unpacks_to_more_than_it_says_is_refused() {
    // A long run packs to almost nothing. The frame is changed to say less, with the right checksum.
    let mut bytes = written(&records(vec![content(0, &[b'a'; 100_000])]), 1);
    let frame = written(&[], 1).len() - END;
    let end = bytes.len() - END;
    assert!(end - frame < 1000);
    bytes[frame + 12..frame + 16].copy_from_slice(&500_u32.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[frame..frame + 20]);
    hasher.update(&bytes[frame + 24..end]);
    bytes[frame + 20..frame + 24].copy_from_slice(&hasher.finalize().to_le_bytes());
    let (back, error) = read(&bytes);
    assert!(back.is_empty());
    assert!(
        matches!(&error, Some(RawReadError::Damaged { reason, .. }) if reason.contains("unpacked")),
        "{error:?}"
    );
}

#[test]
fn record_over_the_limit_is_refused_and_the_recording_goes_on() {
    let mut bytes = Vec::new();
    let mut writer = RawWriter::new(&mut bytes, &header()).unwrap();
    let before = content(0, b"before");
    writer.event(&before).unwrap();
    let too_long = content(6, &vec![b'x'; MAX_RECORD_BYTES + 1]);
    assert!(matches!(writer.event(&too_long), Err(RawWriteError::TooLong { .. })));
    let longest = content(6, &vec![b'x'; MAX_RECORD_BYTES - 100]);
    writer.event(&longest).unwrap();
    writer.finish().unwrap();
    assert!(matches!(writer.event(&longest), Err(RawWriteError::Ended)));
    drop(writer);
    let (back, error) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(back, records(vec![before, longest]));
}

#[test]
fn writer_that_failed_refuses_what_comes_after_so_that_the_rest_stays_readable() {
    struct Disk<'b> {
        bytes: &'b mut Vec<u8>,
        room: usize,
    }
    impl std::io::Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            if fits == 0 && !bytes.is_empty() {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (first, second) = (content(0, b"first"), content(5, &noise(500)));
    let whole = written(&records(vec![first.clone()]), 1).len() - END;
    let mut bytes = Vec::new();
    let disk = Disk { bytes: &mut bytes, room: whole + 100 };
    let mut writer = RawWriter::new(disk, &header()).unwrap();
    writer.event(&first).unwrap();
    writer.flush().unwrap();
    writer.event(&second).unwrap();
    assert!(matches!(writer.flush(), Err(RawWriteError::Write(_))));
    assert!(matches!(writer.event(&first), Err(RawWriteError::Ended)));
    assert!(matches!(writer.finish(), Err(RawWriteError::Ended)));
    drop(writer);
    let (back, error) = read(&bytes);
    assert_eq!(back, records(vec![first]));
    assert!(matches!(error, Some(RawReadError::EndsEarly { records: 1, bytes: 100 })), "{error:?}");
}

#[test]
fn records_wait_for_a_second_at_most() {
    let mut bytes = Vec::new();
    let mut writer = RawWriter::new(&mut bytes, &header()).unwrap();
    assert_eq!(writer.flush_due(), None);
    writer.event(&content(0, b"x")).unwrap();
    assert!(writer.flush_due().is_none_or(|due| due <= Duration::from_secs(1)));
    let before = writer.bytes_written();
    writer.flush().unwrap();
    assert_eq!(writer.flush_due(), None);
    assert!(writer.bytes_written() >= before);
    drop(writer);
    assert_eq!(read(&bytes).0, records(vec![content(0, b"x")]));
}

#[test]
fn file_is_its_owners_alone_and_replaces_nothing_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let mut writer = RawWriter::create(&path, &header()).unwrap();
    writer.event(&content(0, b"one")).unwrap();
    writer.finish().unwrap();
    assert_eq!(mode(), 0o600);
    assert!(matches!(RawWriter::create(&path, &header()), Err(RawWriteError::Exists { .. })));
    assert_eq!(RawReader::<Answer>::open(&path).unwrap().count(), 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    RawWriter::replace(&path, &header()).unwrap().finish().unwrap();
    assert_eq!(mode(), 0o600);
    let mut reader = RawReader::<Answer>::open(&path).unwrap();
    assert_eq!(reader.header(), &header());
    assert!(reader.next().is_none());
    let link = folder.path().join("link.raw");
    symlink(&path, &link).unwrap();
    assert!(matches!(RawWriter::create(&link, &header()), Err(RawWriteError::Exists { .. })));
    assert!(matches!(RawWriter::replace(&link, &header()), Err(RawWriteError::NotAFile { .. })));
    assert!(matches!(RawReader::<Answer>::open(folder.path()), Err(RawReadError::Open { .. })));
}

#[test]
fn encoding_of_version_1_is_what_it_was() {
    // A difference is a change of the format: raise VERSION, then keep what this prints.
    let mut text = String::new();
    for event in one_of_each() {
        for byte in encoded(event) {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
    }
    assert_eq!(text, include_str!("version-1.txt"), "printed:\n{text}");
    let least = r#"{"sensor_version":"1","host":null,"wall_minus_monotonic_ns":-5,"started":7}"#;
    let header: RawHeader = serde_json::from_str(least).unwrap();
    assert_eq!((header.wall_minus_monotonic_ns, header.started.0), (-5, 7));
}
