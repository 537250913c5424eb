//! Whether copies pay, how many, and how far apart. Without I/O: `now` is any clock that only goes forward.

use std::time::Duration;

/// Of this share of live batches, stream and copies may all be lost, or wait behind one of which they were: the tail
/// beyond is QUIC's to repair.
const STALLED_MAX: f64 = 5e-4;
/// How long QUIC takes for that, in round trips: loss is noticed after one, and what is sent again takes a half.
const REPAIR_TRIPS: f64 = 1.5;
/// Loss below which nothing is copied.
const LOSS_MIN: f64 = 1e-4;
const COPIES_MAX: u32 = 4;
/// A copy is sent when the burst that may have taken the one before takes it with so much of the chance that any packet is lost.
/// What is lost with all copies keeps a hundred others waiting, so that one in ten seconds is already seen in their p99.
const BURST_PART: f64 = 0.1;
/// Half of what was seen is forgotten in this time.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// What is believed of a path of which nothing is known: as if so many packets had been sent, and a
/// hundredth lost. A clean path has disproved it after some ten thousand packets.
const PRIOR_PACKETS: f64 = 100.0;
const PRIOR_LOSS: f64 = 0.01;
/// Two at a time, so that the first copies already lie apart.
const PRIOR_BURST: f64 = 2.0;
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

/// What there is to copy, and where.
#[derive(Debug, Clone, Copy)]
pub struct LivePath {
    /// How long the link takes for a full packet.
    pub packet_time: Duration,
    /// Round trip.
    pub round_trip: Duration,
    /// Live batches a second.
    pub batches: f64,
}

/// How many copies of a batch, and how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPlan {
    /// Copies beside the stream.
    pub copies: u32,
    /// From the stream to the first copy: soon, because by so much is late what was lost alone.
    pub first: Duration,
    /// From copy to copy: longer than most bursts, because what the first did not save was lost in one.
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
            occasions: PRIOR_PACKETS * PRIOR_LOSS / PRIOR_BURST,
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

    /// What to do for live batches now; `None` where copies do not pay.
    ///
    /// Losses are taken to be those of Gilbert's model: of the packets that follow a lost one, the share
    /// `(1 - 1 / burst)^k` of those `k` packets behind it belongs to the same burst.
    pub fn plan(&self, path: &LivePath) -> Option<CopyPlan> {
        let loss = self.loss();
        if loss < LOSS_MIN {
            return None;
        }
        let rate = self.packet_rate.max(1.0);
        let stays = 1.0 - 1.0 / self.burst();
        let lead = path.packet_time * SPACING_PACKETS;
        let first = (SPACING_MIN + lead).min(SPACING_MAX);
        // So far apart that the burst takes a small part of what chance does.
        let apart = if stays > 0.0 {
            (loss * BURST_PART).ln() / stays.ln()
        } else {
            0.0
        };
        let burst = Duration::from_secs_f64((apart / rate).min(1.0));
        let spacing = (burst.max(SPACING_MIN) + lead).min(SPACING_MAX);
        // The share of copies that are lost where what they copy is.
        let together = |apart: Duration| {
            let packets = apart.saturating_sub(lead).as_secs_f64() * rate;
            loss + (1.0 - loss) * stays.powf(packets)
        };
        // How much waits for a batch that nothing saved.
        let stalled = 1.0 + path.batches * path.round_trip.as_secs_f64() * REPAIR_TRIPS;
        let (mut copies, mut lost) = (1, loss * together(first));
        while lost * stalled > STALLED_MAX && copies < COPIES_MAX {
            copies += 1;
            lost *= together(spacing);
        }
        Some(CopyPlan {
            copies,
            first,
            spacing,
        })
    }
}

