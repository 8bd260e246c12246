//! What the opening response says about compression (RFC 7692).

use crate::headers::Headers;

/// How the messages of both directions are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extensions {
    pub(super) deflate: Option<Deflate>,
    /// An accepted extension that is not known here: nobody can say what the payloads mean.
    pub(super) unknown: Option<String>,
}

/// Permessage-deflate as agreed. Windows of fewer than 15 bits need no care: an inflater with the
/// largest window reads them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Deflate {
    /// The client's messages refer to what its earlier ones contained.
    pub(super) client_takeover: bool,
    pub(super) server_takeover: bool,
}

impl Extensions {
    /// From the header fields of the response that accepted the upgrade.
    pub(crate) fn accepted(headers: &Headers) -> Self {
        let mut extensions = Self::default();
        for extension in headers.list("sec-websocket-extensions") {
            let mut parts = extension.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            if !name.eq_ignore_ascii_case("permessage-deflate") || extensions.deflate.is_some() {
                extensions.unknown.get_or_insert_with(|| name.chars().take(64).collect());
                continue;
            }
            let mut deflate = Deflate { client_takeover: true, server_takeover: true };
            for parameter in parts {
                let name = parameter.split('=').next().unwrap_or_default().trim();
                match name.to_ascii_lowercase().as_str() {
                    "client_no_context_takeover" => deflate.client_takeover = false,
                    "server_no_context_takeover" => deflate.server_takeover = false,
                    // Window sizes, and parameters that this version of the extension does not have.
                    _ => {}
                }
            }
            extensions.deflate = Some(deflate);
        }
        extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Header;

    fn accepted(values: &[&str]) -> Extensions {
        let fields = values.iter().map(|value| Header::new("Sec-WebSocket-Extensions", (*value).to_owned()));
        Extensions::accepted(&fields.collect())
    }

    #[test]
    fn the_agreed_compression_is_read_from_the_response() {
        let deflate = |client_takeover, server_takeover| Extensions {
            deflate: Some(Deflate { client_takeover, server_takeover }),
            unknown: None,
        };
        assert_eq!(accepted(&[]), Extensions::default());
        assert_eq!(accepted(&["permessage-deflate"]), deflate(true, true));
        assert_eq!(
            accepted(&["Permessage-Deflate ; SERVER_no_context_takeover; client_max_window_bits=12"]),
            deflate(true, false)
        );
        assert_eq!(
            accepted(&["permessage-deflate; client_no_context_takeover; server_no_context_takeover"]),
            deflate(false, false)
        );
    }

    #[test]
    fn an_extension_that_is_not_known_is_named() {
        assert_eq!(accepted(&["x-other; a=b"]).unknown.as_deref(), Some("x-other"));
        let both = accepted(&["permessage-deflate", "x-other"]);
        assert!(both.deflate.is_some() && both.unknown.is_some());
    }
}
