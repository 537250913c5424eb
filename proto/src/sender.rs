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

mod answers;
mod records;
#[cfg(test)]
mod tests;

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
    /// It lies at or behind what was read: the reader has lost its place. The record was not taken, and
    /// the lane must end, because the next one begins where the target stands.
    Behind,
}

/// A batch under way.
#[derive(Debug)]
struct Flight {
    through: Position,
    /// The last record admitted in it or before.
    admitted: SourceSeq,
    tally: Tally,
}

/// What was acknowledged of an epoch, over all its lanes. A lane begins behind the last record that the target has
/// stored, and so before positions that need no second look.
#[derive(Debug)]
struct Handled {
    epoch: Epoch,
    through: SourceSeq,
    /// The last record admitted. A target that names an earlier one went back.
    admitted: SourceSeq,
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
    admitted: SourceSeq,
    handled: Handled,
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
            admitted: SourceSeq(0),
            handled: Handled {
                epoch,
                through: watermark.seq,
                admitted: SourceSeq(0),
            },
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
            admitted: self.admitted,
            tally,
        });
        self.follows = self.through.seq;
        Some((seq, batch))
    }

    // --- What happened -------------------------------------------------------------------------

    /// A batch with this encoded body leaves, and takes its part of the credit.
    pub fn handle_sent(&mut self, body_len: usize) {
        if let Phase::Reading(lane) = &mut self.phase {
            lane.wire_sent += credit_len(body_len);
        }
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

    /// Changes how large a batch may become: the link's rate, or what it saves, is another now.
    pub fn set_batch_len_max(&mut self, len: usize) {
        self.config.batch_len_max = len;
    }

    /// Plain bytes after which a batch is full.
    pub fn batch_len_max(&self) -> usize {
        self.config.batch_len_max
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
}