/// Copies take at most this share of the link's rate.
const RATE_SHARE: f64 = 0.2;
/// Where that rate is not declared, or not found yet, this many bytes a second at least.
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

    /// Takes bytes out for the copy of that number of a batch, if they are there. `declared` and `found` are the
    /// link's rate in bytes a second. Where there is not enough for all, everybody's first copy goes before a
    /// second one.
    pub fn take(
        &mut self,
        now: Duration,
        copy: u32,
        len: usize,
        declared: Option<u64>,
        found: u64,
    ) -> bool {
        let found = (found as f64 * RATE_SHARE).max(RATE_UNDECLARED);
        let refill = declared.map_or(found, |rate| rate as f64 * RATE_SHARE);
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let most = refill * SAVED_MAX.as_secs_f64();
        self.left = (self.left + refill * passed).min(most);
        self.at = now;
        let kept = if copy > 1 { most / 2.0 } else { 0.0 };
        let fits = self.left >= kept + len as f64;
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

    const BUSY: LivePath = LivePath {
        packet_time: Duration::ZERO,
        round_trip: Duration::from_millis(100),
        batches: 500.0,
    };

    #[test]
    fn a_path_of_which_nothing_is_known_is_copied_on_until_it_proves_clean() {
        let mut meter = LossMeter::new(Duration::ZERO);
        assert!(meter.plan(&BUSY).is_some());
        live(&mut meter, &mut PathTotals::default(), 300, 0.0, 1.0);
        assert_eq!(meter.plan(&BUSY), None);
    }

    #[test]
    fn more_loss_takes_more_copies_and_longer_bursts_more_distance() {
        let mut meter = LossMeter::new(Duration::ZERO);
        let mut totals = PathTotals::default();
        live(&mut meter, &mut totals, 100, 0.01, 1.0);
        let random = meter.plan(&BUSY).expect("1 % is worth two copies");
        assert_eq!((random.copies, random.first.as_millis()), (2, 3));
        let thin = meter.plan(&LivePath {
            packet_time: Duration::from_micros(1_200),
            ..BUSY
        });
        assert_eq!(thin.map(|plan| plan.first.as_micros()), Some(7_800));
        live(&mut meter, &mut totals, 600, 0.04, 4.0);
        let bursty = meter.plan(&BUSY).expect("4 % is worth four");
        assert_eq!((bursty.copies, bursty.first.as_millis()), (4, 3));
        // Nineteen packets behind a lost one, its burst goes on for four in a thousand.
        let packets = bursty.spacing.as_secs_f64() * 500.0;
        assert!((9.0..=10.0).contains(&packets), "{packets}");
    }

    #[test]
    fn where_few_records_wait_for_a_lost_one_fewer_copies_do() {
        let mut meter = LossMeter::new(Duration::ZERO);
        live(&mut meter, &mut PathTotals::default(), 100, 0.01, 1.0);
        let copies = |batches| {
            let quiet = LivePath { batches, ..BUSY };
            meter.plan(&quiet).map(|plan| plan.copies)
        };
        assert_eq!(copies(1.0), Some(1));
        assert_eq!(copies(500.0), Some(2));
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
            .filter(|tick| budget.take(Duration::from_millis(*tick), 1, 1000, Some(rate), 0))
            .count();
        let share = (taken * 1000) as f64 / (rate * 10) as f64;
        assert!((0.19..=0.2).contains(&share), "{share}");
        let mut budget = CopyBudget::new(Duration::ZERO);
        assert!(
            !budget.take(Duration::ZERO, 1, 1, None, 0),
            "it begins empty"
        );
        assert!(budget.take(seconds(3600), 1, 100_000, None, 0));
        assert!(
            !budget.take(seconds(3600), 1, 100_000, None, 0),
            "little is saved up"
        );
        assert!(budget.take(seconds(3601), 1, 200_000, None, 5_000_000));
    }

    #[test]
    fn first_copies_go_before_second_ones() {
        let rate = Some(1_250_000);
        let mut budget = CopyBudget::new(Duration::ZERO);
        let (mut first, mut second) = (0, 0);
        // 500 batches of 1000 bytes a second, where copies have 250 kB.
        for tick in 1..=5_000 {
            let now = Duration::from_millis(tick * 2);
            first += usize::from(budget.take(now, 1, 500, rate, 0));
            second += usize::from(budget.take(now, 2, 500, rate, 0));
        }
        assert!(first > 4_900, "{first}");
        assert!(second < 100, "{second}");
    }
}
