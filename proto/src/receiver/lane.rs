//! One lane as the receiver sees it: batches put in order, credit given and watched.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::BatchHead;
use crate::error::PeerMisbehaved;
use crate::frame::{Credit, Outcomes};
use crate::id::{BatchSeq, LaneId};
use crate::limits::credit_len;
use crate::sender::FLIGHTS_MAX;

/// Batches that may wait for one before them.
const REORDER_MAX: u64 = 4096;
const _: () = assert!(
    FLIGHTS_MAX as u64 <= REORDER_MAX,
    "all that an honest sender has in flight can wait"
);

/// The receiving end of a lane. Batches come in any order and leave in theirs.
#[derive(Debug)]
pub(super) struct InLane {
    pub(super) id: LaneId,
    next: BatchSeq,
    waiting: BTreeMap<BatchSeq, (BatchHead, Bytes)>,
    received: u64,
    consumed: u64,
    limit: u64,
    window: u64,
    /// Cumulative for the lane, as every Ack carries it.
    pub(super) outcomes: Outcomes,
}

impl InLane {
    pub(super) fn new(id: LaneId, window: u64) -> Self {
        Self {
            id,
            next: BatchSeq(0),
            waiting: BTreeMap::new(),
            received: 0,
            consumed: 0,
            limit: window,
            window,
            outcomes: Outcomes::default(),
        }
    }

    /// Takes a batch off the link.
    pub(super) fn accept(&mut self, head: BatchHead, body: Bytes) -> Result<(), PeerMisbehaved> {
        let seq = head.seq;
        if seq < self.next || self.waiting.contains_key(&seq) {
            return Ok(()); // the stream of a batch whose copy was here first, or the reverse
        }
        let ahead = seq.0 - self.next.0;
        if ahead > REORDER_MAX {
            return Err(PeerMisbehaved::BatchSeqWrong { lane: self.id, seq });
        }
        let wire_len = credit_len(body.len());
        let alone = self.received == self.consumed;
        self.received += wire_len;
        // A batch larger than the whole credit may travel alone; with batches overtaking each
        // other its predecessor can still be on the way, so one such batch is granted on top.
        let over = self.received.saturating_sub(self.limit);
        if over > 0 && !alone && over > wire_len {
            return Err(PeerMisbehaved::CreditExceeded(self.id));
        }
        self.waiting.insert(seq, (head, body));
        Ok(())
    }

    /// The next batch in order, if it is here.
    pub(super) fn take_next(&mut self) -> Option<(BatchHead, Bytes)> {
        let batch = self.waiting.remove(&self.next)?;
        self.next = BatchSeq(self.next.0 + 1);
        Some(batch)
    }

    /// A batch is settled: its bytes are free again.
    pub(super) fn release(&mut self, wire_len: u64) {
        self.consumed += wire_len;
    }

    /// More credit for the sender, when enough has come together to be worth a frame.
    pub(super) fn poll_credit(&mut self) -> Option<Credit> {
        let limit = self.consumed + self.window;
        if limit - self.limit < self.window / 8 {
            return None;
        }
        self.limit = limit;
        Some(Credit {
            lane: self.id,
            limit,
        })
    }

    /// The credit granted so far, cumulative.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }
}
