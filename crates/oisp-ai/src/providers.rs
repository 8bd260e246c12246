//! What is known of a service by its host: rows of data in `table.rs`, and how they match.

mod table;

use oisp_event::ProviderName;

use crate::format::{self, Format, FormatId};

pub(crate) use table::PROVIDERS;

/// A service.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Exact id.
    pub(crate) id: &'static str,
    /// The specification's name.
    pub(crate) name: ProviderName,
    /// Where it is.
    pub(crate) hosts: &'static [Host],
    /// What it speaks here; the format's own paths decide which.
    pub(crate) formats: &'static [FormatId],
    /// Paths of the API, where the host serves other things as well; `*` stands for any one segment.
    pub(crate) api_paths: &'static [&'static str],
    /// Ends of the API's paths, where the beginnings are shared with other things.
    pub(crate) api_ends: &'static [&'static str],
    /// Paths below those that are no calls (telemetry).
    pub(crate) other_paths: &'static [&'static str],
    /// Where host or path name the region; the first that does.
    pub(crate) region: &'static [Named],
    /// Where host or path name the project.
    pub(crate) project: &'static [Named],
    /// A response header that only this service sends.
    pub(crate) response_header: Option<&'static str>,
    /// Where its usage differs from the format's.
    pub(crate) dialect: Dialect,
}

/// A host pattern; names are compared in lower case.
#[derive(Debug)]
pub(crate) enum Host {
    Exact(&'static str),
    /// A subdomain of it.
    Below(&'static str),
    /// As `Exact`, at one port.
    ExactPort(&'static str, u16),
    /// As `Below`, at one port.
    BelowPort(&'static str, u16),
    /// Beginning and end, for names with a region in the middle.
    Around(&'static str, &'static str),
    /// Something in the middle, and the end: names that begin with an id.
    Within(&'static str, &'static str),
    /// The port on a loopback or private name. Ports say little: whatever is matched so still needs a
    /// body of a known format.
    LocalPort(u16),
}

/// Where a name stands in host or path.
#[derive(Debug)]
pub(crate) enum Named {
    /// The host up to this.
    HostBefore(&'static str),
    /// The host between these.
    HostBetween(&'static str, &'static str),
    /// The segment of the path after this one.
    PathAfter(&'static str),
}

/// What host and path say beside the service's name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: Option<String>,
    pub(crate) project: Option<String>,
}

/// Where a service's usage differs from its format's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// `completion_tokens` does not include `reasoning_tokens`.
    pub(crate) completion_excludes_reasoning: bool,
    /// How it reports the call's cost.
    pub(crate) cost: ReportedCost,
}

/// How a service reports what a call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReportedCost {
    /// Not, or in a currency that is not known.
    #[default]
    Unknown,
    /// `usage.cost`, US dollars.
    UsageCost,
    /// `usage.cost.total_cost`, US dollars.
    UsageCostTotal,
    /// `usage.cost_in_usd_ticks`, 10^-10 US dollars.
    UsdTicks,
}

impl Provider {
    /// The formats that it speaks at a path.
    pub(crate) fn formats_at<'a>(
        &self,
        path: &'a str,
    ) -> impl Iterator<Item = &'static dyn Format> + use<'a> {
        self.formats.iter().copied().map(format::of).filter(move |format| format.serves_known_host(path))
    }

    /// Whether a path belongs to the service's API.
    pub(crate) fn serves(&self, path: &str) -> bool {
        let below = |prefixes: &[&str]| prefixes.iter().any(|prefix| is_below(path, prefix));
        let ends = |end: &&str| path.trim_end_matches('/').ends_with(*end);
        (self.api_paths.is_empty() || below(self.api_paths))
            && (self.api_ends.is_empty() || self.api_ends.iter().any(ends))
            && !below(self.other_paths)
    }

    /// Region and project, as far as host and path name them.
    pub(crate) fn place(&self, host: &str, path: &str) -> Place {
        let first = |places: &[Named]| places.iter().find_map(|place| place.read(host, path));
        Place { region: first(self.region), project: first(self.project) }
    }

    /// Whether the host is known by its name and not only by a port that others use too.
    pub(crate) fn is_named(&self) -> bool {
        !self.hosts.iter().any(|host| matches!(host, Host::LocalPort(_)))
    }
}

impl Named {
    fn read(&self, host: &str, path: &str) -> Option<String> {
        let found = match self {
            Self::HostBefore(end) => host.strip_suffix(end),
            Self::HostBetween(start, end) => host.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)),
            Self::PathAfter(segment) => {
                let mut segments = path.split('/').skip_while(|found| found != segment);
                segments.nth(1)
            }
        };
        found.filter(|found| !found.is_empty()).map(str::to_owned)
    }
}

