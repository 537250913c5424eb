//! Everything that runs while the demo runs: two servers, the relay, two sidecars. Dropping it ends them all.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream;

use super::fleet::{self, DIALLER, LISTENER, Layout, ROUTES, RegionPlan, RoutePlan};
use super::load::Publisher;
use super::relay::{Relay, RelayOptions};
use super::server::{Server, ServerOptions, free_port};
use super::sidecar::{Sidecar, SidecarOptions};

/// Decides which packets are lost.
const RELAY_SEED: u64 = 2_026;

/// One region's server, and a connection of the demo's own to it.
#[derive(Debug)]
pub(crate) struct Region {
    pub plan: RegionPlan,
    pub jetstream: jetstream::Context,
    _server: Server,
}

/// The two regions and what lies between them. Fields are dropped in this order: sidecars before servers.
#[derive(Debug)]
pub(crate) struct World {
    pub sidecars: Vec<Sidecar>,
    pub relay: Relay,
    pub dialler: Region,
    pub listener: Region,
    layout: Layout,
    executable: PathBuf,
}

impl World {
    /// Starts servers and relay, creates the source streams, writes the fleet file, makes the certificates.
    pub(crate) async fn build(
        directory: &Path,
        server_binary: &Path,
        executable: &Path,
    ) -> Result<Self> {
        let layout = Layout(directory.to_owned());
        let (dialler, listener) = tokio::try_join!(
            start_region(&layout, server_binary, DIALLER),
            start_region(&layout, server_binary, LISTENER),
        )?;
        let target = listener
            .plan
            .listen
            .context("the listening region has an address")?;
        let relay = Relay::start(RelayOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            target,
            seed: RELAY_SEED,
            forward: fleet::wan(),
            back: fleet::wan(),
        })
        .context("start the relay")?;
        let plans = [dialler.plan.clone(), listener.plan.clone()];
        let text = fleet::fleet_text(&layout, &plans, relay.address());
        std::fs::write(layout.fleet_file(), text).context("write the fleet file")?;
        let executable = executable.to_owned();
        let world = Self {
            sidecars: Vec::new(),
            relay,
            dialler,
            listener,
            layout,
            executable,
        };
        for route in &ROUTES {
            world.create_source(route).await?;
        }
        world.make_certificates().await?;
        Ok(world)
    }

    /// The region of that name.
    pub(crate) fn region(&self, name: &str) -> &Region {
        if name == DIALLER {
            &self.dialler
        } else {
            &self.listener
        }
    }

    /// A publisher of the route's events, at its source.
    pub(crate) fn publisher(&self, route: &RoutePlan) -> Publisher {
        Publisher::new(
            self.region(route.from).jetstream.clone(),
            route.trade,
            route.seed,
        )
    }

    /// Starts both sidecars and waits until they are ready.
    pub(crate) async fn start_sidecars(&mut self) -> Result<()> {
        for region in [DIALLER, LISTENER] {
            let options = SidecarOptions {
                executable: self.executable.clone(),
                fleet_file: self.layout.fleet_file(),
                region,
                admin: self.region(region).plan.admin,
                log: self.layout.sidecar_log(region),
            };
            self.sidecars.push(Sidecar::start(options)?);
        }
        for sidecar in &mut self.sidecars {
            sidecar.ready().await?;
        }
        Ok(())
    }

    /// The sidecar of the region that listens.
    pub(crate) fn listening_sidecar(&mut self) -> Result<&mut Sidecar> {
        self.sidecars
            .last_mut()
            .context("the sidecars are started first")
    }

    /// The records in a route's target stream.
    pub(crate) async fn stored(&self, route: &RoutePlan) -> u64 {
        match self
            .region(route.to)
            .jetstream
            .get_stream(route.target)
            .await
        {
            Ok(stream) => stream.cached_info().state.messages,
            Err(_) => 0, // the route creates it when it first needs it
        }
    }

    async fn create_source(&self, route: &RoutePlan) -> Result<()> {
        let config = jetstream::stream::Config {
            name: route.stream.to_owned(),
            subjects: route
                .trade
                .subjects()
                .iter()
                .copied()
                .map(str::to_owned)
                .collect(),
            ..jetstream::stream::Config::default()
        };
        let jetstream = &self.region(route.from).jetstream;
        let created = jetstream.create_stream(config).await;
        created.with_context(|| format!("create stream {}", route.stream))?;
        Ok(())
    }

    /// As a person would: by the command line.
    async fn make_certificates(&self) -> Result<()> {
        let output = tokio::process::Command::new(&self.executable)
            .arg("certs")
            .arg("--config")
            .arg(self.layout.fleet_file())
            .arg("--out")
            .arg(self.layout.certificates())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run causeway certs")?;
        if !output.status.success() {
            bail!(
                "causeway certs failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

async fn start_region(layout: &Layout, binary: &Path, name: &'static str) -> Result<Region> {
    let directory = layout.region(name);
    std::fs::create_dir_all(&directory).context("create a region's directory")?;
    let options = ServerOptions {
        name: name.to_owned(),
        binary: binary.to_owned(),
        directory,
        config: Vec::new(),
    };
    let server = Server::start(options).await?;
    let jetstream = server
        .jetstream()
        .await
        .context("connect to a region's server")?;
    let localhost = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let listens = (name == LISTENER)
        .then(free_port)
        .transpose()
        .context("find a free port")?;
    let plan = RegionPlan {
        name,
        nats_url: server.url(),
        listen: listens.map(localhost),
        admin: localhost(free_port().context("find a free port")?),
    };
    Ok(Region {
        plan,
        jetstream,
        _server: server,
    })
}
