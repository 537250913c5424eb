//! The QUIC link between real sockets: who is let in, what is carried, what ends a connection.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use causeway::certs::generate;
use causeway::link::{
    DeclaredRate, DialError, Dialer, Identity, Listener, PathHints, Refusals, Session, Shaping,
    TlsFiles,
};
use causeway_proto::codec::{BatchHead, Codec};
use causeway_proto::error::CloseReason;
use causeway_proto::frame::{Frame, Ping};
use causeway_proto::id::{BatchSeq, Epoch, FleetName, LaneId, RegionId, SourceSeq};
use tokio::sync::mpsc;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// A fleet's certificates in a directory of their own.
fn authority(fleet: &str, regions: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let regions: Vec<_> = regions.iter().map(|name| region(name)).collect();
    generate(&FleetName::new(fleet).unwrap(), &regions, directory.path()).unwrap();
    directory
}

fn identity(fleet: &str, name: &str, directory: &Path) -> Identity {
    let files = TlsFiles {
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
        ca: directory.join("ca.pem"),
    };
    Identity::load(&FleetName::new(fleet).unwrap(), &region(name), &files).unwrap()
}

/// A path whose link has that rate, in bits a second.
fn rated(rate: Option<u64>) -> PathHints {
    PathHints {
        rate: DeclaredRate::new(rate),
        ..PathHints::default()
    }
}

/// A listener of region us that eu may dial.
struct Us {
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    refusals: Refusals,
}

fn listen(identity: Identity) -> Us {
    listen_over(identity, PathHints::default())
}

fn listen_over(identity: Identity, hints: PathHints) -> Us {
    let (sender, sessions) = mpsc::channel(4);
    let peers = BTreeMap::from([(region("eu"), (hints, sender))]);
    let refusals = Refusals::default();
    let any = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind(any, identity, peers, refusals.clone()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.run());
    Us {
        address,
        sessions,
        refusals,
    }
}

fn dialer(identity: Identity, us: &Us) -> Dialer {
    dialer_over(identity, us, PathHints::default())
}

fn dialer_over(identity: Identity, us: &Us, hints: PathHints) -> Dialer {
    Dialer::new(identity, region("us"), us.address.to_string(), hints)
}

fn ping() -> Bytes {
    Frame::Ping(Ping { nonce: 1 }).encode().unwrap()
}

/// Both ends of a connection. The listener sees it with the dialler's first frame.
async fn connect(us: &mut Us, dialer: &mut Dialer) -> (Session, Session) {
    let eu = dialer.dial().await.unwrap();
    eu.control.send(ping()).await.unwrap();
    let mut other = timeout(DEADLINE, us.sessions.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        timeout(DEADLINE, other.control_rx.recv()).await.unwrap(),
        Some(ping())
    );
    (other, eu)
}

/// Sends batches on streams of their own, as sessions do.
struct Batches(quinn::Connection);

impl Batches {
    fn of(session: &Session) -> Self {
        Self(session.connection().clone())
    }

    async fn send(&self, head: Bytes, body: Bytes) -> Result<(), quinn::WriteError> {
        let mut stream = self.0.open_uni().await?;
        stream.write_all_chunks(&mut [head, body]).await?;
        let _ = stream.finish(); // the stream is ours, and was not finished before
        Ok(())
    }
}

/// Waits until a connection has ended, and says in whose words.
async fn end(session: &Session) -> String {
    timeout(DEADLINE, session.connection().closed())
        .await
        .unwrap();
    session.end().unwrap()
}

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
async fn a_live_batch_arrives_once_more_as_a_copy() {
    let pki = authority("acme", &["us", "eu"]);
    let mut us = listen(identity("acme", "us", pki.path()));
    let mut dialer = dialer(identity("acme", "eu", pki.path()), &us);
    let (mut ours, theirs) = connect(&mut us, &mut dialer).await;
    // Nothing is known of the path yet, so that copies are worth while; their budget fills with time.
    let mut arrived = BTreeMap::<Bytes, u32>::new();
    for number in 0.. {
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

#[tokio::test]
async fn strangers_are_refused_by_name_and_counted() {
    let pki = authority("acme", &["us", "eu", "ap"]);
    let us = listen(identity("acme", "us", pki.path()));
    // A region of the fleet that has no link with us.
    let mut ap = dialer(identity("acme", "ap", pki.path()), &us);
    match ap.dial().await {
        Ok(session) => assert!(end(&session).await.contains("wrong region")),
        Err(why) => assert!(why.to_string().contains("wrong region"), "{why}"),
    }
    // A certificate of another authority.
    let other = authority("acme", &["us", "eu"]);
    let mut forged = dialer(identity("acme", "eu", other.path()), &us);
    assert!(matches!(forged.dial().await, Err(DialError::Connection(_))));
    timeout(DEADLINE, async {
        while us.refusals.snapshot().get("wrong_region") != Some(&1) {
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
    let why = dialer.dial().await.unwrap_err().to_string();
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
    for round in 0..500u32 {
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
