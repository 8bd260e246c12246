//! Keys that the clients send do not reach the file, nor what is said to the person.

use oisp_testkit::calls::Api;
use serde_json::json;

use crate::support::{Finished, Provider, Sensor, can_record, quoted};

/// The shortest piece of a key that counts as a leak; longer than the part that all keys share.
const PIECE: usize = 12;

/// No piece of the key is in the bytes, but for the scheme's fixed part.
fn assert_absent(key: &str, place: &str, bytes: &[u8]) {
    let own_part = &key.as_bytes()[key.rfind('-').map_or(0, |place| place + 1)..];
    let own_part = if own_part.len() < PIECE { &key.as_bytes()[8..] } else { own_part };
    for piece in own_part.windows(PIECE) {
        assert!(
            !bytes.windows(PIECE).any(|window| window == piece),
            "{} of the key stands in {place}",
            String::from_utf8_lossy(piece)
        );
    }
}

fn assert_no_key(key: &str, recorded: &Finished) {
    assert_absent(key, "the events", &recorded.raw());
    assert_absent(key, "what was said", recorded.stderr.as_bytes());
}

#[test]
fn key_on_the_command_line_and_in_the_header_is_in_no_event() {
    if !can_record() {
        return;
    }
    for api in [Api::OpenAi, Api::Anthropic] {
        let key = api.dummy_key();
        let provider = Provider::start();
        // Sets the header to the key, in its arguments.
        let curl = provider.curl(api, &api.simple_body("fake", "Hello", false), &[]);
        for mode in ["safe", "minimal", "full"] {
            let recorded = Sensor::recording_with(&["--redaction", mode], &curl).run();
            assert!(recorded.status.success());
            let events = recorded.events();
            let [request] = events.requests()[..] else { panic!("one request") };
            let auth = &request["data"]["auth"];
            assert_eq!(auth["type"], "api_key");
            assert!(auth["key_hash"].is_string(), "{auth}");
            assert_no_key(&key, &recorded);
        }
    }
}

#[test]
fn key_in_the_environment_and_in_a_shells_command_is_in_no_event() {
    if !can_record() {
        return;
    }
    let key = Api::OpenAi.dummy_key();
    let provider = Provider::start();
    let body = Api::OpenAi.simple_body("fake", "Hello", false);
    let mut shell = std::process::Command::new("sh");
    let script = format!(
        "OPENAI_API_KEY={key} curl -s --cacert {} -H \"Authorization: Bearer $OPENAI_API_KEY\" -H 'x-api-key: {key}' \
         -H 'Content-Type: application/json' --data-binary {} '{}/v1/chat/completions?api_key={key}' >/dev/null",
        quoted(provider.ca_file().to_str().unwrap()),
        quoted(&body.to_string()),
        provider.base_url(),
    );
    shell.arg("-c").arg(script).env("OPENAI_API_KEY", &key);
    let recorded = Sensor::recording(&shell).run();
    assert!(recorded.status.success(), "{}", recorded.stderr);
    assert_eq!(recorded.events().requests().len(), 1);
    assert_no_key(&key, &recorded);
}

#[test]
fn key_in_prompts_and_tool_results_is_replaced_by_a_marker() {
    if !can_record() {
        return;
    }
    let key = Api::Anthropic.dummy_key();
    let provider = Provider::start();
    let body = json!({ "model": "fake", "stream": true, "messages": [
        { "role": "system", "content": format!("The key is {key}.") },
        { "role": "user", "content": [{ "type": "text", "text": format!("ANTHROPIC_API_KEY={key}\nuse it") }] },
        { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1", "type": "function",
            "function": { "name": "shell", "arguments": json!({ "command": format!("export KEY={key}") }).to_string() } }] },
        { "role": "tool", "tool_call_id": "call_1", "content": format!("{{\"token\": \"{key}\"}}") },
    ]});
    let recorded = Sensor::recording(&provider.curl(Api::OpenAi, &body, &[])).run();
    recorded.assert_clean();
    assert_no_key(&key, &recorded);
    let events = recorded.events();
    let [request] = events.requests()[..] else { panic!("one request") };
    let text = request["data"]["messages"].to_string();
    assert!(text.contains("The key is ") && text.contains("use it"), "the rest of the text stays: {text}");
    assert_eq!(request["confidence"]["redaction_applied"], true);
}

#[test]
fn minimal_redaction_keeps_no_content() {
    if !can_record() {
        return;
    }
    let provider = Provider::start();
    let question = "An unmistakable sentence about marmalade.";
    let curl = provider.curl(Api::OpenAi, &Api::OpenAi.simple_body("fake", question, true), &[]);
    let recorded = Sensor::recording_with(&["--redaction", "minimal"], &curl).run();
    recorded.assert_clean();
    let raw = String::from_utf8(recorded.raw()).unwrap();
    assert!(!raw.contains("marmalade") && !raw.contains("You wrote"), "{raw}");
    let events = recorded.events();
    let message = &events.requests()[0]["data"]["messages"][0];
    assert_eq!(message["content_length"], question.chars().count());
}

#[test]
fn event_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    if !can_record() {
        return;
    }
    let recorded = Sensor::recording(&std::process::Command::new("true")).run();
    recorded.assert_clean();
    assert_eq!(std::fs::metadata(recorded.file()).unwrap().permissions().mode() & 0o7777, 0o600);
}
