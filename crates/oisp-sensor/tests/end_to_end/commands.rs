//! The command line: exit status, what is said, signals, standard streams.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use oisp_testkit::programs::copy_program;
use rustix::process::Signal;

use crate::support::{Events, Sensor, can_record, send_signal, wait_until};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn exit_status_is_the_commands_own_or_tells_its_signal() {
    if !can_record() {
        return;
    }
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)] {
        let recorded = Sensor::recording(&shell(script)).run();
        assert_eq!(recorded.code(), code, "{script}: {}", recorded.stderr);
        let events = recorded.events();
        let exit = events.of_type("process.exit").last().expect("an exit");
        assert_eq!(exit["data"]["exit_code"], code);
        if let Some(signal) = code.checked_sub(128).filter(|signal| *signal > 0) {
            assert_eq!(exit["data"]["signal"], signal);
            assert_ne!(exit["data"]["termination_type"], "normal");
        }
    }
}

#[test]
fn command_that_cannot_be_started_has_the_exit_status_of_shells_and_a_reason() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("plain"), "echo").unwrap();
    fs::write(path("no-interpreter"), "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(path("no-interpreter"), fs::Permissions::from_mode(0o755)).unwrap();
    for (program, code, said) in [
        ("no-such-command-here".to_owned(), 127, "command not found: `no-such-command-here`"),
        (path("absent"), 127, "command not found"),
        (path("no-interpreter"), 127, "the interpreter in its first line"),
        (path("plain"), 126, "is not executable"),
        (path(""), 126, "is a directory"),
    ] {
        let recorded = Sensor::recording(&Command::new(&program)).run();
        assert_eq!(recorded.code(), code, "{program}: {}", recorded.stderr);
        assert!(recorded.stderr.contains(said), "{program}: {}", recorded.stderr);
        assert!(recorded.stdout.is_empty());
    }
}

#[test]
fn output_that_cannot_be_written_ends_with_125_before_the_command_runs() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let exposed = folder.path().join("exposed.jsonl");
    fs::write(&exposed, "{}\n").unwrap();
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    for output in ["/nonexistent/folder/events.jsonl", "/proc/version", "/", exposed.to_str().unwrap()] {
        let recorded =
            Sensor::with_arguments(["record", "-o", output, "--", "touch", mark.to_str().unwrap()]).run();
        assert_eq!(recorded.code(), 125, "{output}: {}", recorded.stderr);
        assert!(recorded.stderr.contains(output), "{}", recorded.stderr);
        assert!(!mark.exists(), "the command ran though nothing could be recorded");
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_advice() {
    for (arguments, said) in [
        (&["record"][..], "--pid <PID>"),
        (&["record", "--ring-size", "x", "--", "true"], "--ring-size x: must be a size such as"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let refused = Sensor::with_arguments(arguments).run();
        assert_eq!(refused.code(), 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}

#[test]
fn process_that_does_not_exist_is_said_not_to() {
    if !can_record() {
        return;
    }
    // Ended and reaped: its id is free.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let recorded = Sensor::recording_process(gone.id()).run();
    assert_eq!(recorded.code(), 1, "{}", recorded.stderr);
    assert!(recorded.stderr.contains(&format!("no process {}", gone.id())), "{}", recorded.stderr);
}

#[test]
fn without_rights_it_says_what_is_missing_and_what_to_do() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("oisp-sensor");
    copy_program(Path::new(env!("CARGO_BIN_EXE_oisp-sensor")), &program).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(folder.path()).env("HOME", folder.path());
        let output = command.uid(65534).gid(65534).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    for (arguments, code) in [(&["record", "--", "touch", "mark"][..], 125), (&["record", "--pid", "1"], 1)] {
        let (status, said) = run(arguments);
        assert_eq!(status, Some(code), "{said}");
        assert!(said.contains("cannot record on this host"), "{said}");
        assert!(said.contains("CAP_BPF") && said.contains("sudo"), "{said}");
    }
    assert!(!folder.path().join("mark").exists(), "the command ran unrecorded");
    let (status, said) = run(&["demo"]);
    assert_eq!(status, Some(0), "{said}");
    for expected in ["CAP_BPF", "sudo", "GENERATED", "3 AI calls made"] {
        assert!(said.contains(expected), "no `{expected}`: {said}");
    }
    let (status, said) = run(&["check"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("MISSING capabilities"), "{said}");
}

#[test]
fn standard_streams_of_the_command_are_its_own() {
    if !can_record() {
        return;
    }
    let mut running =
        Sensor::recording_with(&["--quiet"], &shell("cat; echo to-error >&2")).with_input().start();
    let sent: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let writer = {
        use std::io::Write as _;
        let mut input = running.take_input();
        let sent = sent.clone();
        std::thread::spawn(move || input.write_all(&sent).unwrap())
    };
    let recorded = running.finish();
    writer.join().unwrap();
    assert!(recorded.status.success());
    assert!(recorded.stdout == sent, "standard output is changed");
    assert_eq!(recorded.stderr, "to-error\n");
}

#[test]
fn signals_are_to_the_command_as_without_the_sensor() {
    if !can_record() {
        return;
    }
    let script = "grep -E '^(SigBlk|SigIgn|SigCgt)' /proc/self/status";
    // The C library keeps signals 32 and 33 to itself, and leaves them as it likes.
    let masks = |output: &[u8]| -> Vec<(String, u64)> {
        let lines = String::from_utf8(output.to_owned()).unwrap();
        lines
            .lines()
            .map(|line| {
                let (name, mask) = line.split_once(":\t").unwrap();
                (name.to_owned(), u64::from_str_radix(mask, 16).unwrap() & !(3 << 31))
            })
            .collect()
    };
    let expected = masks(&shell(script).output().unwrap().stdout);
    assert_eq!(expected.len(), 3);
    assert_eq!(masks(&Sensor::recording(&shell(script)).run().stdout), expected);
}

#[test]
fn dash_writes_events_to_standard_output() {
    if !can_record() {
        return;
    }
    let recorded = Sensor::with_arguments(["record", "-o", "-", "--", "sh", "-c", "exit 3"]).run();
    assert_eq!(recorded.code(), 3);
    let events = Events::parse(&recorded.stdout);
    let types: Vec<&str> = events.0.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["process.exec", "process.exit"]);
    assert!(!recorded.file().exists());
}

#[test]
fn reader_that_goes_away_ends_the_recording_and_not_the_command() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (go, mark) = (folder.path().join("go"), folder.path().join("mark"));
    let script = format!(
        "while [ ! -e {0} ]; do /bin/true; sleep 0.01; done; echo done > {1}; exit 5",
        go.display(),
        mark.display()
    );
    let mut running =
        Sensor::with_arguments(["record", "-o", "-", "--", "sh", "-c", script.as_str()]).start();
    // As `head -1` does.
    assert!(running.line().contains("process.exec"));
    running.close_output();
    fs::write(&go, "").unwrap();
    let recorded = running.finish();
    assert_eq!(recorded.code(), 5, "{}", recorded.stderr);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "done\n", "the command ran to its end");
    assert!(recorded.stderr.contains("nobody reads standard output any more"), "{}", recorded.stderr);
}

#[test]
fn request_to_terminate_is_passed_on_and_what_was_seen_is_kept() {
    if !can_record() {
        return;
    }
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut running = Sensor::recording(&interruptible("echo ready; exec sleep 60")).start();
        assert_eq!(running.line(), "ready\n");
        send_signal(running.pid(), signal);
        let recorded = running.finish();
        assert_eq!(recorded.code(), code, "{}", recorded.stderr);
        let events = recorded.events();
        let exit = events.of_type("process.exit").last().expect("the command's exit");
        assert_eq!(exit["data"]["exit_code"], code);
        assert!(recorded.stderr.contains("events in"), "{}", recorded.stderr);
    }
}

