//! A status as text for a terminal of some width.

use std::collections::BTreeMap;

use oisp_control::Status;

/// Narrower than this a table is not readable anyhow.
const NARROWEST: usize = 40;

/// The status in lines of at most `columns` characters; what does not fit is cut and ends in `…`.
pub(super) fn text(status: &Status, columns: usize) -> String {
    let mut page = Page { columns: columns.max(NARROWEST), lines: Vec::new() };
    head(status, &mut page);
    flow(status, &mut page);
    coverage(status, &mut page);
    resources(status, &mut page);
    if !status.last_errors.is_empty() {
        page.title("Last warnings and errors");
        for line in &status.last_errors {
            page.line(&format!("  {} {:5} {}", seconds(line.time), line.level, line.text));
        }
    }
    if !status.omitted.is_empty() {
        page.line("");
        page.line(&format!("not shown here: {}", listed(&status.omitted)));
    }
    page.lines.push(String::new());
    page.lines.join("\n")
}

struct Page {
    columns: usize,
    lines: Vec<String>,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.lines.push(shortened(text.trim_end(), self.columns));
    }

    fn title(&mut self, text: &str) {
        self.line("");
        self.line(text);
    }

    fn fact(&mut self, name: &str, value: &str) {
        self.line(&format!("{name:<14}{value}"));
    }

    /// The first column is text and gives way; the others are numbers.
    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
        };
        let numbers: Vec<usize> = (1..head.len()).map(width).collect();
        let taken: usize = numbers.iter().map(|width| width + 2).sum();
        let first = width(0).min(self.columns.saturating_sub(taken + 2).max(8));
        let head: Vec<String> = head.iter().map(ToString::to_string).collect();
        for row in std::iter::once(&head).chain(rows) {
            let mut line = format!("  {:<first$}", shortened(row.first().map_or("", String::as_str), first));
            for (cell, width) in row.iter().skip(1).zip(&numbers) {
                line.push_str(&format!("  {cell:>width$}"));
            }
            self.line(&line);
        }
    }
}

fn head(status: &Status, page: &mut Page) {
    page.line(&format!(
        "sensor {}, version {}, process {}, up {}{}",
        status.name,
        status.version,
        status.pid,
        duration(status.uptime_seconds),
        status.started.map_or(String::new(), |started| format!(" (since {})", seconds(started)))
    ));
    if let Some(scope) = &status.scope {
        page.fact("records", &scope.text);
    }
    if let Some(processes) = &status.processes {
        let named: Vec<String> = processes
            .first
            .iter()
            .map(|process| match &process.name {
                Some(name) => format!("{} {name}", process.pid),
                None => process.pid.to_string(),
            })
            .collect();
        let more = if processes.count > named.len() as u64 && !named.is_empty() { ", …" } else { "" };
        let separator = if named.is_empty() { "" } else { ": " };
        page.fact("processes", &format!("{}{separator}{}{more}", processes.count, named.join(", ")));
    }
    if let Some(configuration) = &status.configuration {
        let file = configuration.file.as_deref().unwrap_or("defaults and arguments, no file");
        let read = configuration.loaded.map_or(String::new(), |time| format!(", read {}", seconds(time)));
        page.fact("configuration", &format!("{file}{read}"));
        if let Some(problem) = &configuration.problem {
            page.fact("", &format!("refused, what was before is in force: {problem}"));
        }
    }
    if let Some(level) = &status.log_level {
        page.fact("log", level);
    }
    if let Some(open) = status.connections_open {
        page.fact("connections", &format!("{open} open"));
    }
    for sink in &status.sinks {
        let mut text = format!("{} events to {}", sink.written, sink.name);
        if sink.refused > 0 {
            text.push_str(&format!("; {} NOT WRITTEN", sink.refused));
        }
        if let Some(error) = &sink.error {
            text.push_str(&format!("; {error}"));
        }
        page.fact("written", &text);
    }
}

