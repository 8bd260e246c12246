//! The JSON Lines sink on real files, a full device and a closed pipe.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use oisp_event::{
    Confidence, Event, EventIdGenerator, Extension, OISP_VERSION, Payload, ProcessExec, Source, Timestamp,
};
use oisp_export::{JsonlSink, Obstacle, Sink, SinkError};
use oisp_redact::{HashKey, Redacted, RedactionConfig, RedactionMode, Redactor};

fn event(cwd: &str) -> Redacted<Event> {
    let key = HashKey::ephemeral().unwrap();
    let ts = Timestamp::from_unix_nanoseconds(1_769_860_800_000_000_000);
    Redactor::new(RedactionConfig { mode: RedactionMode::Safe, key }).redact(Event {
        oisp_version: OISP_VERSION.into(),
        event_id: EventIdGenerator::with_seed(1).next(ts),
        ts,
        ts_mono: None,
        payload: Payload::ProcessExec(ProcessExec {
            exe: "/bin/true".into(),
            args: vec!["line\nbreak".into()],
            cwd: Some(cwd.into()),
        }),
        host: None,
        actor: None,
        process: None,
        source: Source {
            collector: "oisp-sensor".into(),
            collector_version: None,
            capture_method: None,
            capture_point: None,
        },
        confidence: Confidence::high(),
        ext: Extension::default(),
        related_events: Vec::new(),
    })
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn create(path: &Path, content: &[u8]) {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap()
        .write_all(content)
        .unwrap();
}

#[test]
fn new_file_is_private_and_holds_one_object_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let mut sink = JsonlSink::open(&path).unwrap();
    for _ in 0..3 {
        sink.write(&event("/")).unwrap();
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "buffered until flushed");
    sink.flush().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let lines = lines(&path);
    assert_eq!(lines.len(), 3);
    for line in lines {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["data"]["args"][0], "line\nbreak");
    }
    assert_eq!(sink.name(), "jsonl");
}

#[test]
fn existing_file_is_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    create(&path, b"{\"earlier\":1}\n");
    let mut sink = JsonlSink::open(&path).unwrap();
    sink.write(&event("/")).unwrap();
    sink.flush().unwrap();
    let lines = lines(&path);
    assert_eq!((lines.len(), lines[0].as_str()), (2, "{\"earlier\":1}"));
}

#[test]
fn line_that_a_crash_cut_stays_the_only_one_cut() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    create(&path, b"{\"earlier\":1}\n{\"cut");
    let mut sink = JsonlSink::open(&path).unwrap();
    sink.write(&event("/")).unwrap();
    sink.flush().unwrap();
    let lines = lines(&path);
    assert_eq!((lines.len(), lines[1].as_str()), (3, "{\"cut"));
    serde_json::from_str::<serde_json::Value>(&lines[2]).unwrap();
}

#[test]
fn file_that_others_can_read_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    create(&path, b"kept\n");
    for mode in [0o644, 0o640, 0o620] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = JsonlSink::open(&path).unwrap_err();
        assert!(matches!(error, SinkError::Exposed { mode: found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"kept\n");
}

#[test]
fn file_that_another_sink_writes_is_refused_until_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let first = JsonlSink::open(&path).unwrap();
    assert!(matches!(JsonlSink::open(&path), Err(SinkError::InUse { .. })));
    drop(first);
    JsonlSink::open(&path).unwrap();
}

#[test]
fn path_that_cannot_be_a_file_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none").join("events.jsonl");
    for (path, obstacle, remedy) in [
        (missing.as_path(), Obstacle::NoDirectory, "mkdir"),
        (directory.path(), Obstacle::IsDirectory, "name a file"),
    ] {
        let error = JsonlSink::open(path).unwrap_err();
        assert!(matches!(error, SinkError::Open { kind, .. } if kind == obstacle), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains(remedy), "{text}");
    }
}

#[test]
fn full_device_is_reported_and_its_events_are_kept_but_bounded() {
    let mut sink = JsonlSink::open(Path::new("/dev/full")).unwrap();
    sink.write(&event("/")).unwrap();
    let error = sink.flush().unwrap_err();
    assert!(matches!(error, SinkError::Write { kind: Obstacle::NoSpace, .. }), "{error:?}");
    assert!(
        error.to_string().contains("/dev/full") && error.to_string().contains("free some space"),
        "{error}"
    );
    let event = event(&"x".repeat(1000));
    let taken = (0..1000).take_while(|_| sink.write(&event).is_ok()).count();
    assert!((40..80).contains(&taken), "64 KiB of events are kept, not more: {taken}");
    assert!(sink.write(&event).is_err());
}

#[test]
fn sink_that_is_dropped_writes_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let mut sink = JsonlSink::open(&path).unwrap();
    sink.write(&event("/")).unwrap();
    drop(sink);
    assert_eq!(lines(&path).len(), 1);
}

/// Run by the next test in a process of its own, whose standard output is closed when it has said `ready`.
#[test]
#[ignore = "part of closed_standard_output_is_an_error_of_its_own"]
fn write_to_standard_output_until_it_fails() {
    std::io::stdout().write_all(b"\nready\n").unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let mut sink = JsonlSink::open(Path::new("-")).unwrap();
    let event = event("/");
    let error = (0..1_000_000).find_map(|_| sink.write(&event).and_then(|()| sink.flush()).err());
    std::process::exit(if matches!(error, Some(SinkError::BrokenPipe)) { 42 } else { 1 });
}

#[test]
fn closed_standard_output_is_an_error_of_its_own() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "write_to_standard_output_until_it_fails"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap() == "ready"));
    drop(output);
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(42));
}
