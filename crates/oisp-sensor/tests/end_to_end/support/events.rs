//! Events as they were written.

use std::sync::LazyLock;

use jsonschema::Validator;
use oisp_event::validate::SpecValidator;
use serde_json::Value;

/// The events of a recording, in their order.
pub(crate) struct Events(pub(crate) Vec<Value>);

static OWN_SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&oisp_event::json_schema()).unwrap());

static SPECIFICATION: LazyLock<Option<SpecValidator>> =
    LazyLock::new(|| match std::env::var_os("OISP_SPEC") {
        Some(folder) => Some(SpecValidator::from_dir(folder).unwrap_or_else(|error| panic!("{error}"))),
        None => {
            // No reason to fail even where everything is required: a clone by itself has no specification, and the
            // project's own schema is always checked.
            eprintln!("OISP_SPEC is not set: events are checked against the project's schema alone");
            None
        }
    });

impl Events {
    /// Reads events and checks each against the schemas.
    pub(crate) fn parse(lines: &[u8]) -> Self {
        assert!(lines.is_empty() || lines.ends_with(b"\n"), "the last line is cut");
        let events: Vec<Value> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        for event in &events {
            let mut errors: Vec<String> =
                OWN_SCHEMA.iter_errors(event).map(|error| error.to_string()).collect();
            errors.extend(SPECIFICATION.iter().flat_map(|specification| specification.errors(event)));
            assert!(errors.is_empty(), "{errors:#?} in {event}");
        }
        let events = Self(events);
        events.assert_ids_are_unique();
        events
    }

    pub(crate) fn of_type<'e>(&'e self, event_type: &'e str) -> impl Iterator<Item = &'e Value> {
        self.0.iter().filter(move |event| event["event_type"] == event_type)
    }

    pub(crate) fn requests(&self) -> Vec<&Value> {
        self.of_type("ai.request").collect()
    }

    pub(crate) fn responses(&self) -> Vec<&Value> {
        self.of_type("ai.response").collect()
    }

    /// The answer to a request.
    pub(crate) fn response_to(&self, request: &Value) -> &Value {
        let responses: Vec<&Value> = self
            .of_type("ai.response")
            .filter(|response| response["data"]["request_id"] == request["data"]["request_id"])
            .collect();
        let [response] = responses[..] else { panic!("{} answers to {request}", responses.len()) };
        let cause = &response["related_events"][0];
        assert_eq!(cause["event_id"], request["event_id"]);
        assert_eq!(cause["relationship"], "caused_by");
        response
    }

    fn assert_ids_are_unique(&self) {
        let ids: std::collections::BTreeSet<&str> =
            self.0.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), self.0.len(), "an event id came twice");
    }
}

/// The text of the first choice.
pub(crate) fn text_of(response: &Value) -> &str {
    response.pointer("/data/choices/0/message/content").and_then(Value::as_str).unwrap_or_default()
}
