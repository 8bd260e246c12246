use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tracing::{debug, error, info, warn};

use super::*;

/// A log in memory with a clock that is set by hand.
struct Fixture {
    written: Arc<Mutex<Vec<u8>>>,
    seconds: Arc<AtomicU64>,
    logging: Logging,
    dispatch: tracing::Dispatch,
}

struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(levels: &str, format: Format) -> Fixture {
    let written = Arc::new(Mutex::new(Vec::new()));
    let seconds = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&seconds);
    let settings = Settings {
        levels: levels.parse().unwrap(),
        format,
        redact: Arc::new(|text| {
            // Knows a key by itself and a password by its name.
            let text = text.replace("sk-secret\nkey", "[REDACTED]").replace("sk-secret", "[REDACTED]");
            if text.starts_with("password=") { "password=[REDACTED]".to_owned() } else { text }
        }),
        limit: Limit { lines: 3, interval: Duration::from_secs(10) },
    };
    let clock = Box::new(move || Duration::from_secs(now.load(Ordering::SeqCst)));
    let (subscriber, logging) = build(settings, Box::new(Memory(Arc::clone(&written))), clock);
    Fixture { written, seconds, logging, dispatch: tracing::Dispatch::new(subscriber) }
}

impl Fixture {
    fn run(&self, work: impl FnOnce()) {
        tracing::dispatcher::with_default(&self.dispatch, work);
    }

    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    /// The lines without their time, which is checked to be one.
    fn lines(&self) -> Vec<String> {
        let whole = self.text();
        whole
            .lines()
            .map(|line| {
                let (time, rest) = line.split_once(' ').unwrap();
                assert_eq!(time.len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
                time.parse::<jiff::Timestamp>().unwrap();
                rest.to_owned()
            })
            .collect()
    }
}

const HERE: &str = "oisp_sensor::logging::tests";

#[test]
fn line_has_time_level_target_message_and_fields() {
    let log = log("info", Format::Text);
    log.run(|| warn!(pid = 4711, path = "/a b", empty = "", "cannot {}", "attach"));
    assert_eq!(log.lines(), [format!("warn  {HERE}: cannot attach pid=4711 path=\"/a b\" empty=\"\"")]);
}

#[test]
fn json_line_is_one_object() {
    let log = log("info", Format::Json);
    log.run(|| error!(pid = 1, "two\nlines \"quoted\""));
    let text = log.text();
    assert_eq!(text.lines().count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["target"], HERE);
    assert_eq!(line["message"], "two\nlines \"quoted\"");
    assert_eq!(line["fields"]["pid"], "1");
    line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn secrets_are_removed_from_messages_fields_and_remembered_errors_in_both_formats() {
    for format in [Format::Text, Format::Json] {
        let log = log("info", format);
        log.run(|| {
            // In JSON the newline would be escaped, and the key not be known any more.
            error!(header = "x sk-secret", password = "hunter2", "key sk-secret\nkey");
        });
        let everything = format!("{}{:?}", log.text(), log.logging.last_errors());
        assert!(!everything.contains("secret") && !everything.contains("hunter2"), "{everything}");
        assert_eq!(everything.matches("[REDACTED]").count(), 6, "{everything}");
    }
}

#[test]
fn text_of_others_begins_no_line_and_controls_no_terminal() {
    let log = log("info", Format::Text);
    log.run(|| info!(name = "a\u{1b}[2J\u{202e}", "one\r\n2026-01-01T00:00:00Z error forged"));
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains(|c: char| c.is_control() || c == '\u{202e}'), "{lines:?}");
}

#[test]
fn huge_values_are_cut() {
    struct Endless;
    impl fmt::Debug for Endless {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                formatter.write_str("ä never ends ")?;
            }
        }
    }
    let log = log("info", Format::Text);
    log.run(|| info!(value = ?Endless, "{:?}", Endless));
    let text = log.text();
    assert!(text.len() < 5000 && text.contains('…'), "{}", text.len());
}

