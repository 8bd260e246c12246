//! The AI services' own SDKs for Python, each by its service's interface: what is told is what the SDK understood.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oisp_testkit::certificates::Certificates;
use serde_json::{Value, json};

use crate::support::{Sensor, can_record, is_missing, text_of};

const PACKAGES: &str = "google.genai, boto3, ollama, cohere, mistralai, openai";

/// The environment's Python, where it has all of the SDKs.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("OISP_TEST_VENV").map(|folder| Path::new(&folder).join("bin/python"));
    let has_them = |python: &PathBuf| {
        let import = format!("import {PACKAGES}");
        Command::new(python).args(["-c", &import]).output().is_ok_and(|output| output.status.success())
    };
    let found = python.filter(has_them);
    if found.is_none() {
        is_missing(&format!("the Python packages {PACKAGES} in the environment that OISP_TEST_VENV names"));
    }
    found
}

fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../oisp-testkit/peers").join(name)
}

fn calls_of(response: &Value) -> Vec<Value> {
    let calls = response["data"]["tool_calls"].as_array().cloned().unwrap_or_default();
    calls
        .iter()
        .map(|call| {
            let arguments = call["arguments"].as_str().expect("arguments are a text");
            json!([call["name"], serde_json::from_str::<Value>(arguments).expect("arguments are JSON")])
        })
        .collect()
}

#[test]
fn calls_of_the_services_own_sdks_are_told_as_the_sdks_understood_them() {
    if !can_record() {
        return;
    }
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::generate(&[]).unwrap().write_to(folder.path()).unwrap();
    let mut server = Command::new("python3")
        .arg(peer("providers.py"))
        .args([&files.server, &files.server_key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let mut client = Command::new(python);
    client.arg(peer("sdks.py")).arg(format!("https://localhost:{}", port.trim())).arg(&files.ca);
    client.env("HOME", folder.path()).env("NO_PROXY", "localhost");
    let finished = Sensor::recording(&client).run();
    drop(server.stdin.take());
    server.wait().unwrap();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);

    let understood: Vec<Value> = String::from_utf8(finished.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(understood.len(), 13);
    let events = finished.events();
    let requests = events.requests();
    assert_eq!(requests.len(), understood.len());
    for (request, understood) in requests.iter().zip(&understood) {
        let response = events.response_to(request);
        assert_eq!(request["data"]["model"]["id"], understood["model"], "{understood}");
        for event in [*request, response] {
            assert_eq!(event["confidence"]["completeness"], "full", "{understood}: {event}");
        }
        let data = &response["data"];
        if understood["embedding"].is_null() && understood["error"].is_null() {
            let text =
                if data["choices"][0]["message"]["content"].is_string() { text_of(response) } else { "" };
            assert_eq!(text, understood["text"].as_str().unwrap_or_default(), "{understood}");
        }
        assert_eq!(json!(calls_of(response)), understood["calls"], "{understood}");
        assert_eq!(data["error"]["type"], understood["error"], "{understood}");
        if !understood["usage"].is_null() {
            let counted = json!([data["usage"]["prompt_tokens"], data["usage"]["completion_tokens"]]);
            assert_eq!(counted, understood["usage"], "{understood}");
        }
    }

    let of_type = |event_type: &'static str| events.of_type(event_type).collect::<Vec<_>>();
    let embeddings: Vec<_> = of_type("ai.embedding")
        .iter()
        .map(|event| json!([event["data"]["input_count"], event["data"]["dimensions"]]))
        .collect();
    let expected: Vec<_> =
        understood.iter().map(|said| said["embedding"].clone()).filter(|size| !size.is_null()).collect();
    assert_eq!(embeddings, expected);
    let asked: usize = understood.iter().map(|said| said["calls"].as_array().map_or(0, Vec::len)).sum();
    let tool_calls = of_type("agent.tool_call");
    assert_eq!(tool_calls.len(), asked);
    assert!(tool_calls.iter().all(|call| call["data"]["arguments"]["city"] == "Köln"));
    // One conversation goes on with the result of its call.
    let results = of_type("agent.tool_result");
    let [result] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!((&result["data"]["call_id"], &result["data"]["result"]), (&json!("call_9"), &json!("sunny")));
    assert_eq!(result["data"]["tool"]["name"], "get_weather");
    let call = tool_calls.iter().find(|call| call["data"]["call_id"] == "call_9").unwrap();
    assert_eq!(result["related_events"][0]["event_id"], call["event_id"]);
}
