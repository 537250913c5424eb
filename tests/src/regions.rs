//! Two regions on this machine: real servers, real sidecars, and a WAN that can be cut.
//!
//! A test reads as a story: `start`, `publish`, something breaks, `verify`. Records are numbered, so
//! that loss, repetition and order show at the target without looking at anything of ours.

mod operator;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream::{self, consumer, stream};
use causeway::demo::process::Process;
use causeway::demo::provision::{nats_server, nats_server_version};
use causeway::demo::relay::{Relay, RelayOptions};
use causeway::demo::server::{Server, ServerOptions, free_port};
use causeway::wan::Profile;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::time::timeout;

/// Long enough for two busy cores; a test that is well never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// The source stream, in region us.
pub const SOURCE: &str = "ORDERS";
/// The target stream, in region eu.
pub const TARGET: &str = "ORDERS_COPY";

/// What a test wants to be different.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Further lines of the route.
    pub route: String,
    /// Release of the source's server; the pinned one where none is named.
    pub source_version: Option<&'static str>,
    /// Release of the target's server; the pinned one where none is named.
    pub target_version: Option<&'static str>,
    /// Whether the source stream takes `Nats-Rollup`.
    pub source_rolls_up: bool,
    /// One-way delay and loss in packets per million of the WAN.
    pub wan: (Duration, u32),
    /// Region in the certificate of the eu sidecar.
    pub eu_certificate: &'static str,
    /// How the target stream is created by the test; none: the route creates it.
    pub target: Option<stream::Config>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            route: String::new(),
            source_version: None,
            target_version: None,
            source_rolls_up: false,
            wan: (Duration::from_millis(1), 0),
            eu_certificate: "eu",
            target: None,
        }
    }
}

/// See the module.
pub struct TwoRegions {
    directory: TempDir,
    /// The source's server.
    pub us: Server,
    /// The target's server.
    pub eu: Server,
    /// The WAN.
    pub relay: Relay,
    us_sidecar: Option<Process>,
    eu_sidecar: Option<Process>,
    admin: [u16; 2],
    listen: u16,
    published: u64,
}

