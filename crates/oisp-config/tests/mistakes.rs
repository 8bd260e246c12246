//! Every way to be wrong, with the message it gets, complete.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oisp_config::{FlagValue, Flags, Layers, check, key, load, merge};

/// What is said of a file with this text.
fn of_file(text: &str) -> String {
    let file = Some((PathBuf::from("config.toml"), text.to_owned()));
    said(&Layers { file, ..Layers::default() })
}

fn said(layers: &Layers) -> String {
    merge(layers).map_or_else(|problems| problems.to_string(), |_| "no mistake".to_owned())
}

/// All rows are compared before the test fails, so that one run shows every message that changed.
fn compare<T: AsRef<str>>(rows: &[(T, &str)], say: impl Fn(&str) -> String) {
    let mut wrong = String::new();
    for (given, expected) in rows {
        let given = given.as_ref();
        let said = say(given);
        if said != *expected {
            wrong += &format!("{given:?}\n  expected: {expected}\n  said:     {said}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn mistakes_in_names_are_said_with_the_nearest_name() {
    compare(
        &[
            (
                "\n\n\ncapture.ring_sise = 1\n",
                "config.toml:4: unknown key capture.ring_sise: did you mean capture.ring_size?",
            ),
            (
                "[capture]\nring-size = 1",
                "config.toml:2: unknown key capture.ring-size: did you mean capture.ring_size?",
            ),
            (
                "[capture]\nRING_SIZE = 1",
                "config.toml:2: unknown key capture.RING_SIZE: did you mean capture.ring_size?",
            ),
            ("ring_size = 1", "config.toml:1: unknown key ring_size: did you mean capture.ring_size?"),
            ("outptu = \"x\"", "config.toml:1: unknown key outptu: did you mean output?"),
            ("[log]\noutput = \"x\"", "config.toml:2: unknown key log.output: did you mean output?"),
            (
                "[redaction]\npatterns = []",
                "config.toml:2: unknown key redaction.patterns: `oisp-sensor config` lists what there is",
            ),
            ("colour = true", "config.toml:1: unknown key colour: `oisp-sensor config` lists what there is"),
            ("[captur]\nring_size = 1", "config.toml:1: unknown table captur: did you mean capture?"),
            ("[samples]", "config.toml:1: unknown table samples: did you mean sample?"),
            ("[queue]\nevents = 16", "config.toml:1: unknown table queue: did you mean queues?"),
            (
                "[database]\nurl = \"x\"",
                "config.toml:1: unknown table database: `oisp-sensor config` lists what there is",
            ),
            (
                "[capture.ring]\nsize = 1",
                "config.toml:1: unknown table capture.ring: did you mean capture.ring_size?",
            ),
            (
                "[[capture]]",
                "config.toml:1: capture is a table: write capture.ring_size = …, or [capture] above",
            ),
            (
                "capture = 3",
                "config.toml:1: capture is a table: write capture.ring_size = …, or [capture] above",
            ),
            (
                "\"capture.ring_size\" = 1",
                "config.toml:1: unknown key \"capture.ring_size\": did you mean capture.ring_size?",
            ),
            ("\"a\\nb\" = 1", "config.toml:1: unknown key a…: `oisp-sensor config` lists what there is"),
        ],
        of_file,
    );
}

#[test]
fn mistakes_in_values_are_said_with_what_is_allowed() {
    compare(
        &[
            ("quiet = 1", "config.toml:1: quiet = 1: must be true or false"),
            ("quiet = \"true\"", "config.toml:1: quiet = \"true\": must be true or false"),
            ("output = true", "config.toml:1: output = true: must be a path"),
            ("output = \"\"", "config.toml:1: output = \"\": must be a path"),
            ("output = \"a\\u0000b\"", "config.toml:1: output = \"a\\u0000b\": must be a path"),
            ("output = [\"a\", \"b\"]", "config.toml:1: output = [\"a\", \"b\"]: must be a path"),
            ("output = 2026-01-01", "config.toml:1: output = 2026-01-01: must be a path"),
            ("[output]\nfile = 1", "config.toml:1: output = [output]: must be a path"),
            (
                "\n\n\n\n\n\nqueues.events = 0",
                "config.toml:7: queues.events = 0: must be 16 to 1000000 (events)",
            ),
            ("queues.events = -1", "config.toml:1: queues.events = -1: must be 16 to 1000000 (events)"),
            (
                "queues.events = 1_000_001",
                "config.toml:1: queues.events = 1_000_001: must be 16 to 1000000 (events)",
            ),
            (
                "queues.events = 99999999999999999999999999",
                "config.toml:1: queues.events = 99999999999999999999999999: must be 16 to 1000000 (events)",
            ),
            (
                "queues.events = 100.0",
                "config.toml:1: queues.events = 100.0: must be a whole number, 16 to 1000000 (events)",
            ),
            (
                "queues.events = \"100\"",
                "config.toml:1: queues.events = \"100\": must be a whole number, 16 to 1000000 (events)",
            ),
            (
                "queues.capture_events = 63",
                "config.toml:1: queues.capture_events = 63: must be 64 to 1048576 (capture events)",
            ),
            (
                "capture.connections = 0x10_0001",
                "config.toml:1: capture.connections = 0x10_0001: must be 1024 to 1048576 (connections)",
            ),
            ("decode.json_depth = 129", "config.toml:1: decode.json_depth = 129: must be 8 to 128 (levels)"),
            (
                "capture.ring_size = \"63 KiB\"",
                "config.toml:1: capture.ring_size = \"63 KiB\": must be 64 KiB to 1 GiB",
            ),
            ("capture.ring_size = 16", "config.toml:1: capture.ring_size = 16: must be 64 KiB to 1 GiB"),
            ("capture.ring_size = -5", "config.toml:1: capture.ring_size = -5: must be 64 KiB to 1 GiB"),
            (
                "capture.ring_size = \"16 M\"",
                "config.toml:1: capture.ring_size = \"16 M\": must be a size such as \"16 MiB\", \"64 KB\" or \
                 65536, 64 KiB to 1 GiB",
            ),
            (
                "capture.ring_size = 1.5",
                "config.toml:1: capture.ring_size = 1.5: must be a size such as \"16 MiB\", \"64 KB\" or 65536, \
                 64 KiB to 1 GiB",
            ),
            (
                "capture.ring_size = \"99999999 TiB\"",
                "config.toml:1: capture.ring_size = \"99999999 TiB\": must be 64 KiB to 1 GiB",
            ),
            ("content.max_text = 1", "config.toml:1: content.max_text = 1: must be 16 B to 1 GiB"),
            (
                "content.max_text = \"unlimited\"",
                "config.toml:1: content.max_text = \"unlimited\": must be a size such as \"16 MiB\", \"64 KB\" or \
                 65536, 16 B to 1 GiB; or \"none\"",
            ),
            (
                "redaction.mode = \"off\"",
                "config.toml:1: redaction.mode = \"off\": must be safe, minimal or full",
            ),
            (
                "redaction.mode = \"Safe\"",
                "config.toml:1: redaction.mode = \"Safe\": must be safe, minimal or full",
            ),
            ("log.format = \"xml\"", "config.toml:1: log.format = \"xml\": must be text or json"),
            (
                "log.level = \"verbose\"",
                "config.toml:1: log.level = \"verbose\": must be error, warn, info, debug or trace, then \
                 TARGET=LEVEL after commas for other levels of targets",
            ),
            (
                "log.level = \"info,decode\"",
                "config.toml:1: log.level = \"info,decode\": must be error, warn, info, debug or trace, then \
                 TARGET=LEVEL after commas for other levels of targets",
            ),
            (
                "log.level = \"info,a b=debug\"",
                "config.toml:1: log.level = \"info,a b=debug\": must be error, warn, info, debug or trace, then \
                 TARGET=LEVEL after commas for other levels of targets",
            ),
            (
                "sample.exchanges = 1.01",
                "config.toml:1: sample.exchanges = 1.01: must be 0 to 1 (0.1 is every tenth)",
            ),
            (
                "sample.exchanges = -0.5",
                "config.toml:1: sample.exchanges = -0.5: must be 0 to 1 (0.1 is every tenth)",
            ),
            (
                "sample.exchanges = nan",
                "config.toml:1: sample.exchanges = nan: must be 0 to 1 (0.1 is every tenth)",
            ),
            (
                "sample.exchanges = \"10%\"",
                "config.toml:1: sample.exchanges = \"10%\": must be a number, 0 to 1 (0.1 is every tenth)",
            ),
            (
                "rate_limit.process = \"0/s\"",
                "config.toml:1: rate_limit.process = \"0/s\": must be 1 to 1000000",
            ),
            (
                "rate_limit.process = 100",
                "config.toml:1: rate_limit.process = 100: must be a rate such as \"10/s\", \"600/min\" or \
                 \"5000/h\", 1 to 1000000; or \"none\"",
            ),
            (
                "rate_limit.connection = \"10/day\"",
                "config.toml:1: rate_limit.connection = \"10/day\": must be a rate such as \"10/s\", \"600/min\" or \
                 \"5000/h\", 1 to 1000000; or \"none\"",
            ),
            (
                "shutdown.drain_timeout = \"301s\"",
                "config.toml:1: shutdown.drain_timeout = \"301s\": must be 0s to 5m",
            ),
            (
                "shutdown.drain_timeout = 5",
                "config.toml:1: shutdown.drain_timeout = 5: must be a duration such as \"5s\", \"100ms\" or \"2m\", \
                 0s to 5m",
            ),
            (
                "shutdown.drain_timeout = \"5 sec\"",
                "config.toml:1: shutdown.drain_timeout = \"5 sec\": must be a duration such as \"5s\", \"100ms\" or \
                 \"2m\", 0s to 5m",
            ),
            ("control.directory = 7", "config.toml:1: control.directory = 7: must be a path; or \"none\""),
            (
                "include.host = \"api.openai.com\"",
                "config.toml:1: include.host = \"api.openai.com\": must be a list of patterns such as [\"a*\", \
                 \"b\"]",
            ),
            (
                "include.host = [\n  \"a\",\n  \"[b\",\n]",
                "config.toml:3: include.host = \"[b\": is not a pattern: unclosed character class; missing ']'",
            ),
            (
                "exclude.model = [\"{a\"]",
                "config.toml:1: exclude.model = \"{a\": is not a pattern: unclosed alternate group; missing '}' \
                 (maybe escape '{' with '[{]'?)",
            ),
            ("exclude.user = [0]", "config.toml:1: exclude.user = 0: a pattern must be a string"),
            (
                "exclude.user = [\"\"]",
                "config.toml:1: exclude.user = \"\": an empty pattern matches nothing; use * for everything",
            ),
        ],
        of_file,
    );
}

#[test]
fn too_many_and_too_long_patterns_are_refused() {
    let many = format!("include.model = [{}]", "\"a\",".repeat(1001));
    assert!(of_file(&many).ends_with("…: must be 1000 patterns at most"), "{}", of_file(&many));
    let long = format!("include.model = [\"{}\"]", "a".repeat(257));
    assert!(of_file(&long).ends_with("aaa…: a pattern must be 256 bytes at most"), "{}", of_file(&long));
    let targets = format!("log.level = \"info{}\"", ",a=info".repeat(101));
    assert!(of_file(&targets).ends_with("…: must name 100 targets at most"), "{}", of_file(&targets));
}

#[test]
fn values_that_do_not_go_together_are_said_with_what_would() {
    compare(
        &[
            (
                "memory.limit = \"40 MiB\"\n[capture]\nring_size = \"32 MiB\"",
                "config.toml:1: memory.limit = \"40 MiB\": must be at least 72 MiB: 32 MiB for capture.ring_size and \
                 40 MiB for all else",
            ),
            (
                "capture.ring_size = \"100 MiB\"",
                "config.toml:1: capture.ring_size = \"100 MiB\": needs a memory.limit of at least 168 MiB; it is 64 \
                 MiB",
            ),
            ("capture.ring_size = \"33 MiB\"\nmemory.limit = \"104 MiB\"", "no mistake"),
        ],
        of_file,
    );
}

#[test]
fn everything_wrong_in_a_file_is_said_at_once_in_the_order_of_its_lines() {
    let text = "\
quiet = maybe
output = \"a\"
output = \"b\"
colour = 1
[redaction]
mode = \"off\"
[include]
host = [\"[\", \"ok\", 3]
[redaction]
mode = \"safe\"
[queues
events = 1
";
    assert_eq!(
        of_file(text),
        "\
config.toml:1: string values must be quoted, expected literal string
config.toml:3: duplicate key output: it stands above already
config.toml:4: unknown key colour: `oisp-sensor config` lists what there is
config.toml:6: redaction.mode = \"off\": must be safe, minimal or full
config.toml:8: include.host = \"[\": is not a pattern: unclosed character class; missing ']'
config.toml:8: include.host = 3: a pattern must be a string
config.toml:9: duplicate key redaction: it stands above already
config.toml:10: duplicate key mode: it stands above already
config.toml:11: unclosed table, expected `]`"
    );
}

#[test]
fn mistakes_in_the_syntax_are_said_with_their_line() {
    compare(
        &[
            ("\n[capture", "config.toml:2: unclosed table, expected `]`"),
            ("quiet =", "config.toml:1: string values must be quoted, expected literal string"),
            ("quiet", "config.toml:1: key with no value, expected `=`"),
            ("= 1", "config.toml:1: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`"),
            ("output = \"a", "config.toml:1: invalid basic string, expected `\"`"),
            ("output = 'a\nquiet = true", "config.toml:1: invalid literal string, expected `'`"),
            ("include.host = [\"a\"", "config.toml:1: unclosed array, expected `]`"),
            (
                "quiet = true quiet = false",
                "config.toml:1: string values must be quoted, expected literal string\nconfig.toml:1: unexpected key or value, expected newline, `#`",
            ),
            ("quiet = true\nquiet = true", "config.toml:2: duplicate key quiet: it stands above already"),
            ("[log]\n[log]", "config.toml:2: duplicate key log: it stands above already"),
            (
                "log.level = \"info\"\n[log]\nformat = \"text\"",
                "config.toml:2: duplicate key log: it stands above already",
            ),
            ("a\u{7}b = 1", "config.toml:1: invalid unquoted key, expected letters, numbers, `-`, `_`"),
            (
                "output = \"\\q\"",
                "config.toml:1: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`",
            ),
            ("queues.events = 0999", "config.toml:1: unexpected leading zero, expected nothing"),
        ],
        of_file,
    );
}

#[test]
fn mistakes_in_the_environment_are_said_with_the_variable() {
    let of = |row: &str| {
        let environment = row
            .split(';')
            .map(|variable| variable.split_once('=').unwrap())
            .map(|(a, b)| (a.into(), b.into()));
        said(&Layers { environment: environment.collect(), ..Layers::default() })
    };
    compare(
        &[
            ("OISP_QUEUES_EVENTS=0", "OISP_QUEUES_EVENTS=0: must be 16 to 1000000 (events)"),
            (
                "OISP_QUEUES_EVENTS=",
                "OISP_QUEUES_EVENTS=\"\": must be a whole number, 16 to 1000000 (events)",
            ),
            ("OISP_QUIET=yes", "OISP_QUIET=yes: must be true or false"),
            ("OISP_QUIET=", "OISP_QUIET=\"\": must be true or false"),
            ("OISP_REDACTION_MODE=none", "OISP_REDACTION_MODE=none: must be safe, minimal or full"),
            (
                "OISP_INCLUDE_HOST=a,{b,c},[",
                "OISP_INCLUDE_HOST=a,{b,c},[: is not a pattern: unclosed character class; missing ']'",
            ),
            ("OISP_CAPTURE_RING_SIZE=64 B", "OISP_CAPTURE_RING_SIZE=\"64 B\": must be 64 KiB to 1 GiB"),
            (
                "OISP_CAPTURE_RING_SIZ=1",
                "OISP_CAPTURE_RING_SIZ: no such setting: did you mean OISP_CAPTURE_RING_SIZE?",
            ),
            ("OISP_RING_SIZE=1", "OISP_RING_SIZE: no such setting: did you mean OISP_CAPTURE_RING_SIZE?"),
            ("OISP_REDACTION=full", "OISP_REDACTION: no such setting: did you mean OISP_REDACTION_MODE?"),
            (
                "OISP_capture_ring_size=1",
                "OISP_capture_ring_size: no such setting: did you mean OISP_CAPTURE_RING_SIZE?",
            ),
            ("OISP_FRUIT=1", "OISP_FRUIT: no such setting: `oisp-sensor config` lists what there is"),
            (
                "OISP_FRUIT=1;OISP_LOG_FORMAT=xml",
                "OISP_FRUIT: no such setting: `oisp-sensor config` lists what there is\n\
                 OISP_LOG_FORMAT=xml: must be text or json",
            ),
            (
                "OISP_MEMORY_LIMIT=41MiB;OISP_CAPTURE_RING_SIZE=32MiB",
                "OISP_MEMORY_LIMIT=\"41 MiB\": must be at least 72 MiB: 32 MiB for capture.ring_size and 40 MiB for all else",
            ),
            (
                "OISP_CONFIG=x;OISP_CORPUS=x;OISP_SPEC=x;OISP_REQUIRE_ALL=1;OISP_EBPF_OBJECT=x;OISP_TEST_VENV=x;OISPX=1;PATH=x",
                "no mistake",
            ),
        ],
        of,
    );
    let environment = vec![("OISP_QUIET".into(), OsStr::from_bytes(b"\xff").to_owned())];
    let layers = Layers { environment, ..Layers::default() };
    assert_eq!(said(&layers), "OISP_QUIET=\u{fffd}: is not UTF-8");
}

#[test]
fn mistakes_in_flags_are_said_as_they_were_typed() {
    let of = |row: &str| said(&Layers { flags: vec![FlagValue::Set(row.into())], ..Layers::default() });
    compare(
        &[
            ("capture.ring_sise=1", "--set: unknown key capture.ring_sise: did you mean capture.ring_size?"),
            ("fruit=1", "--set: unknown key fruit: `oisp-sensor config` lists what there is"),
            ("capture=1", "--set: capture is a table: name one of its keys, such as capture.ring_size"),
            ("=1", "--set: unknown key \"\": `oisp-sensor config` lists what there is"),
            ("quiet", "--set: quiet must be KEY=VALUE"),
            ("", "--set: \"\" must be KEY=VALUE"),
            ("quiet=", "--set quiet=\"\": must be true or false"),
            ("queues.events=0", "--set queues.events=0: must be 16 to 1000000 (events)"),
            ("queues.events = 50", "--set: unknown key \"queues.events \": did you mean queues.events?"),
            ("output=", "--set output=\"\": must be a path"),
            (
                "include.model=a,,b",
                "--set include.model=a,,b: an empty pattern matches nothing; use * for everything",
            ),
        ],
        of,
    );
    let own = |name: &str, value: &str| {
        let flags = vec![FlagValue::Own(key(name).unwrap(), value.into())];
        said(&Layers { flags, ..Layers::default() })
    };
    assert_eq!(own("redaction.mode", "none"), "--redaction none: must be safe, minimal or full");
    assert_eq!(own("output", ""), "--output \"\": must be a path");
    assert_eq!(
        own("capture.ring_size", "64MiB"),
        "--ring-size \"64 MiB\": needs a memory.limit of at least 104 MiB; it is 64 MiB"
    );
}

#[test]
fn mistakes_of_all_places_are_said_together() {
    let layers = Layers {
        file: Some((PathBuf::from("/etc/x.toml"), "quiet = 1".to_owned())),
        environment: vec![("OISP_LOG_FORMAT".into(), "xml".into())],
        flags: vec![FlagValue::Set("queues.events=1".into())],
    };
    assert_eq!(
        said(&layers),
        "/etc/x.toml:1: quiet = 1: must be true or false\n\
         OISP_LOG_FORMAT=xml: must be text or json\n\
         --set queues.events=1: must be 16 to 1000000 (events)"
    );
}

#[test]
fn files_that_cannot_be_read_as_text_are_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let said =
        |path: &Path| check(path).expect_err("refused").to_string().replace(&shown(folder.path()), "F");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(said(folder.path()), "F: is a folder; name the file in it");
    assert_eq!(
        said(&folder.path().join("gone")),
        "F/gone: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(said(&write("bytes", b"quiet = true\n# \xff\n")), "F/bytes:2: is not UTF-8");
    let large = write("large", " ".repeat((1 << 20) + 1).as_bytes());
    assert_eq!(said(&large), "F/large: is larger than 1 MiB, which no configuration is");
    let largest = write("largest", " ".repeat(1 << 20).as_bytes());
    assert!(check(&largest).is_ok());
    assert_eq!(said(&write("nul", b"quiet = true\0")), "F/nul:1: invalid boolean, expected `true`");
}

#[test]
fn file_that_is_named_and_not_there_is_an_error_that_says_who_names_it() {
    let gone = PathBuf::from("/nonexistent/config.toml");
    let flags = Flags { config: Some(gone.clone()), values: Vec::new() };
    let environment = vec![(OsString::from("OISP_CONFIG"), OsString::from("/nonexistent/other.toml"))];
    assert_eq!(
        load(&flags, environment.clone()).unwrap_err().to_string(),
        "/nonexistent/config.toml: there is no such file; --config names it"
    );
    assert_eq!(
        load(&Flags::default(), environment).unwrap_err().to_string(),
        "/nonexistent/other.toml: there is no such file; OISP_CONFIG names it"
    );
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn file_of_nothing_but_mistakes_is_cut_short() {
    let said = of_file(&"quiet = true\n".repeat(5000));
    assert_eq!(said.lines().count(), 101);
    assert!(said.ends_with("config.toml: and 4899 mistakes more"), "{said}");
    for hostile in ["[", "[[", "[[a]]\n", "{", "a=[", "a={a=", "a.", "\"", "=\n", "'''\n"] {
        let said = of_file(&hostile.repeat((1 << 18) / hostile.len()));
        assert!(said.starts_with("config.toml:"), "{hostile}: {said}");
        assert!(said.len() < 100_000, "{hostile}: {} bytes", said.len());
    }
}
