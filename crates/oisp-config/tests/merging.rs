//! Which value holds, where it comes from, and what a reload makes of a change.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::ffi::OsString;
use std::path::PathBuf;

use oisp_config::{
    Applies, ByteSize, Configuration, FlagValue, Flags, Layers, LogFormat, Origin, RedactionMode, Settings,
    default_paths, effective, key, keys, load, merge,
};

fn variable(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

fn own(name: &str, value: &str) -> FlagValue {
    FlagValue::Own(key(name).unwrap(), value.into())
}

fn origin(configuration: &Configuration, name: &str) -> String {
    configuration.origin(key(name).unwrap()).to_string()
}

#[test]
fn later_places_go_before_earlier_ones_and_each_value_knows_its_place() {
    let text = "\nquiet = true\noutput = \"file\"\n[queues]\nevents = 100\ncapture_events = 100\n";
    let configuration = merge(&Layers {
        file: Some((PathBuf::from("/etc/c.toml"), text.to_owned())),
        environment: vec![variable("OISP_OUTPUT", "environment"), variable("OISP_QUEUES_EVENTS", "200")],
        flags: vec![
            own("output", "flag"),
            own("redaction.mode", "full"),
            FlagValue::Set("log.format=json".into()),
        ],
    })
    .unwrap();
    let settings = &configuration.settings;
    assert_eq!(settings.output, PathBuf::from("flag"));
    assert_eq!(settings.queues.events, 200);
    assert_eq!(settings.queues.capture_events, 100);
    assert!(settings.quiet);
    assert_eq!(settings.redaction.mode, RedactionMode::Full);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.memory.limit, ByteSize::mib(64));
    for (name, expected) in [
        ("output", "--output"),
        ("redaction.mode", "--redaction"),
        ("log.format", "--set"),
        ("queues.events", "OISP_QUEUES_EVENTS"),
        ("queues.capture_events", "/etc/c.toml:6"),
        ("quiet", "/etc/c.toml:2"),
        ("memory.limit", "default"),
    ] {
        assert_eq!(origin(&configuration, name), expected, "{name}");
    }
    let shown = effective(&configuration);
    for line in ["output = \"flag\" ", "# --output", "# /etc/c.toml:6", "# OISP_QUEUES_EVENTS", "# default"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn of_flags_with_the_same_key_the_last_holds_whichever_kind_it_is() {
    for (flags, expected) in [
        (vec![own("output", "a"), FlagValue::Set("output=b".into())], "b"),
        (vec![FlagValue::Set("output=b".into()), own("output", "a")], "a"),
        (vec![own("output", "a"), own("output", "c")], "c"),
    ] {
        let configuration = merge(&Layers { flags, ..Layers::default() }).unwrap();
        assert_eq!(configuration.settings.output, PathBuf::from(expected));
    }
}

#[test]
fn later_place_takes_back_what_an_earlier_one_gave() {
    let text = "content.max_text = 100\nrate_limit.process = \"1/s\"\ninclude.model = [\"a\"]\ncontrol.directory = \"/x\"";
    let layers = |environment| Layers {
        file: Some((PathBuf::from("c.toml"), text.to_owned())),
        environment,
        flags: Vec::new(),
    };
    let given = merge(&layers(Vec::new())).unwrap().settings;
    assert_eq!(given.content.max_text, Some(ByteSize::new(100)));
    let taken_back = merge(&layers(vec![
        variable("OISP_CONTENT_MAX_TEXT", "none"),
        variable("OISP_RATE_LIMIT_PROCESS", "none"),
        variable("OISP_INCLUDE_MODEL", ""),
        variable("OISP_CONTROL_DIRECTORY", "none"),
    ]));
    assert_eq!(taken_back.unwrap().settings, Settings::default());
}

#[test]
fn file_is_the_named_one_else_the_first_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, events: u32| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("queues.events = {events}\n")).unwrap();
        path
    };
    let flag = write("flag.toml", 101);
    let named = write("named.toml", 102);
    let xdg = write("xdg/oisp-sensor/config.toml", 103);
    let home = write("home/.config/oisp-sensor/config.toml", 104);
    let folder_variable =
        |name: &str, of: &str| (OsString::from(name), folder.path().join(of).into_os_string());
    let (in_xdg, in_home) = (folder_variable("XDG_CONFIG_HOME", "xdg"), folder_variable("HOME", "home"));
    let by_variable = (OsString::from("OISP_CONFIG"), named.clone().into_os_string());
    let by_flag = Flags { config: Some(flag.clone()), values: Vec::new() };

    let found = |flags: &Flags, environment: &[(OsString, OsString)]| {
        let configuration = load(flags, environment.to_vec()).unwrap();
        (configuration.settings.queues.events, configuration.file)
    };
    let all = [by_variable.clone(), in_xdg.clone(), in_home.clone()];
    assert_eq!(found(&by_flag, &all), (101, Some(flag)));
    assert_eq!(found(&Flags::default(), &all), (102, Some(named)));
    assert_eq!(found(&Flags::default(), &[in_xdg.clone(), in_home.clone()]), (103, Some(xdg)));
    assert_eq!(found(&Flags::default(), &[variable("OISP_CONFIG", ""), in_home.clone()]), (104, Some(home)));
    let relative = [variable("XDG_CONFIG_HOME", "xdg"), in_home];
    assert_eq!(default_paths(&relative)[0], folder.path().join("home/.config/oisp-sensor/config.toml"));
    assert_eq!(default_paths(&[]), [PathBuf::from("/etc/oisp-sensor/config.toml")]);
    assert_eq!(
        default_paths(&[in_xdg])[1],
        PathBuf::from("/etc/oisp-sensor/config.toml"),
        "the host's file comes after the user's"
    );
}

#[test]
fn changes_are_told_apart_by_when_they_take_effect() {
    let old = Settings::default();
    let mut new = old.clone();
    assert_eq!(old.changes(&new), oisp_config::Changes::default());
    new.redaction.mode = RedactionMode::Minimal;
    new.capture.ring_size = ByteSize::mib(32);
    new.output = PathBuf::from("other");
    let changes = old.changes(&new);
    let names = |keys: &[&'static oisp_config::Key]| keys.iter().map(|key| key.path).collect::<Vec<_>>();
    assert_eq!(names(&changes.live), ["redaction.mode"]);
    assert_eq!(names(&changes.restart), ["output", "capture.ring_size"]);
    let reloaded = old.reloaded(&new);
    assert_eq!(reloaded.redaction.mode, RedactionMode::Minimal);
    assert_eq!((reloaded.output, reloaded.capture.ring_size), (old.output, old.capture.ring_size));
}

#[test]
fn names_are_not_ambiguous_in_any_place() {
    let distinct = |names: Vec<String>| {
        let count = names.len();
        let set: std::collections::BTreeSet<_> = names.into_iter().collect();
        assert_eq!(set.len(), count);
    };
    distinct(keys().map(|key| key.path.to_owned()).collect());
    distinct(keys().map(|key| key.variable()).collect());
    distinct(keys().filter_map(|key| key.flag).map(|flag| flag.long.to_owned()).collect());
    distinct(keys().filter_map(|key| key.flag?.short).map(|letter| letter.to_string()).collect());
    assert!(keys().any(|key| key.applies == Applies::Live));
    let flag = Origin::Flag("--set".to_owned());
    assert_ne!(flag, Origin::Default);
}
