//! Whether copies pay, how many, and how far apart. Without I/O: `now` is any clock that only goes forward.

use std::time::Duration;

/// Of this share of live batches, stream and copies may all be lost: the tail beyond is QUIC's to repair.
const RESIDUAL_MAX: f64 = 5e-4;
/// Loss below which nothing is copied.
const LOSS_MIN: f64 = 1e-4;
const COPIES_MAX: u32 = 2;
/// Half of what was seen is forgotten in this time.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// What is believed of a path of which nothing is known: as if so many packets had been sent, and a
/// hundredth lost. A clean path has disproved it after some ten thousand packets.
const PRIOR_PACKETS: f64 = 100.0;
const PRIOR_LOSS: f64 = 0.01;
/// A copy comes at least so long after what it copies; pacing spreads less than that over one packet.
const SPACING_MIN: Duration = Duration::from_millis(3);
/// And so many packets of the link later: the batch itself may still be waiting for the wire when its copy
/// comes, which goes first, and in one packet both would be lost.
const SPACING_PACKETS: u32 = 4;
/// And at most: a copy that comes later than this hardly beats the repair on a short path.
const SPACING_MAX: Duration = Duration::from_millis(20);

/// What a path has carried since its connection began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathTotals {
    /// Packets sent.
    pub sent: u64,
    /// Packets declared lost.
    pub lost: u64,
    /// Occasions on which packets were declared lost; several at once are one burst.
    pub occasions: u64,
}

/// How many copies of a batch, and how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPlan {
    /// Copies beside the stream.
    pub copies: u32,
    /// From the stream to the first copy, and from copy to copy.
    pub spacing: Duration,
}

/// What a path loses, of late.
#[derive(Debug, Clone)]
pub struct LossMeter {
    seen: PathTotals,
    at: Duration,
    sent: f64,
    lost: f64,
    occasions: f64,
    /// Packets a second, at the last look.
    packet_rate: f64,
}

impl LossMeter {
    /// A meter that knows nothing yet.
    pub fn new(now: Duration) -> Self {
        Self {
            seen: PathTotals::default(),
            at: now,
            sent: PRIOR_PACKETS,
            lost: PRIOR_PACKETS * PRIOR_LOSS,
            occasions: PRIOR_PACKETS * PRIOR_LOSS,
            packet_rate: 0.0,
        }
    }

    /// Looks at the counters, about once a second. Counters that went back are of a new connection.
    pub fn observe(&mut self, now: Duration, totals: PathTotals) {
        let passed = now.saturating_sub(self.at);
        if passed.is_zero() {
            return;
        }
        let before = if totals.sent < self.seen.sent {
            PathTotals::default()
        } else {
            self.seen
        };
        let since = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let kept = 0.5f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
        let sent = since(totals.sent, before.sent);
        self.sent = self.sent * kept + sent;
        self.lost = self.lost * kept + since(totals.lost, before.lost);
        self.occasions = self.occasions * kept + since(totals.occasions, before.occasions);
        self.packet_rate = sent / passed.as_secs_f64();
        (self.seen, self.at) = (totals, now);
    }

    /// Share of packets lost.
    pub fn loss(&self) -> f64 {
        (self.lost / self.sent.max(1.0)).min(1.0)
    }

    /// Packets lost together, on average.
    pub fn burst(&self) -> f64 {
        (self.lost / self.occasions.max(f64::MIN_POSITIVE)).clamp(1.0, 100.0)
    }

    /// What to do for live batches now; `None` where copies do not pay. `packet_time`: how long the link takes
    /// for a full packet.
    pub fn plan(&self, packet_time: Duration) -> Option<CopyPlan> {
        let loss = self.loss();
        if loss < LOSS_MIN {
            return None;
        }
        // n copies leave the share loss^(n+1), if they are lost independently of each other.
        let needed = (RESIDUAL_MAX.ln() / loss.ln()).ceil();
        let copies = (needed as u32).saturating_sub(1).clamp(1, COPIES_MAX);
        // Which they are when they are further apart than a burst lasts.
        let burst = 2.0 * self.burst() / self.packet_rate.max(1.0);
        let spacing = Duration::from_secs_f64(burst.min(1.0)).max(SPACING_MIN);
        let spacing = (spacing + packet_time * SPACING_PACKETS).min(SPACING_MAX);
        Some(CopyPlan { copies, spacing })
    }
}

