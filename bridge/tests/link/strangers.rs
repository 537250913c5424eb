//! Who is not let in, and what a peer cannot break.

use causeway::link::DialError;
use causeway_proto::error::CloseReason;
use tokio::time::timeout;

use crate::{DEADLINE, authority, connect, dial, dialer, end, identity, listen, ping};

#[tokio::test]
async fn strangers_are_refused_by_name_and_counted() {
    let pki = authority("acme", &["us", "eu", "ap"]);
    let us = listen(identity("acme", "us", pki.path()));
    // A region of the fleet that has no link with us.
    let mut ap = dialer(identity("acme", "ap", pki.path()), &us);
    match dial(&mut ap).await {
        Ok(session) => assert!(end(&session).await.contains("wrong region")),
        Err(why) => assert!(why.to_string().contains("wrong region"), "{why}"),
    }
    // A certificate of another authority.
    let other = authority("acme", &["us", "eu"]);
    let mut forged = dialer(identity("acme", "eu", other.path()), &us);
    assert!(matches!(
        dial(&mut forged).await,
        Err(DialError::Connection(_))
    ));
    timeout(DEADLINE, async {
        while !us.refusals.snapshot().contains_key("wrong_region") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_dialler_insists_on_the_region_it_dials() {
    let pki = authority("acme", &["us", "eu"]);
    // Who answers at the address of us presents the certificate of eu.
    let impostor = listen(identity("acme", "eu", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &impostor);
    let why = dial(&mut dialer).await.unwrap_err().to_string();
    assert!(
        why.contains("certificate is of region eu, expected us"),
        "{why}"
    );
}

#[tokio::test]
async fn an_oversized_frame_costs_the_connection_and_nothing_else() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    let (ours, theirs) = connect(&mut us, &mut dialer).await;
    let mut head = ping()[..1].to_vec();
    head.extend(u32::MAX.to_be_bytes());
    theirs.control.send(head.into()).await.unwrap();
    assert!(end(&theirs).await.contains("frame too long"));
    assert_eq!(ours.fault(), Some(CloseReason::FrameTooLong));
    assert_eq!(theirs.fault(), None, "it only sent it");
    drop(ours);
    connect(&mut us, &mut dialer).await;
}

#[tokio::test]
async fn random_datagrams_disturb_nobody() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let noise = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..50u32 {
        let bytes: Vec<u8> = (0..1200u32)
            .map(|at| (at.wrapping_mul(round).wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        noise.send_to(&bytes, us.address).unwrap();
    }
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    connect(&mut us, &mut dialer).await;
}

#[tokio::test]
async fn a_restarted_peer_is_let_in_while_its_old_connection_still_stands() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let mut first = dialer(identity("acme", "eu", pki.path()), &us);
    let (_old, _kept) = connect(&mut us, &mut first).await;
    let mut second = dialer(identity("acme", "eu", pki.path()), &us);
    connect(&mut us, &mut second).await;
}
