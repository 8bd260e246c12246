//! The client program and what it says of itself.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use super::LibraryCopy;

static CLIENT: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(given) = std::env::var_os("OISP_TEST_CLIENT") {
        return PathBuf::from(given);
    }
    // target/PROFILE/deps/kernel-HASH
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--quiet", "--package", "oisp-testkit", "--bin", "oisp-test-client"]);
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(profile.parent().unwrap());
    assert!(build.status().expect("cargo").success(), "oisp-test-client does not build");
    profile.join("oisp-test-client")
});

pub(crate) fn client_executable() -> &'static Path {
    &CLIENT
}

/// The client, which uses the copy: `plain --bytes 100`.
pub(crate) fn client(library: &LibraryCopy, arguments: &str) -> Command {
    let mut command = Command::new(&*CLIENT);
    command.args(arguments.split_whitespace()).arg("--library-folder").arg(library.folder());
    command
}

/// Which way, as the process sees it.
pub(crate) use oisp_capture::Direction;

/// What a process knows of one of its TLS objects.
#[derive(Clone, Debug)]
pub(crate) struct ObjectTruth {
    pub(crate) pid: u32,
    pub(crate) address: u64,
    value: Value,
}

impl ObjectTruth {
    fn of(&self, direction: Direction) -> &Value {
        match direction {
            Direction::Sent => &self.value["wrote"],
            Direction::Received => &self.value["read"],
        }
    }

    pub(crate) fn total(&self, direction: Direction) -> u64 {
        self.of(direction)["bytes"].as_u64().unwrap()
    }

    pub(crate) fn sha256(&self, direction: Direction) -> &str {
        self.of(direction)["sha256"].as_str().unwrap()
    }

    /// The port on this side.
    pub(crate) fn local_port(&self) -> u64 {
        self.value["local_port"].as_u64().unwrap()
    }
}

/// What a process printed at its end.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) objects: Vec<ObjectTruth>,
    pub(crate) notes: Value,
}

/// All that is in the output of one or more programs, in its order.
pub(crate) fn truths(output: &str) -> Vec<Truth> {
    output
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|value| value["objects"].is_array())
        .map(|value| Truth {
            objects: value["objects"].as_array().unwrap().iter().map(object).collect(),
            notes: value["notes"].clone(),
        })
        .collect()
}

fn object(value: &Value) -> ObjectTruth {
    let address = value["address"].as_str().and_then(|text| text.strip_prefix("0x")).unwrap();
    ObjectTruth {
        pid: u32::try_from(value["pid"].as_u64().unwrap()).unwrap(),
        address: u64::from_str_radix(address, 16).unwrap(),
        value: value.clone(),
    }
}

/// The next line of JSON that a program prints (`{"pid": …}`).
pub(crate) fn line_of(output: &mut impl BufRead) -> Value {
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the program ended without a word");
    }
    serde_json::from_str(&line).unwrap()
}
