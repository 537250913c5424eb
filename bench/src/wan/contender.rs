//! Who replicates: two sidecars, or the servers themselves.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, stream};
use causeway::demo::process::Process;
use causeway::demo::server::free_port;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::device::DEVICE;
use super::host::Host;
use super::servers::{LEAF_PORT, Target};
use super::world::{ADDRESSES, NETWORK};

/// A server tries every second, and waits as long as it is told for the first word of the other.
const LEAFNODE_WITHIN: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// One way to get a stream's records from one region to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Contender {
    /// Causeway, told the link's rate.
    CausewayDeclared,
    /// Causeway, told nine tenths of the link's rate: then nothing is ever to be dropped in the link's queue.
    #[value(name = "causeway-declared-90")]
    CausewayDeclared90,
    /// Causeway, told nothing of the link.
    CausewayProbing,
    /// Causeway, told the link's rate, without dedupe ids: what the target's server does of a mirror, no more.
    CausewayWithoutIds,
    /// A native mirror over a leafnode with S2; kernel BBR.
    MirrorBbr,
    /// A native mirror over a leafnode with S2; kernel CUBIC.
    MirrorCubic,
}

impl Contender {
    /// Those of a comparison that names none.
    pub(crate) const ALL: [Self; 4] = [
        Self::CausewayDeclared,
        Self::CausewayProbing,
        Self::MirrorBbr,
        Self::MirrorCubic,
    ];

    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CausewayDeclared => "Causeway, rate declared",
            Self::CausewayDeclared90 => "Causeway, 90 % declared",
            Self::CausewayProbing => "Causeway, not declared",
            Self::CausewayWithoutIds => "Causeway, without ids",
            Self::MirrorBbr => "native mirror, BBR",
            Self::MirrorCubic => "native mirror, CUBIC",
        }
    }

    /// Whether the servers replicate by themselves.
    pub(crate) fn is_mirror(self) -> bool {
        matches!(self, Self::MirrorBbr | Self::MirrorCubic)
    }

    /// Round trips that no catch-up is shorter than: nobody knows a path before. What CUBIC does until its first packets
    /// are lost says nothing of what it does from then on.
    pub(crate) fn round_trips_min(self) -> u32 {
        match self {
            Self::MirrorCubic => 200,
            _ => 20,
        }
    }

    /// Who catches up without a link to say what these cores can do: one that does the same for a record.
    pub(crate) fn ceiling(self) -> Option<Self> {
        match self {
            Self::CausewayDeclared | Self::CausewayDeclared90 | Self::CausewayProbing => {
                Some(Self::CausewayDeclared)
            }
            Self::CausewayWithoutIds => Some(Self::CausewayWithoutIds),
            Self::MirrorBbr | Self::MirrorCubic => None,
        }
    }

    /// Whether its records get dedupe ids of its own.
    pub(crate) fn has_dedupe_ids(self) -> bool {
        self != Self::CausewayWithoutIds
    }

    /// The kernel's congestion control under the leafnode.
    fn congestion_control(self) -> Option<&'static str> {
        match self {
            Self::MirrorBbr => Some("bbr"),
            Self::MirrorCubic => Some("cubic"),
            Self::CausewayDeclared
            | Self::CausewayDeclared90
            | Self::CausewayProbing
            | Self::CausewayWithoutIds => None,
        }
    }

    /// What it is told of a link's rate, in bits a second.
    pub(crate) fn told_bps(self, rate_bps: u64) -> Option<u64> {
        match self {
            Self::CausewayDeclared | Self::CausewayWithoutIds => Some(rate_bps),
            Self::CausewayDeclared90 => Some(rate_bps / 10 * 9),
            Self::CausewayProbing | Self::MirrorBbr | Self::MirrorCubic => None,
        }
    }
}

/// What a replication is between.
pub(crate) struct Scene<'a> {
    pub source_host: &'a Host,
    pub target_host: &'a Host,
    /// The source's host as the target's host sees it.
    pub source_address: &'static str,
    pub source_url: String,
    pub target: &'a Target,
    pub routes: &'a [Route],
    /// What the contender is told of the link's rate.
    pub told_bps: Option<u64>,
    pub has_dedupe_ids: bool,
    pub directory: PathBuf,
}

/// A stream to replicate.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub stream: String,
    /// Causeway's class; without one the route is bulk while it is behind.
    pub priority: Option<&'static str>,
}

/// The sidecars of a trial; of a native mirror there are none.
#[derive(Debug, Default)]
pub(crate) struct Sidecars {
    pub processes: Vec<Process>,
    /// Where each serves `/status`, the source's first.
    pub admins: Vec<u16>,
}

/// The target stream of a source stream.
pub(crate) fn copy_of(stream: &str) -> String {
    format!("{stream}_COPY")
}

