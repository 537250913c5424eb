//! What reconciliation asks, hears and finds out.

use crate::id::{Epoch, Position, SourceSeq, TargetSeq};
use crate::run::Evidence;

/// The target stream as its server describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetFacts {
    /// When the stream was created, in nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// First sequence still there.
    pub first_seq: TargetSeq,
    /// Last sequence given out.
    pub last_seq: TargetSeq,
    /// Whether the newest records stay: limits retention. In a work queue or an interest stream
    /// consumers take the evidence away, so that each record set aside is made durable at once.
    pub evidence_stays: bool,
    /// Whether the server itself writes into the stream: a marker where the last record of a subject ended
    /// (`subject_delete_marker_ttl`). Markers take sequences and go again, so that counting proves nothing.
    pub adds_markers: bool,
}

/// What a scan of target sequences saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scanned {
    /// The last record of this route, in target order.
    pub last: Option<Evidence>,
    /// Records that this route did not write.
    pub foreign: u64,
    /// The last in source order of this route's records behind `last` that were read behind the position asked for.
    pub passed_over: Option<SourceSeq>,
    /// Sequences behind `last` (behind the scan's beginning where there is none) that held no record, or a
    /// marker of the server's, which is nobody's record.
    pub unseen_behind: u64,
}

/// What may have happened to the target since its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The process begins: its checkpoint may trail what it had published before.
    Start,
    /// Nothing of ours was sent since.
    Nothing,
    /// A run was sent, and is stored or not.
    Run {
        /// What is wrong with the sequences that it took.
        fell: Option<Fall>,
    },
}

/// How the sequences that a run took contradict what was known of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fall {
    /// They are fewer than its records: the target went back under it, or had some of them already.
    Short,
    /// The target had given them out before: it went back.
    Back,
}

/// What is known of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Epoch of `at`; 0 where it was rebuilt from provenance and is unknown.
    pub epoch: Epoch,
    /// The last record that is settled; `None` where nothing is.
    pub at: Option<Position>,
    /// The target's last sequence then.
    pub target_seq: TargetSeq,
    /// Whether this route's own record was seen to take `target_seq`.
    pub target_seq_shown: bool,
    /// Records behind `at`, in source order, that are stored although their names are not known.
    pub skip: u64,
    /// Up to here only others wrote behind `target_seq`; before it where that is not known.
    pub passed: TargetSeq,
    /// The last record of ours that was seen to stand in the target, of whatever epoch. Not durable.
    pub anchor: Option<Evidence>,
    /// The target is proven to have gone back, and holds records behind `at`, up to this one, ahead of what it lost.
    pub covered: Option<SourceSeq>,
}

impl Applied {
    /// Behind what is known nothing of the route stands up to the target's `last` sequence. Where nothing is known, the
    /// first record of the route will take a sequence behind that one.
    pub(super) fn nothing_behind(self, last: TargetSeq) -> Self {
        let target_seq = self.at.map_or(last, |_| self.target_seq);
        Self {
            target_seq,
            passed: last,
            ..self
        }
    }
}

/// The next question to the target, or the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read `from..=to` of the target and report with [`Reconciler::handle_scanned`](super::Reconciler::handle_scanned).
    Scan {
        /// First sequence to look at.
        from: TargetSeq,
        /// Last sequence to look at.
        to: TargetSeq,
        /// Records that were read behind this position are passed over.
        through: Option<SourceSeq>,
    },
    /// Known.
    Done {
        /// What the target holds.
        applied: Applied,
        /// The target was found behind the checkpoint: a person should know.
        went_back: bool,
        /// Somebody else writes the stream although the route should be alone.
        foreign_seen: bool,
    },
    /// Evidence is gone and nothing proves where the route stands.
    Unknowable,
}
