//! Which service and which format a request is for, from its head, before its body is read.

use oisp_decode::RequestHead;
use oisp_event::ProviderName;

use crate::format::{self, FormatId};
use crate::headers::{self, Destination};
use crate::providers::{self, Dialect, Provider};

/// What a request's head makes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Candidate {
    /// Known host, and a path of a format that it speaks: certain without a body.
    Endpoint { provider: &'static Provider, format: FormatId },
    /// Known host, another path of its API: a call in a format that is not read.
    UnknownFormat { provider: &'static Provider },
    /// A path of a format on a host that is not known by name: the body must confirm it.
    Path { provider: Option<&'static Provider>, format: FormatId, distinctive: bool },
    /// A JSON body somewhere: a bounded look at it decides.
    Sniff { provider: Option<&'static Provider> },
    /// No call to a model.
    None,
}

/// Judges a request by its head.
pub(crate) fn candidate(head: &RequestHead, destination: &Destination) -> Candidate {
    if !head.method.eq_ignore_ascii_case("POST") {
        return Candidate::None;
    }
    let path = destination.path.as_str();
    let provider = providers::by_host(&destination.host, destination.port);
    if let Some(provider) = provider.filter(|provider| provider.is_named()) {
        if !provider.serves(path) {
            return Candidate::None;
        }
        let format =
            provider.formats.iter().copied().find(|format| format::of(*format).serves_known_host(path));
        return match format {
            Some(format) => Candidate::Endpoint { provider, format },
            None => Candidate::UnknownFormat { provider },
        };
    }
    let json = headers::media_type(&head.headers)
        .is_none_or(|media| media == "application/json" || media.ends_with("+json") || media == "text/plain");
    if !json {
        return Candidate::None;
    }
    match format::ALL.iter().find(|format| format.serves_any_host(path)) {
        Some(format) => Candidate::Path {
            provider,
            format: format.id(),
            distinctive: format.is_distinctive(path, &head.headers),
        },
        None => Candidate::Sniff { provider },
    }
}

/// The service as events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) id: &'static str,
    pub(crate) name: ProviderName,
    pub(crate) dialect: Dialect,
}

impl Service {
    /// A known one, or whoever speaks the format.
    pub(crate) fn new(provider: Option<&'static Provider>, format: FormatId) -> Self {
        match provider {
            Some(provider) => Self { id: provider.id, name: provider.name, dialect: provider.dialect },
            None => Self {
                id: format::of(format).compatible_id(),
                name: ProviderName::Other,
                dialect: Dialect::default(),
            },
        }
    }
}

impl From<&'static Provider> for Service {
    fn from(provider: &'static Provider) -> Self {
        Self { id: provider.id, name: provider.name, dialect: provider.dialect }
    }
}