/// Gives the hosts' ends of the link a contender's congestion control; TCP takes it when it connects.
///
/// On the route, because a namespace may only choose a default among those that the machine's own allows.
pub(crate) fn prepare(contender: Contender, hosts: [&Host; 2]) -> Result<()> {
    let Some(congestion_control) = contender.congestion_control() else {
        return Ok(());
    };
    for (host, address) in hosts.into_iter().zip(ADDRESSES) {
        let route = format!(
            "route replace {NETWORK} dev {DEVICE} proto kernel scope link src {address} congctl {congestion_control}"
        );
        let namespace = host.namespace();
        namespace.ip(&route.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Begins to replicate; returns the processes that do so beside the servers.
pub(crate) async fn start(contender: Contender, scene: &Scene<'_>) -> Result<Sidecars> {
    if contender.is_mirror() {
        leafnode_is_up(scene.target).await?;
        for route in scene.routes {
            mirror(scene.target, &route.stream).await?;
        }
        return Ok(Sidecars::default());
    }
    let (fleet, admins) = write_fleet(scene).await?;
    let mut processes = Vec::new();
    for (region, host) in [("us", scene.source_host), ("eu", scene.target_host)] {
        let (fleet, log) = (fleet.clone(), scene.directory.join(format!("{region}.log")));
        let sidecar = host.run(move || async move {
            let mut command = Command::new(causeway_binary()?);
            command
                .arg("run")
                .arg("--config")
                .arg(fleet)
                .args(["--region", region]);
            Ok(Process::spawn(&format!("{region} sidecar"), command, &log)?)
        });
        processes.push(sidecar.await?);
    }
    Ok(Sidecars { processes, admins })
}

async fn mirror(target: &Target, stream: &str) -> Result<()> {
    let source = stream::Source {
        name: stream.to_owned(),
        external: Some(stream::External {
            api_prefix: "$JS.us.API".to_owned(),
            delivery_prefix: None,
        }),
        ..stream::Source::default()
    };
    let config = stream::Config {
        name: copy_of(stream),
        mirror: Some(source),
        ..stream::Config::default()
    };
    target.jetstream.create_stream(config).await?;
    Ok(())
}

/// Waits until the target's server reaches the source's: a mirror made before that tries again only tens of seconds
/// later, which would be held against it.
async fn leafnode_is_up(target: &Target) -> Result<()> {
    let source = jetstream::with_domain(target.client.clone(), "us");
    let asking = async {
        while source.query_account().await.is_err() {
            sleep(ASK_EVERY).await;
        }
    };
    timeout(LEAFNODE_WITHIN, asking).await.with_context(|| {
        format!(
            "the leafnode did not connect within {} s",
            LEAFNODE_WITHIN.as_secs()
        )
    })
}

/// The release binary that was built beside this one.
pub(crate) fn causeway_binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("causeway");
    anyhow::ensure!(
        binary.exists(),
        "{} is missing: build both, `cargo build --release -p causeway -p causeway-bench`",
        binary.display()
    );
    Ok(binary)
}

async fn write_fleet(scene: &Scene<'_>) -> Result<(PathBuf, Vec<u16>)> {
    let us_admin = scene.source_host.run(|| async { Ok(free_port()?) }).await?;
    let eu_admin = scene.target_host.run(|| async { Ok(free_port()?) }).await?;
    let listen = SocketAddr::from((scene.source_address.parse::<Ipv4Addr>()?, LEAF_PORT + 1));
    let rate = scene.told_bps.map_or_else(String::new, |bps| {
        format!("rate = \"{} kbit/s\"\n", bps / 1_000)
    });
    let listens = format!("listen = \"{listen}\"\n");
    let mut text = format!(
        "[fleet]\nname = \"bench\"\n{}{}[[link]]\nregions = [\"us\", \"eu\"]\ndial = \"{listen}\"\n{rate}",
        region("us", &scene.source_url, us_admin, &listens),
        region("eu", &scene.target.url, eu_admin, ""),
    );
    text.push_str("[[class]]\nname = \"open\"\nsubjects = [\">\"]\nregions = \"any\"\n");
    let ids = scene.has_dedupe_ids;
    for Route { stream, priority } in scene.routes {
        let priority = priority.map_or_else(String::new, |it| format!("priority = \"{it}\"\n"));
        text.push_str(&format!(
            "[[route]]\nname = \"{}\"\nfrom = \"us\"\nto = [\"eu\"]\nstream = \"{stream}\"\ntarget = \"{}\"\n\
             subjects = [\"{}.>\"]\nstart = \"first\"\ncreate = true\n\
             dedupe_ids = {ids}\n{priority}",
            stream.to_lowercase(),
            copy_of(stream),
            stream.to_lowercase(),
        ));
    }
    let fleet = scene.directory.join("causeway.toml");
    fs::write(&fleet, text)?;
    certificates(&fleet, &scene.directory.join("pki"))?;
    Ok((fleet, vec![us_admin, eu_admin]))
}

/// A region's part of a fleet file; `listen` is a whole line or none.
pub(crate) fn region(name: &str, url: &str, admin: u16, listen: &str) -> String {
    format!(
        "[region.{name}]\nnats = {{ url = \"{url}\" }}\n{listen}admin = \"127.0.0.1:{admin}\"\n\
         state = \"state-{name}\"\n\
         tls = {{ cert = \"pki/{name}.pem\", key = \"pki/{name}.key\", ca = \"pki/ca.pem\" }}\n"
    )
}

/// Makes the certificates of a fleet.
pub(crate) fn certificates(fleet: &Path, directory: &Path) -> Result<()> {
    let mut command = Command::new(causeway_binary()?);
    command
        .arg("certs")
        .arg("--config")
        .arg(fleet)
        .arg("--out")
        .arg(directory);
    let output = command.output()?;
    anyhow::ensure!(
        output.status.success(),
        "causeway certs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
