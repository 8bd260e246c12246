//! Header fields as they were sent.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// One header field.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Bytes,
}

impl Header {
    /// A field as it was sent.
    pub fn new(name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    /// The name as sent. Compare without regard to case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value as sent, surrounding blanks removed.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The value as text; what is not UTF-8 is replaced by U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

/// Header fields in their order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers {
    fields: Vec<Header>,
}

impl Headers {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, header: Header) {
        self.fields.push(header);
    }

    /// The first value under a name, case-insensitive, as text (lossy).
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.fields.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(Header::text)
    }

    /// Every field of a name, case-insensitive, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Header> {
        self.fields.iter().filter(move |header| header.name.eq_ignore_ascii_case(name))
    }

    /// Every field in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Header> {
        self.fields.iter()
    }

    /// The members of the comma-separated lists under a name, without blanks, empty ones left out.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut members = Vec::new();
        for header in self.all(name) {
            let text = header.text();
            // Blanks as HTTP knows them: whatever else looks like one belongs to the member.
            let trimmed = text.split(',').map(|member| member.trim_matches([' ', '\t']));
            members.extend(trimmed.filter(|member| !member.is_empty()).map(str::to_owned));
        }
        members
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(fields: I) -> Self {
        Self { fields: fields.into_iter().collect() }
    }
}

// Values may be credentials, and Debug output ends in logs: names and sizes only.

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ({} bytes)", self.name, self.value.len())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fields).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_without_regard_to_case_and_keep_their_order() {
        let headers: Headers =
            [Header::new("Accept", "a, b"), Header::new("X", "1"), Header::new("accept", " ,c")]
                .into_iter()
                .collect();
        assert_eq!(headers.get("ACCEPT").as_deref(), Some("a, b"));
        assert_eq!(headers.all("accept").count(), 2);
        assert_eq!(headers.list("Accept"), ["a", "b", "c"]);
        assert_eq!(headers.get("missing"), None);
    }

    #[test]
    fn header_values_that_are_not_utf8_are_kept_and_shown_lossily() {
        let header = Header::new("x", &b"a\xff"[..]);
        assert_eq!(header.text(), "a\u{fffd}");
        assert_eq!(&header.value()[..], b"a\xff");
    }
}
