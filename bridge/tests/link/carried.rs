//! What a connection carries: frames, batches, copies of batches.

use std::collections::BTreeMap;

use bytes::Bytes;
use causeway::link::PathHints;
use causeway_proto::codec::{BatchHead, Codec};
use causeway_proto::id::{BatchSeq, Epoch, LaneId, SourceSeq};
use tokio::time::timeout;

use crate::{
    Batches, DEADLINE, authority, connect, dialer, dialer_over, identity, listen, listen_over, ping,
};

#[tokio::test]
async fn regions_of_one_fleet_connect_and_batches_arrive_whole() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    let (mut ours, theirs) = connect(&mut us, &mut dialer).await;
    assert_eq!((ours.peer.as_str(), theirs.peer.as_str()), ("eu", "us"));
    let sender = Batches::of(&theirs);
    let sending = tokio::spawn(async move {
        for number in 0..500u32 {
            let head = Bytes::copy_from_slice(&number.to_be_bytes());
            let body = Bytes::from(vec![number as u8; (number as usize * 977) % 300_000]);
            sender.send(head, body).await.unwrap();
        }
    });
    let mut seen = vec![false; 500];
    for _ in 0..500 {
        let batch = timeout(DEADLINE, ours.batches_rx.recv())
            .await
            .unwrap()
            .unwrap();
        let (head, body) = batch.bytes.split_at(4);
        let number = u32::from_be_bytes(head.try_into().unwrap());
        assert_eq!(body.len(), (number as usize * 977) % 300_000);
        assert!(body.iter().all(|byte| *byte == number as u8));
        assert!(!std::mem::replace(&mut seen[number as usize], true));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_live_batch_arrives_once_more_as_a_copy_where_copies_are_wanted() {
    const UNWANTED: u64 = 50;
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let hints = PathHints::default();
    let mut dialer = dialer_over(identity("acme", "eu", pki.path()), &us, hints.clone());
    let (mut ours, theirs) = connect(&mut us, &mut dialer).await;
    hints.rate.set_copies(false);
    // Nothing is known of the path yet, so that copies are worth while; their budget fills with time.
    let mut arrived = BTreeMap::<Bytes, u32>::new();
    for number in 0.. {
        hints.rate.set_copies(number >= UNWANTED);
        let (head, body) = batch(number);
        Batches::of(&theirs)
            .send(head.clone(), body.clone())
            .await
            .unwrap();
        theirs.copies.copy(head, body);
        let received = timeout(DEADLINE, ours.batches_rx.recv()).await.unwrap();
        let times = arrived.entry(received.unwrap().bytes).or_default();
        *times += 1;
        if *times == 2 {
            assert!(number >= UNWANTED);
            break;
        }
    }
}

/// A raw batch of two pieces.
fn batch(number: u64) -> (Bytes, Bytes) {
    let body = Bytes::from(vec![number as u8; 2000]);
    let head = BatchHead {
        lane: LaneId(2),
        seq: BatchSeq(number),
        follows: SourceSeq(number),
        through: SourceSeq(number + 1),
        record_count: 1,
        epoch: Epoch(1),
        codec: Codec::Raw,
        context: 0,
        context_position: 0,
        plain_len: 2000,
        packed_len: 0,
        body_len: 2000,
        crc: 0,
    };
    (head.encode().unwrap(), body)
}

#[tokio::test]
async fn frames_pass_while_nobody_takes_the_batches() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    let (mut ours, theirs) = connect(&mut us, &mut dialer).await;
    let sender = Batches::of(&theirs);
    let flood = tokio::spawn(async move {
        for _ in 0..40 {
            let body = Bytes::from(vec![7; 1 << 20]);
            if sender
                .send(Bytes::from_static(b"head"), body)
                .await
                .is_err()
            {
                return;
            }
        }
    });
    for _ in 0..50 {
        theirs.control.send(ping()).await.unwrap();
        assert_eq!(
            timeout(DEADLINE, ours.control_rx.recv()).await.unwrap(),
            Some(ping())
        );
    }
    flood.abort();
}

/// Also above what Ethernet carries, and from the first packet on.
#[tokio::test]
async fn a_declared_mtu_holds_for_both_ends() {
    let pki = authority("acme", &["us", "eu"]);
    let path = || PathHints {
        mtu: Some(4000),
        ..PathHints::default()
    };
    let mut us = listen_over(identity("acme", "us", pki.path()), path());
    let mut dialer = dialer_over(identity("acme", "eu", pki.path()), &us, path());
    let (ours, theirs) = connect(&mut us, &mut dialer).await;
    for session in [ours, theirs] {
        assert_eq!(session.connection().stats().path.current_mtu, 4000);
    }
}
