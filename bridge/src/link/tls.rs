//! Who is at the other end: mutual TLS 1.3, and the region in the certificate.
//!
//! A region's certificate carries one URI SAN `spiffe://<fleet>/region/<region>`. Host names play no
//! part: a peer is whoever the fleet's authority says it is, wherever it was reached.
//! Files that were renewed are read while the sidecar runs ([`Identity::renew`]).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use causeway_proto::id::{FleetName, RegionId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use super::certificate::{ends_at, region_of};
use super::verifier::{RegionVerifier, verify_path};
use crate::clock::now_unix_seconds;
use crate::pem;

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
    /// It has ended, and the one in use has not.
    #[error("{path}: the certificate has ended, and the one in use has not")]
    Ended {
        /// The file.
        path: PathBuf,
    },
    /// A peer will refuse it.
    #[error("{path}: a peer that trusts {ca} refuses it {role}: {why}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The authorities.
        ca: PathBuf,
        /// At which end of a link.
        role: &'static str,
        /// What is wrong.
        why: String,
    },
    /// rustls refuses the combination.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The TLS side of every link of a region. Clones share what the files said last.
#[derive(Debug, Clone)]
pub struct Identity {
    fleet: FleetName,
    region: RegionId,
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: Arc<RwLock<Current>>,
}

/// What is in use.
#[derive(Debug)]
struct Current {
    credentials: Arc<Credentials>,
    /// Why the files as they are now cannot take its place.
    problem: Option<String>,
}

impl Identity {
    /// Reads the files, and checks that the certificate is the region's own.
    pub fn load(fleet: &FleetName, region: &RegionId, files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let credentials = Arc::new(Credentials::read(fleet, region, files, &provider)?);
        let current = Current {
            credentials,
            problem: None,
        };
        Ok(Self {
            fleet: fleet.clone(),
            region: region.clone(),
            files: files.clone(),
            provider,
            current: Arc::new(RwLock::new(current)),
        })
    }

    /// Reads the files again, for connections that are made from now on; those that stand keep what they
    /// began with. `false`: the files say what they said. Files that cannot be used change nothing, and
    /// [`Identity::problem`] tells of them until they can.
    pub fn renew(&self) -> Result<bool, TlsError> {
        let read = Credentials::read(&self.fleet, &self.region, &self.files, &self.provider)
            .and_then(|read| self.not_older(read));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.problem = read.as_ref().err().map(ToString::to_string);
        let read = read?;
        let is_new = *current.credentials != read;
        if is_new {
            current.credentials = Arc::new(read);
        }
        Ok(is_new)
    }

    /// An old copy that was put back must not end a link that works.
    fn not_older(&self, read: Credentials) -> Result<Credentials, TlsError> {
        if read.has_ended() && !self.credentials().has_ended() {
            let path = self.files.cert.clone();
            return Err(TlsError::Ended { path });
        }
        Ok(read)
    }

    /// Why the files as they were last read cannot be used, where they cannot.
    pub fn problem(&self) -> Option<String> {
        self.read().problem.clone()
    }

    /// What is in use: what it is for, where it was read, and the second since the Unix epoch in which it ends
    /// (the soonest of several authorities).
    pub fn certificates(&self) -> [(&'static str, &Path, Option<i64>); 2] {
        let credentials = self.credentials();
        let own = ends_at(&credentials.chain[0]);
        let authorities = credentials.authorities.iter();
        let ca = authorities.filter_map(|cert| ends_at(cert)).min();
        [("own", &self.files.cert, own), ("ca", &self.files.ca, ca)]
    }

    /// Whether a peer that trusts the same authorities accepts the certificate now, at either end of a link.
    pub fn accepted(&self) -> Result<(), TlsError> {
        let credentials = self.credentials();
        let now = UnixTime::now();
        let refused = |role| {
            let (path, ca) = (self.files.cert.clone(), self.files.ca.clone());
            move |why: rustls::Error| TlsError::Refused {
                path,
                ca,
                role,
                why: why.to_string(),
            }
        };
        let (leaf, rest) = (&credentials.chain[0], &credentials.chain[1..]);
        verify_path(leaf, rest, &credentials.roots, &self.provider, now)
            .map_err(refused("when it listens"))?;
        self.client_verifier(&credentials)?
            .verify_client_cert(leaf, rest, now)
            .map_err(refused("when it dials"))?;
        Ok(())
    }

    /// The fleet.
    pub fn fleet(&self) -> &FleetName {
        &self.fleet
    }

    fn read(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.read().credentials)
    }

    pub(super) fn server(&self) -> Result<QuicServerConfig, TlsError> {
        let credentials = self.credentials();
        let verifier = self.client_verifier(&credentials)?;
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config)
            .map_err(|why| rustls::Error::General(why.to_string()).into())
    }

    /// Judges who dials.
    fn client_verifier(
        &self,
        credentials: &Credentials,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let roots = Arc::clone(&credentials.roots);
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|why| rustls::Error::General(why.to_string()).into())
    }

    pub(super) fn client(&self, peer: &RegionId) -> Result<QuicClientConfig, TlsError> {
        let credentials = self.credentials();
        let inner = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&credentials.roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|why| rustls::Error::General(why.to_string()))?;
        let verifier = Arc::new(RegionVerifier {
            inner,
            roots: Arc::clone(&credentials.roots),
            provider: Arc::clone(&self.provider),
            fleet: self.fleet.clone(),
            peer: peer.clone(),
        });
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        QuicClientConfig::try_from(config)
            .map_err(|why| rustls::Error::General(why.to_string()).into())
    }
}

/// What the files said when they were read.
#[derive(Debug)]
struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        (&self.chain, &self.key, &self.authorities)
            == (&other.chain, &other.key, &other.authorities)
    }
}

impl Credentials {
    /// Whoever renews files writes one after the other: what does not fit together is an error.
    fn read(
        fleet: &FleetName,
        region: &RegionId,
        files: &TlsFiles,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let chain = read_certs(&files.cert)?;
        let key = pem::private_key(&files.key)
            .map_err(|why| file_error(&files.key, "private key", &why))?;
        let authorities = read_certs(&files.ca)?;
        let mut roots = RootCertStore::empty();
        for root in &authorities {
            roots
                .add(root.clone())
                .map_err(|why| file_error(&files.ca, "authority", &why))?;
        }
        match region_of(&chain[0], fleet) {
            Ok(found) if found == *region => {}
            Ok(found) => return Err(not_ours(files, found.to_string(), region, fleet)),
            Err(why) => return Err(not_ours(files, why.to_string(), region, fleet)),
        }
        CertifiedKey::from_der(chain.clone(), key.clone_key(), provider)
            .map_err(|why| file_error(&files.key, "private key of the certificate", &why))?;
        Ok(Self {
            chain,
            key,
            authorities,
            roots: Arc::new(roots),
        })
    }

    fn has_ended(&self) -> bool {
        let now = now_unix_seconds() as i64;
        ends_at(&self.chain[0]).is_some_and(|end| end <= now)
    }
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::certificates(path).map_err(|why| file_error(path, "certificate", &why))
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
