//! The rates of a region's links, as plan, clock and monthly caps have them: the links read them at every
//! packet, and this writes them.
//!
//! Nothing is decided here. What a schedule says is [`causeway_config::schedule`]'s, how a count stands to
//! its cap is [`Meter`]'s; this looks at the clock and the counters, and tells links, board and log.

use std::time::Duration;

use causeway_config::plan::{LinkMode, LinkPlan, Plan};
use causeway_config::schedule::{CapAction, MonthlyCap, Schedule};
use causeway_config::unit::Rate;
use causeway_proto::id::RegionId;
use causeway_proto::rate::{Cap, CapState, Meter, Mode, Usage};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::checkpoint::{CheckpointKey, CheckpointStore};
use crate::link::DeclaredRate;
use crate::status::{Board, CapStatus, RateReason, RateStatus};

/// How often a capped link is looked at; so much may leave beyond its cap.
const CAP_INTERVAL: Duration = Duration::from_secs(1);
/// How often the clock is looked at in any case: somebody may set it.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How often counts are made durable; a crash forgets so much.
const SAVE_SECONDS: f64 = 10.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Rates {
    here: RegionId,
    /// Of all links together.
    region: DeclaredRate,
    plan: (Option<Rate>, Schedule),
    told: watch::Sender<RateStatus>,
    links: Vec<LinkRate>,
}

impl Rates {
    /// The rates of the links that end in `here`, and what the store remembers of their months.
    pub(super) fn new(
        plan: &Plan,
        here: &RegionId,
        store: &dyn CheckpointStore,
        board: &Board,
        now: Timestamp,
    ) -> Self {
        let region = DeclaredRate::default();
        let links = plan.links_of(here).filter_map(|(_, link)| {
            let peer = link.peer_of(here)?;
            Some(LinkRate::new(peer, link, remembered(store, peer), board))
        });
        let mut rates = Self {
            here: here.clone(),
            plan: (None, Schedule::default()),
            told: board.register_region_rate(region.clone()),
            region,
            links: links.collect(),
        };
        rates.follow(plan, now);
        rates
    }

    /// What all links together may send.
    pub(super) fn region(&self) -> DeclaredRate {
        self.region.clone()
    }

    /// What the link to `peer` may send.
    pub(super) fn link(&self, peer: &RegionId) -> DeclaredRate {
        let found = self.links.iter().find(|link| link.peer == *peer);
        found.map_or_else(DeclaredRate::default, |link| link.declared.clone())
    }

    /// Takes over what the plan says. Connections go on.
    pub(super) fn follow(&mut self, plan: &Plan, now: Timestamp) {
        if let Some(own) = plan.region(&self.here) {
            self.plan = (own.rate, own.schedule.clone());
        }
        for link in &mut self.links {
            if let Some(plan) = plan.link_between(&self.here, &link.peer) {
                // What left until now counts as the plan of before says.
                link.count(now);
                link.plan = plan.clone();
                link.declared.set_mode(mode(plan));
                link.declared.set_copies(plan.copies);
            }
        }
        self.look(now);
    }

    /// Looks at clock and counters. Returns when to look again.
    pub(super) fn look(&mut self, now: Timestamp) -> Duration {
        let (rate, status) = by_clock(self.plan.0, &self.plan.1, now);
        self.region.set(rate.map(Rate::bits_per_second));
        let mut next = wait(now, status.until);
        self.told.send_replace(status);
        for link in &mut self.links {
            next = next.min(link.look(now));
        }
        next
    }

    /// Counts that are to be made durable now; `all`: because the process ends.
    pub(super) fn due(&mut self, now: Timestamp, all: bool) -> Vec<(CheckpointKey, Vec<u8>)> {
        let links = self.links.iter_mut();
        links.filter_map(|link| link.due(now, all)).collect()
    }
}

#[derive(Debug)]
struct LinkRate {
    peer: RegionId,
    declared: DeclaredRate,
    plan: LinkPlan,
    meter: Meter,
    /// What the link had sent at the last look.
    counted: u64,
    state: CapState,
    saved: Usage,
    saved_at: Timestamp,
    is_urgent: bool,
    told: watch::Sender<RateStatus>,
}

impl LinkRate {
    fn new(peer: &RegionId, plan: &LinkPlan, usage: Usage, board: &Board) -> Self {
        let declared = DeclaredRate::default();
        Self {
            peer: peer.clone(),
            told: board.register_rate(peer, declared.clone()),
            declared,
            plan: plan.clone(),
            meter: Meter::new(usage),
            counted: 0,
            state: CapState::Below,
            saved: usage,
            saved_at: Timestamp::UNIX_EPOCH,
            is_urgent: false,
        }
    }

    /// Counts what left since the last look, where there is a cap to count for.
    fn count(&mut self, now: Timestamp) {
        let sent = self.declared.sent_bytes();
        let bytes = sent - std::mem::replace(&mut self.counted, sent);
        if let Some(cap) = &self.plan.monthly_cap {
            self.meter
                .handle_sent(since_epoch(now), since_epoch(cap.began(now)), bytes);
        }
    }

