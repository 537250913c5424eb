//! The source side of one route on one link: policy, batcher, window, watermark.
//!
//! The sender keeps no payload that it has handed over. When a lane is lost, whatever was not
//! acknowledged is withdrawn and read again from the source stream, which is the only queue.
//!
//! ```text
//!            open()             handle_resume()
//!   Closed ----------> Opening -----------------> Reading
//!     ^                   |                          |
//!     +------ close() ----+--------------------------+
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::batch::{BatchBuilder, PlainBatch};
use crate::error::PeerMisbehaved;
use crate::frame::{Ack, Credit, LaneClass, Open, Outcomes, Rejected, Resume};
use crate::id::{BatchSeq, Epoch, LaneId, Position, RegionId, RouteName, SourceSeq, StreamName};
use crate::limits::credit_len;
use crate::record::RecordView;
use crate::residency::{DenyReason, ResidencyPolicy, Verdict};
use crate::resume::{Beginning, ReadFrom, SourceFacts, read_from};
use crate::tally::Tally;

/// Rejected records that are not yet kept aside; beyond this the sender wants no more records.
const ASIDES_MAX: usize = 1024;

/// Batches in flight on a lane. Small batches would otherwise pile up by the thousand before a target
/// that has stopped; with this many on the way they grow instead. The receiver takes as many ahead.
pub const FLIGHTS_MAX: usize = 1024;

/// What a sender must know of its route.
#[derive(Debug, Clone)]
pub struct SenderConfig {
    /// The route.
    pub route: RouteName,
    /// The source stream.
    pub stream: StreamName,
    /// The target region.
    pub to: RegionId,
    /// Priority on the link.
    pub class: LaneClass,
    /// Residency rules of the fleet.
    pub policy: Arc<ResidencyPolicy>,
    /// Plain bytes after which a batch is full.
    pub batch_len_max: usize,
    /// Records after which a batch is full.
    pub batch_records_max: u32,
}

/// What policy said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is in the open batch.
    Batched,
    /// Residency forbids the target region.
    Denied(DenyReason),
    /// It has been in the target region before.
    Returned,
    /// No batch can hold it: it is rejected here, and to be kept aside.
    Rejected,
    /// The open batch must be sealed first; the record was not taken.
    Full,
}

/// A batch under way.
#[derive(Debug)]
struct Flight {
    through: Position,
    tally: Tally,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Opening { lane: LaneId },
    Reading(Lane),
}

/// A lane that data flows on.
#[derive(Debug)]
struct Lane {
    id: LaneId,
    epoch: Epoch,
    next_batch: BatchSeq,
    credit_limit: u64,
    wire_sent: u64,
    acknowledged: Outcomes,
    flights: VecDeque<Flight>,
}

/// The source side of a route towards one target region. See the module.
#[derive(Debug)]
pub struct Sender {
    config: SenderConfig,
    phase: Phase,
    builder: BatchBuilder,
    tally: Tally,
    follows: SourceSeq,
    through: Position,
    epoch: Epoch,
    acknowledged: Position,
    /// Rejected records that are not yet kept aside; `Some` where the target waits for it.
    asides: BTreeMap<SourceSeq, Option<Rejected>>,
    to_keep: VecDeque<Rejected>,
    totals: Tally,
}

impl Sender {
    /// A sender that knows `watermark` of `epoch` from its checkpoint.
    pub fn new(config: SenderConfig, epoch: Epoch, watermark: Position) -> Self {
        Self {
            config,
            phase: Phase::Closed,
            builder: BatchBuilder::new(),
            tally: Tally::default(),
            follows: watermark.seq,
            through: watermark,
            epoch,
            acknowledged: watermark,
            asides: BTreeMap::new(),
            to_keep: VecDeque::new(),
            totals: Tally::default(),
        }
    }

    // --- Commands ------------------------------------------------------------------------------

    /// Begins a lane; the frame asks the target where to resume.
    pub fn open(&mut self, lane: LaneId) -> Open {
        self.close();
        self.phase = Phase::Opening { lane };
        Open {
            lane,
            route: self.config.route.clone(),
            stream: self.config.stream.clone(),
            epoch: self.epoch,
            class: self.config.class,
        }
    }

    /// Ends the lane and withdraws what was not acknowledged; it will be read again.
    pub fn close(&mut self) {
        self.phase = Phase::Closed;
        self.builder = BatchBuilder::new();
        self.tally = Tally::default();
        self.asides.clear();
        self.to_keep.clear();
    }

    /// Raises the epoch, because an operator seeks. It ends the lane.
    pub fn raise_epoch(&mut self, epoch: Epoch, watermark: Position) {
        self.close();
        self.epoch = epoch;
        self.acknowledged = watermark;
    }