fn flow(status: &Status, page: &mut Page) {
    if !status.stages.is_empty() {
        page.title("Stages");
        let rows: Vec<_> = status
            .stages
            .iter()
            .map(|stage| {
                let dropped: u64 = stage.dropped.values().sum();
                let counts = [stage.received, stage.sent, dropped, stage.errors];
                std::iter::once(stage.name.clone()).chain(counts.map(|count| count.to_string())).collect()
            })
            .collect();
        page.table(&["", "received", "sent", "dropped", "errors"], &rows);
        for stage in status.stages.iter().filter(|stage| !stage.dropped.is_empty()) {
            page.line(&format!("  dropped by {}: {}", stage.name, listed(&stage.dropped)));
        }
    }
    if !status.queues.is_empty() {
        page.title("Queues");
        let rows: Vec<_> = status
            .queues
            .iter()
            .map(|queue| {
                let counts = [queue.length, queue.high_water, queue.capacity];
                std::iter::once(queue.name.clone()).chain(counts.map(|count| count.to_string())).collect()
            })
            .collect();
        page.table(&["", "now", "most", "capacity"], &rows);
    }
}

fn coverage(status: &Status, page: &mut Page) {
    page.title("Probed");
    if status.attached.is_empty() {
        page.line("  nothing: what is encrypted is not seen");
    }
    for file in &status.attached {
        let processes = match file.processes {
            Some(1) => "; 1 process".to_owned(),
            Some(number) => format!("; {number} processes"),
            None => String::new(),
        };
        let (libraries, functions) = (file.libraries.join(", "), file.functions.join(", "));
        page.line(&format!("  {} ({libraries}: {functions}{processes})", file.path));
        if let Some(proof) = &file.proof {
            page.line(&format!("    {proof}"));
        }
    }
    if status.coverage.counts.values().any(|count| *count > 0) || !status.coverage.recent.is_empty() {
        page.title("Not seen");
        if !status.coverage.counts.is_empty() {
            page.line(&format!("  {}", listed(&status.coverage.counts)));
        }
        for finding in &status.coverage.recent {
            page.line(&format!("  {} {}", seconds(finding.time), finding.text));
        }
    }
    let lost: BTreeMap<_, _> =
        status.kernel_losses.iter().filter(|(_, count)| **count > 0).map(|(k, v)| (k.clone(), *v)).collect();
    page.title("Lost in the kernel");
    page.line(&if lost.is_empty() { "  nothing".to_owned() } else { format!("  {}", listed(&lost)) });
}

