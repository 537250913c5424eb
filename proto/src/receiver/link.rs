//! What comes off the link: lanes that open and end, batches, records kept aside.

use bytes::Bytes;

use super::stall::tell_stall;
use super::*;
use crate::resume::check_epoch;

impl Receiver {
    /// The source opens a lane. It is answered when the target's state is known.
    pub fn handle_open(&mut self, open: Open) {
        self.handle_lane_lost();
        self.asked_epoch = Some(open.epoch);
        self.opening = Some(open);
        self.told_stall = None;
        self.look_again();
    }

    /// A batch came off the link, in any order.
    pub fn handle_batch(&mut self, head: BatchHead, body: Bytes) -> Result<(), PeerMisbehaved> {
        match &mut self.lane {
            Some(lane) if lane.id == head.lane => lane.accept(head, body),
            _ => Ok(()), // of a lane closed meanwhile
        }
    }

    /// The session ended or the source closed the lane. A run under way is still awaited; the rest
    /// will be read again from the source.
    pub fn handle_lane_lost(&mut self) {
        self.lane = None;
        self.opening = None;
        self.follows = None;
        self.ack_due = None;
        self.decoding = None;
        self.refused = None;
        self.forget_orphans();
    }

    /// Records of a lane that is gone will be read again. They are kept only for a run under way.
    pub(super) fn forget_orphans(&mut self) {
        if self.lane.is_none() && !matches!(self.phase, Phase::Publishing(_)) {
            self.retained.clear();
            self.decoded_len = 0;
        }
    }

    /// The source has kept a rejected record aside: it sends the frame back.
    pub fn handle_kept_aside(&mut self, kept: &Rejected) -> Result<(), PeerMisbehaved> {
        match &self.lane {
            Some(lane) if lane.id == kept.lane => {}
            _ => return Ok(()), // of a lane closed meanwhile
        }
        if self.refused.take_if(|at| *at == kept.at).is_none() {
            return Err(PeerMisbehaved::WrongTime {
                lane: kept.lane,
                frame: "Rejected",
            });
        }
        self.pass_rejected(kept.at);
        Ok(())
    }

    /// A batch was decoded (or could not be).
    pub fn handle_decoded(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        result: Result<PlainBatch, DecodeError>,
    ) -> Result<(), LaneFault> {
        let Some(wire_len) = self
            .decoding
            .take_if(|_| self.lane.as_ref().is_some_and(|l| l.id == lane))
        else {
            return Ok(()); // of a lane closed meanwhile
        };
        let batch = result?;
        self.check_continuity(lane, epoch, &batch)?;
        self.follows = Some(batch.through);
        self.decoded_len += batch.body.len();
        self.retained.push_back(Retained {
            batch,
            done: 0,
            wire_len,
            epoch,
        });
        Ok(())
    }

    fn check_continuity(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        batch: &PlainBatch,
    ) -> Result<(), PeerMisbehaved> {
        check_epoch(lane, epoch)?;
        if let Some(expected) = self.follows {
            if self.retained.back().is_some_and(|last| last.epoch != epoch) {
                return Err(PeerMisbehaved::WrongEpoch(lane));
            }
            if batch.follows != expected {
                let follows = batch.follows;
                return Err(PeerMisbehaved::BatchDoesNotFollow {
                    lane,
                    follows,
                    expected,
                });
            }
            return Ok(());
        }
        // The first batch shows what the source decided: to continue, or that its stream is
        // another incarnation than the one we knew, of which nothing is stored yet.
        let continues = self.applied.at.is_some_and(|at| at.seq == batch.follows)
            && (self.applied.epoch == Epoch(0) || self.applied.epoch == epoch);
        if !continues {
            let known = self.applied.at.is_some();
            if known && self.applied.epoch != Epoch(0) && epoch <= self.applied.epoch {
                return Err(PeerMisbehaved::WrongEpoch(lane));
            }
            self.begin_epoch(epoch, batch.follows);
        }
        self.applied.epoch = epoch;
        Ok(())
    }

    /// Nothing of this epoch is stored yet. That is durable before the first record of it is published:
    /// a record found in the target behind this checkpoint is then certainly of this epoch. The time of
    /// the last record settled before goes with it, so that the source can tell whether its stream went
    /// back once more.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, follows: SourceSeq) {
        let before = self.applied.at.unwrap_or_default();
        self.applied.epoch = epoch;
        self.applied.at = Some(Position {
            seq: follows,
            stored_at: before.stored_at,
        });
        self.applied.target_seq_shown = false;
        self.applied.skip = 0;
        self.save_before_going_on();
    }

    pub(super) fn poll_lane_open(&mut self) -> Option<Frame> {
        let open = self.opening.as_ref()?;
        if !matches!(self.phase, Phase::Ready) || self.saving {
            let stalled = self.stalled.as_ref()?;
            return tell_stall(open.lane, stalled, &mut self.told_stall);
        }
        let lane = InLane::new(open.lane, self.config.credit_window);
        let resume = Resume {
            lane: open.lane,
            epoch: self.applied.epoch,
            after: self.applied.at,
            credit: lane.limit(),
        };
        self.opening = None;
        self.lane = Some(lane);
        self.retained.clear();
        self.decoded_len = 0;
        Some(Frame::Resume(resume))
    }

    pub(super) fn poll_decode(&mut self) -> Option<Action> {
        if self.decoding.is_some() || self.decoded_len >= self.config.decoded_max {
            return None;
        }
        let (head, body) = self.lane.as_mut()?.take_next()?;
        self.decoding = Some(credit_len(body.len()));
        Some(Action::Decode(head, body))
    }
}

/// Why a lane cannot go on: its bytes or its sequence are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneFault {
    /// The bytes are wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The sequence is wrong.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
}
