//! What a sidecar knows about itself, put together in one place.
//!
//! Drivers keep plain counters and publish a copy of them twice a second through a
//! [`tokio::sync::watch`]; nobody reads a counter that somebody else writes. The [`Board`] holds the
//! other ends. It works out what takes more than one look (rates, ages, health) and everything that
//! shows status is written from its [`StatusReport`]: `/status`, `/metrics`, `/healthz`, `/readyz`.
//!
//! Zero is a claim. A lag that nobody can know is absent, and "everything before this time is over
//! there" is told as that time, so that it grows old by itself when the one who tells it is stuck.

mod batch_sizes;
mod entries;
mod health;
mod rate_report;
mod rates;
mod view;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_proto::id::RegionId;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use self::batch_sizes::{BOUNDS as BATCH_SIZE_BOUNDS, BatchSizes};
use self::entries::{LinkEntry, RateEntry, RouteEntry, settled_records};
pub use self::rate_report::{CapStatus, LinkRateReport, RateReason, RateReport, RateStatus};
use self::rates::Rate;
pub use self::view::{
    CertificateStatus, CheckpointStatus, ConnectionStatus, LinkReport, LinkState, LinkStatus,
    OutcomeCounts, PositionCounts, RouteDirection, RouteReport, RouteState, RouteStatus,
    StatusReport,
};
use crate::clock::now_unix_seconds;
use crate::link::{DeclaredRate, Identity, Refusals};
use crate::reload::ReloadStatus;

/// How often rates are measured.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Collects the status of one sidecar. Clones share it; none of them is on the data's path.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    region: RegionId,
    started: Instant,
    sampled: Instant,
    draining: bool,
    connections: Vec<watch::Receiver<ConnectionStatus>>,
    links: Vec<LinkEntry>,
    listener: Option<watch::Receiver<()>>,
    routes: Vec<RouteEntry>,
    refusals: Refusals,
    store_failing: Option<watch::Receiver<bool>>,
    reloads: Option<watch::Receiver<ReloadStatus>>,
    rates: Vec<(RegionId, RateEntry)>,
    region_rate: Option<RateEntry>,
    stores_set_aside: u64,
    identity: Option<Identity>,
}

