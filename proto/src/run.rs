//! A run: the records that are published together, with one answer from the target's server.

use crate::batch::PlainBatch;
use crate::id::{Position, SourceSeq, TargetSeq};
use crate::record::RecordView;

/// Records of one route in source order, out of one or more batches.
#[derive(Debug, Clone)]
pub struct Run {
    /// Batches that hold the records.
    pub batches: Vec<PlainBatch>,
    /// Records at the head of the first batch that are not part of the run: settled before.
    pub skip: u32,
    /// Records of the run, at least one.
    pub record_count: u32,
    /// Where the route alone writes the target stream: its last sequence before the run.
    pub expected_last: Option<TargetSeq>,
    /// Whether only the run's records move that sequence: not even the server writes there.
    pub counted: bool,
    /// Records that the target stores again although it may have them.
    pub again: Option<Again>,
}

/// A target that was put back under a run holds the run's records ahead of those that it lost. Those are sent, and the
/// run's behind them, in their order. Whether the target's duplicate window has ended meanwhile must not decide which
/// of them it takes, so they have dedupe ids of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// The last of them.
    pub through: SourceSeq,
    /// How many times that happened since the process began, so that no two times share their ids.
    pub time: u32,
}

impl Run {
    /// The records to publish, in order. The batches were validated when they were decoded.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        self.batches
            .iter()
            .flat_map(|batch| batch.iter().map_while(Result::ok))
            .skip(self.skip as usize)
            .take(self.record_count as usize)
    }

    /// What is appended to the dedupe id of this record, if it is one that is stored again.
    pub fn time_of(&self, record: &RecordView<'_>) -> Option<u32> {
        let again = self.again.filter(|again| record.seq <= again.through)?;
        Some(again.time)
    }

    /// Position of the record with this index in the run.
    pub fn position(&self, index: u32) -> Option<Position> {
        let record = self.records().nth(index as usize)?;
        Some(Position {
            seq: record.seq,
            stored_at: record.stored_at,
        })
    }
}

/// How a run ended. `stored` counts the records at its head that the target has for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunResult {
    /// Records at the head of the run that the server acknowledged.
    pub stored: u32,
    /// The target's last sequence after the last of them.
    pub last_seq: Option<TargetSeq>,
    /// Why the run went no further, or that it is complete.
    pub end: RunEnd,
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// All of it is stored.
    Complete,
    /// The record behind the stored ones was refused for what it is.
    Rejected {
        /// The server's error code, or 0 for a refusal of our own.
        code: u32,
        /// The server's words, or ours.
        reason: String,
    },
    /// The record behind the stored ones outlived its time to live.
    Expired,
    /// The target cannot take records now.
    Stalled(Stalled),
    /// The server contradicted what we believe of the target stream: look before going on.
    Contradicted(String),
    /// The connection is gone; how much of the rest was stored is unknown.
    ConnectionLost,
}

/// A state of the target that heals by itself or by a person, never by resending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// What kind.
    pub reason: crate::frame::StallReason,
    /// The server's words.
    pub detail: String,
}

/// A record of this route found in the target stream, told by its provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Where it was read from.
    pub source: Position,
    /// Where it stands in the target.
    pub target_seq: TargetSeq,
}

/// The smallest source sequence of a run, for reports.
pub fn first_seq(run: &Run) -> Option<SourceSeq> {
    run.position(0).map(|position| position.seq)
}