impl TwoRegions {
    /// Servers, streams, certificates and both sidecars.
    pub async fn start(setup: Setup) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let us = start_server(directory.path(), "us", setup.source_version).await?;
        let eu = start_server(directory.path(), "eu", setup.target_version).await?;
        let listen = free_udp_port()?;
        let path = Profile {
            delay: setup.wan.0,
            loss: f64::from(setup.wan.1) / 1e6,
            ..Profile::default()
        };
        let relay = Relay::start(RelayOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            target: ([127, 0, 0, 1], listen).into(),
            seed: 1,
            forward: path,
            back: path,
        })?;
        let admin = [free_port()?, free_port()?];
        let mut regions = Self {
            directory,
            us,
            eu,
            relay,
            us_sidecar: None,
            eu_sidecar: None,
            admin,
            listen,
            published: 0,
        };
        regions.write_fleet(&setup, listen)?;
        regions.create_streams(&setup).await?;
        regions.start_sidecar("us")?;
        regions.start_sidecar("eu")?;
        Ok(regions)
    }

    fn write_fleet(&self, setup: &Setup, listen: u16) -> Result<()> {
        let create = match setup.target {
            Some(_) => "",
            None => "create = { duplicate_window = \"100ms\" }",
        };
        let [us_admin, eu_admin] = self.admin;
        let fleet = format!(
            r#"
[fleet]
name = "test"
[region.us]
nats = {{ url = "{us}" }}
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{us_admin}"
state = "state-us"
tls = {{ cert = "pki/us.pem", key = "pki/us.key", ca = "pki/ca.pem" }}
[region.eu]
nats = {{ url = "{eu}" }}
admin = "127.0.0.1:{eu_admin}"
state = "state-eu"
tls = {{ cert = "pki/{cert}.pem", key = "pki/{cert}.key", ca = "pki/ca.pem" }}
[[link]]
regions = ["us", "eu"]
dial = "{dial}"
rate = "200 Mbit/s"
[[class]]
name = "open"
subjects = ["orders.>"]
regions = "any"
[[class]]
name = "personal"
subjects = ["pii.>"]
regions = ["us"]
[[route]]
name = "orders"
from = "us"
to = ["eu"]
stream = "{SOURCE}"
target = "{TARGET}"
subjects = ["orders.>", "pii.>"]
{create}
{route}
"#,
            us = self.us.url(),
            eu = self.eu.url(),
            cert = setup.eu_certificate,
            dial = self.relay.address(),
            route = setup.route,
        );
        std::fs::write(self.fleet(), fleet)?;
        let pki = self.directory.path().join("pki");
        let regions = ["us", "eu"].map(causeway_proto::id::RegionId::new);
        let regions = regions.into_iter().collect::<Result<Vec<_>, _>>()?;
        let fleet = causeway_proto::id::FleetName::new("test")?;
        causeway::certs::generate(&fleet, &regions, &pki)?;
        Ok(())
    }

    async fn create_streams(&self, setup: &Setup) -> Result<()> {
        let source = stream::Config {
            name: SOURCE.into(),
            subjects: vec!["orders.>".into(), "pii.>".into()],
            allow_rollup: setup.source_rolls_up,
            ..Default::default()
        };
        jetstream_of(&self.us).await?.create_stream(source).await?;
        if let Some(target) = &setup.target {
            jetstream_of(&self.eu)
                .await?
                .create_stream(target.clone())
                .await?;
        }
        Ok(())
    }

    /// The fleet file.
    pub fn fleet(&self) -> PathBuf {
        self.directory.path().join("causeway.toml")
    }

    /// Certificates and keys of the fleet.
    pub fn pki(&self) -> PathBuf {
        self.directory.path().join("pki")
    }

    /// Where the us sidecar is reached, past the WAN.
    pub fn listen(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.listen).into()
    }

    /// What a region's sidecar says of itself.
    pub async fn status(&self, region: &str) -> Result<serde_json::Value> {
        let (_, body) = self.ask(region, "GET /status").await?;
        Ok(serde_json::from_str(&body)?)
    }

    /// The state directory of a region.
    pub fn state(&self, region: &str) -> PathBuf {
        self.directory.path().join(format!("state-{region}"))
    }

    /// Starts the sidecar of a region.
    pub fn start_sidecar(&mut self, region: &str) -> Result<()> {
        let mut command = Command::new(causeway_binary()?);
        command
            .arg("run")
            .arg("--config")
            .arg(self.fleet())
            .args(["--region", region]);
        let log = self.directory.path().join(format!("{region}-sidecar.log"));
        *self.slot(region) = Some(Process::spawn(region, command, &log)?);
        Ok(())
    }

    fn slot(&mut self, region: &str) -> &mut Option<Process> {
        if region == "us" {
            &mut self.us_sidecar
        } else {
            &mut self.eu_sidecar
        }
    }

    /// The sidecar of a region.
    pub fn sidecar(&mut self, region: &str) -> &mut Process {
        self.slot(region).as_mut().expect("the test has started it")
    }

    /// kill -9 of a sidecar, and its start.
    pub async fn kill_and_start_sidecar(&mut self, region: &str) -> Result<()> {
        self.sidecar(region).kill().await?;
        self.start_sidecar(region)
    }

    /// Publishes so many numbered records and waits until the source has stored them all.
    pub async fn publish(&mut self, count: u64) -> Result<()> {
        let jetstream = jetstream_of(&self.us).await?;
        publish(&jetstream, self.published, count).await?;
        self.published += count;
        Ok(())
    }

    /// Publishes in the background. The records count as published.
    pub async fn publish_in_background(
        &mut self,
        count: u64,
    ) -> Result<tokio::task::JoinHandle<Result<()>>> {
        let jetstream = jetstream_of(&self.us).await?;
        let first = self.published;
        self.published += count;
        Ok(tokio::spawn(async move {
            publish(&jetstream, first, count).await
        }))
    }

    /// Waits until the target holds so many records.
    pub async fn await_target(&self, count: u64) -> Result<()> {
        self.with_log(timeout(DEADLINE, read_numbers(&self.eu, TARGET, count)).await)
            .map(|_| ())
    }

    /// Waits for everything published, and compares: all there, once, in order, and no more.
    pub async fn verify(&self) -> Result<()> {
        let read = timeout(DEADLINE, read_numbers(&self.eu, TARGET, self.published)).await;
        let numbers = self.with_log(read)?;
        let wrong = numbers
            .iter()
            .zip(0..)
            .find(|(found, wanted)| **found != *wanted);
        ensure!(
            wrong.is_none(),
            "found and wanted {wrong:?}\n{}",
            self.logs()
        );
        let jetstream = jetstream_of(&self.eu).await?;
        let info = jetstream.get_stream(TARGET).await?.get_info().await?;
        ensure!(
            info.state.messages == self.published,
            "{} records in the target, {} published\n{}",
            info.state.messages,
            self.published,
            self.logs()
        );
        Ok(())
    }

    fn with_log<T>(&self, result: Result<Result<T>, tokio::time::error::Elapsed>) -> Result<T> {
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(why)) => Err(why.context(self.logs())),
            Err(_) => bail!("not within {DEADLINE:?}\n{}", self.logs()),
        }
    }

    /// The last words of both sidecars.
    pub fn logs(&self) -> String {
        let tail = |process: &Option<Process>| {
            process
                .as_ref()
                .map_or_else(String::new, |process| process.log_tail(30))
        };
        format!(
            "--- us\n{}\n--- eu\n{}",
            tail(&self.us_sidecar),
            tail(&self.eu_sidecar)
        )
    }
}

