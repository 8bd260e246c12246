//! Where a client connects to, and under which name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use thiserror::Error;

/// A base URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https` rather than `http`.
    pub tls: bool,
    /// The name for `Host`, SNI and certificate verification.
    pub host: String,
    /// The address that is connected to.
    pub address: SocketAddr,
}

/// A base URL that this crate's clients don't take.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{url}\" is not a base URL: {reason} (expected, for example, https://127.0.0.1:8443)")]
pub struct BadBaseUrl {
    url: String,
    reason: &'static str,
}

impl Endpoint {
    /// Reads `http[s]://HOST:PORT`. HOST is `localhost` or an IP address: these clients stay on the machine and
    /// ask no name server. A path is refused rather than ignored.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(url: &str) -> Result<Self, BadBaseUrl> {
        let bad = |reason| BadBaseUrl { url: url.to_owned(), reason };
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(bad("it starts with neither http:// nor https://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("it names no port"))?;
        let port = port.parse().map_err(|_| bad("the port is no number from 0 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let ip = match bare {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            other => other.parse().map_err(|_| bad("the host is neither localhost nor an IP address"))?,
        };
        Ok(Self { tls, host: bare.to_owned(), address: SocketAddr::new(ip, port) })
    }

    /// The same address under another name, as if a name server had pointed there.
    #[must_use]
    pub fn named(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    /// A connection without Nagle's delay.
    ///
    /// # Errors
    /// When nobody listens, or the connection can't be set up.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_the_loopback_address_without_a_name_server() {
        let endpoint = Endpoint::parse("https://localhost:8443/").unwrap();
        assert!(endpoint.tls);
        assert_eq!(endpoint.host, "localhost");
        assert_eq!(endpoint.address, "127.0.0.1:8443".parse().unwrap());
        assert_eq!(Endpoint::parse("http://[::1]:80").unwrap().address, "[::1]:80".parse().unwrap());
    }

    #[test]
    fn a_path_a_foreign_host_and_a_missing_port_are_refused() {
        for url in
            ["https://127.0.0.1:1/v1", "https://example.com:443", "https://127.0.0.1", "ftp://127.0.0.1:1"]
        {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
