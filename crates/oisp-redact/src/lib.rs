//! Removes secrets from events; the only door to a sink.
