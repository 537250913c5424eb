//! Two regions on this machine: real servers, real sidecars, and a WAN that can be cut.
//!
//! A test reads as a story: `start`, `publish`, something breaks, `verify`. Records are numbered, so
//! that loss, repetition and order show at the target without looking at anything of ours.

mod cluster;
mod operator;
mod records;
mod setup;

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway::demo::process::Process;
use causeway::demo::relay::{Relay, RelayOptions};
use causeway::demo::server::{Server, free_port};
use causeway::wan::Profile;
use tempfile::TempDir;
use tokio::time::timeout;

use self::cluster::start_servers;
pub use self::records::{jetstream_of, publish, read_numbers, read_records};
pub use self::setup::{BACK, Dials, Setup};

/// Long enough for two busy cores; a test that is well never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// The source stream, in region us.
pub const SOURCE: &str = "ORDERS";
/// The target stream, in region eu.
pub const TARGET: &str = "ORDERS_COPY";
/// What the source stream's subjects begin with.
const SUBJECTS: &str = "orders";

/// See the module.
pub struct TwoRegions {
    directory: TempDir,
    /// The source's server.
    pub us: Server,
    /// The target's server.
    pub eu: Server,
    /// The other servers of clusters.
    us_peers: Vec<Server>,
    eu_peers: Vec<Server>,
    /// The WAN.
    pub relay: Relay,
    us_sidecar: Option<Process>,
    eu_sidecar: Option<Process>,
    admin: [u16; 2],
    listen: u16,
    eu_listen: u16,
    /// Takes datagrams and never answers.
    wall: UdpSocket,
    published: u64,
}

impl TwoRegions {
    /// Servers, streams, certificates and both sidecars.
    pub async fn start(setup: Setup) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (at, count) = (directory.path(), setup.servers);
        let (version, config) = (setup.source_version, &setup.source_server);
        let (us, us_peers) = start_servers(at, "us", version, config, count).await?;
        let (version, config) = (setup.target_version, &setup.target_server);
        let (eu, eu_peers) = start_servers(at, "eu", version, config, count).await?;
        let listen = free_port()?;
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
            us_peers,
            eu_peers,
            relay,
            us_sidecar: None,
            eu_sidecar: None,
            admin,
            listen,
            eu_listen: free_port()?,
            wall: UdpSocket::bind("127.0.0.1:0")?,
            published: 0,
        };
        regions.write_fleet(&setup)?;
        regions.make_certificates()?;
        regions.await_cluster("us").await?;
        regions.await_cluster("eu").await?;
        regions.create_streams(&setup).await?;
        regions.start_sidecar("us")?;
        regions.start_sidecar("eu")?;
        Ok(regions)
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
        self.publish_by("us", count).await
    }

    /// The same, by way of another server of the source's cluster.
    pub async fn publish_by(&mut self, server: &str, count: u64) -> Result<()> {
        let jetstream = jetstream_of(self.server(server)).await?;
        publish(&jetstream, SUBJECTS, self.published, count).await?;
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
            publish(&jetstream, SUBJECTS, first, count).await
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
