//! Declared rates, on the dialling and on the listening side.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use causeway::link::Shaping;
use tokio::time::timeout;

use crate::{
    Batches, DEADLINE, authority, connect, dialer_over, identity, listen, listen_over, rated,
};

/// What left, and what may have left at most since the socket was made: two packets, and what of a handshake
/// leaves before it is known whose it is.
fn is_within(shaping: &Shaping, rate: u64, began: std::time::Instant) -> bool {
    let bytes = shaping.counts().bytes.load(Ordering::Relaxed);
    let most = rate as f64 / 8.0 * began.elapsed().as_secs_f64() + 2.0 * 1480.0 + 8_000.0;
    bytes as f64 <= most
}

/// Both ends send far more than their link's rate: neither exceeds it, on the dialling or on the listening
/// side, handshake and acknowledgements included once the peer is known, and nobody spins while it waits.
#[tokio::test]
async fn both_sides_keep_the_rate_and_wait_without_spinning() {
    let pki = authority("acme", &["us", "eu"]);
    let rate = 800_000;
    let (listening, dialling) = (rated(Some(rate)), rated(Some(rate)));
    let shapings = [listening.shaping.clone(), dialling.shaping.clone()];
    let began = std::time::Instant::now();
    let mut us = listen_over(identity("acme", "us", pki.path()), listening);
    let mut dialer = dialer_over(identity("acme", "eu", pki.path()), &us, dialling);
    let (mut ours, mut theirs) = connect(&mut us, &mut dialer).await;
    for session in [&ours, &theirs] {
        let sender = Batches::of(session);
        tokio::spawn(async move {
            for _ in 0..8 {
                let body = Bytes::from(vec![7; 16_000]);
                let _ = sender.send(Bytes::from_static(b"head"), body).await;
            }
        });
    }
    for _ in 0..8 {
        for session in [&mut ours, &mut theirs] {
            let batch = timeout(DEADLINE, session.batches_rx.recv()).await.unwrap();
            assert_eq!(batch.unwrap().bytes.len(), 16_004);
            assert!(
                shapings
                    .iter()
                    .all(|shaping| is_within(shaping, rate, began))
            );
        }
    }
    for shaping in &shapings {
        let counts = shaping.counts();
        let packets = counts.packets.load(Ordering::Relaxed);
        let polls = counts.polls.load(Ordering::Relaxed);
        let turns = counts.turns.load(Ordering::Relaxed);
        assert!(packets > 80, "{packets}");
        assert!(polls < 8 * packets, "{polls} polls for {packets} packets");
        assert!(turns < 8 * packets, "{turns} turns for {packets} packets");
    }
}

/// The operator changes a rate: what runs takes it up, without a new connection.
#[tokio::test]
async fn a_rate_changed_while_running_is_taken_up() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let hints = rated(Some(200_000));
    let mut dialer = dialer_over(identity("acme", "eu", pki.path()), &us, hints.clone());
    let (mut ours, theirs) = connect(&mut us, &mut dialer).await;
    let sender = Batches::of(&theirs);
    let sending = tokio::spawn(async move {
        let body = Bytes::from(vec![7; 2_000_000]);
        sender.send(Bytes::from_static(b"head"), body).await
    });
    // At the first rate it would take 80 seconds.
    hints.rate.set(Some(200_000_000));
    let batch = timeout(DEADLINE, ours.batches_rx.recv()).await.unwrap();
    assert_eq!(batch.unwrap().bytes.len(), 2_000_004);
    sending.await.unwrap().unwrap();
}
