//! The task that keeps rates by clock and cap, and reads the fleet file again on SIGHUP or when the admin
//! address asks. Certificates it reads again then too, and by itself each minute: who renews them (SPIRE,
//! cert-manager) just writes files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_config::change::{changes, take_over};
use causeway_config::{Loaded, Plan};
use causeway_proto::id::RegionId;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::build;
use super::rates::Rates;
use crate::checkpoint::CheckpointWriter;
use crate::clock::now_unix_seconds;
use crate::command::{RouteCommand, RouteControl};
use crate::link::{Identity, TlsError};
use crate::reload::{ReloadAsked, ReloadOutcome, ReloadReport, ReloadStatus};

/// A driver takes a priority over at once.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often certificates are read again unasked.
pub(super) const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);
/// Reading them takes a moment, unless what they lie on hangs.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    pub(super) here: RegionId,
    /// What runs: the plan of the start, and what was taken over since.
    pub(super) runs: Arc<Plan>,
    pub(super) rates: Rates,
    pub(super) identity: Identity,
    /// [`RENEWAL_INTERVAL`]; a test does not wait so long.
    pub(super) renew_every: Duration,
    /// A reading of certificates that has not ended.
    pub(super) renewing: Option<JoinHandle<Result<bool, TlsError>>>,
    pub(super) controls: Vec<RouteControl>,
    pub(super) asked: mpsc::Receiver<ReloadAsked>,
    pub(super) hangups: Signal,
    pub(super) told: watch::Sender<ReloadStatus>,
    pub(super) store: CheckpointWriter,
}

/// SIGHUP would end the process from now on no more.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

impl Reloader {
    /// Runs until it is told to stop, and then keeps what was counted.
    pub(super) async fn run(mut self, mut stopping: oneshot::Receiver<()>) {
        let mut renewal = Instant::now() + self.renew_every;
        loop {
            let next = self.look(false).await;
            let asked = tokio::select! {
                _ = &mut stopping => {
                    self.look(true).await;
                    return;
                }
                Some(asked) = self.asked.recv() => Some(asked),
                Some(()) = self.hangups.recv() => None,
                () = sleep(next) => continue,
                () = sleep_until(renewal) => {
                    let _ = self.renew().await; // told where it is remembered
                    renewal = Instant::now() + self.renew_every;
                    continue;
                }
            };
            let report = self.reload().await;
            log(&report);
            self.told
                .send_modify(|status| status.add(report.clone(), now_unix_seconds()));
            if let Some(asked) = asked {
                let _ = asked.send(report); // nobody may wait for it any more
            }
        }
    }

    /// Looks at the clock, and hands on what is to be remembered. Returns when to look again.
    async fn look(&mut self, is_last: bool) -> Duration {
        let now = Timestamp::now();
        let next = self.rates.look(now);
        for (key, value) in self.rates.due(now, is_last) {
            self.store.put(key, value).await;
        }
        next
    }

    async fn reload(&mut self) -> ReloadReport {
        match self.load().await {
            Ok(loaded) => self.apply(loaded).await,
            Err(errors) => ReloadReport {
                outcome: ReloadOutcome::Refused,
                changed: Default::default(),
                needs_restart: Default::default(),
                errors,
                warnings: Vec::new(),
            },
        }
    }

    /// Reads the certificates again. What is wrong with them is logged once.
    async fn renew(&mut self) -> Result<bool, String> {
        let known = self.identity.problem();
        let identity = self.identity.clone();
        let reading = self
            .renewing
            .get_or_insert_with(|| tokio::task::spawn_blocking(move || identity.renew()));
        let Ok(read) = timeout(RENEWAL_TIMEOUT, reading).await else {
            let why = format!("the files were not read within {RENEWAL_TIMEOUT:?}");
            tracing::warn!(why, "certificates not renewed");
            return Err(why);
        };
        self.renewing = None;
        let outcome = match read {
            Ok(outcome) => outcome.map_err(|why| why.to_string()),
            Err(why) => Err(why.to_string()),
        };
        match &outcome {
            Ok(true) => tracing::info!("certificates renewed, for links made from now on"),
            Err(why) if known.as_ref() != Some(why) => {
                tracing::warn!(
                    why,
                    "certificates not renewed; what was read before stays in use"
                );
            }
            Ok(false) | Err(_) => {}
        }
        outcome
    }

    /// Reads the file off the thread that serves the links.
    async fn load(&self) -> Result<Loaded, Vec<String>> {
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || causeway_config::load(&path)).await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(found)) => return Err(found.errors.iter().map(ToString::to_string).collect()),
            Err(why) => return Err(vec![format!("the file was not read to its end: {why}")]),
        };
        if loaded.plan.region(&self.here).is_none() {
            let (path, here) = (self.path.display(), &self.here);
            return Err(vec![format!(
                "{path}: region.{here}: found nothing, wanted the region that runs here"
            )]);
        }
        Ok(loaded)
    }

    async fn apply(&mut self, loaded: Loaded) -> ReloadReport {
        let mut found = changes(&self.runs, &loaded.plan, &self.here);
        let mut warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        // Certificates that cannot be used keep no rate from being changed.
        match self.renew().await {
            Ok(renewed) => {
                let key = format!("region.{}.tls", self.here);
                if renewed && !found.restart.contains(&key) {
                    found.live.insert(key);
                }
            }
            Err(why) => warnings.push(format!("certificates not renewed: {why}")),
        }
        let runs = take_over(&self.runs, &loaded.plan, &self.here);
        self.rates.follow(&runs, Timestamp::now());
        self.prioritise(&runs).await;
        self.runs = Arc::new(runs);
        ReloadReport {
            outcome: if found.is_empty() {
                ReloadOutcome::Unchanged
            } else {
                ReloadOutcome::Applied
            },
            changed: found.live,
            needs_restart: found.restart,
            errors: Vec::new(),
            warnings,
        }
    }

    /// Tells the drivers of routes that leave here what changed in their priority.
    async fn prioritise(&self, new: &Plan) {
        for control in &self.controls {
            let of = |plan: &Plan| {
                let leg = plan.leg(&control.route, &control.peer);
                leg.and_then(|leg| leg.priority)
            };
            if of(&self.runs) == of(new) {
                continue;
            }
            let command = RouteCommand::Prioritise(of(new).map(build::class));
            let route = &control.route;
            match timeout(COMMAND_TIMEOUT, control.ask(command)).await {
                Ok(Ok(_)) => {}
                Ok(Err(why)) => tracing::warn!(%route, %why, "priority not taken over"),
                Err(_) => tracing::warn!(%route, "priority not taken over: the driver is busy"),
            }
        }
    }
}

fn log(report: &ReloadReport) {
    for error in &report.errors {
        tracing::error!("fleet file not taken over: {error}");
    }
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let list = |keys: &std::collections::BTreeSet<String>| {
        keys.iter().cloned().collect::<Vec<_>>().join(", ")
    };
    if !report.needs_restart.is_empty() {
        let keys = list(&report.needs_restart);
        tracing::warn!(
            keys,
            "the fleet file says more than can change while running: needs a restart"
        );
    }
    match report.outcome {
        ReloadOutcome::Applied => {
            tracing::info!(changed = list(&report.changed), "fleet file taken over");
        }
        ReloadOutcome::Unchanged => tracing::info!("fleet file read again: nothing changed"),
        ReloadOutcome::Refused => {}
    }
}

#[cfg(test)]
mod tests;
