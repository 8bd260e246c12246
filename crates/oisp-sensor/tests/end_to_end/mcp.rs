//! MCP over HTTPS: the protocol's own SDKs on both sides. What is told is what client and server understood.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use oisp_testkit::certificates::{CertificateFiles, Certificates};
use serde_json::{Value, json};

use crate::support::{Events, Finished, Sensor, can_record, is_missing};

/// The environment's Python, where it has the SDK.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("OISP_TEST_VENV").map(|folder| Path::new(&folder).join("bin/python"));
    let has_it = |python: &PathBuf| {
        let import = ["-c", "import mcp, uvicorn"];
        Command::new(python).args(import).output().is_ok_and(|output| output.status.success())
    };
    let found = python.filter(has_it);
    if found.is_none() {
        is_missing(&"the Python package mcp in the environment that OISP_TEST_VENV names");
    }
    found
}

/// The folder with the packages of Node.js, the SDK for JavaScript among them.
fn node_modules() -> Option<PathBuf> {
    let folder = std::env::var_os("OISP_TEST_NODE_MODULES").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join("@modelcontextprotocol/sdk").is_dir());
    if found.is_none() {
        is_missing(&"the package @modelcontextprotocol/sdk in the folder that OISP_TEST_NODE_MODULES names");
    }
    found
}

fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../oisp-testkit/peers").join(name)
}

/// A server that ends with its standard input.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    files: CertificateFiles,
}

