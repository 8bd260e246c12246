//! The TLS side of a connection.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Certificates;

/// What each TLS connection is made from.
pub(super) struct Acceptor(Arc<ServerConfig>);

pub(super) type TlsStream = StreamOwned<ServerConnection, TcpStream>;

impl Acceptor {
    /// `alpn`: the protocols offered, the preferred first.
    pub(super) fn new(certificates: &Certificates, alpn: Vec<Vec<u8>>) -> Result<Self, rustls::Error> {
        let chain = vec![CertificateDer::from(certificates.server_der.clone())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificates.server_key_der.clone()));
        // Named, since a process that links several crypto providers has no default.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = alpn;
        Ok(Self(Arc::new(config)))
    }

    /// For a handshake that waits without blocking.
    #[cfg(feature = "full-protocols")]
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }

    /// Does the handshake, so that the server name is known before the first byte of plaintext.
    pub(super) fn accept(&self, mut stream: TcpStream) -> std::io::Result<TlsStream> {
        let mut connection = ServerConnection::new(Arc::clone(&self.0)).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}
