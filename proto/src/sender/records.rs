//! What the reader brings: records, and positions that hold none for this route.

use super::*;

impl Sender {
    /// A record was read, in source order. `returns` says that the target region is among its hops.
    pub fn handle_record(&mut self, record: &RecordView<'_>, returns: bool) -> Admission {
        if record.seq <= self.through.seq {
            return Admission::Behind;
        }
        let at = Position {
            seq: record.seq,
            stored_at: record.stored_at,
        };
        if !self.builder.is_empty() && !self.builder.has_room(record) {
            return Admission::Full;
        }
        self.through = at;
        self.tally.read += 1;
        if let Verdict::Deny(reason) = self.config.policy.judge(record.subject, &self.config.to) {
            self.tally.denied += 1;
            return Admission::Denied(reason);
        }
        if returns {
            self.tally.returned += 1;
            return Admission::Returned;
        }
        if let Err(fault) = self.builder.push(record) {
            self.tally.rejected += 1;
            self.asides.insert(at.seq, None);
            let lane = self.lane().unwrap_or_default();
            self.to_keep.push_back(Rejected {
                lane,
                at,
                code: 0,
                reason: fault.to_string(),
            });
            return Admission::Rejected;
        }
        self.admitted = at.seq;
        self.tally.admitted += 1;
        self.tally.payload_bytes += record.size() as u64;
        Admission::Batched
    }

    /// Up to `through` the stream holds nothing more for this route.
    pub fn handle_nothing_through(&mut self, through: SourceSeq) {
        if through > self.through.seq {
            self.through = Position {
                seq: through,
                ..Position::default()
            };
        }
    }

    /// The stream now begins behind the reader: positions up to `through` left it unread, but for those that an
    /// earlier lane has handled.
    pub fn handle_lost_to_retention(&mut self, through: SourceSeq) {
        if through > self.through.seq {
            let known = self.through.seq.max(self.handled.through);
            self.tally.lost_to_retention += through.0.saturating_sub(known.0);
            self.handle_nothing_through(through);
        }
    }
}
