//! Packets lost by chance, alone or in bursts.

use super::prng::Prng;

/// The model of Gilbert: in the bad state every packet is lost, in the good state none.
///
/// The state moves with packets, not with time. With mean burst `b` and share `p` the bad state is left with
/// probability `1 / b` and entered with `p / (b (1 - p))`, which makes `p` its share of all packets.
#[derive(Debug)]
pub(super) struct Loss {
    prng: Prng,
    is_bad: bool,
}

impl Loss {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            prng: Prng::new(seed),
            is_bad: false,
        }
    }

    /// Whether the next packet is lost, and whether it is the first of its run.
    pub(super) fn next(&mut self, share: f64, burst: f64) -> Option<FirstOfRun> {
        let drawn = self.prng.unit();
        let was_bad = self.is_bad;
        self.is_bad = if share <= 0.0 {
            false
        } else if burst <= 1.0 {
            drawn < share
        } else if was_bad {
            drawn >= 1.0 / burst
        } else {
            drawn < share / (burst * (1.0 - share))
        };
        self.is_bad.then_some(FirstOfRun(!was_bad))
    }
}

/// Whether a lost packet follows one that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstOfRun(pub bool);
