//! Many callers at once, of which most are nobody, and many that are somebody.

use std::collections::BTreeSet;

use causeway::link::{Dialer, PathHints};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::{DEADLINE, authority, connect, dial, dialer, identity, listen, region};

/// More than all handshakes that the listener lets be under way.
const MANY: usize = 300;

/// The two connection ids in a long header of QUIC: the destination's and the source's.
fn connection_ids(packet: &[u8]) -> (&[u8], &[u8]) {
    let (destination, rest) = packet[6..].split_at(usize::from(packet[5]));
    (destination, &rest[1..=usize::from(rest[0])])
}

/// First packets of callers, each of another connection, that were never meant to go on.
async fn first_packets(pki: &std::path::Path) -> Vec<Vec<u8>> {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    let eu = identity("acme", "eu", pki);
    let mut dialer = Dialer::new(eu, region("us"), address, PathHints::default());
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut packet = vec![0; 2048];
    while found.len() < MANY {
        // Given up only once it has called, or all that comes of it takes back a call that was none.
        let call = dialer.dial();
        tokio::pin!(call);
        loop {
            let received = tokio::select! {
                _ = &mut call => break, // the machine is busy
                received = nobody.recv(&mut packet) => received.unwrap(),
            };
            let packet = &packet[..received];
            if seen.insert(connection_ids(packet).1.to_vec()) {
                found.push(packet.to_vec());
                break;
            }
        }
    }
    found
}

#[tokio::test]
async fn callers_that_never_go_on_do_not_keep_a_peer_out() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut answer = vec![0; 65_536];
    for packet in first_packets(pki.path()).await {
        forger.send_to(&packet, us.address).await.unwrap();
        let own = connection_ids(&packet).1;
        let answered = async {
            loop {
                let len = forger.recv(&mut answer).await.unwrap();
                let is_long = answer[0] & 0x80 != 0;
                if is_long && connection_ids(&answer[..len]).0 == own {
                    return;
                }
            }
        };
        timeout(DEADLINE, answered).await.unwrap();
    }
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    connect(&mut us, &mut dialer).await;
    assert_eq!(us.refusals.snapshot().get("too_many"), None);
}

#[tokio::test]
async fn connections_that_stand_keep_nobody_out() {
    let pki = authority("acme", &["us", "eu"]);
    let us = listen(identity("acme", "us", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    let mut standing = Vec::new();
    for _ in 0..MANY {
        standing.push(dial(&mut dialer).await.unwrap());
    }
    assert_eq!(us.refusals.snapshot().get("too_many"), None);
}