/// Copies take at most this share of the link's rate.
const RATE_SHARE: f64 = 0.2;
/// Where no rate is declared, this many bytes a second.
const RATE_UNDECLARED: f64 = 256.0 * 1024.0;
/// What may be saved up for a burst of live records.
const SAVED_MAX: Duration = Duration::from_millis(500);

/// What copies may cost.
#[derive(Debug, Clone)]
pub struct CopyBudget {
    left: f64,
    at: Duration,
}

impl CopyBudget {
    /// An empty budget: it fills with time.
    pub fn new(now: Duration) -> Self {
        Self { left: 0.0, at: now }
    }

    /// Takes bytes out, if they are there. `rate` is the link's declared rate in bytes a second.
    pub fn take(&mut self, now: Duration, len: usize, rate: Option<u64>) -> bool {
        let refill = rate.map_or(RATE_UNDECLARED, |rate| rate as f64 * RATE_SHARE);
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let most = refill * SAVED_MAX.as_secs_f64();
        self.left = (self.left + refill * passed).min(most);
        self.at = now;
        let fits = self.left >= len as f64;
        if fits {
            self.left -= len as f64;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A path for so many seconds, at 500 packets a second.
    fn live(meter: &mut LossMeter, totals: &mut PathTotals, count: u64, loss: f64, burst: f64) {
        for _ in 0..count {
            totals.sent += 500;
            totals.lost += (500.0 * loss) as u64;
            totals.occasions += (500.0 * loss / burst) as u64;
            meter.observe(meter.at + seconds(1), *totals);
        }
    }

    #[test]
    fn a_path_of_which_nothing_is_known_is_copied_on_until_it_proves_clean() {
        let mut meter = LossMeter::new(Duration::ZERO);
        assert!(meter.plan(Duration::ZERO).is_some());
        live(&mut meter, &mut PathTotals::default(), 300, 0.0, 1.0);
        assert_eq!(meter.plan(Duration::ZERO), None);
    }

    #[test]
    fn more_loss_takes_more_copies_and_longer_bursts_more_distance() {
        let mut meter = LossMeter::new(Duration::ZERO);
        let mut totals = PathTotals::default();
        live(&mut meter, &mut totals, 100, 0.01, 1.0);
        let random = meter.plan(Duration::ZERO).expect("1 % is worth a copy");
        assert_eq!((random.copies, random.spacing.as_millis()), (1, 4));
        let thin = meter.plan(Duration::from_micros(1_200));
        assert_eq!(thin.map(|plan| plan.spacing.as_micros()), Some(8_800));
        live(&mut meter, &mut totals, 600, 0.04, 4.0);
        let bursty = meter.plan(Duration::ZERO).expect("4 % is worth two");
        assert_eq!((bursty.copies, bursty.spacing.as_millis()), (2, 15));
    }

    #[test]
    fn a_new_connection_goes_on_with_what_is_known() {
        let mut meter = LossMeter::new(Duration::ZERO);
        live(&mut meter, &mut PathTotals::default(), 100, 0.02, 1.0);
        let before = meter.loss();
        live(&mut meter, &mut PathTotals::default(), 2, 0.02, 1.0);
        assert!((meter.loss() - before).abs() < 0.002);
    }

    #[test]
    fn copies_stay_within_their_share_of_the_rate() {
        let rate = 1_250_000; // 10 Mbit/s
        let mut budget = CopyBudget::new(Duration::ZERO);
        let taken: usize = (1..=10_000u64)
            .filter(|tick| budget.take(Duration::from_millis(*tick), 1000, Some(rate)))
            .count();
        let share = (taken * 1000) as f64 / (rate * 10) as f64;
        assert!((0.19..=0.2).contains(&share), "{share}");
        let mut budget = CopyBudget::new(Duration::ZERO);
        assert!(!budget.take(Duration::ZERO, 1, None), "it begins empty");
        assert!(budget.take(seconds(3600), 100_000, None));
        assert!(
            !budget.take(seconds(3600), 100_000, None),
            "little is saved up"
        );
    }
}
