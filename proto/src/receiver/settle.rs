//! How records leave the receiver: into a run, and out of it with an outcome.

use super::*;
use crate::frame::clip_detail;
use crate::run::Evidence;

impl Receiver {
    /// How many unsettled records end with the one named `at`; `None` if it is not among them.
    pub(super) fn stored_through(&self, at: Position) -> Option<u32> {
        let mut count = 0;
        for retained in &self.retained {
            for record in retained
                .batch
                .iter()
                .map_while(Result::ok)
                .skip(retained.done as usize)
            {
                count += 1;
                if record.seq == at.seq && record.stored_at == at.stored_at {
                    return Some(count);
                }
            }
        }
        None
    }

    /// The first `count` unsettled records are stored. They are counted batch by batch, so that the
    /// outcomes noted with a batch are those of the records up to its end.
    pub(super) fn settle_records(&mut self, count: u32) {
        let mut left = count;
        while left > 0 {
            let Some(head) = self.retained.front_mut() else {
                return;
            };
            let here = left.min(head.batch.record_count - head.done);
            head.done += here;
            left -= here;
            self.outcome(|outcomes| outcomes.stored += u64::from(here));
            self.finish_whole_batches();
        }
    }

    /// Settles what needs no publishing at the head: batches without records left, records denied
    /// here, records that arithmetic says are stored.
    pub(super) fn settle_leading(&mut self) {
        loop {
            self.finish_whole_batches();
            let Some(head) = self.retained.front() else {
                return;
            };
            // In one go: to find a record in a batch takes a walk from its first.
            let (mut denied, mut duplicate, mut last) = (0, 0, None);
            let records = head.batch.iter().map_while(Result::ok);
            for record in records.skip(head.done as usize) {
                if self.is_denied(record.subject) {
                    denied += 1;
                } else if duplicate < self.applied.skip {
                    duplicate += 1;
                } else {
                    break;
                }
                last = Some(Position {
                    seq: record.seq,
                    stored_at: record.stored_at,
                });
            }
            let Some(position) = last else {
                return;
            };
            self.applied.skip -= duplicate;
            self.outcome(|outcomes| {
                outcomes.denied += denied;
                outcomes.duplicate += duplicate;
            });
            self.pass(position, denied + duplicate);
        }
    }

    fn is_denied(&self, subject: &[u8]) -> bool {
        !matches!(
            self.config.policy.judge(subject, &self.config.here),
            Verdict::Forward
        )
    }

    fn outcome(&mut self, count: impl Fn(&mut Outcomes)) {
        count(&mut self.totals);
        if let Some(lane) = &mut self.lane {
            count(&mut lane.outcomes);
        }
    }

    /// So many records at the head have their outcome; the last of them is at `position`.
    fn pass(&mut self, position: Position, count: u64) {
        self.applied.at = Some(position);
        if let Some(head) = self.retained.front_mut() {
            head.done += u32::try_from(count).unwrap_or(u32::MAX);
        }
        self.finish_whole_batches();
        self.save(false); // reconciling begins from here, or it would count what was passed again
    }

    /// Batches at the head of which nothing is left are acknowledged.
    fn finish_whole_batches(&mut self) {
        while self
            .retained
            .front()
            .is_some_and(|head| head.done == head.batch.record_count)
        {
            self.pop_settled();
        }
    }

    fn pop_settled(&mut self) {
        let Some(head) = self.retained.pop_front() else {
            return;
        };
        self.decoded_len -= head.batch.body.len();
        let through = head.batch.through;
        if let Some(lane) = &mut self.lane {
            lane.release(head.wire_len);
            self.ack_due = Some((through, lane.outcomes));
        }
        self.save(false);
    }

    /// What the source should hear: one ack for all batches settled since the last.
    pub(super) fn poll_ack(&mut self) -> Option<Frame> {
        let lane = self.lane.as_mut()?;
        if let Some((through, outcomes)) = self.ack_due.take() {
            return Some(Frame::Ack(Ack {
                lane: lane.id,
                through,
                outcomes,
            }));
        }
        lane.poll_credit().map(Frame::Credit)
    }