impl Host {
    pub(crate) fn matches(&self, name: &str, port: Option<u16>) -> bool {
        match self {
            Self::Exact(exact) => name == *exact,
            Self::Below(domain) => name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            Self::ExactPort(exact, number) => port == Some(*number) && Self::Exact(exact).matches(name, port),
            Self::BelowPort(domain, number) => {
                port == Some(*number) && Self::Below(domain).matches(name, port)
            }
            Self::Around(start, end) => {
                name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            }
            Self::Within(middle, end) => {
                name.strip_suffix(end).is_some_and(|rest| rest.find(middle).is_some_and(|at| at > 0))
            }
            Self::LocalPort(number) => port == Some(*number) && is_local(name),
        }
    }
}

/// Whether a path begins with another, in which `*` stands for any one segment.
fn is_below(path: &str, prefix: &str) -> bool {
    let Some((before, after)) = prefix.split_once("/*") else { return path.starts_with(prefix) };
    let rest = path.strip_prefix(before).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.find('/').map(|end| &rest[end..])).is_some_and(|rest| is_below(rest, after))
}

/// Loopback, a private address, or a name that only a local resolver knows.
fn is_local(name: &str) -> bool {
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return match address {
            std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified(),
            std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unspecified(),
        };
    }
    !name.is_empty()
        && (!name.contains('.')
            || [".local", ".internal", ".localhost", ".lan"].iter().any(|end| name.ends_with(end)))
}

/// The service at a host; the name is in lower case.
pub(crate) fn by_host(name: &str, port: Option<u16>) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.hosts.iter().any(|host| host.matches(name, port)))
}

/// The first row of a service.
pub(crate) fn by_id(id: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_give_their_service_and_lookalikes_give_none() {
        for (host, port, expected) in [
            ("api.openai.com", None, Some("openai")),
            ("eu.api.openai.com", None, Some("openai")),
            ("evilapi.openai.com", None, None),
            ("api.openai.com.example", None, None),
            ("my.openai.azure.com", Some(443), Some("azure_openai")),
            ("openai.azure.com", None, None),
            ("bedrock-mantle.us-east-1.api.aws", None, Some("aws_bedrock")),
            ("bedrock-mantle.api.aws", None, None),
            ("bedrock-runtime.us-east-1.amazonaws.com", None, Some("aws_bedrock")),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", None, Some("aws_bedrock")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", None, Some("aws_bedrock")),
            ("vpce-0a-b.bedrock-runtime.us-east-1.vpce.amazonaws.com", None, Some("aws_bedrock")),
            ("bedrock-agent.us-east-1.amazonaws.com", None, None),
            ("bedrock-runtime.us-east-1.amazonaws.com.example", None, None),
            ("runtime.sagemaker.eu-west-1.amazonaws.com", None, Some("aws_sagemaker")),
            ("eu-de.ml.cloud.ibm.com", None, Some("watsonx")),
            ("ml.cloud.ibm.com", None, None),
            ("ark.cn-beijing.volces.com", None, Some("volcengine")),
            ("localhost", Some(11434), Some("ollama")),
            ("[::1]", Some(1234), Some("lmstudio")),
            ("192.168.1.5", Some(8000), Some("vllm")),
            ("8.8.8.8", Some(8000), None),
            ("shop.example", Some(8080), None),
            ("localhost", Some(4443), None),
            ("", Some(8080), None),
        ] {
            assert_eq!(by_host(host, port).map(|p| p.id), expected, "{host}");
        }
    }

    #[test]
    fn region_and_project_are_read_from_host_and_path() {
        let path = "/v1/projects/p-1/locations/europe-west4/publishers/google/models/g:generateContent";
        for (host, region) in [
            ("us-east5-aiplatform.googleapis.com", "us-east5"),
            ("aiplatform.us-central1.rep.googleapis.com", "us-central1"),
            ("aiplatform.googleapis.com", "europe-west4"),
        ] {
            let provider = by_host(host, None).unwrap();
            assert_eq!(provider.id, "vertex_ai");
            let place = provider.place(host, path);
            assert_eq!((place.region.as_deref(), place.project.as_deref()), (Some(region), Some("p-1")));
        }
        let provider = by_host("aiplatform.googleapis.com", None).unwrap();
        let express = provider.place("aiplatform.googleapis.com", "/v1/publishers/google/models/g:predict");
        assert_eq!(express, Place::default());
        assert!(!provider.serves("/v1/projects/p/locations/l/customJobs"));
        assert!(
            !by_host("generativelanguage.googleapis.com", None).unwrap().serves("/v1beta/cachedContents")
        );
    }

    #[test]
    fn any_one_segment_may_stand_in_a_path_of_an_api() {
        let azure = by_host("my.services.ai.azure.com", None).unwrap();
        assert!(azure.serves("/api/projects/p/openai/v1/responses"));
        for path in ["/api/projects/p/agents", "/api/projects/openai/v1", "/api/projects/p/q/openai/v1"] {
            assert!(!azure.serves(path), "{path}");
        }
    }

    #[test]
    fn telemetry_on_an_api_host_is_not_served() {
        let openai = by_host("api.openai.com", None).unwrap();
        assert!(openai.serves("/v1/chat/completions"));
        assert!(!openai.serves("/v1/traces/ingest"));
        assert!(!by_host("api.anthropic.com", None).unwrap().serves("/api/event_logging/batch"));
    }
}
