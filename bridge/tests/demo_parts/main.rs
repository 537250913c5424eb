//! The parts around the demo's sidecars, with real servers and sockets: provisioning, servers, relay, load, verification.

#![expect(
    clippy::unwrap_used,
    reason = "in a test's helpers too, a panic is the report"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use async_nats::{HeaderMap, Message};
use causeway::demo::load::{Ledger, Publisher, Trade};
use causeway::demo::provision::{self, OLDEST_VERSION};
use causeway::demo::relay::{Relay, RelayCounters, RelayOptions};
use causeway::demo::server::{Server, ServerOptions};
use causeway::demo::verify::{Findings, compare, count_personal, read_stream};
use causeway::wan::Profile;
use futures_util::TryStreamExt as _;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(30);

async fn start_server(name: &str, directory: &Path) -> Server {
    let binary = tokio::task::spawn_blocking(provision::nats_server)
        .await
        .unwrap()
        .unwrap();
    let (name, directory) = (name.to_owned(), directory.to_owned());
    Server::start(ServerOptions {
        name,
        binary,
        directory,
        config: Vec::new(),
    })
    .await
    .unwrap()
}

async fn connect(server: &Server) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

fn trade_stream(name: &str, trade: Trade) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: trade.subjects().iter().map(ToString::to_string).collect(),
        ..stream::Config::default()
    }
}

#[test]
fn the_oldest_supported_server_is_provisioned_whatever_is_installed() {
    let binary = provision::nats_server_version(OLDEST_VERSION).unwrap();
    let output = Command::new(binary).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("nats-server: v{OLDEST_VERSION}")
    );
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_what_it_had_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start_server("a", directory.path()).await;
    let jetstream = connect(&server).await;
    jetstream
        .create_stream(trade_stream("S", Trade::Shop))
        .await
        .unwrap();
    for _ in 0..3 {
        jetstream
            .publish("order.1.paid", "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let port = server.port();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    let stream = connect(&server).await.get_stream("S").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 3);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start_server("a", directory.path()).await;
    let jetstream = connect(&server).await;
    server.pause().unwrap();
    let mut answer = Box::pin(jetstream.query_account());
    assert!(
        timeout(Duration::from_millis(300), &mut answer)
            .await
            .is_err()
    );
    server.resume().unwrap();
    timeout(SOON, answer).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        name: "a".to_owned(),
        binary: tokio::task::spawn_blocking(provision::nats_server)
            .await
            .unwrap()
            .unwrap(),
        directory: directory.path().to_owned(),
        config: vec!["no_such_option: {".to_owned()],
    };
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("Parse error"), "{error}");
}

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
    let (relay, target) = relay(Duration::from_millis(1), 0.0).await;
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

/// Two regions: field events at the source, in the way of the demo, and a far side to copy them to.
struct Regions {
    source: jetstream::Context,
    target: jetstream::Context,
    ledger: Ledger,
    _servers: [Server; 2],
    _directories: [tempfile::TempDir; 2],
}

impl Regions {
    async fn with_load() -> Self {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let servers = [
            start_server("source", directories[0].path()).await,
            start_server("target", directories[1].path()).await,
        ];
        let (source, target) = (connect(&servers[0]).await, connect(&servers[1]).await);
        source
            .create_stream(trade_stream("FIELD", Trade::Field))
            .await
            .unwrap();
        let mut publisher = Publisher::new(source.clone(), Trade::Field, 5);
        publisher.backlog(200).await.unwrap();
        let (control, running) = publisher.run(1_000);
        let running = tokio::spawn(running);
        control.burst(100).await.unwrap();
        let mut progress = control.progress();
        timeout(SOON, progress.wait_for(|it| it.published >= 400))
            .await
            .unwrap()
            .unwrap();
        drop(control);
        let ledger = running.await.unwrap().unwrap();
        Self {
            source,
            target,
            ledger,
            _servers: servers,
            _directories: directories,
        }
    }

