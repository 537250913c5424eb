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
mod observe;
mod threads;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use causeway_config::plan::{LinkMode, LinkRole, Plan, RegionPlan};
use causeway_proto::id::RegionId;
use causeway_proto::rate::Mode;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use self::build::control;
use self::links::{Ends, LinkTask};
use self::observe::LinkTeller;
use crate::admin::{self, Admin};
use crate::checkpoint::{CheckpointWriter, SledStore};
use crate::command::RouteControl;
use crate::link::{Identity, Listener, PathHints, Refusals, TlsFiles};
use crate::session::RouteHandle;
use crate::shutdown::{self, GRACE_DEFAULT, Shutdown};
use crate::status::Board;

/// A link that has not said goodbye by then is left to its peer's patience.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the sidecar of `region` until SIGTERM or SIGINT, and then drains. A second signal ends at once.
pub fn main(plan: Plan, region: RegionId) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown::on_signals(GRACE_DEFAULT).context("listen to signals")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(Arc::new(plan), region, shutdown))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the sidecar of `region` until it is asked to end and everything is drained.
pub async fn run(plan: Arc<Plan>, region: RegionId, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let own = plan
        .region(&region)
        .context("the region is in the plan")?
        .clone();
    let identity = load_identity(&plan, &own)?;
    let refusals = Refusals::default();
    let board = Board::new(region.clone(), refusals.clone());
    board.watch_certificate("own", &own.tls.cert);
    board.watch_certificate("ca", &own.tls.ca);
    let store = SledStore::open(&own.state).context("open the state directory")?;
    let was_set_aside = store.set_aside().is_some();
    let control = control(&own, Some(board.register_connection("control"))).await?;

    let legs = build::legs(&plan, &region, &store, &control, &board)?;
    let writer = CheckpointWriter::start(Box::new(store));
    board.register_store(writer.failing(), was_set_aside);
    let admin = start_admin(&own, &board, legs.controls, &shutdown).await?;
    let (drain, draining) = watch::channel(false);
    let mut routes: BTreeMap<RegionId, Vec<RouteHandle>> = BTreeMap::new();
    for (peer, handle) in legs.handles {
        routes.entry(peer).or_default().push(handle);
    }
    let (store, on_drain) = (writer.clone(), draining.clone());
    let sources = threads::source_thread(&own, legs.outbound, store, on_drain, &board)?;
    let targets = threads::target_thread(&own, legs.inbound, writer.clone(), draining, &board)?;

    let (close_links, closing) = watch::channel(false);
    let links = start_links(&plan, &own, &identity, routes, &refusals, &closing, &board)?;
    tracing::info!(%region, version = env!("CARGO_PKG_VERSION"), "causeway runs");

    shutdown.draining().await;
    board.begin_draining();
    drain.send_replace(true);
    let in_time = tokio::select! {
        () = async {
            threads::join(sources).await;
            threads::join(targets).await;
        } => true,
        () = shutdown.ending() => false,
    };
    close_links.send_replace(true);
    for link in links {
        // Each link says goodbye within a moment, or its peer notices by itself.
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, link).await;
    }
    writer.sync().await;
    admin.abort();
    anyhow::ensure!(
        in_time,
        "not drained in time; what is unfinished is read again after the restart"
    );
    tracing::info!("drained");
    Ok(())
}

/// Serves the admin address for as long as the process lives, and measures what it shows.
async fn start_admin(
    own: &RegionPlan,
    board: &Board,
    controls: Vec<RouteControl>,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = admin::bind(own.admin).await?;
    let address = listener.local_addr().context("read the admin address")?;
    tracing::info!(%address, "admin address");
    tokio::spawn(board.clone().run());
    let serving = Admin::new(board.clone(), controls).serve(listener, shutdown.clone());
    Ok(tokio::spawn(async move {
        if let Err(why) = serving.await {
            tracing::error!(%why, "the admin address is not served any more");
        }
    }))
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
    board: &Board,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut tasks = Vec::new();
    let mut callers = BTreeMap::new();
    let incarnation = rand::random();
    let host = own.rate.map(causeway_config::unit::Rate::bits_per_second);
    let shaping = crate::link::Shaping::new(crate::link::DeclaredRate::new(host));
    for (role, link) in plan.links_of(&own.id) {
        let Some(peer) = link.peer_of(&own.id).cloned() else {
            continue;
        };
        let rate = crate::link::DeclaredRate::new(
            link.rate.map(causeway_config::unit::Rate::bits_per_second),
        );
        rate.set_mode(match link.mode {
            LinkMode::Declared => Mode::Declared,
            LinkMode::Adaptive => Mode::Adaptive,
            LinkMode::Scavenger => Mode::Scavenger,
        });
        let hints = PathHints {
            rate,
            rtt: link.rtt,
            mtu: link.mtu,
            shaping: shaping.clone(),
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
            teller: LinkTeller::new(peer.clone(), board),
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
