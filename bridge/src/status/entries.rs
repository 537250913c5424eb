//! What the board keeps of each link, rate and route: the other end of its channel, and what was measured of it.

use causeway_proto::id::RegionId;
use tokio::sync::watch;

use super::rates::Rate;
use super::{
    LinkRateReport, LinkReport, LinkState, LinkStatus, RateStatus, RouteReport, RouteState,
    RouteStatus,
};
use crate::link::DeclaredRate;

#[derive(Debug)]
pub(super) struct LinkEntry {
    pub(super) status: watch::Receiver<LinkStatus>,
    pub(super) sent: Rate,
    pub(super) received: Rate,
}

#[derive(Debug)]
pub(super) struct RateEntry {
    pub(super) rate: DeclaredRate,
    pub(super) status: watch::Receiver<RateStatus>,
}

#[derive(Debug)]
pub(super) struct RouteEntry {
    pub(super) status: watch::Receiver<RouteStatus>,
    /// Whether records flowed at any time, or somebody paused the route on purpose.
    pub(super) was_resumed: bool,
    pub(super) records: Rate,
    pub(super) bytes: Rate,
}

impl LinkEntry {
    pub(super) fn report(&self, rates: &[(RegionId, RateEntry)]) -> LinkReport {
        let status = self.status.borrow().clone();
        let is_up = status.state == LinkState::Up;
        let rate = rates.iter().find(|(peer, _)| *peer == status.peer);
        LinkReport {
            rate: rate.map(|(_, entry)| {
                LinkRateReport::new(&entry.rate, entry.status.borrow().clone(), is_up)
            }),
            status,
            sent_bytes_per_second: self.sent.per_second(),
            received_bytes_per_second: self.received.per_second(),
        }
    }
}

impl RouteEntry {
    pub(super) fn report(&self, now: f64) -> RouteReport {
        let mut status = self.status.borrow().clone();
        if self.has_ended() {
            status.state = RouteState::Stopped;
        }
        // A source's clock that is ahead of ours must not show as a negative age.
        let age = |time: Option<f64>| time.map(|time| (now - time).max(0.0));
        RouteReport {
            balanced: status.outcomes.balance() && status.positions.balance(),
            lag_seconds: age(status.replicated_through),
            checkpoint_age_seconds: age(status.checkpointed),
            records_per_second: self.records.per_second(),
            bytes_per_second: self.bytes.per_second(),
            compression_ratio: (status.wire_bytes > 0)
                .then(|| status.plain_bytes as f64 / status.wire_bytes as f64),
            status,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status.has_changed().is_err()
    }
}

pub(super) fn settled_records(status: &RouteStatus) -> u64 {
    status.outcomes.stored + status.outcomes.duplicate
}
