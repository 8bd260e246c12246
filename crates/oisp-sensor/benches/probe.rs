//! What a TLS call costs the program that makes it, while it is recorded.
//!
//! A pair of connections over memory BIOs (OpenSSL's library of this host) makes one `SSL_write` and one `SSL_read` after
//! the other, with requests and responses to a model as content. Added to such a pair is what the sensor costs
//! (`record --pid`, content captured and decoded, events thrown away) and what a `bpftrace` script costs that copies the
//! first 64 bytes of the same buffers at entry and return of the same two functions. All take turns in one run, on one
//! process. The figures are medians: of the processor time of the calling thread, in the kernel and outside, and of the time
//! that passed, of which a turn gives the median of its batches, so that others who use the processors show less.
//!
//! Of Node.js and Bun, where they are (`node` and `bun` in the path, or `$OISP_TEST_BUN`), the whole program is measured:
//! `echo.mjs`, a client and a server on loopback, whose own work is a multiple of a pair's. `bpftrace` probes Bun's functions
//! where the sensor found them.
//!
//! `-- --rounds N` for other than 5 rounds, `-- --write FILE` to write the table there.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use oisp_testkit::certificates::Certificates;
use oisp_testkit::openssl_client::{OpenSsl, Ssl};

const SENSOR: &str = env!("CARGO_BIN_EXE_oisp-sensor");
const SIZES: [usize; 3] = [100, 1024, 16 * 1024];
/// Of each measurement: long against a scheduler's turn.
const TURN: Duration = Duration::from_millis(700);
/// At 100 bytes, of what `bpftrace` adds.
const BUDGET: f64 = 0.35;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1))
    };
    let done = if let Some(size) = value("--pair") {
        size.parse().map_err(Error::from).and_then(be_pair)
    } else {
        let rounds = value("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
        run(rounds, value("--write").map(Path::new))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: usize, file: Option<&Path>) -> Result<(), Error> {
    let mut table = String::from(
        "| program | call of | time | a pair alone | + sensor | + bpftrace | ratio |\n|---|---|---|--:|--:|--:|--:|\n",
    );
    let bun = std::env::var("OISP_TEST_BUN").unwrap_or_else(|_| "bun".to_owned());
    let programs = [("OpenSSL", None), ("Node.js", Some("node")), ("Bun", Some(bun.as_str()))];
    for (program, script) in programs {
        if let Some(executable) = script
            && Command::new(executable).arg("--version").stdout(Stdio::null()).status().is_err()
        {
            eprintln!("skipped: there is no {executable}");
            continue;
        }
        for size in SIZES {
            for (name, costs) in ["processor", "passed"].into_iter().zip(measure(script, size, rounds)?) {
                let ratio = costs.sensor / costs.bpftrace;
                writeln!(
                    table,
                    "| {program} | {size} B | {name} | {:.2} µs | {:.2} µs | {:.2} µs | {ratio:.2} |",
                    costs.alone / 1e3,
                    costs.sensor / 1e3,
                    costs.bpftrace / 1e3
                )?;
                if script.is_none() && size == SIZES[0] && ratio > BUDGET {
                    eprintln!("over the budget of {BUDGET} ({name} time): {ratio:.2}");
                }
            }
        }
    }
    print!("{table}");
    if let Some(file) = file {
        std::fs::write(file, table)?;
    }
    Ok(())
}

/// Nanoseconds of a pair of calls, and what is added to them.
struct Costs {
    alone: f64,
    sensor: f64,
    bpftrace: f64,
}

/// By processor time and by time that passed.
fn measure(script: Option<&str>, size: usize, rounds: usize) -> Result<[Costs; 2], Error> {
    let mut pair = Pair::start(script, size)?;
    pair.turn()?;
    let (mut alone, mut sensor, mut bpftrace) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(pair.turn()?);
        let recorder = Tracer::sensor(pair.child.id())?;
        sensor.push(pair.turn()?);
        recorder.stop()?;
        alone.push(pair.turn()?);
        let recorder = Tracer::bpftrace(pair.child.id(), &pair.library)?;
        bpftrace.push(pair.turn()?);
        recorder.stop()?;
    }
    Ok([0, 1].map(|time| {
        let of = |turns: &[[f64; 2]]| median(turns.iter().map(|turn| turn[time]).collect());
        let alone = of(&alone);
        Costs { alone, sensor: of(&sensor) - alone, bpftrace: of(&bpftrace) - alone }
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The process that makes the calls.
struct Pair {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    library: String,
}

impl Pair {
    fn start(script: Option<&str>, size: usize) -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        let mut command = if let Some(executable) = script {
            let files = Certificates::generate(&[])?.write_to(folder.path())?;
            let echo = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/echo.mjs");
            let mut command = Command::new(executable);
            command.arg(echo).arg(size.to_string()).args([&files.server, &files.server_key]);
            command
        } else {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--pair", &size.to_string()]);
            command
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut pair = Self { child, input, output, library: String::new() };
        pair.library = pair.line()?;
        Ok(pair)
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Nanoseconds of one write and one read: of the processor, and that passed.
    fn turn(&mut self) -> Result<[f64; 2], Error> {
        writeln!(self.input, "turn")?;
        let line = self.line()?;
        let (processor, passed) = line.split_once(' ').ok_or("not two figures")?;
        Ok([processor.parse()?, passed.parse()?])
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What watches it.
struct Tracer(Child);

impl Tracer {
    fn sensor(pid: u32) -> Result<Self, Error> {
        let mut command = Command::new(SENSOR);
        command.args(["record", "--pid", &pid.to_string(), "-o", "/dev/null"]);
        Self::start(
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()),
            |child| child.stderr.take().map(|output| Box::new(output) as Box<dyn std::io::Read + Send>),
            "recording",
        )
    }

    fn bpftrace(pid: u32, library: &str) -> Result<Self, Error> {
        let script: String = ["SSL_write", "SSL_read"]
            .iter()
            .map(|name| {
                let function = address(library, name).unwrap_or_else(|| (*name).to_owned());
                // Into a map: the cheapest that a script can do with a buffer.
                format!(
                    "uprobe:{library}:{function} {{ @at[tid] = arg1; @entered[tid] = buf(arg1, 64); }}
                     uretprobe:{library}:{function} {{ @returned[tid] = buf(@at[tid], 64); }}\n"
                )
            })
            .collect();
        let mut command = Command::new("bpftrace");
        // Without symbols it cannot tell whether an address is an instruction's, and wants to be told to go on.
        command.args(["--unsafe", "-p", &pid.to_string(), "-e", &script]);
        Self::start(
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()),
            |child| child.stdout.take().map(|output| Box::new(output) as Box<dyn std::io::Read + Send>),
            "",
        )
        .map_err(|error| format!("bpftrace (apt-get install bpftrace): {error}").into())
    }

    /// Waits until it says so (`bpftrace` does not while its output is a pipe), and then until its probes are there; throws
    /// away what it says afterwards.
    fn start(
        command: &mut Command,
        output: impl Fn(&mut Child) -> Option<Box<dyn std::io::Read + Send>>,
        said: &str,
    ) -> Result<Self, Error> {
        let mut child = command.spawn()?;
        let mut output = BufReader::new(output(&mut child).ok_or("no output")?);
        let mut line = String::new();
        while !line.contains(said) {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                return Err(format!("ended before it said {said:?}").into());
            }
        }
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while output.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        std::thread::sleep(Duration::from_millis(3000));
        Ok(Self(child))
    }

    fn stop(mut self) -> Result<(), Error> {
        let pid = i32::try_from(self.0.id())?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.0.wait()?;
        Ok(())
    }
}

/// Where the sensor found a function that has no symbol. In a file without symbols `bpftrace` takes an address for a place
/// in the file.
fn address(file: &str, function: &str) -> Option<String> {
    let analysis = oisp_elf::analyze(Path::new(file)).ok()?;
    let sites = analysis.stacks.iter().flat_map(|stack| &stack.functions);
    let found = sites.filter(|site| site.evidence == oisp_elf::Evidence::Behaviour);
    found
        .filter(|site| site.function.name() == function)
        .map(|site| format!("{:#x}", site.file_offset))
        .next()
}

/// Makes the calls, as long as it is told to.
fn be_pair(size: usize) -> Result<(), Error> {
    let library = OpenSsl::load(None)?;
    let folder = tempfile::tempdir()?;
    let files = Certificates::generate(&[])?.write_to(folder.path())?;
    let mut client = library.client_context(&files.ca)?.memory_client("localhost")?;
    let mut server = library.server_context(&files.server, &files.server_key)?.memory_server()?;
    loop {
        let client_done = client.handshake().is_ok();
        server.feed(&client.drain())?;
        let server_done = server.handshake().is_ok();
        client.feed(&server.drain())?;
        if client_done && server_done {
            break;
        }
    }
    println!("{}", mapped_library()?);
    let request = message("POST /v1/messages HTTP/1.1\r\nhost: a.ai\r\n", size);
    let response = message("HTTP/1.1 200 OK\r\n", size);
    for line in std::io::stdin().lines() {
        line?;
        let [processor, passed] = turn(&mut client, &mut server, &request, &response)?;
        println!("{processor} {passed}");
    }
    Ok(())
}

/// Nanoseconds of one write and one read, without what carries the bytes between the two: of the processor, and that
/// passed.
fn turn(client: &mut Ssl, server: &mut Ssl, request: &[u8], response: &[u8]) -> Result<[f64; 2], Error> {
    const IN_A_BATCH: u32 = 32;
    let mut buffer = vec![0; request.len().max(response.len())];
    let (start, mut processor, mut pairs, mut batches) = (Instant::now(), 0, 0_u32, Vec::new());
    while start.elapsed() < TURN {
        let mut batch = 0;
        for _ in 0..IN_A_BATCH {
            let there = carry(client, server, request, &mut buffer)?;
            let back = carry(server, client, response, &mut buffer)?;
            processor += there[0] + back[0];
            batch += there[1] + back[1];
        }
        pairs += 2 * IN_A_BATCH;
        batches.push(batch as f64 / f64::from(2 * IN_A_BATCH));
    }
    Ok([processor as f64 / f64::from(pairs), median(batches)])
}

fn carry(from: &mut Ssl, to: &mut Ssl, bytes: &[u8], buffer: &mut [u8]) -> Result<[u64; 2], Error> {
    let before = now();
    let written = from.try_write(bytes)?;
    let between = now();
    to.feed(&from.drain())?;
    let after = now();
    let read = to.try_read(buffer)?;
    let end = now();
    if written != bytes.len() || read != bytes.len() || buffer[..read] != *bytes {
        return Err("bytes were lost".into());
    }
    Ok([0, 1].map(|time| between[time] - before[time] + (end[time] - after[time])))
}

/// The processor time of this thread, and the time of day.
fn now() -> [u64; 2] {
    use rustix::time::{ClockId, clock_gettime};
    [ClockId::ThreadCPUTime, ClockId::Monotonic].map(|clock| {
        let time = clock_gettime(clock);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
    })
}

/// The file that has the probed functions.
fn mapped_library() -> Result<String, Error> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.contains("/libssl.so")).ok_or("no libssl is mapped")?;
    Ok(line[line.find('/').unwrap_or(0)..].to_owned())
}

/// A message of HTTP with a JSON body, of exactly `size` bytes.
fn message(head: &str, size: usize) -> Vec<u8> {
    let frame = |length: usize| format!("{head}content-length: {length}\r\n\r\n");
    let length = (0..size).rev().find(|length| frame(*length).len() + length == size).unwrap_or(0);
    let mut message = frame(length).into_bytes();
    let text = "x".repeat(length.saturating_sub(13));
    message.extend(format!("{{\"model\":\"{text}\"}}").into_bytes());
    message.truncate(size);
    message.resize(size, b' ');
    message
}