#[test]
fn command_that_handles_the_request_to_terminate_ends_as_it_wants() {
    if !can_record() {
        return;
    }
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = Sensor::recording(&shell(script)).start();
    assert_eq!(running.line(), "ready\n");
    send_signal(running.pid(), Signal::TERM);
    assert_eq!(running.finish().code(), 9);
}

/// A shell that an interrupt or a hang-up reaches also where these tests run in the background of a script or under `nohup`,
/// which ignore it and hand that down.
fn interruptible(script: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT,HUP,TERM", "sh", "-c", script]);
    command
}

#[test]
fn interrupt_from_the_keyboard_ends_the_command_and_its_events_are_kept() {
    if !can_record() {
        return;
    }
    let mut running = Sensor::recording(&interruptible("echo ready; exec sleep 60")).start();
    assert_eq!(running.line(), "ready\n");
    // A terminal signals the whole group.
    let group = rustix::process::Pid::from_raw(running.pid().cast_signed()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    let recorded = running.finish();
    assert_eq!(recorded.code(), 130, "{}", recorded.stderr);
    let events = recorded.events();
    assert_eq!(events.of_type("process.exit").last().unwrap()["data"]["signal_name"], "SIGINT");
}

#[test]
fn interrupt_does_not_end_the_recording_of_a_command_that_goes_on() {
    if !can_record() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!(
        "trap 'echo interrupted' INT; echo ready; while [ ! -e {} ]; do sleep 0.01; done; /bin/true; exit 4",
        go.display()
    );
    let mut running = Sensor::recording(&interruptible(&script)).start();
    assert_eq!(running.line(), "ready\n");
    let group = rustix::process::Pid::from_raw(running.pid().cast_signed()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    assert_eq!(running.line(), "interrupted\n");
    fs::write(&go, "").unwrap();
    let recorded = running.finish();
    assert_eq!(recorded.code(), 4, "{}", recorded.stderr);
    let events = recorded.events();
    let last = events.of_type("process.exec").last().unwrap();
    assert!(last["data"]["exe"].as_str().unwrap().ends_with("/true"), "recorded to its end: {last}");
}

#[test]
fn recording_of_a_running_process_ends_at_a_signal_and_leaves_the_process() {
    if !can_record() {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let mut target = Command::new("sleep").arg("60").spawn().unwrap();
        let mut running = Sensor::recording_process(target.id()).start();
        running.wait_for("recording process");
        send_signal(running.pid(), signal);
        let recorded = running.finish();
        assert_eq!(recorded.code(), 0, "{}", recorded.stderr);
        assert!(target.try_wait().unwrap().is_none(), "the process was ended");
        target.kill().unwrap();
        target.wait().unwrap();
    }
}

#[test]
fn recording_of_a_running_process_ends_when_it_ends() {
    if !can_record() {
        return;
    }
    let mut target = Command::new("sleep").arg("60").spawn().unwrap();
    let mut running = Sensor::recording_process(target.id()).start();
    running.wait_for("recording process");
    target.kill().unwrap();
    target.wait().unwrap();
    let recorded = running.finish();
    assert_eq!(recorded.code(), 0, "{}", recorded.stderr);
    let events = recorded.events();
    let exit = events.of_type("process.exit").last().expect("its exit");
    assert_eq!((&exit["process"]["pid"], &exit["data"]["signal"]), (&target.id().into(), &9.into()));
    wait_until("the process is gone", || !std::path::Path::new(&format!("/proc/{}", target.id())).exists());
}
