//! The comparison of both ends: it accepts a perfect copy and finds each fault of a spoilt one.

use async_nats::jetstream::{self, stream};
use async_nats::{HeaderMap, Message};
use causeway::demo::load::{Ledger, Publisher, Trade};
use causeway::demo::server::Server;
use causeway::demo::verify::{Findings, compare, count_personal, read_stream};
use futures_util::TryStreamExt as _;
use tokio::time::timeout;

use crate::{SOON, connect, start_server, trade_stream};

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
        if self.target.get_stream("COPY").await.is_ok() {
            self.target.delete_stream("COPY").await.unwrap();
        }
        // In memory: files deleted and made anew at once have kept their records on a busy machine, or were refused
        // (2.15.1).
        let config = stream::Config {
            storage: stream::StorageType::Memory,
            ..trade_stream("COPY", Trade::Field)
        };
        self.target.create_stream(config).await.unwrap();
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