impl Board {
    /// An empty board.
    pub fn new(region: RegionId, refusals: Refusals) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Inner {
            region,
            started: now,
            sampled: now,
            draining: false,
            connections: Vec::new(),
            links: Vec::new(),
            listener: None,
            routes: Vec::new(),
            refusals,
            store_failing: None,
            reloads: None,
            rates: Vec::new(),
            region_rate: None,
            stores_set_aside: 0,
            identity: None,
        })))
    }

    /// A connection to NATS, told through what is returned. Dropping that says that its task ended.
    pub fn register_connection(&self, name: &'static str) -> watch::Sender<ConnectionStatus> {
        let (sender, receiver) = watch::channel(ConnectionStatus::new(name));
        self.lock().connections.push(receiver);
        sender
    }

    /// A link, told through what is returned. Dropping that says that its task ended.
    pub fn register_link(&self, status: LinkStatus) -> watch::Sender<LinkStatus> {
        let (sender, receiver) = watch::channel(status);
        let entry = LinkEntry {
            status: receiver,
            sent: Rate::default(),
            received: Rate::default(),
        };
        self.lock().links.push(entry);
        sender
    }

    /// The socket that listens for peers. Dropping what is returned says that nobody listens there any more.
    pub fn register_listener(&self) -> watch::Sender<()> {
        let (sender, receiver) = watch::channel(());
        self.lock().listener = Some(receiver);
        sender
    }

    /// The rate of the link to `peer`, told through what is returned.
    pub fn register_rate(&self, peer: &RegionId, rate: DeclaredRate) -> watch::Sender<RateStatus> {
        let (sender, status) = watch::channel(RateStatus::default());
        let entry = RateEntry { rate, status };
        self.lock().rates.push((peer.clone(), entry));
        sender
    }

    /// The rate of all links together, told through what is returned.
    pub fn register_region_rate(&self, rate: DeclaredRate) -> watch::Sender<RateStatus> {
        let (sender, status) = watch::channel(RateStatus::default());
        self.lock().region_rate = Some(RateEntry { rate, status });
        sender
    }

    /// What decides the rate of the link to `peer` at the moment.
    pub fn rate_status(&self, peer: &RegionId) -> Option<RateStatus> {
        let inner = self.lock();
        let found = inner.rates.iter().find(|(other, _)| other == peer);
        found.map(|(_, entry)| entry.status.borrow().clone())
    }

    /// A route's leg, told through what is returned. Dropping that says that its driver ended.
    pub fn register_route(&self, status: RouteStatus) -> watch::Sender<RouteStatus> {
        let (sender, receiver) = watch::channel(status);
        self.lock().routes.push(RouteEntry {
            status: receiver,
            was_resumed: false,
            records: Rate::default(),
            bytes: Rate::default(),
        });
        sender
    }

    /// The checkpoint store: whether it takes writes, and whether a damaged one was set aside.
    pub fn register_store(&self, failing: watch::Receiver<bool>, was_set_aside: bool) {
        let mut inner = self.lock();
        inner.store_failing = Some(failing);
        inner.stores_set_aside += u64::from(was_set_aside);
    }

    /// The task that reads the fleet file again, told through what is returned.
    pub fn register_reloads(&self) -> watch::Sender<ReloadStatus> {
        let (sender, receiver) = watch::channel(ReloadStatus::default());
        self.lock().reloads = Some(receiver);
        sender
    }

    /// Where refused connections are counted.
    pub fn refusals(&self) -> Refusals {
        self.lock().refusals.clone()
    }

    /// The certificates whose ends are to be watched.
    pub fn register_identity(&self, identity: Identity) {
        self.lock().identity = Some(identity);
    }

    /// The process is ending: tasks that end from now on do so on purpose.
    pub fn begin_draining(&self) {
        self.lock().draining = true;
    }

    /// Measures rates until the process ends.
    pub async fn run(self) {
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            self.sample(now);
        }
    }

    /// Takes one measure of every counter that has a rate.
    pub fn sample(&self, now: Instant) {
        let mut inner = self.lock();
        let elapsed = now.saturating_duration_since(inner.sampled);
        inner.sampled = now;
        for link in &mut inner.links {
            let (sent, received) = {
                let status = link.status.borrow();
                (status.sent_bytes, status.received_bytes)
            };
            link.sent.sample(sent, elapsed);
            link.received.sample(received, elapsed);
        }
        for route in &mut inner.routes {
            let (records, bytes, state) = {
                let status = route.status.borrow();
                (settled_records(&status), status.payload_bytes, status.state)
            };
            route.records.sample(records, elapsed);
            route.bytes.sample(bytes, elapsed);
            route.was_resumed |= state.is_running() || state == RouteState::Paused;
        }
    }

    /// Everything, as it stands now.
    pub fn snapshot(&self) -> StatusReport {
        let inner = self.lock();
        let now = now_unix_seconds();
        let assessment = health::assess(&inner);
        StatusReport {
            region: inner.region.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: inner.started.elapsed().as_secs_f64(),
            ready: assessment.not_ready.is_empty(),
            healthy: assessment.unhealthy.is_empty(),
            draining: inner.draining,
            reasons: assessment
                .unhealthy
                .into_iter()
                .chain(assessment.not_ready)
                .collect(),
            connections: inner
                .connections
                .iter()
                .map(|status| status.borrow().clone())
                .collect(),
            rate: inner
                .region_rate
                .as_ref()
                .map(|entry| RateReport::new(&entry.rate, entry.status.borrow().clone())),
            links: inner
                .links
                .iter()
                .map(|link| link.report(&inner.rates))
                .collect(),
            routes: inner.routes.iter().map(|route| route.report(now)).collect(),
            refused: inner.refusals.snapshot(),
            checkpoints: CheckpointStatus {
                failing: inner.store_fails(),
                set_aside: inner.stores_set_aside,
            },
            certificates: inner.certificates(now),
            certificates_problem: inner.identity.as_ref().and_then(Identity::problem),
            reload: inner
                .reloads
                .as_ref()
                .map_or_else(ReloadStatus::default, |reloads| reloads.borrow().clone()),
        }
    }

    /// What keeps the sidecar from being healthy; empty when it is.
    pub fn unhealthy(&self) -> Vec<String> {
        health::assess(&self.lock()).unhealthy
    }

    /// What keeps the sidecar from being ready; empty when it is.
    pub fn not_ready(&self) -> Vec<String> {
        health::assess(&self.lock()).not_ready
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Status is still worth reading after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn store_fails(&self) -> bool {
        self.store_failing
            .as_ref()
            .is_some_and(|failing| *failing.borrow())
    }

    fn certificates(&self, now: f64) -> Vec<CertificateStatus> {
        let in_use = self.identity.as_ref().map(Identity::certificates);
        let status = |(which, path, ends_at): (_, &Path, Option<i64>)| CertificateStatus {
            which,
            path: path.display().to_string(),
            days_left: ends_at.map(|end| (end - now as i64).div_euclid(86_400)),
            ends_at,
        };
        in_use.into_iter().flatten().map(status).collect()
    }
}

#[cfg(test)]
mod tests;
