//! What goes over the socket: one JSON object a line, in both directions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;
/// Bytes of a request with its newline.
pub const MAX_REQUEST: usize = 64 << 10;
/// Bytes of an answer with its newline.
pub const MAX_ANSWER: usize = 1 << 20;

/// What a sensor can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// What it does: answered with a [`Status`](crate::Status).
    Status,
    /// End the recording in good order: answered before it has ended.
    Stop,
    /// Read the configuration again: answered with a [`ReloadReport`](crate::ReloadReport).
    Reload,
}

impl Command {
    const ALL: [(&'static str, Self); 3] =
        [("status", Self::Status), ("stop", Self::Stop), ("reload", Self::Reload)];

    /// The request's line, with its newline.
    #[must_use]
    pub fn request_line(self) -> String {
        let name = Self::ALL.iter().find(|(_, command)| *command == self).map_or("", |(name, _)| *name);
        format!("{{\"version\":{VERSION},\"command\":\"{name}\"}}\n")
    }
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a JSON object with `version` and `command`.
    BadRequest,
    /// A version of the protocol that this sensor does not speak.
    UnsupportedVersion,
    /// No command of this version.
    UnknownCommand,
    /// Longer than [`MAX_REQUEST`]; the connection is closed.
    TooLong,
    /// The other process belongs to another user; the connection is closed.
    NotPermitted,
    /// Too many clients at once; the connection is closed.
    Busy,
    /// No request, or no reading of the answer, for too long; the connection is closed.
    TooSlow,
    /// The sensor could not answer.
    Internal,
    /// A code that this client does not know.
    #[serde(other)]
    Other,
}

/// An error as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// An answer: `ok` or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The version of the protocol that the sensor speaks.
    pub version: u32,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Value>,
    /// Why it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// The answer's line, with its newline.
pub(crate) fn answer_line<T: Serialize>(result: Result<T, Refusal>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<T> {
        version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        ok: Option<T>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Refusal>,
    }
    let refused = result.is_err();
    let line = match result {
        Ok(value) => Line { version: VERSION, ok: Some(value), error: None },
        Err(refusal) => Line { version: VERSION, ok: None, error: Some(refusal) },
    };
    let problem = match serde_json::to_vec(&line) {
        Ok(mut bytes) if bytes.len() < MAX_ANSWER => {
            bytes.push(b'\n');
            return bytes;
        }
        Ok(bytes) => format!("the answer has {} bytes; {MAX_ANSWER} are the limit", bytes.len()),
        Err(error) => format!("the answer cannot be written as JSON: {error}"),
    };
    if refused {
        // An error's text is bounded and is always JSON: this is not reached, and an empty line is no answer.
        return b"\n".to_vec();
    }
    answer_line::<Value>(Err(Refusal::new(ErrorCode::Internal, problem)))
}

/// Reads a request's line (without its newline, or with it).
///
/// # Errors
/// What is wrong with it. The text quotes at most a few harmless characters of the line.
pub fn parse_request(line: &[u8]) -> Result<Command, Refusal> {
    let bad = |text: &str| Refusal::new(ErrorCode::BadRequest, format!("{text}; {EXAMPLE}"));
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Err(bad("the request is not JSON"));
    };
    let Value::Object(request) = value else { return Err(bad("the request is not a JSON object")) };
    // First of all: the rest may mean something else in another version.
    match request.get("version") {
        None => return Err(bad("the request has no \"version\"")),
        Some(version) if version.as_u64() == Some(u64::from(VERSION)) => {}
        Some(Value::Number(version)) => {
            return Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!("this sensor speaks version {VERSION} of the protocol, not {version}"),
            ));
        }
        Some(_) => return Err(bad("\"version\" is not a number")),
    }
    // A key that is not understood could have been meant to change what is done.
    if let Some(key) = request.keys().find(|key| !matches!(key.as_str(), "version" | "command")) {
        return Err(bad(&format!("unknown key \"{}\"", quoted(key))));
    }
    match request.get("command") {
        Some(Value::String(name)) => {
            Command::ALL.iter().find(|(known, _)| known == name).map(|(_, command)| *command).ok_or_else(
                || {
                    Refusal::new(
                        ErrorCode::UnknownCommand,
                        format!("unknown command \"{}\"; there are status, stop and reload", quoted(name)),
                    )
                },
            )
        }
        Some(_) => Err(bad("\"command\" is not text")),
        None => Err(bad("the request has no \"command\"")),
    }
}

