//! Where a source reads on when a lane opens, and whether the stream it reads is still the one it knew.
//!
//! The target knows best what it has: its `Resume` names the last position stored there. The source
//! only checks that this position still means the same record, because a stream that was deleted,
//! restored or rolled back counts its sequences anew (DESIGN: Identity, epoch).

use crate::id::{Epoch, Position, SourceSeq, StoredAt};

/// What the source's bridge learnt of its stream just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFacts {
    /// First sequence still in the stream; `last_seq + 1` where it is empty.
    pub first_seq: SourceSeq,
    /// Last sequence the stream has given out.
    pub last_seq: SourceSeq,
    /// Store time of the record at the position in question; `None` where no record stands there now.
    pub record_at: Option<StoredAt>,
}

impl SourceFacts {
    /// Whether `known` can be a position of this very stream.
    fn holds(&self, known: Position) -> bool {
        if self.last_seq < known.seq {
            return false; // the stream went back: sequences will be given out again
        }
        match self.record_at {
            // A position without store time names a gap, which any record there contradicts only
            // if it could not have been filtered; the sequence check above is all we have.
            Some(stored_at) => known.stored_at == StoredAt(0) || stored_at == known.stored_at,
            None => true, // deleted or expired since: a gap, not an epoch
        }
    }
}

/// Where to read, and under which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFrom {
    /// The lane's epoch.
    pub epoch: Epoch,
    /// The position that the first batch follows; reading starts right behind it.
    pub follows: SourceSeq,
    /// Whether the target's position was of another incarnation, so that reading starts over.
    pub started_over: bool,
}

/// Whether the source stream is still the one that the checkpoint describes.
///
/// `watermark` is the checkpointed position and `facts.record_at` what stands there now. Only a
/// contradiction raises the epoch: `created` alone changes on restore and stays on a roll-back.
pub fn same_incarnation(watermark: Position, facts: &SourceFacts) -> bool {
    watermark.seq == SourceSeq(0) || facts.holds(watermark)
}

/// Decides where a lane starts.
///
/// * `own` is the source's epoch and `first` the position that its reading began behind
///   (`start`, or an operator's `seek`).
/// * `known_epoch` and `after` are the target's answer; epoch 0 means that the target rebuilt its
///   knowledge from provenance and cannot tell the epoch.
/// * `facts` were taken for `after`.
pub fn read_from(
    own: Epoch,
    first: SourceSeq,
    known_epoch: Epoch,
    after: Option<Position>,
    facts: &SourceFacts,
) -> ReadFrom {
    let Some(after) = after else {
        return ReadFrom {
            epoch: own.max(known_epoch),
            follows: first,
            started_over: false,
        };
    };
    let raised_here = known_epoch != Epoch(0) && own > known_epoch;
    if raised_here {
        return ReadFrom {
            epoch: own,
            follows: first,
            started_over: true,
        };
    }
    if facts.holds(after) {
        let epoch = own.max(known_epoch);
        return ReadFrom {
            epoch,
            follows: after.seq,
            started_over: false,
        };
    }
    let follows = SourceSeq(facts.first_seq.0.saturating_sub(1));
    ReadFrom {
        epoch: Epoch(own.max(known_epoch).0 + 1),
        follows,
        started_over: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64, time: u64) -> Position {
        Position {
            seq: SourceSeq(seq),
            stored_at: StoredAt(time),
        }
    }

    fn facts(first: u64, last: u64, record_at: Option<u64>) -> SourceFacts {
        SourceFacts {
            first_seq: SourceSeq(first),
            last_seq: SourceSeq(last),
            record_at: record_at.map(StoredAt),
        }
    }

    #[test]
    fn a_new_target_reads_from_the_start() {
        let got = read_from(Epoch(1), SourceSeq(41), Epoch(0), None, &facts(1, 90, None));
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(1), SourceSeq(41), false)
        );
    }

    #[test]
    fn the_same_record_continues_and_the_higher_epoch_holds() {
        let got = read_from(
            Epoch(1),
            SourceSeq(0),
            Epoch(3),
            Some(at(7, 70)),
            &facts(1, 9, Some(70)),
        );
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(3), SourceSeq(7), false)
        );
    }

    #[test]
    fn an_expired_position_is_a_gap() {
        let got = read_from(
            Epoch(1),
            SourceSeq(0),
            Epoch(1),
            Some(at(7, 70)),
            &facts(9, 12, None),
        );
        assert_eq!((got.follows, got.started_over), (SourceSeq(7), false));
    }

    #[test]
    fn another_record_at_the_position_starts_over_in_a_new_epoch() {
        let got = read_from(
            Epoch(1),
            SourceSeq(0),
            Epoch(1),
            Some(at(7, 70)),
            &facts(1, 9, Some(71)),
        );
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(2), SourceSeq(0), true)
        );
    }

    #[test]
    fn a_stream_that_went_back_starts_over() {
        let got = read_from(
            Epoch(2),
            SourceSeq(0),
            Epoch(2),
            Some(at(7, 70)),
            &facts(1, 5, None),
        );
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(3), SourceSeq(0), true)
        );
    }

    #[test]
    fn an_epoch_raised_here_overrides_what_an_older_target_knows() {
        let got = read_from(
            Epoch(3),
            SourceSeq(4),
            Epoch(2),
            Some(at(7, 70)),
            &facts(1, 9, Some(70)),
        );
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(3), SourceSeq(4), true)
        );
    }

    #[test]
    fn unknown_epoch_is_settled_by_the_name() {
        let same = read_from(
            Epoch(3),
            SourceSeq(0),
            Epoch(0),
            Some(at(7, 70)),
            &facts(1, 9, Some(70)),
        );
        assert_eq!((same.epoch, same.follows), (Epoch(3), SourceSeq(7)));
        let other = read_from(
            Epoch(3),
            SourceSeq(0),
            Epoch(0),
            Some(at(7, 70)),
            &facts(1, 9, Some(1)),
        );
        assert_eq!((other.epoch, other.started_over), (Epoch(4), true));
    }

    #[test]
    fn incarnation_is_told_by_the_record_not_by_the_creation_date() {
        assert!(same_incarnation(at(0, 0), &facts(1, 0, None)));
        assert!(same_incarnation(at(5, 50), &facts(1, 9, Some(50))));
        assert!(same_incarnation(at(5, 50), &facts(7, 9, None)));
        assert!(!same_incarnation(at(5, 50), &facts(1, 9, Some(51))));
        assert!(!same_incarnation(at(5, 50), &facts(1, 4, None)));
    }
}
