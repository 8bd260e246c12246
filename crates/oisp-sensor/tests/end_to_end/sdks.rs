//! The AI services' own SDKs, each by its service's interface, over HTTP/1.1 and HTTP/2: what is told is what the SDK
//! understood.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use oisp_testkit::peers::{PeerServer, Peers};
use serde_json::{Value, json};

use crate::support::{
    Events, Finished, LibraryCopy, Sensor, can_record, is_missing, peers, send_signal, text_of,
    unless_missing,
};

/// The services, and nginx that speaks HTTP/2 in front of them.
struct Servers {
    services: Services,
    nginx: Nginx,
    peers: Peers,
    folder: tempfile::TempDir,
}

/// A process that ends with its standard input.
struct Services {
    process: Child,
    port: u16,
}

struct Nginx {
    process: Child,
    url: String,
}

impl Servers {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let peers = peers(folder.path());
        let services = Services::start(&peers);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, services.port));
        let (mut nginx, url) = unless_missing(peers.server(PeerServer::Nginx, address))?;
        Some(Self { services, nginx: Nginx { process: nginx.spawn().unwrap(), url }, peers, folder })
    }

    /// Records a program that takes these arguments, the authority's certificate, and the servers' URLs.
    fn record(&self, mut program: Command, protocols: Protocols) -> Finished {
        program.arg(self.peers.ca_file()).arg(format!("https://localhost:{}", self.services.port));
        if protocols == Protocols::Both {
            program.arg(&self.nginx.url);
        }
        let library = LibraryCopy::new();
        program.env("LD_LIBRARY_PATH", library.folder());
        program.env("HOME", self.folder.path()).env("NO_PROXY", "localhost");
        let finished = Sensor::recording(&program).run();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        finished
    }
}

impl Services {
    fn start(peers: &Peers) -> Self {
        let mut command = Command::new("python3");
        command.arg("-B").arg(peer("providers.py"));
        command.args([&peers.certificates().server, &peers.certificates().server_key]);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut services = Self { process, port: 0 };
        let mut port = String::new();
        BufReader::new(services.process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        services.port = port.trim().parse().expect("a port");
        services
    }
}

// A test that has failed says why: how these end has nothing to add.
impl Drop for Services {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        send_signal(self.process.id(), rustix::process::Signal::QUIT);
        let _ = self.process.wait();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocols {
    Http1,
    Both,
}

fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../oisp-testkit/peers").join(name)
}

/// A folder that a variable names, if `has` finds what is needed in it.
fn folder(variable: &str, what: &str, has: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from).filter(|folder| has(folder));
    if found.is_none() {
        is_missing(&format!("{what} in the folder that {variable} names"));
    }
    found
}

/// The SDK for Python and the package that it comes in.
fn python_sdk_is_told(sdk: &str, package: &str, protocols: Protocols) {
    let has = |folder: &Path| {
        let import = format!("import {package}");
        let python = Command::new(folder.join("bin/python")).args(["-c", &import]).output();
        python.is_ok_and(|output| output.status.success())
    };
    let what = format!("the Python package {package}");
    if !can_record() {
        return;
    }
    let Some(folder) = folder("OISP_TEST_VENV", &what, has) else { return };
    let mut program = Command::new(folder.join("bin/python"));
    program.arg("-B").arg(peer("sdks.py")).arg(sdk);
    sdk_is_told(program, protocols);
}

fn node_sdk_is_told(sdk: &str, package: &str) {
    let has = |folder: &Path| {
        let packages =
            [package, "undici"].iter().all(|name| folder.join(name).join("package.json").is_file());
        packages && Command::new("node").arg("--version").output().is_ok()
    };
    let what = format!("Node.js, or its packages {package} and undici");
    if !can_record() {
        return;
    }
    let Some(folder) = folder("OISP_TEST_NODE_MODULES", &what, has) else { return };
    let mut program = Command::new("node");
    program.arg(peer("sdks.mjs")).arg(sdk).env("OISP_TEST_NODE_MODULES", folder);
    sdk_is_told(program, Protocols::Both);
}

