//! Where a source reads on when a lane opens, and whether the stream it reads is still the one it knew.
//!
//! The target knows best what it has: its `Resume` names the last record settled there. The source
//! only checks that this position still means the same record, because a stream that was deleted,
//! restored or rolled back counts its sequences anew. This is the one place
//! where an incarnation is judged: a position without a name, such as the end of a gap, proves nothing.

use crate::error::PeerMisbehaved;
use crate::id::{Epoch, LaneId, Position, SourceSeq};
use crate::limits::EPOCH_MAX;

/// What the source's bridge learnt of its stream just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFacts {
    /// First sequence still in the stream; `last_seq + 1` where it is empty.
    pub first_seq: SourceSeq,
    /// Last sequence the stream has given out.
    pub last_seq: SourceSeq,
    /// First sequence whose record was stored after the record of the position in question, or
    /// `last_seq + 1`. Where that very record stands in its place, or the position names none, this
    /// is the next sequence.
    pub younger_from: SourceSeq,
}

impl SourceFacts {
    /// Whether `known` is a position of this very stream. A stream stores in the order of time, so
    /// that a younger record at an older place was stored after the stream went back, whether or not
    /// the record of the position itself is still there.
    fn holds(&self, known: Position) -> bool {
        known.seq <= self.last_seq && known.seq < self.younger_from
    }
}

/// What a lane has read of its stream so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadSoFar {
    /// When that stream was created.
    pub created_ns: u64,
    /// Read, or known to hold nothing more, up to here.
    pub through: SourceSeq,
    /// The last record read. Before the first it names none: what the lane began behind was judged then.
    pub record: Position,
}

impl ReadSoFar {
    /// Whether the stream created at `created_ns` is still the one that was read, so that the lane may
    /// go on behind `through`. `facts` were taken for `record`.
    pub fn goes_on_in(&self, created_ns: u64, facts: &SourceFacts) -> bool {
        created_ns == self.created_ns && self.through <= facts.last_seq && facts.holds(self.record)
    }
}

/// Where the reading of a route once began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beginning {
    /// The position behind which it began: what `start`, or the last `seek`, came to.
    pub behind: SourceSeq,
    /// The epoch was raised by an operator's seek: a target of an earlier epoch obeys it.
    pub sought: bool,
}

/// Where to read, and under which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFrom {
    /// The lane's epoch.
    pub epoch: Epoch,
    /// The position that the first batch follows; reading starts right behind it.
    pub follows: SourceSeq,
    /// Whether the target's position was of another incarnation, or an operator seeks.
    pub started_over: bool,
    /// The beginning from now on, which the driver keeps.
    pub beginning: Beginning,
}

/// Decides where a lane starts.
///
/// * `own` is the source's epoch, `beginning` where reading once began.
/// * `known_epoch` and `after` are the target's answer; epoch 0 means that the target rebuilt its
///   knowledge from provenance and cannot tell the epoch.
/// * `facts` were taken for `after`.
pub fn read_from(
    own: Epoch,
    beginning: Beginning,
    known_epoch: Epoch,
    after: Option<Position>,
    facts: &SourceFacts,
) -> ReadFrom {
    let epoch = own.max(known_epoch);
    let obeys = beginning.sought && known_epoch != Epoch(0) && own > known_epoch;
    // The target has heard of the seek and settled nothing since: older records are wanted again, or
    // younger ones are not, so that times prove nothing.
    let obeyed = beginning.sought && own == known_epoch;
    match after {
        Some(after) if obeyed && after.seq == beginning.behind && after.seq <= facts.last_seq => {
            ReadFrom {
                epoch,
                follows: after.seq,
                started_over: false,
                beginning,
            }
        }
        Some(after) if !obeys && facts.holds(after) => ReadFrom {
            epoch,
            follows: after.seq,
            started_over: false,
            beginning,
        },
        // Records that are older than the last one settled are the same as before: a stream that was
        // rolled back has them still, one that was made anew has none.
        Some(_) if !obeys => start_over(epoch, beginning, facts.younger_from),
        _ if facts.last_seq < beginning.behind => start_over(epoch, beginning, facts.first_seq),
        _ => ReadFrom {
            epoch,
            follows: beginning.behind,
            started_over: obeys,
            beginning,
        },
    }
}

/// Refuses a peer's epoch that no source can have counted to.
pub(crate) fn check_epoch(lane: LaneId, epoch: Epoch) -> Result<(), PeerMisbehaved> {
    if epoch.0 > EPOCH_MAX {
        return Err(PeerMisbehaved::EpochTooHigh { lane, epoch });
    }
    Ok(())
}

