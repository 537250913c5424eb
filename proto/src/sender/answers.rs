//! What the target answers: where to resume, credit, what is settled, what it refused.

use super::*;
use crate::resume::check_epoch;

impl Sender {
    /// The target named its resume point. `facts` describe the source stream at that point.
    /// `beginning` is where this route's reading once began; the answer says where it begins from now.
    pub fn handle_resume(
        &mut self,
        resume: &Resume,
        beginning: Beginning,
        facts: &SourceFacts,
    ) -> Result<ReadFrom, PeerMisbehaved> {
        match self.phase {
            Phase::Opening { lane } if lane == resume.lane => {}
            _ => {
                return Err(PeerMisbehaved::WrongTime {
                    lane: resume.lane,
                    frame: "Resume",
                });
            }
        }
        check_epoch(resume.lane, resume.epoch)?;
        let from = read_from(self.epoch, beginning, resume.epoch, resume.after, facts);
        self.epoch = from.epoch;
        self.follows = from.follows;
        let resumed = match resume.after {
            Some(after) if after.seq == from.follows && !from.started_over => after,
            _ => Position {
                seq: from.follows,
                ..Position::default()
            },
        };
        self.through = resumed;
        self.acknowledged = resumed;
        self.admitted = resumed.seq;
        let goes_on = resume.after.is_some() && from.epoch == self.handled.epoch;
        if !goes_on || resumed.seq < self.handled.admitted {
            self.handled = Handled {
                epoch: from.epoch,
                through: resumed.seq,
                admitted: resumed.seq,
            };
        }
        self.phase = Phase::Reading(Lane {
            id: resume.lane,
            epoch: from.epoch,
            next_batch: BatchSeq(0),
            credit_limit: resume.credit,
            wire_sent: 0,
            acknowledged: Outcomes::default(),
            flights: VecDeque::new(),
        });
        Ok(from)
    }

    /// The target allows more.
    pub fn handle_credit(&mut self, credit: &Credit) -> Result<(), PeerMisbehaved> {
        let lane = self.lane_mut(credit.lane)?;
        if credit.limit < lane.credit_limit {
            return Err(PeerMisbehaved::CreditShrank(credit.lane));
        }
        lane.credit_limit = credit.limit;
        Ok(())
    }

    /// The target refused a record for what it is, and waits until it is kept aside.
    pub fn handle_rejected(&mut self, rejected: Rejected) -> Result<(), PeerMisbehaved> {
        self.lane_mut(rejected.lane)?;
        let position = rejected.at.seq;
        let in_flight = position > self.acknowledged.seq && position <= self.follows;
        if !in_flight || self.asides.contains_key(&position) || self.asides.len() > 2 * ASIDES_MAX {
            return Err(PeerMisbehaved::WrongTime {
                lane: rejected.lane,
                frame: "Rejected",
            });
        }
        self.asides.insert(position, Some(rejected.clone()));
        self.to_keep.push_back(rejected);
        Ok(())
    }

    /// The record at `position` is kept aside now. The answer is the frame that tells the target, if
    /// it waits for it.
    pub fn handle_kept_aside(&mut self, position: SourceSeq) -> Option<Rejected> {
        self.asides.remove(&position).flatten()
    }

    /// The target settled everything up to the end of a batch.
    pub fn handle_ack(&mut self, ack: &Ack) -> Result<(), PeerMisbehaved> {
        let lane = self.lane_mut(ack.lane)?;
        if !lane
            .flights
            .iter()
            .any(|flight| flight.through.seq == ack.through)
        {
            return Err(PeerMisbehaved::AckNotSent {
                lane: ack.lane,
                through: ack.through,
            });
        }
        let mut settled = Tally::default();
        let mut reached = Position::default();
        let mut admitted = SourceSeq(0);
        while let Some(flight) = lane.flights.pop_front_if(|f| f.through.seq <= ack.through) {
            settled += flight.tally;
            reached = flight.through;
            admitted = flight.admitted;
        }
        let (now, before) = (ack.outcomes, lane.acknowledged);
        lane.acknowledged = now;
        let delta = outcome_delta(now, before).ok_or(PeerMisbehaved::AckWentBack(ack.lane))?;
        if delta.total() != settled.admitted {
            return Err(PeerMisbehaved::OutcomesUnbalanced(ack.lane));
        }
        settled.stored = delta.stored;
        settled.duplicate = delta.duplicate;
        settled.rejected += delta.rejected;
        settled.expired = delta.expired;
        settled.denied += delta.denied;
        self.totals += settled;
        self.acknowledged = reached;
        let handled = &mut self.handled;
        handled.through = handled.through.max(reached.seq);
        handled.admitted = handled.admitted.max(admitted);
        Ok(())
    }

    fn lane_mut(&mut self, id: LaneId) -> Result<&mut Lane, PeerMisbehaved> {
        match &mut self.phase {
            Phase::Reading(lane) if lane.id == id => Ok(lane),
            _ => Err(PeerMisbehaved::LaneUnknown(id)),
        }
    }
}

/// What settled since the last ack; `None` where a counter went back.
fn outcome_delta(now: Outcomes, before: Outcomes) -> Option<Outcomes> {
    Some(Outcomes {
        stored: now.stored.checked_sub(before.stored)?,
        duplicate: now.duplicate.checked_sub(before.duplicate)?,
        denied: now.denied.checked_sub(before.denied)?,
        rejected: now.rejected.checked_sub(before.rejected)?,
        expired: now.expired.checked_sub(before.expired)?,
    })
}
