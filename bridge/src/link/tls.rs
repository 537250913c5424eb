//! Who is at the other end: mutual TLS 1.3, and the region in the certificate.
//!
//! A region's certificate carries one URI SAN `spiffe://<fleet>/region/<region>`. Host names play no
//! part: a peer is whoever the fleet's authority says it is, wherever it was reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_proto::id::{FleetName, RegionId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"causeway/1";

/// Where a region's certificate, key and authority lie.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The region's certificate chain, leaf first, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The fleet's authorities, PEM; several while one replaces another.
    pub ca: PathBuf,
}

/// A file that cannot be used. A person must act.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read as PEM of the kind wanted.
    #[error("{path}: no usable {what}: {why}; `causeway certs` makes a set for a first try")]
    File {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The certificate is not this region's.
    #[error("{path}: certificate is for {found}, this sidecar is region {region} of fleet {fleet}")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        region: RegionId,
        /// The fleet.
        fleet: FleetName,
    },
    /// rustls refuses the combination.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Why a certificate does not speak for the region expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read.
    #[error("certificate cannot be parsed")]
    Malformed,
    /// It names no region.
    #[error("certificate has no URI SAN spiffe://<fleet>/region/<region>")]
    NoRegion,
    /// It names several.
    #[error("certificate names more than one region")]
    SeveralRegions,
    /// Another fleet.
    #[error("certificate is of fleet {found}, expected {expected}")]
    WrongFleet {
        /// In the certificate.
        found: String,
        /// In our fleet file.
        expected: FleetName,
    },
    /// Another region.
    #[error("certificate is of region {found}, expected {expected}")]
    WrongRegion {
        /// In the certificate.
        found: RegionId,
        /// In our fleet file.
        expected: String,
    },
}

/// Reads the region out of a certificate.
pub fn region_of(cert: &[u8], fleet: &FleetName) -> Result<RegionId, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| IdentityError::Malformed)?;
    let san = parsed
        .subject_alternative_name()
        .map_err(|_| IdentityError::Malformed)?;
    let mut found = None;
    for name in san.iter().flat_map(|san| &san.value.general_names) {
        let GeneralName::URI(uri) = name else {
            continue;
        };
        let Some(rest) = uri.strip_prefix("spiffe://") else {
            continue;
        };
        let Some((in_fleet, region)) = rest.split_once("/region/") else {
            continue;
        };
        if found.replace((in_fleet, region)).is_some() {
            return Err(IdentityError::SeveralRegions);
        }
    }
    let (in_fleet, region) = found.ok_or(IdentityError::NoRegion)?;
    if in_fleet != fleet.as_str() {
        let (found, expected) = (in_fleet.to_owned(), fleet.clone());
        return Err(IdentityError::WrongFleet { found, expected });
    }
    RegionId::new(region).map_err(|_| IdentityError::NoRegion)
}

/// Whole days until the certificate in `path` ends; negative when it has.
pub fn days_left(path: &Path, now_unix: i64) -> Option<i64> {
    let cert = CertificateDer::from_pem_file(path).ok()?;
    let (_, parsed) = X509Certificate::from_der(&cert).ok()?;
    Some((parsed.validity().not_after.timestamp() - now_unix).div_euclid(86_400))
}

/// The TLS side of every link of a region.
#[derive(Debug, Clone)]
pub struct Identity {
    fleet: FleetName,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// Reads the files, and checks that the certificate is the region's own.
    pub fn load(fleet: &FleetName, region: &RegionId, files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = read_certs(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|why| file_error(&files.key, "private key", &why))?;
        let mut roots = RootCertStore::empty();
        for root in read_certs(&files.ca)? {
            roots
                .add(root)
                .map_err(|why| file_error(&files.ca, "authority", &why))?;
        }
        match region_of(&chain[0], fleet) {
            Ok(found) if found == *region => {}
            Ok(found) => return Err(not_ours(files, found.to_string(), region, fleet)),
            Err(why) => return Err(not_ours(files, why.to_string(), region, fleet)),
        }
        let provider = Arc::new(ring::default_provider());
        Ok(Self {
            fleet: fleet.clone(),
            chain,
            key: Arc::new(key),
            roots: Arc::new(roots),
            provider,
        })
    }

    /// The fleet.
    pub fn fleet(&self) -> &FleetName {
        &self.fleet
    }

    pub(super) fn server(&self) -> Result<QuicServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|why| rustls::Error::General(why.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config)
            .map_err(|why| rustls::Error::General(why.to_string()).into())
    }

    pub(super) fn client(&self, peer: &RegionId) -> Result<QuicClientConfig, TlsError> {
        let inner = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|why| rustls::Error::General(why.to_string()))?;
        let verifier = Arc::new(RegionVerifier {
            inner,
            roots: Arc::clone(&self.roots),
            provider: Arc::clone(&self.provider),
            fleet: self.fleet.clone(),
            peer: peer.clone(),
        });
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        QuicClientConfig::try_from(config)
            .map_err(|why| rustls::Error::General(why.to_string()).into())
    }
}

/// Builds the path with webpki and then asks for the region, where webpki would ask for a host name.
#[derive(Debug)]
struct RegionVerifier {
    inner: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    fleet: FleetName,
    peer: RegionId,
}

impl ServerCertVerifier for RegionVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let cert = rustls::server::ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        let refused = |why: IdentityError| rustls::Error::General(why.to_string());
        let found = region_of(end_entity, &self.fleet).map_err(refused)?;
        if found != self.peer {
            let expected = self.peer.to_string();
            return Err(refused(IdentityError::WrongRegion { found, expected }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|why| file_error(path, what, &why))?
        .collect::<Result<_, _>>()
        .map_err(|why| file_error(path, what, &why))?;
    if certs.is_empty() {
        return Err(file_error(path, what, &"there is none"));
    }
    Ok(certs)
}

fn file_error(path: &Path, what: &'static str, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        what,
        why: why.to_string(),
    }
}

fn not_ours(files: &TlsFiles, found: String, region: &RegionId, fleet: &FleetName) -> TlsError {
    let path = files.cert.clone();
    TlsError::NotOurs {
        path,
        found,
        region: region.clone(),
        fleet: fleet.clone(),
    }
}