    /// Copies as the simplest correct replicator would, spoils the copy, and compares.
    async fn copy(&self, spoil: impl FnOnce(&mut Vec<Message>)) -> Findings {
        let stream = self.source.get_stream("FIELD").await.unwrap();
        let pending = stream.cached_info().state.messages as usize;
        let consumer = stream.create_consumer(jetstream::consumer::pull::OrderedConfig::default());
        let messages = consumer.await.unwrap().messages().await.unwrap();
        let all = futures_util::StreamExt::take(messages, pending);
        let mut all: Vec<Message> = all.map_ok(|it| it.message).try_collect().await.unwrap();
        spoil(&mut all);
        let _ = self.target.delete_stream("COPY").await;
        self.target
            .create_stream(trade_stream("COPY", Trade::Field))
            .await
            .unwrap();
        for (number, message) in all.into_iter().enumerate() {
            let mut headers = message.headers.unwrap_or_default();
            headers.insert("Nats-Msg-Id", format!("eu.FIELD.{number}"));
            headers.insert("Causeway", "provenance");
            let (subject, payload) = (message.subject, message.payload);
            let stored = self
                .target
                .publish_with_headers(subject, headers, payload)
                .await
                .unwrap();
            stored.await.unwrap();
        }
        let source = read_stream(&self.source, "FIELD").await.unwrap();
        let target = read_stream(&self.target, "COPY").await.unwrap();
        compare(&self.ledger, &source, &target)
    }
}

fn is_personal(message: &Message) -> bool {
    message.subject.starts_with("pii.")
}

/// What an honest copier leaves out.
fn residency(messages: &mut Vec<Message>) {
    messages.retain(|message| !is_personal(message));
}

#[tokio::test]
async fn the_verification_accepts_a_perfect_copy_and_counts_it() {
    let regions = Regions::with_load().await;
    let findings = regions.copy(residency).await;
    assert!(findings.hold(), "{findings:?}");
    assert_eq!(
        findings.published + findings.denied,
        regions.ledger.len() as u64
    );
    assert!(findings.denied > 20, "{findings:?}");
    let live = regions
        .ledger
        .iter()
        .filter(|it| it.is_live && it.may_travel)
        .count();
    assert_eq!(findings.lags.len(), live);
    assert_eq!(count_personal(&regions.target).await.unwrap(), 0);
}

#[tokio::test]
async fn the_verification_finds_each_fault_of_a_copy() {
    let regions = Regions::with_load().await;
    type Spoil = fn(&mut Vec<Message>);
    let cases: [(Spoil, Findings); 6] = [
        (
            |it| drop(it.remove(50)),
            Findings {
                lost: 1,
                ..Findings::default()
            },
        ),
        (
            |it| it.push(it[50].clone()),
            Findings {
                duplicated: 1,
                ..Findings::default()
            },
        ),
        (
            |it| it.swap(50, 51),
            Findings {
                reordered: 1,
                ..Findings::default()
            },
        ),
        (
            |it| it[50].subject = "sensor.0.other".into(),
            Findings {
                altered: 1,
                ..Findings::default()
            },
        ),
        (
            |it| add_header(it),
            Findings {
                altered: 1,
                ..Findings::default()
            },
        ),
        (
            |it| it[50].payload = "{}".into(),
            Findings {
                lost: 1,
                foreign: 1,
                ..Findings::default()
            },
        ),
    ];
    for (spoil, expected) in cases {
        let found = regions
            .copy(|messages| {
                residency(messages);
                spoil(messages);
            })
            .await;
        assert_eq!(faults(&found), faults(&expected));
        assert!(!found.hold());
    }
}

#[tokio::test]
async fn the_verification_finds_a_leak_in_the_target_and_in_any_other_stream() {
    let regions = Regions::with_load().await;
    let findings = regions
        .copy(|messages| {
            let leaked = messages.iter().position(is_personal).unwrap();
            let mut seen = 0;
            messages.retain(|message| {
                seen += 1;
                !is_personal(message) || seen == leaked + 1
            });
        })
        .await;
    assert_eq!(
        faults(&findings),
        faults(&Findings {
            leaked: 1,
            ..Findings::default()
        })
    );
    regions.target.delete_stream("COPY").await.unwrap();
    let elsewhere = stream::Config {
        name: "ASIDE".to_owned(),
        subjects: vec!["pii.>".to_owned()],
        ..stream::Config::default()
    };
    regions.target.create_stream(elsewhere).await.unwrap();
    regions
        .target
        .publish("pii.customer.1", "{}".into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(count_personal(&regions.target).await.unwrap(), 1);
}

fn add_header(messages: &mut [Message]) {
    let headers = messages[50].headers.get_or_insert_with(HeaderMap::new);
    headers.insert("X-Added", "by the replicator");
}

fn faults(found: &Findings) -> [u64; 6] {
    [
        found.lost,
        found.altered,
        found.duplicated,
        found.reordered,
        found.leaked,
        found.foreign,
    ]
}
