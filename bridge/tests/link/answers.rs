//! Peers that answer late, or in part.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway::link::{DialError, Dialer, PathHints};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::{DEADLINE, authority, identity, listen, region};

/// Between a dialler and `peer`: of what comes back only the first datagram arrives, and what
/// comes later than `hole` after it. Tells of that first one.
async fn relay_with_a_hole(peer: SocketAddr, hole: Duration) -> (SocketAddr, Arc<Notify>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let [near, far] = [
        UdpSocket::bind(any).await.unwrap(),
        UdpSocket::bind(any).await.unwrap(),
    ];
    far.connect(peer).await.unwrap();
    let address = near.local_addr().unwrap();
    let (near, far) = (Arc::new(near), Arc::new(far));
    let told = Arc::new(Notify::new());
    let tell = Arc::clone(&told);
    tokio::spawn(async move {
        let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        let mut caller = any;
        let mut answered: Option<Instant> = None;
        loop {
            tokio::select! {
                Ok((len, from)) = near.recv_from(&mut there) => {
                    caller = from;
                    far.send(&there[..len]).await.unwrap();
                }
                Ok(len) = far.recv(&mut back) => {
                    if answered.is_none_or(|at| at.elapsed() > hole) {
                        near.send_to(&back[..len], caller).await.unwrap();
                    }
                    answered.get_or_insert_with(Instant::now);
                    tell.notify_one();
                }
            }
        }
    });
    (address, told)
}

/// Makes the chain too long for one datagram, as intermediate authorities do.
fn lengthen(chain: &Path, with: &Path) {
    let mut pem = std::fs::read_to_string(chain).unwrap();
    let more = std::fs::read_to_string(with).unwrap();
    pem.push_str(&more.repeat(3));
    std::fs::write(chain, pem).unwrap();
}

/// A link that heals in the middle of an attempt carries its answer with losses: who gives up then begins again.
#[tokio::test]
async fn an_attempt_that_was_answered_is_not_given_up() {
    let pki = authority("acme", &["us", "eu"]);
    lengthen(&pki.path().join("us.pem"), &pki.path().join("ca.pem"));
    let us = listen(identity("acme", "us", pki.path()));
    // Silence would end it after 0.9 s; a begun answer has 9 s. Each probe waits twice as long as the one before, so the
    // second after the hole leaves within 4 s.
    let (relay, _) = relay_with_a_hole(us.address, Duration::from_secs(1)).await;
    let hints = PathHints {
        rtt: Some(Duration::from_millis(200)),
        ..PathHints::default()
    };
    let eu = identity("acme", "eu", pki.path());
    let mut dialer = Dialer::new(eu, region("us"), relay.to_string(), hints);
    dialer.dial().await.unwrap();
}

#[tokio::test]
async fn silence_is_given_up_after_four_round_trips_and_a_moment() {
    let pki = authority("acme", &["us", "eu"]);
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let eu = identity("acme", "eu", pki.path());
    let mut dialer = Dialer::new(eu, region("us"), address, PathHints::default());
    for (measured, expected) in [(None, 1_500), (Some(200), 900), (Some(20), 500)] {
        dialer.expect_round_trip(measured.map(Duration::from_millis));
        let Err(DialError::Timeout(limit)) = dialer.dial().await else {
            panic!("nobody is there");
        };
        assert_eq!(limit, Duration::from_millis(expected));
    }
}

/// A path that is dead one way has callers that give up, again and again: not something to warn of each time.
#[tokio::test]
async fn a_caller_that_gives_up_is_counted_as_such() {
    let pki = authority("acme", &["us", "eu"]);
    lengthen(&pki.path().join("us.pem"), &pki.path().join("ca.pem"));
    let us = listen(identity("acme", "us", pki.path()));
    let (relay, answered) = relay_with_a_hole(us.address, DEADLINE * 2).await;
    let eu = identity("acme", "eu", pki.path());
    let mut dialer = Dialer::new(eu, region("us"), relay.to_string(), PathHints::default());
    tokio::select! {
        _ = dialer.dial() => panic!("half of the answer is missing"),
        () = answered.notified() => {}
    }
    timeout(DEADLINE, async {
        while us.refusals.snapshot().get("handshake_given_up") != Some(&1) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
