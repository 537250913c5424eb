//! `hub`: one region with many links of many routes each, all idle. What that costs.
//!
//! One host, no link between. Each leaf region has its own sidecar; one nats-server stands for those of all leaf
//! regions, with a stream for each route, another one is the hub's. For the sidecars, which are measured, that is the same: each
//! has its own connections and sees its own streams alone.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::{self, stream};
use causeway::demo::process::Process;
use causeway::demo::server::{Server, ServerOptions, free_port};
use clap::Args;
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::sleep;

use super::contender::{causeway_binary, certificates, region};
use super::host::Host;
use super::outcome::{Line, Outcome, yes};
use super::sidecar::Status;
use super::usage::{ProcessUse, Usage};
use super::{netns, servers, until_interrupted};
use crate::Options;

const UP_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After all is up, so that what an idle hub costs is measured and not its start.
const SETTLE: Duration = Duration::from_secs(10);
const LISTEN: &str = "127.0.0.1:7443";
/// What an idle hub may cost.
const CPU_SHARE_MAX: f64 = 0.03;
const MEMORY_MIB_MAX: f64 = 150.0;

/// `hub`
#[derive(Args)]
pub(crate) struct HubOptions {
    /// Leaf regions, a link each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    leaves: u32,
    /// Routes of each link, from the leaf to the hub.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    routes: u32,
    /// How long the idle hub is measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where hub.json and hub.md are written.
    #[arg(long, default_value = "target/wan")]
    out: PathBuf,
}

/// A process of the idle fleet.
#[derive(Debug, Serialize)]
struct Idle {
    /// From the start of the first sidecar until all links are up and all routes wait for records.
    up_after_seconds: f64,
    seconds: f64,
    usage: ProcessUse,
    has_goal: bool,
}

impl Line for Idle {
    const HEADS: &'static [&'static str] = &[
        "",
        "all up after, s",
        "CPU, of a core",
        "peak while idle, MiB",
        "busiest thread",
        "under 3 % and 150 MiB",
    ];

    fn cells(&self) -> Vec<String> {
        let share = self.usage.cpu_seconds / self.seconds;
        let holds = share < CPU_SHARE_MAX && self.usage.peak_mib < MEMORY_MIB_MAX;
        vec![
            self.usage.name.clone(),
            format!("{:.1}", self.up_after_seconds),
            format!("{:.2} %", share * 100.0),
            format!("{:.1}", self.usage.peak_mib),
            format!(
                "{} {:.2} %",
                self.usage.hottest_thread,
                self.usage.hottest_share * 100.0
            ),
            if self.has_goal {
                yes(holds)
            } else {
                "-".to_owned()
            },
        ]
    }
}

/// Runs it, prints and writes what it found.
pub(crate) fn hub(options: &HubOptions, shared: &Options) -> Result<ExitCode> {
    let setting = format!(
        "A hub with {} links of {} routes each, idle for {} s",
        options.leaves, options.routes, options.seconds
    );
    let mut outcome = Outcome::new("hub", setting);
    let outcome = until_interrupted(async {
        netns::remove_stale()?;
        let host = Host::create("hub")?;
        let mut fleet = Fleet::start(&host, options).await?;
        let up_after_seconds = fleet.all_up(&host, options).await?.as_secs_f64();
        sleep(SETTLE).await;
        let processes = fleet.processes();
        let began = Instant::now();
        let usages = processes
            .iter()
            .map(|(name, id)| Usage::begin(name, *id))
            .collect::<Result<Vec<_>>>()?;
        sleep(Duration::from_secs(options.seconds)).await;
        for usage in usages {
            let usage = usage.end(began.elapsed())?;
            let row = Idle {
                up_after_seconds,
                seconds: began.elapsed().as_secs_f64(),
                has_goal: usage.name == "hub sidecar",
                usage,
            };
            outcome.add(row, &options.out)?;
        }
        fleet.end().await?;
        Ok(outcome)
    })?;
    outcome.print(shared.json)?;
    Ok(ExitCode::SUCCESS)
}