fn sdk_is_told(mut program: Command, protocols: Protocols) {
    let Some(servers) = Servers::start() else { return };
    program.env("NODE_EXTRA_CA_CERTS", servers.peers.ca_file());
    let finished = servers.record(program, protocols);
    drop(servers);
    let calls: Vec<Value> = finished
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let versions = calls.iter().filter(|call| call["http"] == "2").count();
    assert_eq!(versions, if protocols == Protocols::Both { calls.len() / 2 } else { 0 });
    assert!(calls.len() > 20, "{} calls", calls.len());
    let events = finished.events();
    let requests = events.requests();
    assert_eq!((requests.len(), events.responses().len()), (calls.len(), calls.len()));
    for (request, call) in requests.iter().zip(&calls) {
        assert_request(request, call);
        assert_response(events.response_to(request), call);
    }
    assert_embeddings(&events, &calls);
    assert_tools(&events, &calls);
    let known = ["ai.request", "ai.response", "ai.embedding", "agent.tool_call", "agent.tool_result"];
    let others = events.0.iter().map(|event| event["event_type"].as_str().unwrap());
    let others: Vec<_> =
        others.filter(|kind| !known.contains(kind) && !kind.starts_with("process.")).collect();
    assert_eq!(others, [""; 0]);
}

fn assert_event(event: &Value, call: &Value) {
    assert_eq!(event["confidence"]["completeness"], "full", "{call}: {event}");
    assert_eq!(event["process"]["pid"], call["pid"], "{call}");
    assert_eq!(program_of(event["process"]["exe"].as_str()), program_of(call["exe"].as_str()), "{call}");
    assert_eq!(event["ext"]["oisp_sensor"]["provider_id"], call["speaks"], "{call}");
    assert_eq!(
        event["data"]["provider"]["endpoint"],
        call["url"].as_str().unwrap().split(['?', '#']).next().unwrap()
    );
}

/// The program itself, by whatever link it was started.
fn program_of(path: Option<&str>) -> PathBuf {
    std::fs::canonicalize(path.unwrap()).unwrap()
}

fn assert_request(event: &Value, call: &Value) {
    assert_event(event, call);
    let (data, asked) = (&event["data"], &call["asked"]);
    assert_eq!(event["ext"]["oisp_sensor"]["http_version"], call["http"], "{call}");
    assert_eq!(data["model"]["id"], asked["model"], "{call}");
    if call["kind"] == "embedding" {
        return;
    }
    assert_eq!(data["streaming"] == true, asked["stream"] == true, "{call}");
    let messages: Vec<Value> = list(&data["messages"])
        .iter()
        .map(|message| json!([message["role"], message["content"].as_str().unwrap_or_default()]))
        .collect();
    assert_eq!(json!(without_calls(&messages)), json!(without_calls(list(&asked["messages"]))), "{call}");
    let tools: Vec<&Value> = list(&data["tools"]).iter().map(|tool| &tool["name"]).collect();
    assert_eq!(json!(tools), asked["tools"], "{call}");
}

/// Some services have what the model asked for in messages of its own, some in one.
fn without_calls(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|message| **message != json!(["assistant", ""])).collect()
}

fn assert_response(event: &Value, call: &Value) {
    assert_event(event, call);
    let (data, extension, understood) = (&event["data"], &event["ext"]["oisp_sensor"], &call["understood"]);
    let error = &understood["error"];
    if error.is_null() {
        assert_eq!(data["error"], Value::Null, "{call}");
        assert_eq!((&data["status_code"], &data["success"]), (&json!(200), &json!(true)), "{call}");
    } else {
        assert_eq!(
            json!([data["error"]["type"], data["error"]["message"]]),
            json!([error[0], error[1]]),
            "{call}"
        );
        // What goes wrong in a stream comes after the status.
        let status = if call["kind"] == "break" { &json!(200) } else { &error[2] };
        assert_eq!((&data["status_code"], &data["success"]), (status, &json!(false)), "{call}");
    }
    if call["kind"] == "embedding" {
        return;
    }
    assert_eq!(data["model"]["id"], understood["model"], "{call}");
    assert_eq!(text_of(event), understood["text"], "{call}");
    let thoughts = list(&extension["reasoning"]).iter().map(|thought| thought["text"].as_str().unwrap());
    assert_eq!(thoughts.collect::<String>(), understood["thinking"], "{call}");
    let calls: Vec<Value> = list(&data["tool_calls"])
        .iter()
        .map(|call| {
            let arguments = call["arguments"].as_str().expect("arguments are a text");
            json!([call["id"], call["name"], serde_json::from_str::<Value>(arguments).expect("JSON")])
        })
        .collect();
    assert_eq!(json!(calls), understood["calls"], "{call}");
    assert_eq!(extension["finish_reason"], understood["finish"], "{call}: {event}");
    if error.is_null() {
        let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
        assert_eq!(data["finish_reason"], finish, "{call}");
    }
    let usage = &data["usage"];
    let counted = if usage.is_null() {
        Value::Null
    } else {
        json!([usage["prompt_tokens"], usage["completion_tokens"]])
    };
    assert_eq!(counted, understood["usage"], "{call}");
    let streamed = call["asked"]["stream"] == true && data["status_code"] == 200;
    assert_eq!(extension["streamed"] == true, streamed, "{call}");
}