    /// Closes the open batch and hands it over for encoding, if it has anything to say: records, or
    /// (while nothing is in flight) positions that held none for this route.
    pub fn seal(&mut self) -> Option<(BatchSeq, PlainBatch)> {
        let Phase::Reading(lane) = &mut self.phase else {
            return None;
        };
        let only_positions = self.builder.is_empty();
        let moved = self.through.seq > self.follows && lane.flights.len() < FLIGHTS_MAX;
        // What no batch can hold is kept aside before the batch that passes it leaves: once the
        // target has settled that batch, nobody would read the record again.
        let unkept = self
            .asides
            .last_key_value()
            .is_some_and(|(seq, _)| *seq > self.follows);
        if !moved || unkept || (only_positions && !lane.flights.is_empty()) {
            return None;
        }
        let mut tally = std::mem::take(&mut self.tally);
        tally.span = self.through.seq.0 - self.follows.0;
        tally.filtered = tally.span - tally.read - tally.lost_to_retention;
        let batch = self
            .builder
            .seal(self.follows, self.through.seq)
            .expect("`through` is the last position handled, so it covers every record pushed");
        let seq = lane.next_batch;
        lane.next_batch = BatchSeq(seq.0 + 1);
        lane.flights.push_back(Flight {
            through: self.through,
            tally,
        });
        self.follows = self.through.seq;
        Some((seq, batch))
    }

    // --- What happened -------------------------------------------------------------------------

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

    /// A record was read, in source order. `returns` says that the target region is among its hops.
    pub fn handle_record(&mut self, record: &RecordView<'_>, returns: bool) -> Admission {
        debug_assert!(
            record.seq > self.through.seq,
            "the reader delivers in order"
        );
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

    /// The stream now begins behind the reader: positions up to `through` left it unread.
    pub fn handle_lost_to_retention(&mut self, through: SourceSeq) {
        if through > self.through.seq {
            self.tally.lost_to_retention += through.0 - self.through.seq.0;
            self.handle_nothing_through(through);
        }
    }

    /// A batch with this encoded body leaves, and takes its part of the credit.
    pub fn handle_sent(&mut self, body_len: usize) {
        if let Phase::Reading(lane) = &mut self.phase {
            lane.wire_sent += credit_len(body_len);
        }
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
        while let Some(flight) = lane.flights.pop_front_if(|f| f.through.seq <= ack.through) {
            settled += flight.tally;
            reached = flight.through;
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
        Ok(())
    }

    // --- What to do next -----------------------------------------------------------------------

    /// The next rejected record to keep aside.
    pub fn poll_aside(&mut self) -> Option<Rejected> {
        self.to_keep.pop_front()
    }

    // --- Getters -------------------------------------------------------------------------------

    /// Whether the open batch has room: if not, the reader stops pulling.
    pub fn wants_records(&self) -> bool {
        matches!(self.phase, Phase::Reading(_)) && !self.is_full() && self.asides.len() < ASIDES_MAX
    }

    /// Whether the open batch is full.
    pub fn is_full(&self) -> bool {
        self.builder.plain_len() >= self.config.batch_len_max
            || self.builder.record_count() >= self.config.batch_records_max
    }

    /// Whether credit lets a batch with this encoded body leave. One batch alone may always
    /// leave, or a record larger than the credit would wait for ever.
    pub fn may_send(&self, body_len: usize) -> bool {
        match &self.phase {
            Phase::Reading(lane) => {
                lane.wire_sent + credit_len(body_len) <= lane.credit_limit
                    || lane.flights.len() <= 1
            }
            _ => false,
        }
    }

    /// The lane that is open or opening.
    pub fn lane(&self) -> Option<LaneId> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Opening { lane } => Some(*lane),
            Phase::Reading(lane) => Some(lane.id),
        }
    }

    /// Whether data flows.
    pub fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Reading(_))
    }

    /// The epoch of what is read now.
    pub fn epoch(&self) -> Epoch {
        match &self.phase {
            Phase::Reading(lane) => lane.epoch,
            _ => self.epoch,
        }
    }

    /// All up to here is settled at the target, or kept aside. What a checkpoint may say.
    pub fn watermark(&self) -> Position {
        self.acknowledged
    }

    /// All up to here was read.
    pub fn read_through(&self) -> Position {
        self.through
    }

    /// Whether everything read is settled.
    pub fn is_drained(&self) -> bool {
        let flying = matches!(&self.phase, Phase::Reading(lane) if !lane.flights.is_empty());
        self.builder.is_empty() && !flying && self.asides.is_empty()
    }

    /// Acknowledged totals; they balance at any moment.
    pub fn totals(&self) -> Tally {
        self.totals
    }

    /// Records batched or in flight, and their bytes.
    pub fn pending(&self) -> Tally {
        let mut pending = self.tally;
        if let Phase::Reading(lane) = &self.phase {
            for flight in &lane.flights {
                pending += flight.tally;
            }
        }
        pending
    }

    /// Batches in flight.
    pub fn flight_count(&self) -> usize {
        match &self.phase {
            Phase::Reading(lane) => lane.flights.len(),
            _ => 0,
        }
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
