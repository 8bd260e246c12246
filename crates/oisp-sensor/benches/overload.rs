//! More traffic than the machine can take: does memory stay within its bound, and is everything that is dropped counted?
//!
//! Generated traffic as fast as it can be made, for two minutes (`-- --seconds N` for another time). Ends with an error
//! when the bound is broken or a stage's counters do not add up: that is no figure but a promise.

use std::fs;
use std::io::Read as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SENSOR: &str = env!("CARGO_BIN_EXE_oisp-sensor");
const MIB: u64 = 1 << 20;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--seconds").skip(1);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(120);
    match run(Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(duration: Duration) -> Result<(), Error> {
    println!("| connections | prompts | buffers, most | bound | resident, most | pieces dropped | CPU |");
    println!("|---|---|---|---|---|---|---|");
    for (connections, prompt) in [(50, 4_000), (2_000, 100_000)] {
        overload(connections, prompt, duration / 2)?;
    }
    Ok(())
}

fn overload(connections: u32, prompt: u32, duration: Duration) -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let mut sensor = Command::new(SENSOR);
    sensor
        .args([
            "generate",
            "--rate",
            "max",
            "-o",
            "/dev/null",
            "--log-level",
            "debug",
            "--log-format",
            "json",
        ])
        .args(["--connections", &connections.to_string(), "--prompt", &prompt.to_string()])
        .env("STATE_DIRECTORY", folder.path().join("state"))
        .env("OISP_CONTROL_DIRECTORY", folder.path())
        .stderr(fs::File::create(folder.path().join("log"))?)
        .stdin(Stdio::null());
    let mut sensor = sensor.spawn()?;
    let ask = |command: &[&str]| {
        Command::new(SENSOR).args(command).arg("--directory").arg(folder.path()).stdin(Stdio::null()).output()
    };
    let start = Instant::now();
    let (mut highest, mut status) = (0, Value::Null);
    while start.elapsed() < duration {
        std::thread::sleep(Duration::from_millis(250));
        let answer = ask(&["status", "--json"])?;
        if let Ok(now) = serde_json::from_slice::<Value>(&answer.stdout) {
            highest = highest.max(number(&now, "/memory/resident_anonymous_bytes"));
            status = now;
        }
    }
    ask(&["stop"])?;
    sensor.wait()?;
    let mut log = String::new();
    fs::File::open(folder.path().join("log"))?.read_to_string(&mut log)?;
    let (buffers, bound) =
        (number(&status, "/memory/buffers_high_water_bytes"), number(&status, "/memory/limit_bytes"));
    let stages: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "stage ended")
        .collect();
    let field = |stage: &Value, name: &str| {
        let value = stage["fields"].get(name).or_else(|| stage.get(name));
        value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok())).unwrap_or(u64::MAX)
    };
    if stages.len() != 4 {
        return Err(format!("{} of 4 stages told how they ended", stages.len()).into());
    }
    for stage in &stages {
        let (received, sent, dropped) =
            (field(stage, "received"), field(stage, "sent"), field(stage, "dropped"));
        if sent.checked_add(dropped) != Some(received) {
            return Err(format!("counters do not add up: {stage}").into());
        }
    }
    // A piece for each of the two threads that take may be on its way.
    if buffers > bound + 2 * MIB {
        return Err(format!("{buffers} bytes in buffers, over the bound of {bound}").into());
    }
    let (received, dropped) = (field(&stages[0], "received"), field(&stages[0], "dropped"));
    println!(
        "| {connections} | {prompt} B | {} MiB | {} MiB | {} MiB | {:.0} % of {received} | {:.0} % of a core |",
        buffers / MIB,
        bound / MIB,
        highest / MIB,
        100.0 * dropped as f64 / received.max(1) as f64,
        status.pointer("/cpu/percent_since_start").and_then(Value::as_f64).unwrap_or(0.0),
    );
    Ok(())
}

fn number(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}