#[test]
fn levels_hold_for_targets_and_change_while_running() {
    let log = log("warn,oisp_sensor::logging=info", Format::Text);
    let speak = || {
        info!("info here");
        debug!("debug here");
        info!(target: "oisp_other", "info there");
        warn!(target: "oisp_other", "warn there");
    };
    log.run(speak);
    assert_eq!(log.lines(), [format!("info  {HERE}: info here"), "warn  oisp_other: warn there".to_owned()]);
    // Inside, because tracing asks this thread's subscriber which lines it wants; the sensor's is every thread's.
    log.run(|| log.logging.set_levels(&"error,oisp_sensor=debug".parse().unwrap()).unwrap());
    assert_eq!(log.logging.levels(), "error,oisp_sensor=debug");
    log.run(speak);
    assert_eq!(log.lines()[2..], [format!("info  {HERE}: info here"), format!("debug {HERE}: debug here")]);
}

#[test]
fn mistyped_levels_are_refused_and_not_taken_for_targets() {
    for bad in ["", "inof", "warn,", "info,=debug", "oisp_decode", "a b=info", "info,oisp_decode=loud"] {
        assert!(bad.parse::<Levels>().is_err(), "{bad:?}");
    }
    let levels: Levels = " info , oisp_decode = debug ".parse().unwrap();
    assert!(levels.targets.would_enable("oisp_decode::http1", &Level::DEBUG));
    assert!(!levels.targets.would_enable("oisp_ai", &Level::DEBUG));
    assert!("oisp_decode=off".parse::<Levels>().unwrap().targets.would_enable("oisp_ai", &Level::INFO));
}

fn repeated(number: usize) {
    for _ in 0..number {
        warn!(pid = 1, "again sk-secret");
    }
}

#[test]
fn repeats_are_suppressed_and_told_when_their_interval_is_over() {
    let log = log("info", Format::Text);
    log.run(|| {
        repeated(10);
        info!("another");
        log.seconds.store(10, Ordering::SeqCst);
        info!("later");
        repeated(1);
    });
    let again = format!("warn  {HERE}: again [REDACTED] pid=1");
    assert_eq!(
        log.lines(),
        [
            again.clone(),
            again.clone(),
            again.clone(),
            format!("info  {HERE}: another"),
            format!("warn  {HERE}: 7 more like this suppressed: again [REDACTED]"),
            format!("info  {HERE}: later"),
            again,
        ]
    );
}

#[test]
fn repeats_are_told_without_a_further_line_and_at_the_end() {
    let log = log("info", Format::Text);
    log.run(|| repeated(4));
    log.logging.tell_suppressed();
    assert_eq!(log.lines().len(), 3);
    log.seconds.store(10, Ordering::SeqCst);
    log.logging.tell_suppressed();
    assert_eq!(log.lines()[3..], [format!("warn  {HERE}: 1 more like this suppressed: again [REDACTED]")]);
    log.run(|| repeated(5));
    log.logging.finish();
    log.logging.finish();
    assert_eq!(log.lines().len(), 4 + 3 + 1);
}

#[test]
fn every_line_is_written_or_counted_however_many_different_ones_there_are() {
    let log = log("info", Format::Text);
    log.run(|| {
        for number in 0..10_000 {
            warn!("process {number}");
        }
    });
    log.logging.finish();
    let lines = log.lines();
    let told: u64 = lines
        .iter()
        .filter_map(|line| line.strip_suffix(" more of many kinds suppressed")?.rsplit(' ').next())
        .map(|number| number.parse::<u64>().unwrap())
        .sum();
    let written = lines.iter().filter(|line| line.contains(": process ")).count() as u64;
    assert_eq!(written + told, 10_000);
    assert!(written < 400, "{written}");
}

#[test]
fn last_errors_are_bounded_and_hold_warnings_and_errors_only() {
    let log = log("trace", Format::Text);
    log.run(|| {
        for number in 0..30 {
            warn!("number {number}");
            info!("not this");
        }
        error!(code = 5, "the last");
    });
    let errors = log.logging.last_errors();
    assert_eq!(errors.len(), 20);
    assert_eq!(errors[0].text, "number 11");
    assert_eq!((errors[19].level.as_str(), errors[19].text.as_str()), ("error", "the last code=5"));
}
