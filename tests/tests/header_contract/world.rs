//! One server with a stream to read from and an ordinary one to republish to.

use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, BytesMut};
use causeway::demo::provision::{OLDEST_VERSION, nats_server, nats_server_version};
use causeway::demo::server::{Server, ServerOptions};
use causeway_proto::headers::{
    Ages, HeaderVerdict, Rejection, TargetTraits, publisher_id, rewrite,
};
use causeway_proto::id::{Position, SourceSeq, StoredAt};
use causeway_proto::provenance::{Stamper, content_hash};
use causeway_tests::raw_nats::{Answer, RawNats, Stored};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Which server a story is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// What demo and tests run by default.
    Reference,
    /// The oldest that Causeway works with.
    Oldest,
}

/// What an ordinary stream allows: none of it.
pub(crate) const ORDINARY: TargetTraits = TargetTraits {
    ttl: false,
    rollup: false,
    payload_len_max: 1 << 20,
    message_len_max: None,
};

pub(crate) const PAYLOAD: &[u8] = b"payload";

pub(crate) struct World {
    pub(crate) release: Release,
    pub(crate) nats: RawNats,
    _server: Server,
    _directory: TempDir,
    _runtime: Runtime,
}

/// Runs a story on both releases.
pub(crate) fn on_both(story: impl Fn(&mut World) -> Result<()>) -> Result<()> {
    for release in [Release::Reference, Release::Oldest] {
        let mut world = World::start(release)?;
        story(&mut world).with_context(|| format!("on {}", world.nats.server_version()))?;
    }
    Ok(())
}

impl World {
    /// A server with an ordinary target, `DST`.
    pub(crate) fn start(release: Release) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let directory = tempfile::tempdir()?;
        let binary = match release {
            Release::Reference => nats_server()?,
            Release::Oldest => nats_server_version(OLDEST_VERSION)?,
        };
        let server = runtime.block_on(Server::start(ServerOptions {
            name: "contract".to_owned(),
            binary,
            directory: directory.path().to_owned(),
            config: Vec::new(),
        }))?;
        let mut nats = RawNats::connect(&format!("127.0.0.1:{}", server.port()))?;
        nats.create_stream("DST", &json!({}))?;
        Ok(Self {
            release,
            nats,
            _server: server,
            _directory: directory,
            _runtime: runtime,
        })
    }

    pub(crate) fn is_reference(&self) -> bool {
        self.release == Release::Reference
    }

    /// A source, `SRC`, with the flags that this release knows of `flags`.
    pub(crate) fn source(&mut self, flags: &[&str]) -> Result<()> {
        let known =
            |flag: &&&str| self.release == Release::Reference || **flag == "allow_rollup_hdrs";
        let config: Value = flags
            .iter()
            .filter(known)
            .map(|flag| ((*flag).to_owned(), json!(true)))
            .collect();
        self.nats.create_stream("SRC", &config)
    }

    /// Publishes to the source, which must take it, and reads what it holds.
    pub(crate) fn at_source(&mut self, block: &[u8], payload: &[u8]) -> Result<Stored> {
        let answer = self.nats.publish_acked("SRC.k", block, payload)?;
        self.nats.stored("SRC", seq_of(&answer)?)
    }

    /// Republishes a stored record to the target as it is.
    pub(crate) fn verbatim(&mut self, record: &Stored) -> Result<Answer> {
        self.nats
            .publish_acked("DST.k", &record.headers, &record.payload)
    }

    /// Republishes it as the contract says, to the ordinary target.
    pub(crate) fn carried(&mut self, record: &Stored) -> Result<Carried> {
        self.carried_to("DST", record, &ORDINARY)
    }

    /// The same to a target of some traits. Every part of the promise is checked here: the target
    /// acknowledges, holds the very bytes that were sent, and shows them to a consumer.
    pub(crate) fn carried_to(
        &mut self,
        stream: &str,
        record: &Stored,
        traits: &TargetTraits,
    ) -> Result<Carried> {
        let subject = format!("{stream}.k");
        let block = rewritten(&subject, record, traits)?;
        let answer = self.nats.publish_acked(&subject, &block, &record.payload)?;
        let seq = seq_of(&answer).context("rewritten")?;
        let stored = self.nats.stored(stream, seq)?;
        ensure!(
            stored.headers == block,
            "stored {:?}",
            String::from_utf8_lossy(&stored.headers)
        );
        ensure!(stored.payload == record.payload, "the payload changed");
        let seen = self.nats.consume(stream, seq)?;
        ensure!(
            seen.headers == block && seen.payload == record.payload,
            "a consumer sees {seen:?}"
        );
        let own = own_lines(&subject, record).len();
        let lines = String::from_utf8_lossy(&block[b"NATS/1.0\r\n".len() + own..]).into_owned();
        Ok(Carried { seq, lines, block })
    }
}