struct Fleet {
    began: Instant,
    hub_admin: u16,
    /// The hub's first.
    sidecars: Vec<Process>,
    /// The hub's and that of all leaves.
    servers: Vec<(&'static str, Server)>,
    _directory: TempDir,
}

impl Fleet {
    async fn start(host: &Host, options: &HubOptions) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut servers = Vec::new();
        for name in ["hub server", "leaves' server"] {
            servers.push((name, server(host, name, &directory).await?));
        }
        let urls = [servers[0].1.url(), servers[1].1.url()];
        let url = urls[1].clone();
        let (leaves, routes) = (options.leaves, options.routes);
        eprintln!("making {} streams ...", leaves * routes);
        host.run(move || async move {
            let jetstream = jetstream::new(async_nats::connect(url).await?);
            for name in (0..leaves).flat_map(|leaf| (0..routes).map(move |it| route(leaf, it))) {
                let config = stream::Config {
                    subjects: vec![format!("{name}.>")],
                    name: name.to_uppercase(),
                    ..stream::Config::default()
                };
                jetstream.create_stream(config).await?;
            }
            Ok(())
        })
        .await?;
        let admins = host
            .run(move || async move {
                (0..=leaves)
                    .map(|_| Ok(free_port()?))
                    .collect::<Result<Vec<u16>>>()
            })
            .await?;
        let file = directory.path().join("causeway.toml");
        fs::write(&file, fleet_file(options, &urls, &admins))?;
        certificates(&file, &directory.path().join("pki"))?;
        let began = Instant::now();
        let mut sidecars = Vec::new();
        for region in std::iter::once("hub".to_owned()).chain((0..leaves).map(leaf_name)) {
            let (file, log) = (file.clone(), directory.path().join(format!("{region}.log")));
            let sidecar = host.run(move || async move {
                let mut command = Command::new(causeway_binary()?);
                command.arg("run").arg("--config").arg(file);
                command.args(["--region", &region]);
                Ok(Process::spawn(&format!("{region} sidecar"), command, &log)?)
            });
            sidecars.push(sidecar.await?);
        }
        Ok(Self {
            began,
            hub_admin: admins[0],
            sidecars,
            servers,
            _directory: directory,
        })
    }

    /// Waits until the hub says that all links are up and all routes flow; returns how long that took.
    async fn all_up(&mut self, host: &Host, options: &HubOptions) -> Result<Duration> {
        let (links, routes) = (
            options.leaves as usize,
            (options.leaves * options.routes) as usize,
        );
        let mut seen = (0, 0);
        while self.began.elapsed() < UP_WITHIN {
            // Its admin port is not there at once.
            if let Ok(status) = Status::ask(host, self.hub_admin).await {
                seen = (status.links_up(), status.routes_flowing());
                if seen == (links, routes) {
                    return Ok(self.began.elapsed());
                }
            }
            for sidecar in &mut self.sidecars {
                if let Some(status) = sidecar.exit_status()? {
                    bail!(
                        "{} ended ({status}): {}",
                        sidecar.name(),
                        sidecar.log_tail(3)
                    );
                }
            }
            sleep(LOOK_EVERY).await;
        }
        bail!(
            "{} of {links} links and {} of {routes} routes are up after {} s: {}",
            seen.0,
            seen.1,
            UP_WITHIN.as_secs(),
            self.sidecars[0].log_tail(5)
        )
    }

    /// The hub's sidecar, the first leaf's, and both servers.
    fn processes(&mut self) -> Vec<(String, u32)> {
        let sidecars = self.sidecars.iter().take(2);
        let sidecars = sidecars.map(|it| (it.name().to_owned(), it.id()));
        let servers = self.servers.iter_mut();
        let servers = servers.map(|(name, it)| ((*name).to_owned(), it.process().id()));
        sidecars.chain(servers).collect()
    }

    async fn end(mut self) -> Result<()> {
        for sidecar in &mut self.sidecars {
            sidecar.kill().await?;
        }
        for (_, server) in &mut self.servers {
            server.kill().await?;
        }
        Ok(())
    }
}

async fn server(host: &Host, name: &str, directory: &TempDir) -> Result<Server> {
    let name = name.split([' ', '\'']).next().context("a name")?.to_owned();
    let directory = directory.path().join(format!("{name}-server"));
    fs::create_dir_all(&directory)?;
    let options = ServerOptions {
        name,
        binary: servers::binary().await?,
        directory,
        config: Vec::new(),
    };
    host.run(move || async move { Ok(Server::start(options).await?) })
        .await
}

fn leaf_name(leaf: u32) -> String {
    format!("leaf{leaf}")
}

fn route(leaf: u32, route: u32) -> String {
    format!("leaf{leaf}-{route}")
}

fn fleet_file(options: &HubOptions, urls: &[String; 2], admins: &[u16]) -> String {
    let listen = format!("listen = \"{LISTEN}\"\n");
    let mut text = "[fleet]\nname = \"bench\"\n".to_owned();
    text.push_str(&region("hub", &urls[0], admins[0], &listen));
    for leaf in 0..options.leaves {
        let admin = admins[leaf as usize + 1];
        text.push_str(&region(&leaf_name(leaf), &urls[1], admin, ""));
    }
    text.push_str("[[class]]\nname = \"open\"\nsubjects = [\">\"]\nregions = \"any\"\n");
    for leaf in 0..options.leaves {
        let region = leaf_name(leaf);
        text.push_str(&format!(
            "[[link]]\nregions = [\"hub\", \"{region}\"]\ndial = \"{LISTEN}\"\n"
        ));
        for name in (0..options.routes).map(|it| route(leaf, it)) {
            let stream = name.to_uppercase();
            text.push_str(&format!(
                "[[route]]\nname = \"{name}\"\nfrom = \"{region}\"\nto = [\"hub\"]\nstream = \"{stream}\"\n\
                 target = \"{stream}\"\nsubjects = [\"{name}.>\"]\nstart = \"first\"\ncreate = true\n"
            ));
        }
    }
    text
}