fn assert_embeddings(events: &Events, calls: &[Value]) {
    let told: Vec<Value> = events
        .of_type("ai.embedding")
        .map(|event| {
            let data = &event["data"];
            json!([data["input_count"], data["dimensions"], data["total_tokens"]])
        })
        .collect();
    let understood: Vec<Value> = calls
        .iter()
        .map(|call| &call["understood"])
        .filter(|understood| !understood["embedding"].is_null())
        .map(|understood| {
            json!([understood["embedding"][0], understood["embedding"][1], understood["usage"][0]])
        })
        .collect();
    assert_eq!(told, understood);
}

/// What the model asked for, and what came of it, once each.
fn assert_tools(events: &Events, calls: &[Value]) {
    let asked: Vec<&Value> = calls.iter().flat_map(|call| list(&call["understood"]["calls"])).collect();
    let told: Vec<&Value> = events.of_type("agent.tool_call").collect();
    assert_eq!(told.len(), asked.len());
    for (event, asked) in told.iter().zip(&asked) {
        let data = &event["data"];
        assert_eq!(json!([data["tool"]["name"], data["arguments"]]), json!([asked[1], asked[2]]));
        assert!(asked[0].is_null() || data["call_id"] == asked[0], "{event} is not {asked}");
    }
    let given: Vec<&Value> = calls.iter().flat_map(|call| list(&call["asked"]["results"])).collect();
    let results: Vec<&Value> = events.of_type("agent.tool_result").collect();
    assert_eq!(results.len(), given.len());
    for ((event, given), call) in results.iter().zip(&given).zip(&told) {
        let data = &event["data"];
        assert_eq!(json!([data["tool"]["name"], data["result"]]), json!([given[1], given[2]]));
        assert_eq!(data["call_id"], call["data"]["call_id"]);
        assert_eq!(event["related_events"][0]["event_id"], call["event_id"]);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn calls_of_openais_python_sdk_are_told_as_it_understood_them() {
    python_sdk_is_told("openai", "openai", Protocols::Both);
}

#[test]
fn calls_of_openais_python_sdk_for_asyncio_are_told_as_it_understood_them() {
    python_sdk_is_told("openai-async", "openai", Protocols::Both);
}

#[test]
fn calls_of_anthropics_python_sdk_are_told_as_it_understood_them() {
    python_sdk_is_told("anthropic", "anthropic", Protocols::Both);
}

#[test]
fn calls_of_googles_python_sdk_are_told_as_it_understood_them() {
    python_sdk_is_told("google", "google.genai", Protocols::Both);
}

#[test]
fn calls_of_mistrals_python_sdk_are_told_as_it_understood_them() {
    python_sdk_is_told("mistral", "mistralai", Protocols::Both);
}

#[test]
fn calls_of_coheres_python_sdk_are_told_as_it_understood_them() {
    python_sdk_is_told("cohere", "cohere", Protocols::Both);
}

#[test]
fn calls_of_ollamas_python_sdk_are_told_as_it_understood_them() {
    python_sdk_is_told("ollama", "ollama", Protocols::Both);
}

#[test]
fn calls_of_bedrocks_python_sdk_are_told_as_it_understood_them() {
    // It speaks HTTP/1.1 alone.
    python_sdk_is_told("bedrock", "boto3", Protocols::Http1);
}

#[test]
fn calls_of_openais_node_sdk_are_told_as_it_understood_them() {
    node_sdk_is_told("openai", "openai");
}

#[test]
fn calls_of_anthropics_node_sdk_are_told_as_it_understood_them() {
    node_sdk_is_told("anthropic", "@anthropic-ai/sdk");
}