    /// The records to publish next: as many as lie there, so that a run grows by itself when the
    /// target is slower than the link and is one record when it is not.
    pub(super) fn form_run(&self) -> Option<Run> {
        let first = self.retained.front()?;
        let mut run = Run {
            batches: Vec::new(),
            skip: first.done,
            record_count: 0,
            expected_last: self.is_sole().then_some(self.target_last),
            counted: self.is_sole() && self.facts.is_some_and(|facts| !facts.adds_markers),
            again: self.again.filter(|_| !self.config.window_suffices),
        };
        let fallen = self.fallen.filter(|(epoch, _)| *epoch == first.epoch);
        let mut len = 0;
        for retained in &self.retained {
            if len >= self.config.run_len_max || run.record_count >= self.config.run_records_max {
                break;
            }
            run.batches.push(retained.batch.clone());
            len += retained.batch.body.len();
            let records = retained
                .batch
                .iter()
                .map_while(Result::ok)
                .skip(retained.done as usize);
            for record in records {
                if self.is_denied(record.subject)
                    || run.record_count == self.config.run_records_max
                    || fallen.is_some_and(|(_, last)| record.seq > last && run.record_count > 0)
                {
                    return (run.record_count > 0).then_some(run);
                }
                run.record_count += 1;
            }
        }
        (run.record_count > 0).then_some(run)
    }

    fn is_sole(&self) -> bool {
        self.config.sole && !self.foreign_seen
    }

    pub(super) fn settle_stored(&mut self, run: &Run, result: &RunResult) {
        if let Some(last_seq) = result.last_seq {
            self.target_last = last_seq;
            self.applied.target_seq = last_seq;
            self.applied.target_seq_shown = true;
            self.applied.passed = last_seq;
        }
        if let Some(position) = run.position(result.stored - 1) {
            self.applied.at = Some(position);
            let here = (self.applied.epoch, position.seq);
            self.fallen = self.fallen.filter(|last| here < *last);
            if let Some(target_seq) = result.last_seq {
                let source = position;
                self.applied.anchor = Some(Evidence { source, target_seq });
            }
        }
        self.settle_records(result.stored);
        match result.last_seq {
            Some(_) => self.save(false),
            None => self.save_before_going_on(), // the target had them all: they took no sequence
        }
    }

    /// The record behind the stored ones will never be stored. It has its outcome when the source has
    /// kept it aside; without a lane it will be read, and refused, again.
    pub(super) fn refuse(&mut self, run: &Run, index: u32, code: u32, reason: &str) {
        let (Some(at), Some(lane)) = (run.position(index), &self.lane) else {
            return;
        };
        let reason = clip_detail(reason);
        let lane = lane.id;
        let rejected = Rejected {
            lane,
            at,
            code,
            reason,
        };
        self.refused = Some(at);
        self.out.push_back(Action::Send(Frame::Rejected(rejected)));
    }

    /// The record at the head is kept aside.
    pub(super) fn pass_rejected(&mut self, at: Position) {
        self.outcome(|outcomes| outcomes.rejected += 1);
        self.pass(at, 1);
        self.save_before_going_on();
    }

    /// The record behind the stored ones is out of date and will not be published.
    pub(super) fn expire(&mut self, run: &Run, index: u32) {
        let (Some(at), true) = (run.position(index), self.lane.is_some()) else {
            return;
        };
        self.outcome(|outcomes| outcomes.expired += 1);
        self.pass(at, 1);
        if self.facts.is_some_and(|facts| !facts.evidence_stays) {
            self.save_before_going_on();
        }
    }

    /// Arithmetic on the target's sequences must never count a record that took none, so what passed
    /// without one is durable before the next takes one.
    pub(super) fn save_before_going_on(&mut self) {
        self.save(true);
        self.saving = self.save_due == Some(true);
    }

    pub(super) fn save(&mut self, now: bool) {
        let Some(target_created_ns) = self.applied_in else {
            return;
        };
        let is_fresh = self.checkpoint.is_none_or(|known| known.is_fresh());
        let target_seq = match self.applied.at {
            // There is nothing to say, and nothing to take back.
            None if is_fresh && self.applied.passed == TargetSeq(0) => return,
            None if is_fresh => TargetSeq(0),
            // Each record that is stored and not yet passed took one sequence behind that of `at`.
            _ => TargetSeq(self.applied.target_seq.0 - self.applied.skip),
        };
        let checkpoint = Some(TargetCheckpoint {
            source_epoch: self.applied.epoch,
            at: self.applied.at.unwrap_or_default(),
            target_seq,
            target_seq_shown: self.applied.target_seq_shown,
            passed: self.applied.passed.max(target_seq),
            target_created_ns,
            foreign_seen: self.foreign_seen,
        });
        if checkpoint == self.checkpoint && !now {
            return;
        }
        self.checkpoint = checkpoint;
        self.save_due = Some(now || self.save_due == Some(true));
    }
}