const EXAMPLE: &str = "a request is a line like {\"version\":1,\"command\":\"status\"}";

/// Its first characters, those only that can do nothing to a terminal or a log.
fn quoted(text: &str) -> String {
    text.chars().take(32).map(|c| if c.is_ascii_graphic() && c != '"' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(line: &str) -> ErrorCode {
        parse_request(line.as_bytes()).expect_err("refused").code
    }

    #[test]
    fn own_requests_are_read_as_they_were_meant() {
        for (_, command) in Command::ALL {
            assert_eq!(parse_request(command.request_line().as_bytes()), Ok(command));
        }
    }

    #[test]
    fn every_malformed_request_has_its_own_code() {
        for (line, expected) in [
            ("", ErrorCode::BadRequest),
            ("status", ErrorCode::BadRequest),
            ("[1]", ErrorCode::BadRequest),
            ("{}", ErrorCode::BadRequest),
            (r#"{"version":1}"#, ErrorCode::BadRequest),
            (r#"{"version":"1","command":"status"}"#, ErrorCode::BadRequest),
            (r#"{"version":1,"command":7}"#, ErrorCode::BadRequest),
            (r#"{"version":1,"command":"stop","when":"later"}"#, ErrorCode::BadRequest),
            (r#"{"version":1,"command":"status"} {}"#, ErrorCode::BadRequest),
            (r#"{"version":2,"command":"anything","new":1}"#, ErrorCode::UnsupportedVersion),
            (r#"{"version":-1,"command":"status"}"#, ErrorCode::UnsupportedVersion),
            (r#"{"version":1e999,"command":"status"}"#, ErrorCode::BadRequest),
            (r#"{"version":1,"command":"Status"}"#, ErrorCode::UnknownCommand),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
        assert_eq!(code(&"[".repeat(MAX_REQUEST)), ErrorCode::BadRequest);
    }

    #[test]
    fn refusal_quotes_nothing_that_controls_a_terminal() {
        let line = r#"{"version":1,"command":"\u001b[31m\u202eredädsssssssssssssssssssssssssssssssssssss"}"#;
        let text = parse_request(line.as_bytes()).expect_err("refused").text;
        assert!(text.chars().all(|c| c.is_ascii() && !c.is_ascii_control()), "{text:?}");
        assert!(text.len() < 120, "{text}");
    }

    #[test]
    fn answer_over_the_limit_becomes_an_error_that_says_so() {
        let line = answer_line(Ok("x".repeat(MAX_ANSWER)));
        let answer: Answer = serde_json::from_slice(&line).unwrap();
        assert_eq!(answer.error.unwrap().code, ErrorCode::Internal);
    }

    #[test]
    fn unknown_code_of_a_newer_sensor_is_an_error_still() {
        let answer: Answer =
            serde_json::from_str(r#"{"version":1,"error":{"code":"new_one","text":"x"}}"#).unwrap();
        assert_eq!(answer.error.unwrap().code, ErrorCode::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_command_or_an_error_of_one_short_line(
            line in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            if let Err(refusal) = parse_request(&line) {
                prop_assert!(refusal.text.len() < 300 && !refusal.text.contains('\n'));
                prop_assert_eq!(answer_line::<Value>(Err(refusal)).last().copied(), Some(b'\n'));
            }
        }

        #[test]
        fn a_valid_request_with_any_byte_changed_never_becomes_another_command(
            position in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0..3_usize,
        ) {
            let (_, command) = Command::ALL[which];
            let mut line = command.request_line().into_bytes();
            let position = position.index(line.len());
            line[position] = byte;
            if let Ok(parsed) = parse_request(&line) {
                prop_assert_eq!(parsed, command);
            }
        }

        #[test]
        fn any_json_object_is_answered(
            version in prop_oneof![Just(Value::from(1)), any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)],
            command in any::<String>(),
            key in any::<String>(),
        ) {
            let line = serde_json::json!({"version": version, "command": command, key: 0}).to_string();
            if let Ok(parsed) = parse_request(line.as_bytes()) {
                prop_assert!(parsed.request_line().contains(&command));
            }
        }
    }
}
