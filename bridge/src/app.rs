//! A plan becomes a running sidecar: who runs where, and in which order it ends.
//!
//! ```text
//!  main thread      links, sessions, admin, questions to JetStream
//!  "source" thread  data connection that reads; one driver for each leg of a route that leaves
//!  "target" thread  data connection that publishes; one driver for each leg that arrives
//!  "checkpoint"     the store
//!  "shaper"         lets datagrams leave at their time
//!  "signals"        hears SIGTERM and SIGINT, however busy the others are
//! ```
//! Drivers, links and store are joined by bounded channels; nothing is shared.

mod build;
mod connections;
mod links;
mod observe;
mod rates;
mod reload;
mod threads;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use causeway_config::plan::{LinkRole, Plan, RegionPlan};
use causeway_proto::id::RegionId;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) use self::connections::{control, nats_options};
use self::links::{Ends, LinkTask};
use self::observe::LinkTeller;
use self::rates::Rates;
use self::reload::Reloader;
use self::threads::DataThread;
use crate::admin::{self, Admin};
use crate::checkpoint::{CheckpointWriter, SledStore};
use crate::link::{Dialer, Identity, Listener, PathHints, Refusals, TlsError, TlsFiles};
use crate::reload::ReloadControl;
use crate::session::RouteHandle;
use crate::shutdown::{self, GRACE_DEFAULT, Shutdown};
use crate::status::Board;

/// A link that has not said goodbye by then is left to its peer's patience.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the sidecar of `region` until SIGTERM or SIGINT, and then drains. A second signal ends at once.
/// `file` is where the plan came from, and is read again on SIGHUP.
pub fn main(plan: Plan, region: RegionId, file: PathBuf) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown::on_signals(GRACE_DEFAULT).context("listen to signals")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(Arc::new(plan), region, file, shutdown))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the sidecar of `region` until it is asked to end and everything is drained.
pub async fn run(
    plan: Arc<Plan>,
    region: RegionId,
    file: PathBuf,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let hangups = reload::hangups().context("listen to SIGHUP")?;
    let own = plan
        .region(&region)
        .context("the region is in the plan")?
        .clone();
    let identity = load_identity(&plan, &own).context("load the region's certificate")?;
    let board = Board::new(region.clone(), Refusals::default());
    board.register_identity(identity.clone());
    let store = SledStore::open(&own.state).context("open the state directory")?;
    let was_set_aside = store.set_aside().is_some();
    let control = control(&own, Some(board.register_connection("control"))).await?;

    let legs = build::legs(&plan, &region, &store, &control, &board)?;
    let rates = Rates::new(&plan, &region, &store, &board, Timestamp::now());
    let writer = CheckpointWriter::start(Box::new(store));
    board.register_store(writer.failing(), was_set_aside);
    let (reloads, asked) = ReloadControl::new();
    let service = Admin::new(board.clone(), legs.controls.clone()).with_reload(reloads);
    let admin = start_admin(&own, &board, service, &shutdown).await?;
    let (drain, draining) = watch::channel(false);
    let mut routes: BTreeMap<RegionId, Vec<RouteHandle>> = BTreeMap::new();
    for (peer, handle) in legs.handles {
        routes.entry(peer).or_default().push(handle);
    }
    let (store, on_drain) = (writer.clone(), draining.clone());
    let sources = threads::source_thread(&own, legs.outbound, store, on_drain, &board)?;
    let targets = threads::target_thread(&own, legs.inbound, writer.clone(), draining, &board)?;

    let (close_links, closing) = watch::channel(false);
    let links = start_links(&plan, &own, &identity, routes, &rates, &closing, &board)?;
    let reloader = Reloader {
        path: file,
        here: region.clone(),
        runs: Arc::clone(&plan),
        rates,
        identity,
        renew_every: reload::RENEWAL_INTERVAL,
        renewing: None,
        controls: legs.controls,
        asked,
        hangups,
        told: board.register_reloads(),
        store: writer.clone(),
    };
    let (stop_reloads, stopping) = oneshot::channel();
    let reloader = tokio::spawn(reloader.run(stopping));
    tracing::info!(%region, version = env!("CARGO_PKG_VERSION"), "causeway runs");

    shutdown.draining().await;
    board.begin_draining();
    let running = Running {
        sources,
        targets,
        drain,
        links,
        close_links,
        reloader,
        stop_reloads,
        checkpoints: writer,
        admin,
    };
    running.end(&mut shutdown).await
}

