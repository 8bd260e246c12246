//! Services that the configuration names besides the known ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use oisp_event::ProviderName;

use crate::format;
use crate::providers::{Dialect, Host, PROVIDERS, Provider};

/// Where a service is, by configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceHost {
    /// Its id in events. That of a known service makes the host another one of it.
    pub provider_id: String,
    /// Its host in lower case, or the domain whose subdomains are meant.
    pub host: String,
    /// Whether every subdomain of `host` is meant instead of the host itself.
    pub subdomains: bool,
    /// Its port, where only that one is meant.
    pub port: Option<u16>,
}

/// Services besides the known ones. They are asked before those.
#[derive(Clone, Copy, Default)]
pub struct Services(&'static [Provider]);

/// Rows live as long as the program, as the known services' do. The same list is made once, however often a configuration
/// is read again.
static MADE: Mutex<BTreeMap<Vec<ServiceHost>, Services>> = Mutex::new(BTreeMap::new());

impl Services {
    /// Services at these hosts, in this order.
    #[must_use]
    pub fn new(hosts: &[ServiceHost]) -> Self {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = made.get(hosts) {
            return *services;
        }
        let rows: Vec<Provider> = hosts.iter().map(row).collect();
        let services = Self(Box::leak(rows.into_boxed_slice()));
        made.insert(hosts.to_vec(), services);
        services
    }

    /// The service at a host; the name is in lower case.
    pub(crate) fn by_host(self, name: &str, port: Option<u16>) -> Option<&'static Provider> {
        self.0.iter().find(|provider| provider.hosts.iter().any(|host| host.matches(name, port)))
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|provider| provider.id)).finish()
    }
}

/// Equal when they are the same list.
impl PartialEq for Services {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0) || (self.0.is_empty() && other.0.is_empty())
    }
}

impl Eq for Services {}

fn row(service: &ServiceHost) -> Provider {
    let text = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let name = text(&service.host);
    let host = match (service.port, service.subdomains) {
        (None, false) => Host::Exact(name),
        (None, true) => Host::Below(name),
        (Some(port), false) => Host::ExactPort(name, port),
        (Some(port), true) => Host::BelowPort(name, port),
    };
    let known = PROVIDERS.iter().find(|provider| provider.id == service.provider_id);
    let formats: Vec<_> = format::ALL.iter().map(|format| format.id()).collect();
    Provider {
        id: known.map_or_else(|| text(&service.provider_id), |known| known.id),
        name: known.map_or(ProviderName::Other, |known| known.name),
        hosts: Box::leak(Box::new([host])),
        formats: Box::leak(formats.into_boxed_slice()),
        api_paths: &[],
        api_ends: &[],
        other_paths: &[],
        region: &[],
        project: &[],
        response_header: None,
        dialect: known.map_or_else(Dialect::default, |known| known.dialect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(provider_id: &str, host: &str, subdomains: bool, port: Option<u16>) -> ServiceHost {
        ServiceHost { provider_id: provider_id.into(), host: host.into(), subdomains, port }
    }

    #[test]
    fn hosts_of_the_configuration_give_their_service_with_what_is_known_of_it() {
        let list = [
            host("gateway", "llm.example", false, None),
            host("xai", "x.example", true, None),
            host("local", "127.0.0.1", false, Some(9000)),
        ];
        let services = Services::new(&list);
        let id = |name: &str, port| services.by_host(name, port).map(|provider| provider.id);
        assert_eq!(id("llm.example", Some(443)), Some("gateway"));
        assert_eq!(id("a.llm.example", None), None);
        assert_eq!(id("eu.x.example", None), Some("xai"));
        assert_eq!(id("x.example", None), None);
        assert_eq!((id("127.0.0.1", Some(9000)), id("127.0.0.1", Some(9001))), (Some("local"), None));
        let xai = services.by_host("eu.x.example", None).expect("a service");
        assert!(xai.dialect.completion_excludes_reasoning, "that of the known service");
        assert!(xai.is_named());
        assert_eq!(services, Services::new(&list), "made once");
        assert_ne!(services, Services::default());
    }
}
