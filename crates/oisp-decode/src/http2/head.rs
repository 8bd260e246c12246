//! Header lists to message heads (RFC 9113 section 8.3).

use bytes::Bytes;

use super::hpack::{Field, Fields};
use crate::body::Side;
use crate::headers::{Header, Headers};
use crate::message::{HttpVersion, Nanos, RequestHead, ResponseHead};

/// A header list sorted.
#[derive(Debug, Default)]
pub(super) struct Section {
    method: Option<String>,
    path: Option<String>,
    authority: Option<Bytes>,
    status: Option<u16>,
    /// What a CONNECT asks for (RFC 8441 section 4).
    pub(super) protocol: Option<String>,
    headers: Headers,
    /// Pseudo fields come twice, late, or in the wrong kind of message.
    pub(super) is_odd: bool,
    /// Some fields are not known: what looks absent may be there.
    pub(super) some_unknown: bool,
    pub(super) too_large: bool,
}

impl Section {
    pub(super) fn new(fields: Fields) -> Self {
        let mut section =
            Self { some_unknown: fields.some_unknown, too_large: fields.too_large, ..Self::default() };
        let mut cookies: Option<Vec<u8>> = None;
        let mut regular: Vec<Field> = Vec::with_capacity(fields.known.len());
        let mut cookie_at = 0;
        for (name, value) in fields.known {
            if name.first() == Some(&b':') {
                section.is_odd |= !regular.is_empty();
                section.pseudo(&name, value);
            } else if name.eq_ignore_ascii_case(b"cookie") {
                // Sent in crumbs so that they compress better (section 8.2.3).
                match &mut cookies {
                    Some(crumbs) => {
                        crumbs.extend_from_slice(b"; ");
                        crumbs.extend_from_slice(&value);
                    }
                    None => {
                        cookie_at = regular.len();
                        cookies = Some(value.to_vec());
                        regular.push((name, Bytes::new()));
                    }
                }
            } else {
                regular.push((name, value));
            }
        }
        if let Some(crumbs) = cookies {
            regular[cookie_at].1 = Bytes::from(crumbs);
        }
        section.headers = regular
            .into_iter()
            .map(|(name, value)| Header::new(String::from_utf8_lossy(&name), value))
            .collect();
        section
    }

    fn pseudo(&mut self, name: &[u8], value: Bytes) {
        let text = || String::from_utf8_lossy(&value).into_owned();
        let known = match name {
            b":method" => self.method.replace(text()).is_some(),
            b":path" => self.path.replace(text()).is_some(),
            b":status" => {
                let status = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                self.is_odd |= status.is_none();
                let known = self.status;
                self.status = status.filter(|status| (100..1000).contains(status));
                known.is_some()
            }
            b":authority" => self.authority.replace(value).is_some(),
            b":protocol" => self.protocol.replace(text()).is_some(),
            b":scheme" => false,
            _ => true,
        };
        self.is_odd |= known;
    }

    /// Which message a head like this begins; `None` for trailers and where it can't be told.
    pub(super) fn side(&self) -> Option<Side> {
        match (self.method.is_some() || self.path.is_some(), self.status.is_some()) {
            (true, false) => Some(Side::Request),
            (false, true) => Some(Side::Response),
            _ => None,
        }
    }

    /// What is not known of method and target is left empty.
    pub(super) fn into_request(self, first_byte: Nanos) -> Option<RequestHead> {
        let is_connect = self.method.as_deref() == Some("CONNECT");
        let target = match (self.path, &self.authority) {
            (None, Some(authority)) if is_connect => Some(String::from_utf8_lossy(authority).into_owned()),
            (path, _) => path,
        };
        if !self.some_unknown && (self.method.is_none() || target.is_none()) {
            return None;
        }
        let mut headers = self.headers;
        if let Some(authority) = self.authority
            && headers.get("host").is_none()
        {
            headers =
                std::iter::once(Header::new("host", authority)).chain(headers.iter().cloned()).collect();
        }
        Some(RequestHead {
            method: self.method.unwrap_or_default(),
            target: target.unwrap_or_default(),
            version: HttpVersion::Http2,
            headers,
            first_byte,
        })
    }

    pub(super) fn into_response(self, first_byte: Nanos) -> Option<ResponseHead> {
        Some(ResponseHead {
            status: self.status?,
            reason: String::new(),
            version: HttpVersion::Http2,
            headers: self.headers,
            first_byte,
        })
    }

    pub(super) fn into_trailers(self) -> Headers {
        self.headers
    }
}