/// A record that the target has taken.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) seq: u64,
    /// What follows our own lines.
    pub(crate) lines: String,
    /// The whole block.
    pub(crate) block: Vec<u8>,
}

/// The block that the record is published with.
pub(crate) fn rewritten(subject: &str, record: &Stored, traits: &TargetTraits) -> Result<Vec<u8>> {
    match try_rewrite(subject, record, traits, 0)?? {
        Some(block) => Ok(block),
        None => anyhow::bail!("expired"),
    }
}

/// The same where a refusal or an expiry (`None`) is looked for; the record is `age_s` old.
pub(crate) fn try_rewrite(
    subject: &str,
    record: &Stored,
    traits: &TargetTraits,
    age_s: u64,
) -> Result<Result<Option<Vec<u8>>, Rejection>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now_ns = u64::try_from(now.as_nanos())?;
    let ages = Ages {
        stored_at_ns: now_ns - age_s * 1_000_000_000,
        now_ns,
    };
    let own = own_lines(subject, record);
    let mut out = BytesMut::new();
    let verdict = rewrite(
        &record.headers,
        record.payload.len(),
        ages,
        traits,
        &own,
        &mut out,
    );
    Ok(verdict.map(|verdict| (verdict == HeaderVerdict::Publish).then(|| out.to_vec())))
}

/// What a route adds: provenance and dedupe id.
pub(crate) fn own_lines(subject: &str, record: &Stored) -> BytesMut {
    let stamper = Stamper::new("us", "SRC", "orders");
    let at = Position {
        seq: SourceSeq(1),
        stored_at: StoredAt(hash_of(record)),
    };
    let hash = content_hash(subject.as_bytes(), &record.payload);
    let mut own = BytesMut::from(&b"Causeway: "[..]);
    stamper.write(at, hash, None, publisher_id(&record.headers), &mut own);
    own.put_slice(b"\r\nNats-Msg-Id: ");
    stamper.write_dedupe_id(at, None, &mut own);
    own.put_slice(b"\r\n");
    own
}

/// A store time that differs from record to record.
fn hash_of(record: &Stored) -> u64 {
    content_hash(
        &[record.headers.as_slice(), record.time.as_bytes()].concat(),
        &record.payload,
    )
}

/// A well-formed block between two lines of an application.
pub(crate) fn block(lines: &str) -> Vec<u8> {
    format!("NATS/1.0\r\nBefore: 1\r\n{lines}\r\nAfter: 2\r\n\r\n").into_bytes()
}

/// What is left of [`block`] when its own lines become `lines`.
pub(crate) fn around(lines: &str) -> String {
    format!("Before: 1\r\n{lines}After: 2\r\n\r\n")
}

pub(crate) fn seq_of(answer: &Answer) -> Result<u64> {
    match answer {
        Answer::Stored {
            seq,
            duplicate: false,
        } => Ok(*seq),
        other => anyhow::bail!("not stored: {other:?}"),
    }
}

pub(crate) fn code_of(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Refused { code, .. } => Some(*code),
        _ => None,
    }
}
