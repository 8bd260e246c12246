//! A raw recording gives the events of the recording again.

use crate::support::{Events, Home};

#[test]
fn replay_gives_the_events_of_the_recording_to_the_byte() {
    let home = Home::new("");
    let raw = home.path("recording.raw");
    let raw = raw.to_str().unwrap();
    let mut sensor =
        home.generate(&["--calls", "150", "--rate", "300", "--lost", "0.01", "--wait", "--raw", raw]);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not redacted"), "a raw recording warns: {said}");
    assert!(home.events().of("ai.request").count() > 100);
    let recorded = std::fs::read_to_string(home.path("events.jsonl")).unwrap();
    for speed in ["max", "2"] {
        let again = home.path(&format!("again-{speed}.jsonl"));
        let mut replay = home.replay(&[raw, "--speed", speed, "-o", again.to_str().unwrap()]);
        let (code, said) = replay.finish();
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(std::fs::read_to_string(&again).unwrap(), recorded, "at {speed}");
    }
}

#[test]
fn recording_that_was_cut_short_is_replayed_as_far_as_it_goes_and_says_so() {
    let home = Home::new("");
    let raw = home.path("recording.raw");
    let mut sensor =
        home.generate(&["--calls", "100", "--rate", "300", "--wait", "--raw", raw.to_str().unwrap()]);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    let bytes = std::fs::read(&raw).unwrap();
    std::fs::write(&raw, &bytes[..bytes.len() / 2]).unwrap();
    let again = home.path("again.jsonl");
    let mut replay = home.replay(&[raw.to_str().unwrap(), "-o", again.to_str().unwrap()]);
    let (code, said) = replay.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ends early"), "{said}");
    let (whole, part) = (home.events().0.len(), Events::read(&again).0.len());
    assert!(0 < part && part < whole, "{part} of {whole}");
}

#[test]
fn file_that_is_no_recording_is_refused_and_nothing_is_written_over() {
    let home = Home::new("");
    let file = home.path("config.toml");
    let mut replay = home.replay(&[file.to_str().unwrap(), "-o", home.path("x.jsonl").to_str().unwrap()]);
    let (code, said) = replay.finish();
    assert_eq!(code, Some(1));
    assert!(said.contains("not a raw recording"), "{said}");
    let mut sensor = home.generate(&["--calls", "1", "--raw", file.to_str().unwrap()]);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(1));
    assert!(said.contains("exist"), "{said}");
}
