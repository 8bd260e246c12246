//! A recording that runs for long: asked how it is, reloaded, overloaded, ended. Its traffic is generated, so no right and
//! no kernel is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod replay;
mod support;

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::{Home, kill, wait_until};

#[test]
fn status_of_a_running_sensor_has_what_it_does_and_none_is_found_when_it_has_ended() {
    let home = Home::new("");
    let mut sensor = home.generate(&["--rate", "50"]);
    let status = home.status();
    assert_eq!(status["pid"], sensor.id());
    assert_eq!(status["scope"]["text"], "generated traffic");
    for stage in ["capture", "interpret", "select", "export:jsonl"] {
        let found = status["stages"].as_array().unwrap().iter().any(|known| known["name"] == stage);
        assert!(found, "{stage}: {status}");
    }
    assert!(status["memory"]["resident_anonymous_bytes"].as_u64().unwrap() > 0, "{status}");
    let stopped = home.command(&["stop"]).output().unwrap();
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    let gone = home.command(&["status"]).output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no sensor"), "{gone:?}");
}

#[test]
fn reloading_under_load_changes_what_can_change_and_loses_nothing() {
    let home = Home::new("[redaction]\nmode = 'safe'\n");
    let mut sensor = home.generate(&["--rate", "100", "--calls", "400", "--wait"]);
    for round in 0..20 {
        let mode = if round % 2 == 0 { "minimal" } else { "safe" };
        home.configure(&format!(
            "queues.events = {}\n[redaction]\nmode = '{mode}'\n[log]\nlevel = 'warn'\n",
            10_000 + round
        ));
        let before = home.status()["configuration"]["loaded"].clone();
        kill(sensor.id(), rustix::process::Signal::HUP);
        wait_until(|| home.status()["configuration"]["loaded"] != before);
    }
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("queues.events: 10000 -> "), "what cannot change is said: {said}");
    assert!(!said.contains("dropped"), "{said}");
    let events = home.events();
    assert_eq!((events.of("ai.request").count(), events.of("ai.response").count()), (400, 400));
    let modes: Vec<&str> = events
        .of("ai.request")
        .map(|event| event["confidence"]["redaction_profile"].as_str().unwrap())
        .collect();
    assert!(modes.contains(&"safe") && modes.contains(&"minimal"), "both were in force: {modes:?}");
    events.assert_calls_are_whole();
}

#[test]
fn configuration_that_is_wrong_is_told_and_what_was_in_force_stays() {
    let home = Home::new("[redaction]\nmode = 'minimal'\n");
    let mut sensor = home.generate(&["--rate", "50"]);
    home.configure("[redaction]\nmode = 'non'\nring = 3\n");
    let reload = home.command(&["reload"]).output().unwrap();
    let said = String::from_utf8_lossy(&reload.stderr);
    assert_eq!(reload.status.code(), Some(1), "{said}");
    for expected in ["redaction.mode", "safe, minimal or full", "redaction.ring", "goes on as before"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(home.status()["configuration"]["problem"].is_string());
    home.configure("[content]\nmax_text = '64'\n[redaction]\nmode = 'safe'\n");
    let reload = home.command(&["reload"]).output().unwrap();
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    wait_until(|| {
        home.events().of("ai.request").any(|event| event["confidence"]["redaction_profile"] == "safe")
    });
    kill(sensor.id(), rustix::process::Signal::TERM);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    let events = home.events();
    let first = events.of("ai.request").next().unwrap();
    assert_eq!(first["confidence"]["redaction_profile"], "minimal", "not what nobody asked for");
    let cut = events.of("ai.request").any(|event| {
        let limitations = event["confidence"]["limitations"].as_array();
        limitations.is_some_and(|list| list.contains(&Value::from("texts_cut_at_64_bytes")))
    });
    assert!(cut, "long texts are cut, with a mark");
}

#[test]
fn terminated_under_load_it_writes_or_counts_everything_that_it_took() {
    let home = Home::new("");
    let mut sensor = home.generate(&["--rate", "max", "--log-level", "debug", "--log-format", "json"]);
    wait_until(|| home.events().of("ai.response").count() > 20);
    kill(sensor.id(), rustix::process::Signal::TERM);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    let stages = support::ended_stages(&said);
    assert_eq!(stages.len(), 4, "{said}");
    for (name, [received, sent, dropped]) in &stages {
        assert_eq!(*received, sent + dropped, "{name}: {said}");
    }
    let number = |name: &str, index: usize| stages[name][index];
    assert_eq!(number("capture", 1), number("interpret", 0));
    assert_eq!(number("select", 1), number("export:jsonl", 0));
    assert_eq!(
        home.events().0.len() as u64,
        number("export:jsonl", 1),
        "what counts as written is in the file"
    );
}

#[test]
fn overloaded_sensor_keeps_its_memory_and_counts_what_it_drops() {
    let home = Home::new("memory.limit = '56MiB'\n");
    let mut sensor = home.generate(&["--rate", "max", "--connections", "2000", "--prompt", "100000"]);
    let begin = Instant::now();
    let mut highest = 0;
    wait_until(|| {
        let status = home.status();
        let memory = &status["memory"];
        let buffers: u64 = ["capture_queue", "connections", "event_queues"]
            .iter()
            .map(|name| memory["buffers"][name].as_u64().unwrap())
            .sum();
        // All but what the program itself has; a piece for each of the two threads that take may be on its way.
        assert!(buffers <= (40 << 20) + (2 << 20), "{memory}");
        highest = highest.max(memory["resident_anonymous_bytes"].as_u64().unwrap());
        let dropped = status["stages"][0]["dropped"].as_object().unwrap().len();
        // At least for a while, whatever the machine's speed.
        dropped > 0 && begin.elapsed() > Duration::from_secs(10)
    });
    kill(sensor.id(), rustix::process::Signal::TERM);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("capture events dropped at capture"), "{said}");
    // The generator is not the sensor: its connections take some megabytes besides.
    assert!(highest <= (56 << 20) + (16 << 20), "{highest} bytes resident");
}

