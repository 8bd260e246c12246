//! A certificate authority made anew at each start, and one server certificate that it signed.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Names every server certificate is valid for. OpenSSL refuses a wildcard directly under a top-level
/// domain, so `*.test` serves other libraries and `*.provider.test` serves it.
pub const SERVER_NAMES: [&str; 6] =
    ["localhost", "127.0.0.1", "api.openai.com", "api.anthropic.com", "*.test", "*.provider.test"];

/// A server certificate, its key, and the authority that clients must trust. The authority's own key is
/// dropped, so nothing else can ever be signed with it.
#[derive(Clone)]
pub struct Certificates {
    /// The authority's certificate in PEM: what a client trusts.
    pub ca_pem: String,
    /// The server's certificate in PEM.
    pub server_pem: String,
    /// The server's private key in PEM (PKCS#8).
    pub server_key_pem: String,
    /// The server's certificate in DER.
    pub server_der: Vec<u8>,
    /// The server's private key in DER (PKCS#8).
    pub server_key_der: Vec<u8>,
}

/// Where [`Certificates::write_to`] put the files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// The server's private key.
    pub server_key: PathBuf,
}

impl Certificates {
    /// Makes an authority and a certificate for [`SERVER_NAMES`] and `more_names`.
    ///
    /// # Errors
    /// A name that can't stand in a certificate, or no randomness.
    pub fn generate(more_names: &[String]) -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "OISP fake provider authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for_a_century(&mut authority);
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let names: Vec<String> =
            SERVER_NAMES.iter().map(|name| (*name).to_owned()).chain(more_names.iter().cloned()).collect();
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "OISP fake provider");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 verifies strictly and wants the authority's key identifier.
        server.use_authority_key_identifier_extension = true;
        valid_for_a_century(&mut server);
        let server_key = KeyPair::generate()?;
        let server_certificate = server.signed_by(&server_key, &issuer)?;

        Ok(Self {
            ca_pem: authority_certificate.pem(),
            server_pem: server_certificate.pem(),
            server_key_pem: server_key.serialize_pem(),
            server_der: server_certificate.der().to_vec(),
            server_key_der: server_key.serialize_der(),
        })
    }

    /// Writes `ca.pem`, `server.pem` and `server-key.pem` into `folder`, for a TLS library that reads files.
    ///
    /// # Errors
    /// When the folder can't be made or written.
    pub fn write_to(&self, folder: &Path) -> io::Result<CertificateFiles> {
        fs::create_dir_all(folder)?;
        let files = CertificateFiles {
            ca: folder.join("ca.pem"),
            server: folder.join("server.pem"),
            server_key: folder.join("server-key.pem"),
        };
        fs::write(&files.ca, &self.ca_pem)?;
        fs::write(&files.server, &self.server_pem)?;
        fs::write(&files.server_key, &self.server_key_pem)?;
        Ok(files)
    }
}

/// The default range (1975 to 4096) is refused by libraries with 32-bit times.
fn valid_for_a_century(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2124, 1, 1);
}
