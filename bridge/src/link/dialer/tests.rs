//! Which attempts there are, how long they last, and that one of them gets through.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use causeway_proto::id::FleetName;
use tokio::net::UdpSocket as Udp;
use tokio::sync::mpsc;

use super::*;
use crate::certs::generate;
use crate::link::{Listener, Refusals, TlsFiles};

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn identity(name: &str, pki: &std::path::Path) -> Identity {
    let files = TlsFiles {
        cert: pki.join(format!("{name}.pem")),
        key: pki.join(format!("{name}.key")),
        ca: pki.join("ca.pem"),
    };
    Identity::load(&FleetName::new("acme").unwrap(), &region(name), &files).unwrap()
}

/// A listener of region us, and who eu is.
async fn listener() -> (SocketAddr, Identity) {
    let pki = tempfile::tempdir().unwrap();
    let fleet = FleetName::new("acme").unwrap();
    generate(&fleet, &[region("us"), region("eu")], pki.path()).unwrap();
    let (sender, mut sessions) = mpsc::channel(4);
    let peers = BTreeMap::from([(region("eu"), (PathHints::default(), sender))]);
    let us = identity("us", pki.path());
    let any = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(any, us, peers, Refusals::default()).unwrap();
    let listens = listener.local_addr().unwrap();
    tokio::spawn(listener.run());
    tokio::spawn(async move { while sessions.recv().await.is_some() {} });
    (listens, identity("eu", pki.path()))
}

/// As where a name has an AAAA record, too, and its host listens on 0.0.0.0.
#[tokio::test]
async fn a_peer_is_found_at_the_second_address_of_its_name() {
    let (listens, eu) = listener().await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();

    // The name itself leads nowhere, so that what it led to counts.
    let name = "us.invalid:4433".into();
    let mut dialer = Dialer::new(eu, region("us"), name, PathHints::default());
    let found = [silent.local_addr().unwrap(), listens];
    dialer.addresses.handle_found(found.into_iter());
    assert!(matches!(dialer.dial().await, Err(DialError::Timeout(_))));
    assert_eq!(dialer.addresses.next(), Some(listens));
    let until_answered = async { while dialer.dial().await.is_err() {} };
    timeout(Duration::from_secs(60), until_answered)
        .await
        .unwrap();
    assert_eq!(dialer.addresses.next(), Some(listens));
}

/// Carries datagrams to a listener and back, but none of the first connections that are begun through it: as a link
/// that heals while an attempt is under way.
async fn deaf_to_the_first(attempts: usize, listens: SocketAddr) -> SocketAddr {
    let (near, far) = tokio::join!(Udp::bind("127.0.0.1:0"), Udp::bind("127.0.0.1:0"));
    let (near, far) = (near.unwrap(), far.unwrap());
    let address = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut sent, mut answer) = ([0; 2_048], [0; 2_048]);
        let (mut begun, mut caller) = (Vec::<Vec<u8>>::new(), address);
        loop {
            tokio::select! {
                Ok((len, from)) = near.recv_from(&mut sent) => {
                    let datagram = &sent[..len];
                    // A long header: flags, version, and the length of the destination's id before the id.
                    let id = |id_len| datagram.get(6..6 + usize::from(id_len)).map(<[u8]>::to_vec);
                    let id = datagram.get(5).filter(|_| datagram[0] & 0x80 != 0).and_then(|len| id(*len));
                    if let Some(id) = id.filter(|id| begun.len() <= attempts && !begun.contains(id)) {
                        begun.push(id);
                    }
                    let is_deaf = begun.iter().take(attempts).any(|id| datagram.get(6..6 + id.len()) == Some(id));
                    if !is_deaf {
                        caller = from;
                        far.send_to(datagram, listens).await.unwrap();
                    }
                }
                Ok((len, _)) = far.recv_from(&mut answer) => {
                    near.send_to(&answer[..len], caller).await.unwrap();
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_link_that_heals_does_not_wait_for_the_end_of_a_patient_attempt() {
    let (listens, eu) = listener().await;
    let address = deaf_to_the_first(2, listens).await;
    let hints = PathHints {
        measured_rtt: Some(Duration::from_millis(100)),
        ..PathHints::default()
    };
    let mut dialer = Dialer::new(eu, region("us"), address.to_string(), hints);
    dialer.addresses.handle_found([address].into_iter());
    for _ in 1..PATIENT_EVERY {
        dialer.addresses.handle_failed(address);
    }
    dialer
        .dial()
        .await
        .expect("the third of this round is heard");
}

#[test]
fn every_eighth_attempt_is_for_a_path_that_became_longer() {
    let patient: Vec<_> = (0..20).filter(|failures| is_patient(*failures)).collect();
    assert_eq!(patient, [7, 15]);
    let ms = Duration::from_millis;
    let patiences = [25, 150, 3_000].map(|rtt| patience(Some(ms(rtt))));
    assert_eq!(patiences, [ms(500), ms(700), PATIENCE_MAX]);
}
