//! Sinks: where redacted events go.
