//! Keys for connections that no one else ever sees.

use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// A server's and a client's side of TLS 1.3 that trust each other.
pub(super) fn sides() -> (Arc<QuicServerConfig>, Arc<QuicClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["causeway".to_owned()])
        .expect("a name that certificates may have");
    let cert = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.into())
        .expect("the certificate is of that key");
    let mut roots = RootCertStore::empty();
    roots.add(cert).expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        Arc::new(QuicServerConfig::try_from(server).expect("TLS 1.3 carries QUIC")),
        Arc::new(QuicClientConfig::try_from(client).expect("TLS 1.3 carries QUIC")),
    )
}