#[test]
fn second_request_to_end_ends_at_once_though_the_output_is_stuck() {
    let home = Home::new("shutdown.drain_timeout = '300s'\n");
    let mut sensor = home.generate_to_pipe(&["--rate", "max"]);
    // Nobody reads: the pipe is full before long, and the sink waits.
    wait_until(|| {
        let status = home.status();
        status["queues"][1]["length"].as_u64().unwrap() > 100
    });
    kill(sensor.id(), rustix::process::Signal::TERM);
    wait_until(|| home.status()["stages"][1]["received"] == home.status()["stages"][0]["sent"]);
    assert!(sensor.is_running());
    kill(sensor.id(), rustix::process::Signal::TERM);
    assert_eq!(sensor.finish_with_signal(), Some(15));
}

#[test]
fn drain_timeout_ends_a_sensor_whose_output_is_stuck_and_the_rest_is_counted() {
    let home = Home::new("shutdown.drain_timeout = '100ms'\n");
    let mut sensor = home.generate_to_pipe(&["--rate", "max"]);
    wait_until(|| home.status()["queues"][1]["length"].as_u64().unwrap() > 100);
    kill(sensor.id(), rustix::process::Signal::TERM);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("time for draining was over"), "{said}");
    assert!(said.contains("events dropped at export:jsonl"), "{said}");
    let mut written = String::new();
    sensor.stdout().read_to_string(&mut written).unwrap();
    let whole: Vec<&str> = written.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    assert!(whole.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn what_is_excluded_and_not_sampled_is_left_out_whole_and_is_no_warning() {
    let home = Home::new("[exclude]\nprovider = ['anthropic']\n[sample]\nexchanges = 0.5\n");
    let mut sensor = home.generate(&["--rate", "500", "--calls", "200", "--wait"]);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("warning"), "{said}");
    let events = home.events();
    let requests = events.of("ai.request").count();
    assert!((20..140).contains(&requests), "{requests} of 200");
    events.assert_calls_are_whole();
    for event in events.of("ai.request") {
        assert_ne!(event["data"]["provider"]["name"], "anthropic");
        assert_eq!(event["ext"]["oisp_sensor"]["sample_rate"], 0.5);
        assert_eq!(event["ext"]["oisp_sensor"]["origin"], "generator");
    }
}

#[test]
fn events_that_were_generated_are_valid() {
    let home = Home::new("");
    let mut sensor = home.generate(&["--rate", "1000", "--calls", "50", "--lost", "0.01", "--wait"]);
    let (code, said) = sensor.finish();
    assert_eq!(code, Some(0), "{said}");
    let events = home.events();
    assert!(events.of("process.exec").count() > 0);
    let schema = oisp_event::json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for event in &events.0 {
        assert!(validator.is_valid(event), "{event}");
    }
}
