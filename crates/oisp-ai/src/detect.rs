//! Which service and which format a request is for, from its head, before its body is read.

use oisp_decode::RequestHead;
use oisp_event::ProviderName;

use crate::bedrock;
use crate::format::{self, FormatId};
use crate::headers::{self, Destination};
use crate::providers::{self, Dialect, Provider};
use crate::services::Services;

/// What a request's head makes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Candidate {
    /// Known host, and a path of formats that it speaks: certain without a body.
    Endpoint { provider: &'static Provider },
    /// Known host, another path of its API: a call in a format that is not read.
    UnknownFormat { provider: &'static Provider },
    /// A path of formats on a host that is not known by name: the body must confirm it. `distinctive` names the one that
    /// the head alone would be enough for.
    Path { provider: Option<&'static Provider>, distinctive: Option<FormatId> },
    /// A JSON body somewhere: a bounded look at it decides.
    Sniff { provider: Option<&'static Provider> },
    /// No call to a model.
    None,
}

impl Candidate {
    /// The service, where the host names one.
    pub(crate) fn provider(&self) -> Option<&'static Provider> {
        match self {
            Self::Endpoint { provider } | Self::UnknownFormat { provider } => Some(provider),
            Self::Path { provider, .. } | Self::Sniff { provider } => *provider,
            Self::None => None,
        }
    }
}

/// Judges a request by its head.
pub(crate) fn candidate(head: &RequestHead, destination: &Destination, services: Services) -> Candidate {
    if !head.method.eq_ignore_ascii_case("POST") {
        return Candidate::None;
    }
    let path = destination.path.as_str();
    let (host, port) = (destination.host.as_str(), destination.port);
    let provider = services.by_host(host, port).or_else(|| providers::by_host(host, port));
    if let Some(provider) = provider.filter(|provider| provider.is_named()) {
        if !provider.serves(path) {
            return Candidate::None;
        }
        let is_known = provider.formats_at(path).next().is_some();
        return if is_known {
            Candidate::Endpoint { provider }
        } else {
            Candidate::UnknownFormat { provider }
        };
    }
    // A signature is for one service, whatever the name it is reached by; a port is nobody's own.
    let provider = if bedrock::is_signed(head) { providers::by_id("aws_bedrock") } else { provider };
    let media_type = headers::media_type(&head.headers);
    if media_type.as_deref() == Some("multipart/form-data") {
        if !format::at_any_host(path).any(format::Format::reads_forms) {
            return Candidate::None;
        }
    } else if !is_json(media_type.as_deref()) && bedrock::Operation::of_path(path).is_none() {
        // AWS's own clients say `application/octet-stream` of what is JSON.
        return Candidate::None;
    }
    if format::at_any_host(path).next().is_none() {
        return Candidate::Sniff { provider };
    }
    let distinctive = format::at_any_host(path)
        .find(|format| format.is_distinctive(path, &head.headers))
        .map(format::Format::id);
    Candidate::Path { provider, distinctive }
}

/// The service and the format of a request that fetches the answer to an earlier one.
pub(crate) fn fetched(
    head: &RequestHead,
    destination: &Destination,
    services: Services,
) -> Option<(&'static Provider, FormatId)> {
    if !head.method.eq_ignore_ascii_case("GET") || head.headers.get("upgrade").is_some() {
        return None;
    }
    let (host, port) = (destination.host.as_str(), destination.port);
    let provider = services.by_host(host, port).or_else(|| providers::by_host(host, port))?;
    let formats = provider.formats.iter().copied().filter(|_| provider.is_named());
    let format = formats.map(format::of).find(|format| format.fetches_answer(&destination.path))?;
    Some((provider, format.id()))
}

/// Whether a media type is JSON's, or may stand for it.
fn is_json(media_type: Option<&str>) -> bool {
    media_type
        .is_none_or(|media| media == "application/json" || media.ends_with("+json") || media == "text/plain")
}

/// A request's path and query, as far as a format needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Without the query, as sent.
    pub(crate) path: String,
    /// Without the question mark, as sent.
    pub(crate) query: String,
}

impl Target {
    /// Of a request's head.
    pub(crate) fn new(head: &RequestHead, path: &str) -> Self {
        let query = head.target.split_once('?').map_or("", |(_, query)| query);
        Self { path: path.to_owned(), query: query.split('#').next().unwrap_or_default().to_owned() }
    }

    /// The part of the path that follows a segment, decoded: the `m` of `/models/m:generate` after `models`.
    pub(crate) fn segment_after(&self, segment: &str) -> Option<String> {
        let mut segments = self.path.split('/');
        segments.find(|found| *found == segment)?;
        segments.next().filter(|next| !next.is_empty()).map(decoded)
    }

    /// The value of a query parameter, decoded.
    pub(crate) fn query_value(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
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
        // A port says nothing against a body that the service there does not speak.
        match provider.filter(|provider| provider.formats.contains(&format)) {
            Some(provider) => provider.into(),
            None => {
                let id = format::of(format).compatible_id();
                let known = providers::PROVIDERS.iter().find(|provider| provider.id == id);
                let name = known.map_or(ProviderName::Other, |provider| provider.name);
                Self { id, name, dialect: Dialect::default() }
            }
        }
    }
}

impl From<&'static Provider> for Service {
    fn from(provider: &'static Provider) -> Self {
        Self { id: provider.id, name: provider.name, dialect: provider.dialect }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_gives_segments_and_parameters_decoded() {
        let target = Target {
            path: "/model/us.anthropic.claude-v1%3A0/invoke".into(),
            query: "%24alt=json%3Benum-encoding=int&alt=sse&key=".into(),
        };
        assert_eq!(target.segment_after("model").as_deref(), Some("us.anthropic.claude-v1:0"));
        assert_eq!(target.segment_after("invoke"), None);
        assert_eq!(target.segment_after("models"), None);
        assert_eq!(target.query_value("alt").as_deref(), Some("sse"));
        assert_eq!(target.query_value("$alt").as_deref(), Some("json;enum-encoding=int"));
        assert_eq!(target.query_value("key").as_deref(), Some(""));
    }
}
