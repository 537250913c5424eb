//! What covers a hole in a target that was put back under a connected bridge, until the bridge has looked.
//!
//! Such a run stands in front of what is missing. A target that goes back once more, to the middle of it or to
//! its end, shows a record of ours as its last, and nothing of what was missing before that: nobody can know. So no world does that.

use std::time::Duration;

/// Part of a target stream.
#[derive(Debug, Clone, Copy)]
struct Cover {
    place: (usize, usize),
    since: Duration,
    /// It begins behind this sequence.
    behind: u64,
    /// And ends with this one, once the bridge has looked.
    through: Option<u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Covers(Vec<Cover>);

impl Covers {
    /// Where a stream that is to keep this much ends, so as to keep no part of a cover.
    pub(super) fn end(&self, place: (usize, usize), kept: u64) -> u64 {
        let parted = |cover: &&Cover| {
            let end = cover.through.unwrap_or(u64::MAX);
            cover.place == place && cover.behind < kept && kept <= end
        };
        let behind = self.0.iter().filter(parted).map(|cover| cover.behind);
        behind.min().unwrap_or(kept)
    }

    /// A stream holds nothing behind `kept` any more.
    pub(super) fn begin(&mut self, place: (usize, usize), kept: u64, since: Duration) {
        self.0
            .retain(|cover| cover.place != place || cover.behind < kept);
        self.0.push(Cover {
            place,
            since,
            behind: kept,
            through: None,
        });
    }

    /// A bridge has looked, and asked at this time.
    pub(super) fn looked(&mut self, place: (usize, usize), asked_at: Duration, last: u64) {
        let open = |cover: &&mut Cover| {
            cover.place == place && cover.through.is_none() && cover.since < asked_at
        };
        for cover in self.0.iter_mut().filter(open) {
            cover.through = Some(last);
        }
    }
}
