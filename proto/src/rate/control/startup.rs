//! How a connection finds its rate where nobody declared one: by trains.
//!
//! Doubling once in a round trip takes a second and more on a long path, and the last doubling sends twice what the
//! path carries, for longer than its queue lasts. So packets leave in trains: a sixteenth of a round trip long, at
//! sixteen times the rate of the whole round trip. How far apart the packets of a train arrive shows what the path
//! carries, up to that, long before so much is sent.
//!
//! ```text
//!   rate  |##                              |##
//!         |##                              |##             the train, a sixteenth of the round trip long,
//!         |##______________________________|##_________    its mean until it is judged,
//!         |                                                hardly anything once as much has left again
//! ```
//!
//! What passes whole is followed by one of four times as much. The first that arrives more slowly than it was
//! sent ends the search: the rate at which it came is what the path carries. That can be an illusion: buckets and
//! aggregation let a train pass that must not go on, jitter stretches it. Therefore `Landing` looks again.
//!
//! Packet trains as a measure of capacity are those of Dovrolis, Ramanathan and Moore, "Packet-dispersion techniques
//! and a capacity-estimation methodology", IEEE/ACM Transactions on Networking, 2004.

use std::time::Duration;

use super::super::rtt::RoundTrip;
use super::super::trial::Finding;
use super::{Control, Phase, RATE_MIN, Settings, per_second};

/// Packets of the first train: what may enter a path of which nothing is known.
const FIRST_PACKETS: u64 = 32;
/// Of a round trip, how long a train is.
const SHARE: u32 = 16;
/// The next train has so many times the bytes at most. Where the path is just wide enough for the one before, it waits
/// in the path's queue for three times its length.
const GROWTH: u64 = 4;
/// No train is shorter: a busy machine at either end must not look like a narrow path.
const LENGTH_MIN: Duration = Duration::from_millis(10);
/// What packets wait at our own end, in the shaper, is no queue of the path.
const LATE: Duration = Duration::from_millis(3);
/// What took less to arrive is counted too coarsely: eight packets share an acknowledgement.
const TOOK_MIN: Duration = Duration::from_millis(20);
/// What took so long is not stretched much by jitter.
const TOOK_SURE: Duration = Duration::from_millis(250);
/// Packets lost of a million that say without a delay that a train was too fast: a policer, or hardly a queue.
const LOSS_SURE: u64 = 250_000;
/// What leaves behind a train at its speed, besides a quarter of it. Its last packets would else wait in the
/// shaper, and then for an acknowledgement until those that follow slowly have made up the number that one is
/// sent for.
const TAIL_PACKETS: u64 = 10;

/// One train, and what left since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Train {
    /// Bytes on the wire.
    bytes: u64,
    tail: u64,
    sent: u64,
    /// Its trial has been put off once.
    is_put_off: bool,
    /// Bits a second at which the one before arrived, if that was less than it was sent at.
    best: u64,
}

/// How long a train takes to leave.
pub(super) fn length(trip: &RoundTrip) -> Duration {
    (trip.base() / SHARE).max(LENGTH_MIN)
}

impl Train {
    /// The first on a path of which nothing is known.
    pub(super) fn first(settings: &Settings) -> Self {
        let packet = settings.mtu + settings.headers;
        Self {
            bytes: FIRST_PACKETS * packet,
            tail: TAIL_PACKETS * packet,
            sent: 0,
            is_put_off: false,
            best: 0,
        }
    }

    /// Bits a second while it leaves.
    pub(super) fn peak(self, trip: &RoundTrip) -> u64 {
        per_second(self.bytes, length(trip))
    }

    /// Bits a second over a round trip.
    pub(super) fn mean(self, trip: &RoundTrip) -> u64 {
        per_second(self.bytes, length(trip).max(trip.base()))
    }

    /// Bits a second now.
    pub(super) fn pace(self, trip: &RoundTrip) -> u64 {
        let train = self.bytes + self.bytes / 4 + self.tail;
        match self.sent {
            sent if sent < train => self.peak(trip),
            sent if sent < train + self.bytes => self.mean(trip),
            _ => RATE_MIN,
        }
    }

    /// So many bytes left.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// It begins.
    pub(super) fn begin(&mut self) {
        self.sent = 0;
        self.is_put_off = false;
    }

    /// Whether a trial that found so little shall begin again with the packet that ended it: it was begun
    /// for what came before the train, of a handshake or of a source that had paused.
    pub(super) fn is_early(&mut self, found: &Finding) -> bool {
        let is_early = !self.is_put_off && self.is_used() && found.packets < FIRST_PACKETS / 2;
        self.is_put_off |= is_early;
        is_early
    }

    /// Whether half of it left.
    pub(super) fn is_used(self) -> bool {
        self.sent * 2 > self.bytes
    }
}

impl Control {
    /// A train arrived.
    pub(super) fn judge_startup(&mut self, found: Finding, train: Train) {
        let peak = train.peak(&self.trip).max(1);
        let fits = (found.sent * GROWTH / peak).clamp(2, GROWTH);
        if found.delivered * 20 >= found.sent * 17 {
            if train.is_used() {
                self.grow(train, fits);
            }
            return;
        }
        // Whose packets did not wait on the path waited for an acknowledgement only, and what arrived within
        // a moment says little.
        let late = found.low_last.saturating_sub(self.trip.base());
        let is_unsure = late < LATE || found.took < TOOK_MIN;
        if is_unsure && found.loss < LOSS_SURE {
            return self.grow(train, fits);
        }
        if !found.is_busy && !found.is_behind() {
            return;
        }
        // Jitter stretches a short train.
        let is_short = found.packets < 2 * FIRST_PACKETS - 4 && found.took < TOOK_SURE;
        let best = train.best.max(found.delivered);
        if is_short && train.best == 0 {
            return self.grow(Train { best, ..train }, 2);
        }
        self.capacity = Some(best);
        self.go(best - best / 32, Phase::Landing);
    }

    /// The next train has so many times the bytes.
    pub(super) fn grow(&mut self, train: Train, times: u64) {
        let train = Train {
            bytes: train.bytes.saturating_mul(times),
            sent: 0,
            is_put_off: false,
            ..train
        };
        let rate = train.mean(&self.trip);
        if rate >= self.ceiling() {
            return self.go(rate, Phase::Steady { step: 10 });
        }
        self.go(rate, Phase::Startup(train));
    }
}