/// The binary under test, which cargo has built beside the tests.
pub fn causeway_binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test
        .ancestors()
        .nth(2)
        .context("a test lies in target/<profile>/deps")?;
    let binary = directory.join("causeway");
    ensure!(
        binary.exists(),
        "{} is missing: run the tests with `cargo test --workspace`, which builds it",
        binary.display()
    );
    Ok(binary)
}

async fn start_server(directory: &Path, name: &str, version: Option<&str>) -> Result<Server> {
    let version = version.map(str::to_owned);
    let provide = move || version.map_or_else(nats_server, |version| nats_server_version(&version));
    let binary = tokio::task::spawn_blocking(provide).await??;
    let directory = directory.join(name);
    std::fs::create_dir(&directory)?;
    let config = Vec::new();
    Ok(Server::start(ServerOptions {
        name: name.into(),
        binary,
        directory,
        config,
    })
    .await?)
}

fn free_udp_port() -> Result<u16> {
    Ok(std::net::UdpSocket::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}

/// An ordinary client of a server.
pub async fn jetstream_of(server: &Server) -> Result<jetstream::Context> {
    let client = timeout(DEADLINE, async_nats::connect(server.url())).await??;
    Ok(jetstream::new(client))
}

async fn publish(jetstream: &jetstream::Context, first: u64, count: u64) -> Result<()> {
    let mut acks = Vec::new();
    for number in first..first + count {
        let body = format!("{{\"n\":{number},\"text\":\"{}\"}}", "x".repeat(200));
        let subject = format!("orders.{}", number % 7);
        acks.push(jetstream.publish(subject, body.into()).await?);
        if acks.len() == 500 {
            for ack in acks.drain(..) {
                ack.await?;
            }
        }
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}

/// Reads the numbers of the first `count` records of a stream, waiting until they are there.
pub async fn read_numbers(server: &Server, stream: &str, count: u64) -> Result<Vec<u64>> {
    let jetstream = jetstream_of(server).await?;
    let stream = loop {
        match jetstream.get_stream(stream).await {
            Ok(stream) => break stream,
            // The route creates it; there is no event to wait for, so it is asked for again.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let config = consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let mut numbers = Vec::new();
    while (numbers.len() as u64) < count {
        let message = messages.next().await.context("the reader ended")??;
        let body: serde_json::Value = serde_json::from_slice(&message.payload)?;
        numbers.push(body["n"].as_u64().context("a record without a number")?);
    }
    Ok(numbers)
}
