//! The proof that something went through redaction.

use std::ops::Deref;

use serde::Serialize;

/// A value that went through the [`Redactor`](crate::Redactor).
///
/// There is no other way to make one: no constructor, no `From`, no `Deserialize`; and no way to change
/// what is inside. A sink that takes `&Redacted<Event>` cannot be handed anything else:
///
/// ```compile_fail
/// fn forge(event: oisp_event::Event) -> oisp_redact::Redacted<oisp_event::Event> {
///     oisp_redact::Redacted(event)
/// }
/// ```
///
/// ```compile_fail
/// fn tamper(event: &mut oisp_redact::Redacted<oisp_event::Event>) {
///     event.oisp_version.push_str("sk-...");
/// }
/// ```
///
/// ```compile_fail
/// fn parse(text: &str) -> oisp_redact::Redacted<oisp_event::Event> {
///     serde_json::from_str(text).unwrap()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Only [`Redactor::redact`](crate::Redactor::redact) calls this.
    pub(crate) fn seal(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Redacted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> AsRef<T> for Redacted<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}