fn resources(status: &Status, page: &mut Page) {
    if status.memory.is_some() || status.cpu.is_some() {
        page.title("Takes");
    }
    if let Some(memory) = &status.memory {
        let mut parts = Vec::new();
        let used: u64 = memory.buffers.values().sum();
        if !memory.buffers.is_empty() || memory.limit_bytes.is_some() {
            let limit = memory.limit_bytes.map_or(String::new(), |limit| format!(" of {}", bytes(limit)));
            parts.push(format!("buffers {}{limit}", bytes(used)));
        }
        for (name, value) in [
            ("resident", memory.resident_anonymous_bytes),
            ("files", memory.resident_file_bytes),
            ("shared", memory.resident_shared_bytes),
        ] {
            parts.extend(value.map(|value| format!("{name} {}", bytes(value))));
        }
        if !memory.kernel.is_empty() {
            parts.push(format!("kernel {}", bytes(memory.kernel.values().sum())));
        }
        page.line(&format!("  memory  {}", parts.join(", ")));
        if used > 0 {
            let kinds: Vec<_> =
                memory.buffers.iter().map(|(kind, size)| format!("{kind} {}", bytes(*size))).collect();
            page.line(&format!("          buffers: {}", kinds.join(", ")));
        }
    }
    if let Some(cpu) = &status.cpu {
        let recently = match (cpu.percent_recently, cpu.interval_seconds) {
            (Some(percent), Some(interval)) => {
                format!(", {percent:.2} % in the last {interval:.0} s")
            }
            _ => String::new(),
        };
        page.line(&format!(
            "  CPU     {:.2} % of one core since the start{recently} ({:.1} s user, {:.1} s system)",
            cpu.percent_since_start, cpu.user_seconds, cpu.system_seconds
        ));
    }
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn seconds(time: jiff::Timestamp) -> String {
    format!("{time:.0}")
}

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

fn bytes(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let number_ = number as f64;
    match number {
        0..1024 => format!("{number} B"),
        1024..1_048_576 => format!("{:.1} KiB", number_ / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", number_ / 1_048_576.0),
        _ => format!("{:.1} GiB", number_ / 1_073_741_824.0),
    }
}

fn shortened(text: &str, columns: usize) -> String {
    match text.char_indices().nth(columns) {
        None => text.to_owned(),
        Some(_) => text.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oisp_control::{
        Attached, ConfigurationState, Coverage, Cpu, ErrorLine, Finding, Memory, ProcessEntry, Processes,
        Queue, Scope, ScopeKind, Sink, Stage,
    };

    fn full() -> Status {
        let time: jiff::Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let counts = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
        Status {
            status_version: 1,
            name: "host".into(),
            version: "0.1.0".into(),
            pid: 4711,
            started: Some(time),
            uptime_seconds: 3_725,
            log_level: Some("info,oisp_capture_ebpf=debug".into()),
            scope: Some(Scope { kind: ScopeKind::Host, text: "the whole host".into() }),
            configuration: Some(ConfigurationState {
                file: Some("/etc/oisp-sensor/config.toml".into()),
                loaded: Some(time),
                problem: Some("line 3: unknown key".into()),
            }),
            attached: vec![Attached {
                path: "/usr/lib/x86_64-linux-gnu/libssl.so.3".into(),
                libraries: vec!["OpenSSL".into()],
                functions: vec!["SSL_read".into(), "SSL_write".into()],
                processes: Some(2),
                proof: Some("both directions proven".into()),
            }],
            processes: Some(Processes {
                count: 2,
                first: vec![ProcessEntry { pid: 12, name: Some("python3".into()) }],
            }),
            coverage: Coverage {
                counts: counts("attached_late", 1),
                recent: vec![Finding { time, text: "/opt/libssl.so was probed late".into() }],
            },
            stages: vec![
                Stage {
                    name: "decode".into(),
                    received: 10,
                    sent: 8,
                    dropped: counts("limit", 2),
                    errors: 0,
                },
                Stage { name: "a stage with a name that is rather long".into(), ..Stage::default() },
            ],
            queues: vec![Queue { name: "capture".into(), capacity: 512, length: 3, high_water: 40 }],
            kernel_losses: BTreeMap::from([("ring_full_bytes".into(), 9), ("calls".into(), 0)]),
            memory: Some(Memory {
                limit_bytes: Some(64 << 20),
                buffers: counts("assembly", 1536),
                resident_anonymous_bytes: Some(5 << 20),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                percent_since_start: 0.125,
                percent_recently: Some(1.0),
                interval_seconds: Some(2.0),
                ..Cpu::default()
            }),
            connections_open: Some(7),
            sinks: vec![Sink {
                name: "jsonl events.jsonl".into(),
                written: 5,
                refused: 1,
                error: Some("disk full".into()),
            }],
            last_errors: vec![ErrorLine { time, level: "warn".into(), text: "something".into() }],
            omitted: counts("attached", 12),
        }
    }

    #[test]
    fn everything_that_an_operator_looks_for_is_there() {
        let text = text(&full(), usize::MAX);
        for expected in [
            "sensor host, version 0.1.0, process 4711, up 1 h 2 min (since 2026-01-02T03:04:05Z)",
            "records       the whole host",
            "processes     2: 12 python3, …",
            "configuration /etc/oisp-sensor/config.toml, read 2026-01-02T03:04:05Z",
            "refused, what was before is in force: line 3: unknown key",
            "written       5 events to jsonl events.jsonl; 1 NOT WRITTEN; disk full",
            "dropped by decode: limit 2",
            "/usr/lib/x86_64-linux-gnu/libssl.so.3 (OpenSSL: SSL_read, SSL_write; 2 processes)\n    both directions proven",
            "  attached_late 1\n  2026-01-02T03:04:05Z /opt/libssl.so was probed late",
            "Lost in the kernel\n  ring_full_bytes 9\n",
            "memory  buffers 1.5 KiB of 64.0 MiB, resident 5.0 MiB",
            "0.12 % of one core since the start, 1.00 % in the last 2 s",
            "warn  something",
            "not shown here: attached 12",
        ] {
            assert!(text.contains(expected), "{expected}\n---\n{text}");
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let text = text(&full(), 80);
        let lines: Vec<&str> = text.lines().collect();
        let head = lines.iter().position(|line| line.contains("received")).unwrap();
        let widths: Vec<usize> = lines[head..head + 3].iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [NARROWEST, 57, 80] {
            for line in text(&full(), columns).lines() {
                assert!(line.chars().count() <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn status_of_which_nothing_is_known_is_shown_without_zeros_for_it() {
        let text = text(&Status::default(), 80);
        assert!(!text.contains("memory") && !text.contains("CPU") && !text.contains("connections"), "{text}");
        assert!(text.contains("nothing: what is encrypted is not seen"), "{text}");
    }
}
