//! Names of AI services and where they are.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::{Refusal, Refused, Setting, quoted};

/// AI services by name and host, each as `name=host`, `name=host:port` or `name=*.domain`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Services(Vec<Service>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is called, in lower case.
    pub name: String,
    /// Its host in lower case, or the domain whose subdomains are meant.
    pub host: String,
    /// Whether every subdomain of `host` is meant instead of the host itself.
    pub subdomains: bool,
    /// Its port, where only that one is meant.
    pub port: Option<u16>,
}

const MOST_SERVICES: usize = 256;
const LONGEST_NAME: usize = 64;
const LONGEST_HOST: usize = 253;

impl Services {
    /// None of them.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// In the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.0.iter()
    }

    fn new(services: Vec<Service>) -> Result<Self, Refusal> {
        if services.len() > MOST_SERVICES {
            return Err(Refusal::Because(format!("must be {MOST_SERVICES} services at most")));
        }
        Ok(Self(services))
    }
}

fn service(text: &str) -> Result<Service, Refusal> {
    let because = |text: &str| Refusal::Because(text.to_owned());
    let (name, place) = text
        .split_once('=')
        .ok_or_else(|| because("must be a name, = and a host, such as \"gateway=llm.example.com\""))?;
    let (name, place) = (name.trim().to_ascii_lowercase(), place.trim().to_ascii_lowercase());
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_name) {
        return Err(because("the name before = must be 1 to 64 letters, digits, _ and -"));
    }
    let (host, port) = match place.rsplit_once(':') {
        // The colons of an address of IPv6 stand in brackets.
        Some((host, port)) if !port.contains(']') => {
            let port = port.parse().map_err(|_| because("the port after : must be 1 to 65535"))?;
            if port == 0 {
                return Err(because("the port after : must be 1 to 65535"));
            }
            (host, Some(port))
        }
        _ => (place.as_str(), None),
    };
    let (host, subdomains) = match host.strip_prefix("*.") {
        Some(domain) => (domain, true),
        None => (host, false),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    if host.is_empty() || host.len() > LONGEST_HOST || !host.chars().all(is_host) {
        return Err(because(
            "after = must stand a host, such as llm.example.com, or *. and a domain; without scheme and path",
        ));
    }
    Ok(Service { name, host: host.to_owned(), subdomains, port })
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.subdomains { "*." } else { "" };
        write!(formatter, "{}={star}{}", self.name, self.host)?;
        match self.port {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Setting for Services {
    type Allowed = ();

    fn kind() -> String {
        "a list of services such as [\"gateway=llm.example.com\", \"openai=*.openai.example.com\"]".to_owned()
    }

    fn range((): &()) -> Option<String> {
        None
    }

    /// Separated by commas.
    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let texts = text.split(',').filter(|text| !text.trim().is_empty());
        Self::new(texts.map(service).collect::<Result<_, _>>()?)
    }

    fn from_toml(value: &Spanned<DeValue<'_>>, (): &()) -> Result<Self, Vec<Refused>> {
        let whole = |refusal| vec![Refused { span: value.span(), refusal }];
        let elements = value.get_ref().as_array().ok_or_else(|| whole(Refusal::Kind))?;
        let (mut services, mut refused) = (Vec::new(), Vec::new());
        for element in elements {
            let read = element
                .get_ref()
                .as_str()
                .ok_or_else(|| Refusal::Because("a service must be a string".to_owned()))
                .and_then(service);
            match read {
                Ok(service) => services.push(service),
                Err(refusal) => refused.push(Refused { span: element.span(), refusal }),
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Self::new(services).map_err(whole)
    }

    fn to_toml(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(|service| quoted(&service.to_string())).collect();
        format!("[{}]", texts.join(", "))
    }

    #[cfg(test)]
    fn any((): &()) -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        let text = proptest::string::string_regex(
            "[a-z][a-z0-9_-]{0,8}=(\\*\\.)?[a-z][a-z0-9.-]{0,12}(:[1-9][0-9]{0,3})?",
        );
        proptest::collection::vec(text.unwrap(), 0..4)
            .prop_map(|texts| Self::new(texts.iter().map(|text| service(text).unwrap()).collect()).unwrap())
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_with_their_hosts_and_ports() {
        for (text, name, host, subdomains, port) in [
            ("gateway=llm.example.com", "gateway", "llm.example.com", false, None),
            (" OpenAI = *.LLM.example:8443 ", "openai", "llm.example", true, Some(8443)),
            ("local=[::1]:9000", "local", "[::1]", false, Some(9000)),
            ("local=[::1]", "local", "[::1]", false, None),
        ] {
            let expected = Service { name: name.into(), host: host.into(), subdomains, port };
            assert_eq!(service(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_service_is_refused() {
        for text in [
            "llm.example.com",
            "=host",
            "a b=host",
            "a=",
            "a=https://host/v1",
            "a=host:0",
            "a=host:x",
            "a=h*",
        ] {
            assert!(service(text).is_err(), "{text}");
        }
    }
}