/// Reads another incarnation. Its first records are new even to a route that began in the middle.
fn start_over(known: Epoch, beginning: Beginning, from: SourceSeq) -> ReadFrom {
    let follows = SourceSeq(from.0.saturating_sub(1));
    ReadFrom {
        epoch: known.next(),
        follows,
        started_over: true,
        beginning: Beginning {
            behind: beginning.behind.min(follows),
            sought: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StoredAt;

    fn at(seq: u64, time: u64) -> Position {
        Position {
            seq: SourceSeq(seq),
            stored_at: StoredAt(time),
        }
    }

    fn begun(behind: u64) -> Beginning {
        Beginning {
            behind: SourceSeq(behind),
            sought: false,
        }
    }

    fn facts(first: u64, last: u64, younger_from: u64) -> SourceFacts {
        SourceFacts {
            first_seq: SourceSeq(first),
            last_seq: SourceSeq(last),
            younger_from: SourceSeq(younger_from),
        }
    }

    #[test]
    fn a_new_target_reads_from_the_start() {
        let got = read_from(Epoch(1), begun(41), Epoch(0), None, &facts(1, 90, 1));
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(1), SourceSeq(41), false)
        );
    }

    #[test]
    fn the_same_record_continues_and_the_higher_epoch_holds() {
        let got = read_from(
            Epoch(1),
            begun(0),
            Epoch(3),
            Some(at(7, 70)),
            &facts(1, 9, 8),
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
            begun(0),
            Epoch(1),
            Some(at(7, 70)),
            &facts(9, 12, 9),
        );
        assert_eq!((got.follows, got.started_over), (SourceSeq(7), false));
    }

    #[test]
    fn another_record_at_the_position_starts_over_in_a_new_epoch() {
        let got = read_from(
            Epoch(1),
            begun(0),
            Epoch(1),
            Some(at(7, 70)),
            &facts(1, 9, 1),
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
            begun(0),
            Epoch(2),
            Some(at(7, 70)),
            &facts(1, 5, 1),
        );
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(3), SourceSeq(0), true)
        );
    }

    #[test]
    fn a_seek_overrides_what_an_older_target_knows() {
        let got = read_from(
            Epoch(3),
            Beginning {
                sought: true,
                ..begun(4)
            },
            Epoch(2),
            Some(at(7, 70)),
            &facts(1, 9, 8),
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
            begun(0),
            Epoch(0),
            Some(at(7, 70)),
            &facts(1, 9, 8),
        );
        assert_eq!((same.epoch, same.follows), (Epoch(3), SourceSeq(7)));
        let other = read_from(
            Epoch(3),
            begun(0),
            Epoch(0),
            Some(at(7, 70)),
            &facts(1, 9, 1),
        );
        assert_eq!((other.epoch, other.started_over), (Epoch(4), true));
    }

    #[test]
    fn what_a_rolled_back_stream_still_has_is_not_read_again() {
        let (first, known) = (begun(0), Some(at(7, 70)));
        for rolled_back in [facts(1, 9, 6), facts(1, 5, 6)] {
            let got = read_from(Epoch(1), first, Epoch(1), known, &rolled_back);
            assert_eq!(
                (got.epoch, got.follows, got.started_over),
                (Epoch(2), SourceSeq(5), true)
            );
        }
    }

    #[test]
    fn a_peers_epoch_leaves_room_to_count_on() {
        let epoch = |number| check_epoch(LaneId(1), Epoch(number));
        assert_eq!(epoch(EPOCH_MAX), Ok(()));
        let too_high = PeerMisbehaved::EpochTooHigh {
            lane: LaneId(1),
            epoch: Epoch(u32::MAX),
        };
        assert_eq!(epoch(u32::MAX), Err(too_high));
        assert_eq!(Epoch(u32::MAX).next(), Epoch(u32::MAX));
    }

    #[test]
    fn a_lane_goes_on_in_the_stream_that_it_read_and_in_no_other() {
        let read = ReadSoFar {
            created_ns: 1,
            through: SourceSeq(8),
            record: at(7, 70),
        };
        assert!(read.goes_on_in(1, &facts(1, 9, 8)));
        assert!(read.goes_on_in(1, &facts(9, 9, 9)), "its record expired");
        assert!(!read.goes_on_in(2, &facts(1, 9, 8)), "made anew");
        assert!(!read.goes_on_in(1, &facts(1, 7, 8)), "shorter than it was");
        assert!(!read.goes_on_in(1, &facts(1, 9, 6)), "another record there");
        let nothing = ReadSoFar {
            record: Position::default(),
            ..read
        };
        assert!(nothing.goes_on_in(1, &facts(1, 9, 1)));
    }

    #[test]
    fn a_start_beyond_the_stream_is_of_another_one() {
        let got = read_from(Epoch(1), begun(40), Epoch(0), None, &facts(1, 9, 1));
        assert_eq!(
            (got.epoch, got.follows, got.started_over),
            (Epoch(2), SourceSeq(0), true)
        );
    }
}