/// What runs, and how each part is told to end.
struct Running {
    sources: Option<DataThread>,
    targets: Option<DataThread>,
    drain: watch::Sender<bool>,
    links: Vec<JoinHandle<()>>,
    close_links: watch::Sender<bool>,
    reloader: JoinHandle<()>,
    stop_reloads: oneshot::Sender<()>,
    checkpoints: CheckpointWriter,
    admin: JoinHandle<()>,
}

impl Running {
    /// Ends all of it, each part after those that need it. Fails where the grace period was too short to drain.
    async fn end(self, shutdown: &mut Shutdown) -> anyhow::Result<()> {
        self.drain.send_replace(true);
        let in_time = tokio::select! {
            () = async {
                threads::join(self.sources).await;
                threads::join(self.targets).await;
            } => true,
            () = shutdown.ending() => false,
        };
        self.close_links.send_replace(true);
        for link in self.links {
            // Each link says goodbye within a moment, or its peer notices by itself.
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, link).await;
        }
        // The last bytes have left; what they count is kept.
        let _ = self.stop_reloads.send(());
        let _ = self.reloader.await;
        self.checkpoints.sync().await;
        self.admin.abort();
        anyhow::ensure!(
            in_time,
            "not drained in time; what is unfinished is read again after the restart"
        );
        tracing::info!("drained");
        Ok(())
    }
}

/// Serves the admin address for as long as the process lives, and measures what it shows.
async fn start_admin(
    own: &RegionPlan,
    board: &Board,
    service: Admin,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = admin::bind(own.admin).await?;
    let address = listener.local_addr().context("read the admin address")?;
    tracing::info!(%address, "admin address");
    tokio::spawn(board.clone().run());
    let serving = service.serve(listener, shutdown.clone());
    Ok(tokio::spawn(async move {
        if let Err(why) = serving.await {
            tracing::error!(%why, "the admin address is not served any more");
        }
    }))
}

/// Reads the certificate, key and authorities of a region.
pub(crate) fn load_identity(plan: &Plan, own: &RegionPlan) -> Result<Identity, TlsError> {
    let files = TlsFiles {
        cert: own.tls.cert.clone(),
        key: own.tls.key.as_path().to_owned(),
        ca: own.tls.ca.clone(),
    };
    Identity::load(plan.fleet(), &own.id, &files)
}

fn start_links(
    plan: &Arc<Plan>,
    own: &RegionPlan,
    identity: &Identity,
    mut routes: BTreeMap<RegionId, Vec<RouteHandle>>,
    rates: &Rates,
    closing: &watch::Receiver<bool>,
    board: &Board,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut tasks = Vec::new();
    let mut callers = BTreeMap::new();
    let incarnation = rand::random();
    let refusals = board.refusals();
    let shaping = crate::link::Shaping::new(rates.region());
    for (role, link) in plan.links_of(&own.id) {
        let Some(peer) = link.peer_of(&own.id).cloned() else {
            continue;
        };
        let hints = PathHints {
            rate: rates.link(&peer),
            rtt: link.rtt,
            measured_rtt: None,
            mtu: link.mtu,
            shaping: shaping.clone(),
        };
        let dialer = link.dialled_from(&own.id).map(|address| {
            let (identity, address) = (identity.clone(), address.to_string());
            Dialer::new(identity, peer.clone(), address, hints.clone())
        });
        let called = (role != LinkRole::Dials).then(|| {
            let (sender, receiver) = mpsc::channel(4);
            callers.insert(peer.clone(), (hints, sender));
            receiver
        });
        let ends = Ends {
            dialer,
            callers: called,
            goes_first: link.dialer == own.id,
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
        let listens = board.register_listener();
        tokio::spawn(hear_callers(listener.run(), listens, closing.clone()));
    }
    Ok(tasks)
}

/// Hears the peers that dial in for as long as the process lives. That this is over, `listens` says by its own end.
async fn hear_callers(
    listening: impl Future<Output = ()>,
    listens: watch::Sender<()>,
    closing: watch::Receiver<bool>,
) {
    listening.await;
    drop(listens);
    if !*closing.borrow() {
        tracing::error!(
            "the socket that listens for peers has failed: none can dial in until a restart"
        );
    }
}
