//! `oisp-sensor config` as it is typed.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The program in a folder of its own, with no configuration but what the test gives.
fn sensor(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oisp-sensor"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OISP_")) {
        command.env_remove(name);
    }
    command.current_dir(home).env("HOME", home).env_remove("XDG_CONFIG_HOME").args(arguments);
    command
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn home_with(file: &str, text: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    home
}

#[test]
fn printed_defaults_are_a_file_that_nothing_is_wrong_with() {
    let home = tempfile::tempdir().unwrap();
    let (code, file, said) = told(&sensor(home.path(), &["config"]).output().unwrap());
    assert_eq!((code, said.as_str()), (0, ""));
    fs::write(home.path().join("c.toml"), file).unwrap();
    let checked = told(&sensor(home.path(), &["config", "--check", "c.toml"]).output().unwrap());
    assert_eq!(checked, (0, "c.toml: nothing is wrong\n".to_owned(), String::new()));
}

#[test]
fn check_says_all_mistakes_of_a_file_and_exits_with_1() {
    let home = home_with("c.toml", "\n\n\ncapture.ring_sise = 1\n\n\nqueues.events = 0\n");
    // The environment has no part in a check of a file.
    let checked =
        sensor(home.path(), &["config", "--check", "c.toml"]).env("OISP_QUIET", "maybe").output().unwrap();
    assert_eq!(
        told(&checked),
        (
            1,
            String::new(),
            "c.toml:4: unknown key capture.ring_sise: did you mean capture.ring_size?\n\
             c.toml:7: queues.events = 0: must be 16 to 1000000 (events)\n"
                .to_owned()
        )
    );
}

#[test]
fn effective_values_have_their_origins() {
    let home =
        home_with(".config/oisp-sensor/config.toml", "# mine\noutput = \"mine.jsonl\"\nquiet = true\n");
    let arguments =
        ["config", "--effective", "-o", "x", "--set", "queues.events=20", "--redaction", "full", "-q"];
    let shown = sensor(home.path(), &arguments).env("OISP_LOG_LEVEL", "debug").output().unwrap();
    let (code, text, said) = told(&shown);
    assert_eq!((code, said.as_str()), (0, ""));
    let line = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let read = home.path().join(".config/oisp-sensor/config.toml");
    assert!(text.starts_with(&format!("# file: {}\n", read.display())), "{text}");
    assert_eq!(line("output"), "output = \"x\" # --output");
    assert_eq!(line("quiet"), "quiet = true # --quiet");
    assert_eq!(line("queues.events"), "queues.events = 20 # --set");
    assert_eq!(line("redaction.mode"), "redaction.mode = \"full\" # --redaction");
    assert_eq!(line("log.level"), "log.level = \"debug\" # OISP_LOG_LEVEL");
    assert_eq!(line("memory.limit"), "memory.limit = \"64 MiB\" # default");
    // What is shown is a file that gives the same.
    fs::write(home.path().join("shown.toml"), &text).unwrap();
    let again = sensor(home.path(), &["config", "--effective", "--config", "shown.toml"]).output().unwrap();
    let values = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|line| line.split_once("  #").unwrap().0.trim_end().to_owned()).collect()
    };
    assert_eq!(values(&told(&again).1), values(&text));
}

#[test]
fn wrong_configuration_stops_every_command_before_it_does_anything() {
    let home = home_with(".config/oisp-sensor/config.toml", "colour = 1\n");
    let file = home.path().join(".config/oisp-sensor/config.toml");
    let expected = format!(
        "oisp-sensor: the configuration is wrong\n\
         {}:1: unknown key colour: `oisp-sensor config` lists what there is\n\
         OISP_CAPTURE_RING_SIZ: no such setting: did you mean OISP_CAPTURE_RING_SIZE?\n\
         --redaction none: must be safe, minimal or full\n",
        file.display()
    );
    for arguments in [
        &["record", "--redaction", "none", "--", "touch", "mark"][..],
        &["demo", "--redaction", "none"],
        &["config", "--effective", "--redaction", "none"],
    ] {
        let refused = sensor(home.path(), arguments).env("OISP_CAPTURE_RING_SIZ", "1").output().unwrap();
        assert_eq!(told(&refused), (2, String::new(), expected.clone()), "{arguments:?}");
    }
    assert!(!home.path().join("mark").exists() && !home.path().join("events.jsonl").exists());
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["config", "-q"][..], "flags that set something go with --effective"),
        (&["config", "--check"], "a value is required"),
        (&["config", "--check", "x", "--effective"], "cannot be used with"),
        (&["demo", "--quiet"], "unexpected argument '--quiet'"),
    ] {
        let (code, _, error) = told(&sensor(home.path(), arguments).output().unwrap());
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
}
