//! Recorded exchanges with real services.

#![expect(clippy::expect_used, reason = "a corpus that cannot be read is not measured")]

use std::path::Path;

use serde_json::Value;

use crate::exchanges::{Exchange, chunked, length, request};

/// Successful calls whose path ends so and whose bodies are text; `None` without a corpus.
pub(crate) fn exchanges(path: &str) -> Option<Vec<Exchange>> {
    let folder = std::env::var_os("OISP_CORPUS")?;
    let text =
        std::fs::read_to_string(Path::new(&folder).join("exchanges.jsonl")).expect("the corpus is readable");
    Some(text.lines().filter_map(|line| exchange(line, path)).collect())
}

fn exchange(line: &str, end: &str) -> Option<Exchange> {
    let recorded: Value = serde_json::from_str(line).expect("a line is JSON");
    let (host, path) = recorded["url"].as_str()?.split_once("://")?.1.split_once('/')?;
    let path = format!("/{path}");
    let bare = path.split('?').next()?;
    if recorded["status"] != 200 || !bare.ends_with(end) {
        return None;
    }
    let (asked, answered) = (recorded["request_body"].as_str()?, recorded["response_body"].as_str()?);
    let sent = request(host, &path, asked.as_bytes());
    let mut json = vec![asked.as_bytes().to_vec()];
    let media_type = recorded["response_headers"]["content-type"].as_str().unwrap_or_default();
    if !["text/event-stream", "application/json"].iter().any(|known| media_type.starts_with(known)) {
        return None;
    }
    let received = if media_type.starts_with("text/event-stream") {
        let events: Vec<&[u8]> = answered.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
        let data = answered.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        json.extend(data.filter(|data| *data != "[DONE]").map(|data| data.as_bytes().to_vec()));
        // A chunk for each event, as servers write them.
        let events: Vec<Vec<u8>> =
            events.split_inclusive(|line| line.trim_ascii().is_empty()).map(|lines| lines.concat()).collect();
        chunked(&events)
    } else {
        json.push(answered.as_bytes().to_vec());
        length(answered.as_bytes())
    };
    Some(Exchange { sent, received, json })
}
