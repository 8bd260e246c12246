//! `oisp-sensor demo`

use crate::support::{Events, Sensor, can_record};

#[test]
fn demo_shows_its_three_calls_and_ends_well() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.jsonl");
    let demo =
        Sensor::with_arguments([std::ffi::OsStr::new("demo"), std::ffi::OsStr::new("-o"), file.as_os_str()])
            .run();
    demo.assert_clean();
    let shown = String::from_utf8(demo.stdout).unwrap();
    assert_eq!(shown.matches("→ gpt-4o-mini at https://api.openai.com/v1/chat/completions").count(), 2);
    assert_eq!(shown.matches("→ claude-sonnet-4-5 at https://api.anthropic.com/v1/messages").count(), 1);
    for expected in [
        "tools offered: weather",
        "tool call: weather(",
        "tool: {\"forecast\"",
        "first token after",
        "3 AI calls made, 3 answers (0 failed)",
        "oisp-sensor record -- COMMAND",
    ] {
        assert!(shown.contains(expected), "no `{expected}` in:\n{shown}");
    }
    assert!(!shown.contains("warning"), "{shown}");
    let events = Events::parse(&std::fs::read(&file).unwrap());
    assert_eq!((events.requests().len(), events.responses().len()), (3, 3));
    let names: Vec<&str> =
        events.requests().iter().map(|event| event["data"]["provider"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["openai", "openai", "anthropic"]);
}
