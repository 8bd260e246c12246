//! The commands `status`, `stop` and `reload`, and the log and panics of a process, as whoever uses them sees them. The
//! sensors are processes of this test that record nothing: no right and no kernel is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use oisp_control::{Controlled, ReloadReport, Server, Status};
use oisp_sensor::logging::{self, Format, Limit, Settings};
use tempfile::TempDir;

const SENSOR: &str = "OISP_TEST_PRETENDED_SENSOR";
const PANIC: &str = "OISP_TEST_PANIC";

struct Pretended {
    name: String,
    stop: Sender<()>,
}

impl Controlled for Pretended {
    fn status(&self) -> Status {
        Status {
            status_version: 1,
            name: self.name.clone(),
            pid: std::process::id(),
            log_level: Some("inf\u{1b}[31mo".to_owned()),
            ..Status::default()
        }
    }

    fn stop(&self) {
        self.stop.send(()).unwrap();
    }

    fn reload(&self) -> ReloadReport {
        let bad = self.name == "broken";
        ReloadReport {
            file: Some("/etc/config.toml".to_owned()),
            applied: !bad,
            changed: if bad { Vec::new() } else { vec!["log.level: info -> debug".to_owned()] },
            needs_restart: vec!["ring_bytes".to_owned()],
            problems: if bad { vec!["unknown key".to_owned()] } else { Vec::new() },
        }
    }
}

/// Not a test: the sensor's process, when the tests below start it.
#[test]
fn pretended_sensor() {
    let Some(socket) = std::env::var_os(SENSOR) else { return };
    let socket = Path::new(&socket);
    let name = socket.file_stem().unwrap().to_str().unwrap().to_owned();
    let (stop, stopped) = channel();
    let controlled = Pretended { name: name.clone(), stop };
    let server =
        Server::start(socket.parent().unwrap(), &name.parse().unwrap(), Arc::new(controlled)).unwrap();
    println!("\nready");
    stopped.recv().unwrap();
    drop(server);
}

/// Not a test: the process that panics, when the test below starts it.
#[test]
fn pretended_panic() {
    let Some(kind) = std::env::var_os(PANIC) else { return };
    logging::hide_panics();
    if kind != "before" {
        let broken = kind == "redactor";
        logging::install(Settings {
            levels: "info".parse().unwrap(),
            format: Format::Text,
            redact: Arc::new(move |text| {
                assert!(!broken, "cannot redact {text}");
                text.replace("sk-secret", "[REDACTED]")
            }),
            limit: Limit::default(),
        })
        .unwrap();
    }
    if kind == "redactor" {
        tracing::error!("sk-secret");
    }
    panic!("captured sk-secret");
}

/// A process of this test's own program, killed at the end.
struct Sensor(Child);

impl Sensor {
    fn start(directory: &TempDir, name: &str) -> Self {
        let mut child = own("pretended_sensor")
            .env(SENSOR, directory.path().join(format!("{name}.sock")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.as_mut().unwrap());
        assert!(output.lines().map_while(Result::ok).any(|line| line == "ready"), "the sensor did not start");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

fn own(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn sensor(directory: &TempDir, arguments: &[&str]) -> Output {
    command(directory, arguments).output().unwrap()
}

fn command(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oisp-sensor"));
    command.args(arguments).arg("--directory").arg(directory.path());
    command
}

fn code_and_text(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn without_a_sensor_every_command_says_how_to_start_one() {
    for arguments in [&["status"][..], &["stop"], &["reload"], &["status", "--watch"], &["status", "--json"]]
    {
        let (code, text) = code_and_text(&sensor(&folder(), arguments));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("no sensor is running here; start one with `oisp-sensor record"), "{text}");
    }
    assert_eq!(code_and_text(&sensor(&folder(), &["status", "a/b"])).0, Some(2));
}

#[test]
fn status_is_text_for_people_and_json_for_programs() {
    let directory = folder();
    let running = Sensor::start(&directory, "host");
    let (code, text) = code_and_text(&sensor(&directory, &["status"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("sensor host, version "), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let json = sensor(&directory, &["status", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["pid"], running.pid());
    let closed = command(&directory, &["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut closed = Sensor(closed);
    drop(closed.0.stdout.take());
    assert_eq!(closed.0.wait().unwrap().code(), Some(0), "a reader that has enough is no failure");
}

#[test]
fn of_several_sensors_one_must_be_named() {
    let directory = folder();
    let _one = Sensor::start(&directory, "host");
    let two = Sensor::start(&directory, "record-2");
    let (code, text) = code_and_text(&sensor(&directory, &["stop"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("several sensors are running here: host, record-2"), "{text}");
    let json = sensor(&directory, &["status", "record-2", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["pid"], two.pid());
}

#[test]
fn stop_returns_when_the_sensor_has_ended_and_a_watcher_is_told() {
    let directory = folder();
    let mut running = Sensor::start(&directory, "host");
    let mut watching = command(&directory, &["status", "--watch", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(watching.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"status_version\":1,"), "{first}");
    let (code, text) = code_and_text(&sensor(&directory, &["stop", "--wait", "600"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("sensor host (process {}) has ended", running.pid())), "{text}");
    assert!(running.0.try_wait().unwrap().is_some(), "stop returned before the sensor's end");
    // Read until its end, so that it is never kept from writing.
    lines.lines().for_each(drop);
    let watched = watching.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&watched.stderr).contains("has ended"));
}

#[test]
fn killed_sensor_is_told_from_none() {
    let directory = folder();
    let running = Sensor::start(&directory, "host");
    let pid = running.pid();
    drop(running);
    let (code, text) = code_and_text(&sensor(&directory, &["status"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("process {pid} has ended without saying so")), "{text}");
    let _again = Sensor::start(&directory, "host");
    assert_eq!(sensor(&directory, &["status"]).status.code(), Some(0));
}

#[test]
fn reload_prints_its_report_and_fails_when_the_configuration_is_wrong() {
    let directory = folder();
    let _good = Sensor::start(&directory, "host");
    let _bad = Sensor::start(&directory, "broken");
    let (code, text) = code_and_text(&sensor(&directory, &["reload", "host"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("  changed: log.level: info -> debug\n  needs a restart: ring_bytes\n"), "{text}");
    let (code, text) = code_and_text(&sensor(&directory, &["reload", "broken"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("goes on as before") && text.contains("  wrong: unknown key\n"), "{text}");
}

#[test]
fn sensor_that_does_not_answer_is_given_up() {
    let directory = folder();
    let socket = directory.path().join("host.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (code, text) = code_and_text(&sensor(&directory, &["status"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("does not answer"), "{text}");
}

#[test]
fn panics_tell_their_place_and_no_secret() {
    for (kind, expected) in [
        ("before", "the message is not shown"),
        ("installed", "error panic: thread pretended_panic panicked at "),
        ("redactor", "the message is not shown"),
    ] {
        let output = own("pretended_panic").env(PANIC, kind).output().unwrap();
        assert!(!output.status.success());
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(expected) && log.contains("tests/control/main.rs:"), "{kind}: {log}");
        assert!(!log.contains("sk-secret"), "{kind}: {log}");
        assert_eq!(log.contains("captured [REDACTED]"), kind == "installed", "{kind}: {log}");
    }
}
