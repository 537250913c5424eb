//! A plan becomes a running sidecar: who runs where, and in which order it ends.
//!
//! ```text
//!  main thread      links, sessions, admin, questions to JetStream
//!  "source" thread  data connection that reads; one driver for each leg of a route that leaves
//!  "target" thread  data connection that publishes; one driver for each leg that arrives
//!  "checkpoint"     the store
//! ```
//! Drivers, links and store are joined by bounded channels; nothing is shared.

mod build;
mod links;
mod threads;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use causeway_config::plan::{LinkRole, Plan, RegionPlan};
use causeway_proto::id::RegionId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

pub(crate) use self::build::control;
use self::links::{Ends, LinkTask};
use crate::checkpoint::{CheckpointWriter, SledStore};
use crate::link::{Identity, Listener, PathHints, Refusals, TlsFiles};
use crate::session::RouteHandle;

/// Time that draining may take before what is left is given up; it is read again after the restart.
pub const GRACE: Duration = Duration::from_secs(20);

/// Runs the sidecar of `region` until SIGTERM or SIGINT, and then drains. A second signal ends at once.
pub fn main(plan: Plan, region: RegionId) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            };
            next().await;
            stop.send_replace(true);
            next().await;
            tracing::warn!("second signal: ending at once");
            std::process::exit(EXIT_AT_ONCE);
        });
        run(Arc::new(plan), region, stopped).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Exit status after a second signal, as shells say it of SIGTERM.
const EXIT_AT_ONCE: i32 = 143;

/// Runs the sidecar of `region` until `stop` turns true and everything is drained.
pub async fn run(
    plan: Arc<Plan>,
    region: RegionId,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let own = plan
        .region(&region)
        .context("the region is in the plan")?
        .clone();
    let identity = load_identity(&plan, &own)?;
    let store = SledStore::open(&own.state).context("open the state directory")?;
    let control = control(&own).await?;
    let refusals = Refusals::default();

    let legs = build::legs(&plan, &region, &store, &control)?;
    let writer = CheckpointWriter::start(Box::new(store));
    let (drain, draining) = watch::channel(false);
    let mut routes: BTreeMap<RegionId, Vec<RouteHandle>> = BTreeMap::new();
    for (peer, handle) in legs.handles {
        routes.entry(peer).or_default().push(handle);
    }
    let sources = threads::source_thread(&own, legs.outbound, writer.clone(), draining.clone())?;
    let targets = threads::target_thread(&own, legs.inbound, writer.clone(), draining.clone())?;

    let (close_links, closing) = watch::channel(false);
    let links = start_links(&plan, &own, &identity, routes, &refusals, &closing)?;
    tracing::info!(%region, "causeway runs");

    wait_for(stop).await;
    tracing::info!("draining");
    drain.send_replace(true);
    let drained = tokio::time::timeout(GRACE, async {
        threads::join(sources).await;
        threads::join(targets).await;
    });
    let in_time = drained.await.is_ok();
    close_links.send_replace(true);
    for link in links {
        // Each link says goodbye within a moment, or its peer notices by itself.
        let _ = tokio::time::timeout(Duration::from_secs(2), link).await;
    }
    writer.sync().await;
    anyhow::ensure!(
        in_time,
        "not drained within {GRACE:?}; the rest is read again after the restart"
    );
    tracing::info!("drained");
    Ok(())
}

async fn wait_for(mut flag: watch::Receiver<bool>) {
    // An error means that nobody can ask any more, which asks.
    let _ = flag.wait_for(|asked| *asked).await;
}

fn load_identity(plan: &Plan, own: &RegionPlan) -> anyhow::Result<Identity> {
    let files = TlsFiles {
        cert: own.tls.cert.clone(),
        key: own.tls.key.as_path().to_owned(),
        ca: own.tls.ca.clone(),
    };
    Identity::load(plan.fleet(), &own.id, &files).context("load the region's certificate")
}

fn start_links(
    plan: &Arc<Plan>,
    own: &RegionPlan,
    identity: &Identity,
    mut routes: BTreeMap<RegionId, Vec<RouteHandle>>,
    refusals: &Refusals,
    closing: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<tokio::task::JoinHandle<()>>> {
    let mut tasks = Vec::new();
    let mut callers = BTreeMap::new();
    let incarnation = rand::random();
    for (role, link) in plan.links_of(&own.id) {
        let Some(peer) = link.peer_of(&own.id).cloned() else {
            continue;
        };
        let hints = PathHints {
            rate: crate::link::DeclaredRate::new(
                link.rate.map(causeway_config::unit::Rate::bits_per_second),
            ),
            rtt: link.rtt,
            mtu: link.mtu,
        };
        let ends = match role {
            LinkRole::Dials => {
                let address = link.dial.to_string();
                Ends::dial(identity.clone(), peer.clone(), address, hints)
            }
            LinkRole::Listens => {
                let (sender, receiver) = mpsc::channel(4);
                callers.insert(peer.clone(), (hints, sender));
                Ends::Listen(receiver)
            }
        };
        let task = LinkTask {
            plan: Arc::clone(plan),
            here: own.id.clone(),
            routes: routes.remove(&peer).unwrap_or_default(),
            peer,
            incarnation,
            refusals: refusals.clone(),
            closing: closing.clone(),
        };
        tasks.push(tokio::spawn(task.run(ends)));
    }
    if !callers.is_empty() {
        let address = own
            .listen
            .context("a region that is dialled has a `listen` address")?;
        let listener = Listener::bind(address, identity.clone(), callers, refusals.clone())
            .with_context(|| format!("listen on {address} (UDP)"))?;
        tokio::spawn(listener.run());
    }
    Ok(tasks)
}
