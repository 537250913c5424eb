//! The source side: what was heard of the source stream, what residency kept back, how far behind the target is.

use causeway_proto::codec::Effort;
use causeway_proto::frame::Stall;
use causeway_proto::id::{Epoch, SourceSeq};
use causeway_proto::residency::DenyReason;
use causeway_proto::sender::Sender;
use tokio::time::Instant;

use super::{RouteReporter, words};
use crate::clock::now_unix_seconds;
use crate::status::{OutcomeCounts, PositionCounts, RouteState};

/// A route that has everything older than this over there counts as live.
const LIVE_LAG_MAX: f64 = 2.0;
/// The label of a denial for want of any class.
const NO_CLASS: &str = "none";

/// A source driver as status sees it.
pub struct OutboundView<'a> {
    /// The state machine.
    pub sender: &'a Sender,
    /// When the source was last heard, if it is being read.
    pub source_heard: Option<Instant>,
    /// Whether a session stands.
    pub has_session: bool,
    /// Whether an operator paused the route.
    pub paused: bool,
    /// What the target says.
    pub stall: Option<&'a Stall>,
    /// What compression takes now.
    pub effort: Effort,
}

impl RouteReporter {
    /// The source stream cannot be read now.
    pub fn source_unreachable(&mut self, why: String) {
        self.source.unreachable = Some(why);
    }

    /// The server said that the source stream goes up to `last`, and no further.
    pub fn source_measured(&mut self, last: SourceSeq) {
        self.status.source_last_seq = None; // it may be another stream, which goes less far
        self.source_found(last);
    }

    /// The source stream was heard. It goes at least up to `last`.
    pub fn source_found(&mut self, last: SourceSeq) {
        self.source.unreachable = None;
        self.source.heard = Some(now_unix_seconds());
        let known = self.status.source_last_seq.get_or_insert(0);
        *known = last.0.max(*known);
    }

    /// The server said how many records of the route come behind those read.
    pub fn source_behind(&mut self, records: u64) {
        self.source.behind = Some(records);
    }

    /// Reading goes on behind `after`.
    pub fn resumed(&mut self, after: SourceSeq, epoch: Epoch) {
        if self.epoch != Some(epoch) {
            self.status.replicated_through = None; // of records that are not these
        }
        self.epoch = Some(epoch);
        self.source.behind = None;
        self.status.epoch = Some(epoch.0);
        self.status.resume_point = Some(after.0);
    }

    /// The target acknowledged something.
    pub fn progressed(&mut self) {
        self.status.last_progress = Some(now_unix_seconds());
    }

    /// A record carried provenance that is not its own.
    pub fn forged(&mut self) {
        self.status.forged_provenance += 1;
    }

    /// Residency kept a record back.
    pub fn denied(&mut self, reason: DenyReason) {
        let last = self.denied.len() - 1;
        let index = match reason {
            DenyReason::Class(index) => index.min(last),
            DenyReason::NoClass => last,
        };
        self.denied[index] += 1;
    }

    /// A batch was sealed.
    pub fn batch_sealed(&mut self, records: u32, plain_len: usize) {
        self.status.batch_sizes.add(records.into());
        self.status.plain_bytes += plain_len as u64;
    }

    /// A batch went on its way.
    pub fn batch_sent(&mut self, wire_len: usize) {
        self.status.batches += 1;
        self.status.wire_bytes += wire_len as u64;
    }

    /// Publishes where the source side stands.
    pub fn outbound(&mut self, view: &OutboundView<'_>) {
        let sender = view.sender;
        let (totals, pending) = (sender.totals(), sender.pending());
        let watermark = sender.watermark();
        self.status.epoch = Some(sender.epoch().0);
        self.status.watermark = Some(watermark.seq.0);
        self.status.in_flight_records = pending.read;
        self.status.in_flight_bytes = pending.payload_bytes;
        self.status.payload_bytes = totals.payload_bytes;
        self.status.outcomes = OutcomeCounts {
            read: totals.read + pending.read,
            stored: totals.stored,
            duplicate: totals.duplicate,
            denied: totals.denied,
            returned: totals.returned,
            rejected: totals.rejected,
            expired: totals.expired,
            pending: pending.read,
        };
        self.status.positions = PositionCounts {
            span: totals.span,
            read: totals.read,
            filtered: totals.filtered,
            expired: totals.lost_to_retention,
        };
        if let Some(heard) = view.source_heard {
            let age = heard.elapsed().as_secs_f64();
            self.source.heard = later(self.source.heard, Some(now_unix_seconds() - age));
            self.source.unreachable = None;
        }
        self.status.compression = Some(view.effort.name());
        self.note_progress(watermark.seq.0, watermark.stored_at.0, pending.read);
        self.note_denials();
        (self.status.state, self.status.reason) = self.outbound_state(view);
        self.publish();
    }

    /// Works out how far behind the target is, from the watermark and what was heard of the source.
    fn note_progress(&mut self, watermark: u64, stored_at_ns: u64, pending: u64) {
        let Some(last) = self.status.source_last_seq else {
            return;
        };
        let is_all_settled =
            watermark >= last && pending == 0 && self.source.behind.is_none_or(|left| left == 0);
        if is_all_settled {
            self.status.lag_records = Some(0);
            // As of the moment that the source was heard, not of now.
            self.status.replicated_through =
                later(self.status.replicated_through, self.source.heard);
            self.status.last_progress = later(self.status.last_progress, self.source.heard);
            return;
        }
        // With filters, sequences say more than there is: the server's own count is better.
        let by_sequence = last.saturating_sub(watermark);
        self.status.lag_records = Some(
            self.source
                .behind
                .map_or(by_sequence, |left| left + pending),
        );
        if stored_at_ns > 0 {
            let settled = Some(stored_at_ns as f64 / 1e9);
            self.status.replicated_through = later(self.status.replicated_through, settled);
        }
    }

    fn note_denials(&mut self) {
        let names = self.classes.iter().map(String::as_str).chain([NO_CLASS]);
        for (name, count) in names.zip(&self.denied).filter(|(_, count)| **count > 0) {
            match self.status.denied_by_class.get_mut(name) {
                Some(known) => *known = *count,
                None => {
                    self.status.denied_by_class.insert(name.to_owned(), *count);
                }
            }
        }
    }

    fn outbound_state(&self, view: &OutboundView<'_>) -> (RouteState, Option<String>) {
        if view.paused {
            return (RouteState::Paused, Some("paused by an operator".into()));
        }
        if let Some(why) = &self.source.unreachable {
            return (RouteState::WaitingForSource, Some(why.clone()));
        }
        if !view.has_session {
            return (RouteState::WaitingForLink, None);
        }
        if let Some(stall) = view.stall {
            return (
                RouteState::Stalled,
                Some(words(stall.reason.as_str(), &stall.detail)),
            );
        }
        if !view.sender.is_reading() {
            return (RouteState::WaitingForTarget, None);
        }
        let now = now_unix_seconds();
        let is_live = self.status.lag_records == Some(0)
            || self
                .status
                .replicated_through
                .is_some_and(|time| now - time <= LIVE_LAG_MAX);
        match is_live {
            true => (RouteState::Live, None),
            false => (RouteState::CatchingUp, None),
        }
    }
}

fn later(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}
