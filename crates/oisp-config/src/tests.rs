//! What holds for every key of the table.

use std::path::PathBuf;

use proptest::prelude::*;

use crate::{Layers, Settings, default_file, keys, merge, reference_markdown, to_toml};

/// Any value for each key, whether or not they go together.
fn any_settings() -> impl Strategy<Value = Settings> {
    let each: Vec<_> = keys().map(|key| (key.any)()).collect();
    each.prop_map(|one_a_key| {
        let mut settings = Settings::default();
        keys().zip(&one_a_key).for_each(|(key, one)| (key.copy)(one, &mut settings));
        settings
    })
}

fn read(text: &str) -> Settings {
    let mut settings = Settings::default();
    let problems = crate::file::apply(
        &PathBuf::from("config.toml"),
        text,
        &mut settings,
        &mut std::collections::BTreeMap::new(),
    );
    assert!(problems.is_empty(), "{problems:?}\n{text}");
    settings
}

proptest! {
    // Each makes a value for every key.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn settings_written_as_a_file_are_read_as_the_same(settings in any_settings()) {
        let text = to_toml(&settings);
        prop_assert_eq!(read(&text), settings, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reading_panic(text in "(\\[?[a-z_.]{0,12}\\]?( ?= ?[\"\\[{a-z0-9.,'-]{0,9})?\n?|.{0,5}){0,6}") {
        let file = Some((PathBuf::from("c"), text));
        let _ = merge(&Layers { file, ..Layers::default() });
    }

    #[test]
    fn mistake_in_any_key_names_the_key_and_what_is_allowed(at in 0..keys().count()) {
        let key = keys().nth(at).unwrap();
        let text = format!("{} = {{ a = 1 }}", key.path);
        let file = Some((PathBuf::from("c"), text));
        let said = merge(&Layers { file, ..Layers::default() }).unwrap_err().to_string();
        prop_assert_eq!(said, format!("c:1: {} = {{ a = 1 }}: must be {}", key.path, key.allowed()));
    }
}

#[test]
fn default_file_changes_nothing_and_each_of_its_lines_can_be_used() {
    let text = default_file();
    assert_eq!(read(&text), Settings::default());
    let used = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        used.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count(),
        keys().count()
    );
    assert_eq!(read(&used), Settings::default());
    assert!(text.lines().all(|line| line.chars().count() <= 110), "a line is too long");
}

/// The reference page in git is the one that the table makes.
#[test]
fn reference_page_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let made = reference_markdown();
    if std::env::var_os("OISP_TEST_BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/configuration.md is not what the table of settings makes; \
         run `OISP_TEST_BLESS=1 cargo test -p oisp-config` and commit it"
    );
}

#[test]
fn secret_values_are_in_no_message_and_not_shown() {
    let ordinary = crate::key("queues.events").unwrap();
    let secret = crate::Key { secret: true, ..*ordinary };
    assert_eq!(secret.value(&Settings::default()), "\"(not shown)\"");
    let secret: &'static crate::Key = Box::leak(Box::new(secret));
    let flags = vec![crate::FlagValue::Own(secret, "hunter2".into())];
    let said = merge(&Layers { flags, ..Layers::default() }).unwrap_err().to_string();
    assert_eq!(said, "--queues.events: must be a whole number, 16 to 1000000 (events)");
}