impl Server {
    fn start(program: &Path, script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::generate(&[]).unwrap().write_to(folder.path()).unwrap();
        let mut child = Command::new(program)
            .arg(peer(script))
            .args([&files.server, &files.server_key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, folder, files }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// What it was asked, once it has ended.
    fn asked(mut self) -> Vec<Value> {
        drop(self.input.take());
        self.child.wait().unwrap();
        self.output.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }
}

fn lines(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let text = String::from_utf8(finished.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mcp(event: &Value) -> &Value {
    &event["ext"]["oisp_sensor"]["mcp"]
}

fn of_type<'e>(events: &'e Events, event_type: &'static str) -> Vec<&'e Value> {
    events.of_type(event_type).collect()
}

/// The events of one client that did everything there is to do with one server.
fn assert_told(events: &Events, understood: &[Value], transport: &str) {
    let (last, understood) = understood.split_last().unwrap();
    let sessions = of_type(events, "agent.session");
    let [start, end] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!((&start["data"]["action"], &end["data"]["action"]), (&json!("start"), &json!("end")));
    assert_eq!(start["data"]["session_id"], end["data"]["session_id"]);
    assert_eq!(end["related_events"][0]["event_id"], start["event_id"]);
    assert_eq!(start["data"]["agent"], json!({ "name": "oisp-client", "version": "4.5" }));
    assert_eq!(mcp(start)["transport"], transport);
    assert_eq!(mcp(start)["protocol_version"], last["version"]);
    assert_eq!(mcp(end)["server"], json!({ "name": "oisp-tools", "version": "1.2.3" }));
    let mut offered: Vec<&str> =
        understood[0]["tools"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    offered.sort_unstable();
    assert_eq!(mcp(end)["tools"], json!(offered));
    assert_eq!(mcp(end)["resources_read"], json!(["notes://today"]));
    assert_eq!(mcp(end)["prompts_used"], json!(["greet"]));
    assert_eq!(mcp(end)["not_understood"], Value::Null, "{end}");

    let calls = of_type(events, "agent.tool_call");
    let results = of_type(events, "agent.tool_result");
    let said: Vec<&Value> = understood.iter().filter(|line| line["call"].is_string()).collect();
    assert_eq!((calls.len(), results.len()), (said.len(), said.len()));
    assert_eq!(end["data"]["stats"]["tool_calls"], said.len());
    for ((call, result), said) in calls.iter().zip(&results).zip(said) {
        assert_eq!(call["data"]["triggered_by"], "automatic");
        for event in [call, result] {
            let tool = &event["data"]["tool"];
            assert_eq!(tool["name"], said["call"]);
            assert_eq!((&tool["provider"], &tool["server"]), (&json!("mcp"), &mcp(end)["server"]["name"]));
            assert_eq!(mcp(event)["session_id"], start["data"]["session_id"]);
            assert_eq!(event["confidence"]["completeness"], "full", "{event}");
        }
        assert_eq!(*call.pointer("/data/arguments").unwrap_or(&json!({})), said["arguments"]);
        assert_eq!(result["data"]["call_id"], call["data"]["call_id"]);
        assert_eq!(result["related_events"][0]["event_id"], call["event_id"]);
        assert_eq!(result["data"]["success"], !said["failed"].as_bool().unwrap(), "{result}");
        assert_eq!(result["data"]["result"].as_str().unwrap_or_default(), said["text"].as_str().unwrap());
        let media: Vec<&Value> =
            mcp(result)["parts"].as_array().into_iter().flatten().map(|part| &part["media_type"]).collect();
        assert_eq!(json!(media), said["media"]);
    }
}

/// The session id opens the session.
fn assert_no_session_id(finished: &Finished) {
    let text = String::from_utf8(finished.raw()).unwrap().to_ascii_lowercase();
    assert!(!text.contains("mcp-session-id") && !text.contains("session_id="), "it is in the events");
}

#[test]
fn every_transport_and_both_eras_of_mcp_are_told_as_client_and_server_understood_them() {
    if !can_record() {
        return;
    }
    let Some(python) = python() else { return };
    let mut server = Server::start(&python, "mcp_server.py");
    let urls: Value = serde_json::from_str(&server.line()).unwrap();
    let mut calls = Vec::new();
    for (answers, way, transport) in [
        ("events", "legacy", "http"),
        ("json", "legacy", "http"),
        ("events", "2026-07-28", "http"),
        ("json", "auto", "http"),
        ("old", "sse", "sse"),
    ] {
        eprintln!("answers as {answers}, {way}");
        let mut client = Command::new(&python);
        client.arg(peer("mcp_client.py")).arg(urls[answers].as_str().unwrap());
        client.arg(&server.files.ca).arg(way);
        client.env("HOME", server.folder.path()).env("NO_PROXY", "localhost");
        let finished = Sensor::recording(&client).run();
        let understood = lines(&finished);
        let events = finished.events();
        assert_told(&events, &understood, transport);
        assert_no_session_id(&finished);
        calls.extend(of_type(&events, "agent.tool_call").into_iter().map(|call| {
            let arguments = call.pointer("/data/arguments").cloned().unwrap_or_else(|| json!({}));
            json!({ "tool": call["data"]["tool"]["name"], "arguments": arguments })
        }));
    }
    assert_eq!(calls, server.asked(), "what the tools were asked");
}

#[test]
fn sdk_for_javascript_is_told_as_it_understood_the_server() {
    if !can_record() {
        return;
    }
    let (Some(python), Some(sdk)) = (python(), node_modules()) else { return };
    let mut server = Server::start(&python, "mcp_server.py");
    let urls: Value = serde_json::from_str(&server.line()).unwrap();
    for answers in ["events", "json"] {
        let mut client = Command::new("node");
        client.arg(peer("mcp_client.mjs")).arg(&sdk).arg(urls[answers].as_str().unwrap());
        client.env("NODE_EXTRA_CA_CERTS", &server.files.ca).env("NO_PROXY", "localhost");
        let finished = Sensor::recording(&client).run();
        assert_told(&finished.events(), &lines(&finished), "http");
        assert_no_session_id(&finished);
    }
    assert_eq!(server.asked().len(), 8);
}

#[test]
fn servers_that_agents_start_are_told_over_unix_sockets_and_pipes() {
    if !can_record() {
        return;
    }
    let (Some(python), Some(sdk)) = (python(), node_modules()) else { return };
    let folder = tempfile::tempdir().unwrap();
    // Node.js gives its children unix sockets, Python's SDK pipes.
    let mut over_sockets = Command::new("node");
    over_sockets.arg(peer("mcp_client.mjs")).arg(&sdk);
    let mut over_pipes = Command::new(&python);
    over_pipes.arg(peer("mcp_client.py")).arg("stdio");
    for (mut client, options) in [(over_sockets, &[][..]), (over_pipes, &["--pipes"])] {
        let asked = folder.path().join(format!("asked_{}", options.len()));
        client.arg(&python).arg(peer("mcp_server.py")).arg("stdio").arg(&asked).env("HOME", folder.path());
        let finished = Sensor::recording_with(options, &client).run();
        let events = finished.events();
        assert_told(&events, &lines(&finished), "stdio");
        let calls: Vec<Value> = of_type(&events, "agent.tool_call")
            .into_iter()
            .map(|call| {
                assert!(mcp(call)["peer_pid"].as_u64() > Some(0), "{call}");
                let arguments = call.pointer("/data/arguments").cloned().unwrap_or_else(|| json!({}));
                json!({ "tool": call["data"]["tool"]["name"], "arguments": arguments })
            })
            .collect();
        let asked = std::fs::read_to_string(asked).unwrap();
        let asked: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(calls, asked, "what the tools were asked");
    }
}

#[test]
fn tool_call_of_a_model_that_an_mcp_server_carries_out_is_told_once_with_server_and_transport() {
    if !can_record() {
        return;
    }
    let Some(python) = python() else { return };
    let mut server = Server::start(&python, "mcp_server.py");
    let urls: Value = serde_json::from_str(&server.line()).unwrap();
    let mut provider = Server::start(Path::new("python3"), "providers.py");
    let port = provider.line();
    // The agent trusts both.
    let trusted = server.folder.path().join("both.pem");
    let authorities = [&server.files.ca, &provider.files.ca].map(|file| std::fs::read(file).unwrap());
    std::fs::write(&trusted, authorities.concat()).unwrap();
    let mut agent = Command::new(&python);
    agent.arg(peer("mcp_agent.py")).arg(format!("https://localhost:{}/v1/responses", port.trim()));
    agent.arg(urls["json"].as_str().unwrap()).arg(&trusted);
    agent.env("HOME", server.folder.path()).env("NO_PROXY", "localhost");
    let finished = Sensor::recording(&agent).run();
    let did = lines(&finished);
    let [did] = did.as_slice() else { panic!("{did:?}") };
    drop(provider.input.take());
    provider.child.wait().unwrap();
    server.asked();

    let events = finished.events();
    let (mut calls, results) = (of_type(&events, "agent.tool_call"), of_type(&events, "agent.tool_result"));
    // The model asks for a second tool, which no server has and the agent leaves alone.
    let others = calls.extract_if(.., |call| call["data"]["call_id"] != did["id"]).collect::<Vec<_>>();
    assert!(others.len() == 1 && others.iter().all(|other| mcp(other).is_null()), "{others:?}");
    let ([call], [result]) = (calls.as_slice(), results.as_slice()) else { panic!("{calls:?} {results:?}") };
    assert_eq!(call["data"]["triggered_by"], "llm_decision");
    assert_eq!(call["data"]["arguments"], did["arguments"]);
    for event in [call, result] {
        assert_eq!(event["data"]["call_id"], did["id"]);
        let tool = &event["data"]["tool"];
        assert_eq!((&tool["name"], &tool["provider"]), (&did["name"], &json!("mcp")));
        assert_eq!((&tool["server"], &mcp(event)["transport"]), (&json!("oisp-tools"), &json!("http")));
        assert_eq!(tool["description"], "Says what the weather is.");
    }
    assert_eq!((&result["data"]["result"], &result["data"]["success"]), (&did["text"], &json!(true)));
    assert_eq!(result["related_events"][0]["event_id"], call["event_id"]);
}