    fn look(&mut self, now: Timestamp) -> Duration {
        self.count(now);
        let (mut rate, mut status) = by_clock(self.plan.rate, &self.plan.schedule, now);
        let mut next = wait(now, status.until);
        let mut is_held = false;
        let mut state = CapState::Below;
        if let Some(cap) = &self.plan.monthly_cap {
            next = next.min(CAP_INTERVAL);
            let (limit_bytes, warn_bytes) = (cap.bytes.0, cap.warn_bytes());
            let bytes = limit_bytes;
            state = self.meter.state(Cap { bytes, warn_bytes });
            if state == CapState::Reached {
                match cap.then {
                    CapAction::Stall => is_held = true,
                    CapAction::Rate(least) => rate = Some(rate.map_or(least, |r| r.min(least))),
                }
                status.reason = RateReason::MonthlyCap;
                status.window = None;
            }
            status.cap = Some(CapStatus {
                limit_bytes,
                warn_bytes,
                used_bytes: self.meter.usage().bytes,
                state: state_name(state),
                resets_at: cap.ends(now).as_second() as f64,
            });
        }
        self.declared.set(rate.map(Rate::bits_per_second));
        self.declared.hold(is_held);
        self.tell(status, state, rate);
        next
    }

    fn tell(&mut self, status: RateStatus, state: CapState, rate: Option<Rate>) {
        let peer = &self.peer;
        let is_new = {
            let before = self.told.borrow();
            (before.reason, before.window) != (status.reason, status.window)
        };
        if is_new {
            let rate = rate.map_or_else(|| "none declared".to_owned(), |rate| rate.to_string());
            let (reason, window) = (status.reason.as_str(), status.window);
            tracing::info!(%peer, rate, reason, window, "the link's rate");
        }
        let before = std::mem::replace(&mut self.state, state);
        if let Some(cap) = &self.plan.monthly_cap
            && before != state
        {
            self.is_urgent = true;
            log_cap(peer, cap, &self.meter, before, state);
        }
        self.told.send_replace(status);
    }

    fn due(&mut self, now: Timestamp, all: bool) -> Option<(CheckpointKey, Vec<u8>)> {
        let usage = self.meter.usage();
        let age = now.duration_since(self.saved_at).as_secs_f64().abs();
        let is_due = all || self.is_urgent || age >= SAVE_SECONDS;
        if !is_due || usage.bytes == self.saved.bytes {
            return None;
        }
        (self.saved, self.saved_at, self.is_urgent) = (usage, now, false);
        Some((CheckpointKey::usage(&self.peer), usage.encode()))
    }
}

/// What holds by plan and clock alone.
fn by_clock(rate: Option<Rate>, schedule: &Schedule, now: Timestamp) -> (Option<Rate>, RateStatus) {
    let decision = schedule.decide(now);
    let window = decision.window.and_then(|at| schedule.windows().get(at));
    let reason = match (window, rate) {
        (Some(_), _) => RateReason::Schedule,
        (None, Some(_)) => RateReason::Declared,
        (None, None) => RateReason::Undeclared,
    };
    let status = RateStatus {
        reason,
        window: decision.window,
        until: decision.until.map(|until| until.as_second() as f64),
        cap: None,
    };
    (window.map(|window| window.rate).or(rate), status)
}

/// Until the moment that a schedule names, but not for ever.
fn wait(now: Timestamp, until: Option<f64>) -> Duration {
    let left = until.map(|until| until - now.as_millisecond() as f64 / 1e3);
    let left = left.map_or(LOOK_INTERVAL, |left| Duration::from_secs_f64(left.max(0.0)));
    left.clamp(Duration::from_millis(10), LOOK_INTERVAL)
}

/// A value that cannot be read is as good as none, but for the bill.
fn remembered(store: &dyn CheckpointStore, peer: &RegionId) -> Usage {
    let value = match store.get(&CheckpointKey::usage(peer)) {
        Ok(Some(value)) => Usage::decode(&value).map_err(|why| why.to_string()),
        Ok(None) => Ok(Usage::default()),
        Err(why) => Err(why.to_string()),
    };
    value.unwrap_or_else(|why| {
        tracing::warn!(%peer, why, "the month's count is lost; it begins anew");
        Usage::default()
    })
}

fn log_cap(peer: &RegionId, cap: &MonthlyCap, meter: &Meter, before: CapState, state: CapState) {
    let (used, bytes) = (meter.usage().bytes, cap.bytes.0);
    match (state, cap.then) {
        (CapState::Reached, CapAction::Stall) => {
            tracing::warn!(%peer, used, bytes, "monthly cap reached: no more data until the next month");
        }
        (CapState::Reached, CapAction::Rate(rate)) => {
            tracing::warn!(%peer, used, bytes, %rate, "monthly cap reached: slow until the next month");
        }
        (CapState::Warned, _) => {
            tracing::warn!(%peer, used, bytes, percent = cap.warn_at, "monthly cap is nearly used");
        }
        (CapState::Below, _) if before > CapState::Below => {
            tracing::info!(%peer, used, bytes, "monthly cap has room again");
        }
        (CapState::Below, _) => {}
    }
}

fn state_name(state: CapState) -> &'static str {
    match state {
        CapState::Below => "below",
        CapState::Warned => "warned",
        CapState::Reached => "reached",
    }
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
}

fn mode(link: &LinkPlan) -> Mode {
    match link.mode {
        LinkMode::Declared => Mode::Declared,
        LinkMode::Adaptive => Mode::Adaptive,
        LinkMode::Scavenger => Mode::Scavenger,
    }
}

#[cfg(test)]
mod tests;
