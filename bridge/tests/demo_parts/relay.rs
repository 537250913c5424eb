//! The emulated WAN between real sockets: answers, cuts, losses.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use causeway::demo::relay::{Relay, RelayCounters, RelayOptions};
use causeway::wan::Profile;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::SOON;

/// A socket behind a relay, and the relay.
async fn relay(delay: Duration, loss: f64) -> (Relay, UdpSocket) {
    let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let path = Profile {
        delay,
        loss,
        ..Profile::default()
    };
    let options = RelayOptions {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        target: target.local_addr().unwrap(),
        seed: 1,
        forward: path,
        back: path,
    };
    (Relay::start(options).unwrap(), target)
}

async fn client_of(relay: &Relay) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(relay.address()).await.unwrap();
    socket
}

async fn counters_reach(
    relay: &Relay,
    reached: impl FnMut(&RelayCounters) -> bool,
) -> RelayCounters {
    let mut counters = relay.watch_counters();
    *timeout(SOON, counters.wait_for(reached))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn each_client_of_the_relay_gets_its_own_answers_after_both_delays() {
    let delay = Duration::from_millis(40);
    let (relay, target) = relay(delay, 0.0).await;
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        loop {
            let (length, from) = target.recv_from(&mut buffer).await.unwrap();
            target.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    let (a, b) = (client_of(&relay).await, client_of(&relay).await);
    let began = Instant::now();
    a.send(b"from a").await.unwrap();
    b.send(b"from b").await.unwrap();
    for (client, text) in [(&a, b"from a"), (&b, b"from b")] {
        let mut buffer = [0; 100];
        let length = timeout(SOON, client.recv(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&buffer[..length], text);
    }
    assert!(began.elapsed() >= 2 * delay);
    let counters = counters_reach(&relay, |it| it.back.delivered_packets == 2).await;
    assert_eq!(
        (counters.forward.delivered_packets, counters.wire_bytes()),
        (2, 4 * (6 + 28))
    );
}

#[tokio::test]
async fn a_cut_relay_passes_nothing_until_it_is_healed() {
    // Cutting and sending are not ordered either: what is on its way when the cut comes is cut too.
    let (relay, target) = relay(Duration::from_millis(500), 0.0).await;
    let client = client_of(&relay).await;
    relay.cut();
    client.send(b"into the void").await.unwrap();
    counters_reach(&relay, |it| it.forward.cut_packets == 1).await;
    relay.heal();
    // Healing and sending are not ordered, so keep sending until one comes through.
    let (mut buffer, mut ticks) = ([0; 100], tokio::time::interval(Duration::from_millis(10)));
    let received = timeout(SOON, async {
        loop {
            tokio::select! {
                received = target.recv_from(&mut buffer) => return received.unwrap().0,
                _ = ticks.tick() => drop(client.send(b"healed").await.unwrap()),
            }
        }
    });
    let length = received.await.unwrap();
    assert_eq!(&buffer[..length], b"healed");
}

#[tokio::test]
async fn the_relay_loses_the_stated_share_of_a_busy_link() {
    let (relay, _target) = relay(Duration::from_millis(1), 0.1).await;
    let client = client_of(&relay).await;
    // In small groups, so that no socket's buffer overflows.
    for group in 1..=100 {
        for _ in 0..50 {
            client.send(&[0; 1_200]).await.unwrap();
        }
        counters_reach(&relay, |it| it.forward.entered_packets == group * 50).await;
    }
    let counters = relay.counters().forward;
    // 500 of 5,000 expected, standard deviation 21.
    assert!((400..600).contains(&counters.lost_packets), "{counters:?}");
    assert_eq!(counters.overflowed_packets + counters.cut_packets, 0);
}
