//! The two NATS servers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::{self, stream};
use causeway::demo::server::{Server, ServerOptions};

use super::data::{Kind, Record};
use super::flights;
use super::host::Host;

/// Where the source's server takes leafnodes.
pub(crate) const LEAF_PORT: u16 = 7_422;
/// Published without an answer; the one after them is acknowledged, and with it all of them.
const RUN: u64 = 2_000;
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// Where native replication would give up over a long, slow or full link, it is told to wait. Set on both sides.
const PATIENCE: &str = "write_deadline: \"300s\"\nping_interval: \"30s\"\nping_max: 20\n";

/// The source's server, with its streams; it stays for all of a run.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its process.
    pub id: u32,
    pub server: Server,
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    /// Its files.
    pub store: PathBuf,
}

/// A target's server; each trial has its own, with an empty store.
#[derive(Debug)]
pub(crate) struct Target {
    pub server: Server,
    pub url: String,
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
}

/// What a source stream holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    pub kind: Kind,
    pub records: u64,
    pub payload_bytes: u64,
}

fn directory_of(name: &str, directory: &Path) -> PathBuf {
    directory.join(format!("{name}-server"))
}

async fn start(
    host: &Host,
    name: &'static str,
    binary: &Path,
    directory: &Path,
    leaf: String,
) -> Result<(Server, async_nats::Client)> {
    let directory = directory_of(name, directory);
    std::fs::create_dir_all(&directory)?;
    let store = directory.join("store");
    let options = ServerOptions {
        name: name.to_owned(),
        binary: binary.to_owned(),
        // The second `jetstream` takes the place of the first one, with a domain: leafnodes tell servers apart by it.
        config: vec![
            format!("jetstream {{ store_dir: {store:?}, domain: {name} }}"),
            PATIENCE.to_owned(),
            leaf,
        ],
        directory,
    };
    host.run(move || async move {
        let server = Server::start(options).await?;
        let connect = async_nats::ConnectOptions::new().request_timeout(Some(REQUEST_WITHIN));
        let client = connect.connect(server.url()).await?;
        Ok((server, client))
    })
    .await
}

impl Source {
    pub(crate) async fn start(host: &Host, binary: &Path, directory: &Path) -> Result<Self> {
        let leaf = format!(
            "leafnodes {{ listen: \"0.0.0.0:{LEAF_PORT}\", no_advertise: true, compression: s2_auto\n\
             authorization {{ timeout: 60 }} }}"
        );
        let (mut server, client) = start(host, "us", binary, directory, leaf).await?;
        let jetstream = jetstream::new(client.clone());
        let id = server.process().id();
        Ok(Self {
            id,
            server,
            client,
            jetstream,
            store: directory_of("us", directory).join("store"),
        })
    }

    /// Makes a stream and fills it with so many bytes of payload.
    pub(crate) async fn load(
        &self,
        host: &Host,
        kind: Kind,
        bytes: u64,
        seed: u64,
    ) -> Result<Loaded> {
        let records: Box<dyn Iterator<Item = Record> + Send> = match kind {
            Kind::Flights => Box::new(
                tokio::task::spawn_blocking(flights::load)
                    .await??
                    .into_iter(),
            ),
            _ => Box::new(
                kind.records(seed)
                    .take(usize::try_from(kind.records_for(bytes))?),
            ),
        };
        self.create(&kind.stream()).await?;
        let (client, jetstream) = (self.client.clone(), self.jetstream.clone());
        let (count, payload_bytes) = host
            .run(move || async move { publish(&client, &jetstream, records).await })
            .await?;
        let info = self
            .jetstream
            .get_stream(kind.stream())
            .await?
            .get_info()
            .await?;
        let stored = info.state.messages;
        ensure!(
            stored == count,
            "{stored} of {count} records are in the source stream"
        );
        Ok(Loaded {
            kind,
            records: count,
            payload_bytes,
        })
    }

    /// Makes an empty stream; one of that name goes.
    pub(crate) async fn create(&self, stream: &str) -> Result<()> {
        let _ = self.jetstream.delete_stream(stream).await; // there was none
        let config = stream::Config {
            name: stream.to_owned(),
            subjects: vec![format!("{}.>", stream.to_lowercase())],
            ..stream::Config::default()
        };
        self.jetstream.create_stream(config).await?;
        Ok(())
    }
}

async fn publish(
    client: &async_nats::Client,
    jetstream: &jetstream::Context,
    records: impl Iterator<Item = Record>,
) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let mut records = records.peekable();
    while let Some(record) = records.next() {
        count += 1;
        bytes += record.payload.len() as u64;
        if count % RUN == 0 || records.peek().is_none() {
            jetstream
                .publish(record.subject, record.payload)
                .await?
                .await?;
        } else {
            client.publish(record.subject, record.payload).await?;
        }
    }
    Ok((count, bytes))
}

impl Target {
    pub(crate) async fn start(
        host: &Host,
        binary: &Path,
        directory: &Path,
        leaf_of: Option<&str>,
    ) -> Result<Self> {
        let leaf = leaf_of.map_or_else(String::new, |address| {
            format!(
                "leafnodes {{ reconnect: \"1s\", remotes: [ {{ url: \"nats-leaf://{address}:{LEAF_PORT}\", \
                 compression: s2_auto, first_info_timeout: \"60s\" }} ] }}"
            )
        });
        let (server, client) = start(host, "eu", binary, directory, leaf).await?;
        let url = server.url();
        Ok(Self {
            server,
            url,
            jetstream: jetstream::new(client.clone()),
            client,
        })
    }
}

/// Where nats-server is; fetched if need be.
pub(crate) async fn binary() -> Result<PathBuf> {
    Ok(tokio::task::spawn_blocking(causeway::demo::provision::nats_server).await??)
}
