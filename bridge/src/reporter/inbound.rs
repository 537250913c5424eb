//! The target side: what arrived, and how far it is applied.

use causeway_proto::codec::BatchHead;
use causeway_proto::id::Epoch;
use causeway_proto::receiver::Receiver;

use super::{RouteReporter, words};
use crate::clock::now_unix_seconds;
use crate::status::{OutcomeCounts, RouteState};

/// A target driver as status sees it.
pub struct InboundView<'a> {
    /// The state machine.
    pub receiver: &'a Receiver,
    /// Whether a session stands.
    pub has_session: bool,
    /// Whether the target's server is connected.
    pub connected: bool,
}

impl RouteReporter {
    /// The source's bridge opened a lane.
    pub fn lane_opened(&mut self, epoch: Epoch) {
        self.status.epoch = Some(epoch.0);
        self.status.resume_point = None;
    }

    /// A batch arrived.
    pub fn batch_arrived(&mut self, head: &BatchHead, body_len: usize) {
        self.status.batches += 1;
        self.status.batch_sizes.add(head.record_count.into());
        self.status.plain_bytes += u64::from(head.plain_len);
        self.status.wire_bytes += body_len as u64;
    }

    /// A lane was given up because of what the peer sent.
    pub fn lane_refused(&mut self) {
        self.status.lanes_refused += 1;
    }

    /// Publishes where the target side stands, and what became of records here since this process began.
    /// The books that balance are the source's.
    pub fn inbound(&mut self, view: &InboundView<'_>) {
        let applied = view.receiver.applied();
        if let Some(at) = applied.at {
            let now = (applied.epoch, at.seq);
            if self.applied.is_some_and(|before| before != now) {
                self.status.last_progress = Some(now_unix_seconds());
            }
            self.applied = Some(now);
            self.status.watermark = Some(at.seq.0);
        }
        let is_flowing = view.receiver.is_flowing();
        if is_flowing && self.status.resume_point.is_none() {
            self.status.resume_point = Some(applied.at.map_or(0, |at| at.seq.0));
        }
        self.status.in_flight_bytes = view.receiver.decoded_len() as u64;
        let totals = view.receiver.totals();
        self.status.outcomes = OutcomeCounts {
            read: totals.total(),
            stored: totals.stored,
            duplicate: totals.duplicate,
            denied: totals.denied,
            returned: 0,
            rejected: totals.rejected,
            expired: totals.expired,
            pending: 0,
        };
        (self.status.state, self.status.reason) = state_of(view);
        self.publish();
    }
}

/// What a route that arrives here does, and why not more.
pub(super) fn state_of(view: &InboundView<'_>) -> (RouteState, Option<String>) {
    let receiver = view.receiver;
    if let Some(stalled) = receiver.stalled() {
        let why = words(stalled.reason.as_str(), &stalled.detail);
        return (RouteState::Stalled, Some(why));
    }
    let (state, why) = if !view.connected {
        let why = "no connection to the region's NATS";
        (RouteState::WaitingForTarget, why)
    } else if !view.has_session {
        return (RouteState::WaitingForLink, None);
    } else if receiver.is_flowing() {
        return (RouteState::Live, None);
    } else if receiver.lane().is_some() {
        let why = "what the target holds is not known yet";
        (RouteState::WaitingForTarget, why)
    } else {
        let why = "the source has opened no lane";
        (RouteState::WaitingForSource, why)
    };
    (state, Some(why.into()))
}
