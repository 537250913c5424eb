//! What a peer does to a batch that is on its way to it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use causeway::link::{ALPN, Dialer, PathHints};
use causeway::session::{Direction, RouteEvent, RouteHandle, Session};
use causeway_proto::frame::LaneClass;
use causeway_proto::id::RouteName;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::{DEADLINE, authority, dial, identity, region};

/// Listens as a region whose streams nobody reads, so that a test has them.
fn bare_listener(name: &str, pki: &Path) -> quinn::Endpoint {
    let cert = CertificateDer::from_pem_file(pki.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.join(format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap()
}

/// Says why the connection ended.
async fn stop_each_batch(endpoint: quinn::Endpoint) -> quinn::ConnectionError {
    let peer = endpoint.accept().await.unwrap().await.unwrap();
    loop {
        match peer.accept_uni().await {
            Ok(mut stream) => stream.stop(7u32.into()).unwrap(),
            Err(end) => return end,
        }
    }
}

/// Otherwise the session would stand without a way out, and its routes wait for ever to hear of it.
#[tokio::test]
async fn a_peer_that_stops_a_batch_loses_the_session() {
    let pki = authority("acme", &["us", "eu"]);
    let us = bare_listener("us", pki.path());
    let address = us.local_addr().unwrap().to_string();
    let eu = identity("acme", "eu", pki.path());
    let mut dialer = Dialer::new(eu, region("us"), address, PathHints::default());
    let stopping = tokio::spawn(stop_each_batch(us));
    let ours = dial(&mut dialer).await.unwrap();
    let (route, mut events) = RouteHandle::new(RouteName::new("orders").unwrap(), Direction::Out);
    let (routes, stop) = ([route], Notify::new());
    let session = Session::new(ours, &routes).run(&stop, |_| {});
    let driver = async {
        let Some(RouteEvent::Up(port)) = events.recv().await else {
            panic!("no session");
        };
        // More than the connection takes before the peer has answered.
        let (head, body) = (Bytes::from_static(b"head"), Bytes::from(vec![7; 8 << 20]));
        let lane = port.new_lane();
        let sent = port.send_batch(lane, LaneClass::Bulk, head, body).await;
        (sent, events.recv().await)
    };
    let ended = async { tokio::join!(session, driver) };
    let (_, (sent, last)) = timeout(DEADLINE, ended).await.unwrap();
    assert!(sent.is_err());
    assert!(matches!(last, Some(RouteEvent::Down)), "{last:?}");
    let told = timeout(DEADLINE, stopping).await.unwrap().unwrap();
    assert!(told.to_string().contains("internal error"), "{told}");
}
