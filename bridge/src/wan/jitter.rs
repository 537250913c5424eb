//! Delay that wanders with time.

use std::time::Duration;

use super::prng::Prng;

/// Draws a value every `jitter` and moves straight from one to the next.
///
/// So the delay never falls faster than time passes, and packets keep their order by construction; a value drawn for
/// each packet would reorder, or, held in order, push the mean towards the maximum. The shape is that of a radio
/// link's scheduler: for some time packets come apart, then together.
#[derive(Debug)]
pub(super) struct Jitter {
    seed: u64,
}

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// What is added to the delay of a packet that leaves the bottleneck at that time: 0 to `jitter`.
    pub(super) fn at(&self, at: Duration, jitter: Duration) -> Duration {
        let step = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
        if step == 0 {
            return Duration::ZERO;
        }
        let nanos = at.as_nanos();
        let index = (nanos / u128::from(step)) as u64;
        let into = (nanos % u128::from(step)) as u64;
        let (from, to) = (self.knot(index, step), self.knot(index + 1, step));
        let moved =
            |distance: u64| (u128::from(distance) * u128::from(into) / u128::from(step)) as u64;
        Duration::from_nanos(if to >= from {
            from + moved(to - from)
        } else {
            from - moved(from - to)
        })
    }

    fn knot(&self, index: u64, below: u64) -> u64 {
        // A generator a knot: any time can be asked for, in any order, without a history.
        Prng::new(self.seed ^ index.wrapping_mul(0xd134_2543_de82_ef95)).below(below)
    }
}
