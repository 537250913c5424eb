//! A token bucket that is exact for every rate, however often it is asked.

use std::time::Duration;

/// Tokens are counted in billionths of a bit, so that a nanosecond at any whole rate is a whole number.
const BYTE: i128 = 8 * 1_000_000_000;

/// Lets no more than `rate * t + burst` bytes pass in any interval `t`.
///
/// A single packet larger than the burst passes when the bucket is full, and leaves a debt: the bound is
/// then that packet's size instead of the burst.
///
/// A packet that may pass does so only when its thread gets round to it. Packets after it could come closer to it than was
/// decided, so the bucket counts it as on its way until it is [settled](Self::settle), and fills no further than to where
/// the packet would leave it if it passed last of all.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Option<u64>,
    burst: i128,
    level: i128,
    at: Duration,
    /// Of packets that may pass, and may not have passed yet.
    on_its_way: i128,
    /// What ran over since a packet was last taken.
    over: i128,
}

impl Bucket {
    /// A full bucket. `rate` is in bits a second, `None` lets everything pass; `burst` is in bytes.
    pub fn new(rate: Option<u64>, burst: u64, now: Duration) -> Self {
        let burst = i128::from(burst) * BYTE;
        Self {
            rate,
            burst,
            level: burst,
            at: now,
            on_its_way: 0,
            over: 0,
        }
    }

    /// The present rate in bits a second.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Bytes that may pass at once when nothing has passed for long.
    pub fn burst(&self) -> u64 {
        u64::try_from(self.burst / BYTE).unwrap_or(u64::MAX)
    }

    /// Takes another rate and burst from now on. What was saved is kept, as far as the new burst holds
    /// it; what was owed stays owed.
    pub fn change(&mut self, now: Duration, rate: Option<u64>, burst: u64) {
        self.refill(now);
        self.rate = rate;
        self.burst = i128::from(burst) * BYTE;
        self.level = self.level.min(self.full());
        if rate.is_none() {
            (self.level, self.on_its_way, self.over) = (self.burst, 0, 0);
        }
    }

    /// When a packet of so many bytes may pass; not before `now`.
    pub fn ready_at(&self, now: Duration, bytes: u64) -> Duration {
        let Some(rate) = self.rate else {
            return now;
        };
        let wanted = (i128::from(bytes) * BYTE).min(self.burst);
        let missing = wanted - self.level_at(now);
        if missing <= 0 {
            return now;
        }
        let nanos = missing.unsigned_abs().div_ceil(u128::from(rate.max(1)));
        now.saturating_add(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    /// A packet may pass from now on. Asked for before [`ready_at`](Self::ready_at) it leaves a debt.
    pub fn take(&mut self, now: Duration, bytes: u64) {
        self.refill(now);
        self.over = 0;
        if self.rate.is_some() {
            self.level -= i128::from(bytes) * BYTE;
            self.on_its_way += i128::from(bytes) * BYTE;
        }
    }

    /// As [`take`](Self::take), for what passes whatever the level is: it leaves a debt of a burst at most, so that what
    /// waits for the bucket waits no longer than for two.
    pub fn take_ahead(&mut self, now: Duration, bytes: u64) {
        self.refill(now);
        self.over = 0;
        if self.rate.is_some() {
            let taken = (i128::from(bytes) * BYTE).min(self.level + self.burst);
            self.level -= taken.max(0);
            self.on_its_way += taken.max(0);
        }
    }

    /// All that was taken has passed by now.
    pub fn settle(&mut self, now: Duration) {
        if self.on_its_way > 0 {
            self.refill(now);
            self.on_its_way = 0;
        }
    }

    /// Bytes that were not taken in time, since one last was: beyond a full bucket. `None` without a rate.
    pub fn overflow(&self, now: Duration) -> Option<u64> {
        self.rate?;
        let over = self.over + self.over_at(now);
        Some(u64::try_from(over / BYTE).unwrap_or(u64::MAX))
    }

    fn refill(&mut self, now: Duration) {
        self.over += self.over_at(now);
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Duration) -> i128 {
        self.unbounded_at(now).min(self.full())
    }

    fn over_at(&self, now: Duration) -> i128 {
        (self.unbounded_at(now) - self.full()).max(0)
    }

    /// The highest level that may be reached now.
    fn full(&self) -> i128 {
        self.burst - self.on_its_way
    }

    fn unbounded_at(&self, now: Duration) -> i128 {
        let elapsed = now.saturating_sub(self.at).as_nanos();
        let gained = elapsed.saturating_mul(u128::from(self.rate.unwrap_or(0)));
        let gained = i128::try_from(gained).unwrap_or(i128::MAX);
        self.level.saturating_add(gained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The bound, over every pair of packets, whatever their sizes, however late the bucket is asked,
        /// and whenever they pass between its answer and the settlement.
        #[test]
        fn no_interval_holds_more_than_rate_and_burst(
            rate in 16_000u64..2_000_000_000,
            steps in proptest::collection::vec((1u64..=1480, 0u64..3_000_000, 0u64..500_000, 0.0..=1.0), 1..120),
        ) {
            let burst = 2960;
            let mut bucket = Bucket::new(Some(rate), burst, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut passed = Vec::new();
            for (bytes, late, takes, passes) in steps {
                now = bucket.ready_at(now, bytes) + Duration::from_nanos(late);
                bucket.take(now, bytes);
                let takes = Duration::from_nanos(takes);
                passed.push((now + takes.mul_f64(passes), bytes));
                now += takes;
                bucket.settle(now);
            }
            for first in 0..passed.len() {
                let mut sum = 0u128;
                for (at, bytes) in &passed[first..] {
                    sum += u128::from(*bytes);
                    let t = (*at - passed[first].0).as_nanos();
                    let bits = sum * 8 * 1_000_000_000;
                    prop_assert!(bits <= t * u128::from(rate) + u128::from(burst) * 8_000_000_000);
                }
            }
        }

        /// A bucket asked at once whenever it is ready passes all of its rate.
        #[test]
        fn nothing_of_the_rate_is_lost(rate in 16_000u64..2_000_000_000, bytes in 40u64..=1480) {
            let mut bucket = Bucket::new(Some(rate), 2960, Duration::ZERO);
            let mut now = Duration::ZERO;
            for _ in 0..1000 {
                now = bucket.ready_at(now, bytes);
                bucket.take(now, bytes);
                bucket.settle(now);
            }
            let wanted = (1000 * bytes - 2960).max(1) as f64 * 8.0 / rate as f64;
            prop_assert!(now.as_secs_f64() <= wanted + 1e-4, "{now:?} for {wanted}");
        }
    }

    #[test]
    fn what_is_not_taken_in_time_runs_over() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(Some(8_000), 2000, Duration::ZERO);
        bucket.take(Duration::ZERO, 2000);
        bucket.settle(Duration::ZERO);
        assert_eq!(bucket.overflow(second * 2), Some(0));
        assert_eq!(bucket.overflow(second * 3), Some(1000));
        bucket.take(second * 3, 500);
        assert_eq!(bucket.overflow(second * 3), Some(0));
        // Half a second on its way, and only then may the bucket be full.
        bucket.settle(second * 3 + second / 2);
        assert_eq!(bucket.overflow(second * 4), Some(500));
        assert_eq!(Bucket::new(None, 2000, second).overflow(second), None);
    }

    #[test]
    fn a_rate_changes_while_it_runs() {
        let mut bucket = Bucket::new(Some(8_000), 2000, Duration::ZERO);
        bucket.take(Duration::ZERO, 2000);
        bucket.settle(Duration::ZERO);
        assert_eq!(
            bucket.ready_at(Duration::ZERO, 1000),
            Duration::from_secs(1)
        );
        bucket.change(Duration::from_millis(500), Some(80_000), 2000);
        let ready = bucket.ready_at(Duration::from_millis(500), 1000);
        assert_eq!(ready, Duration::from_millis(550));
        bucket.change(ready, None, 2000);
        assert_eq!(bucket.ready_at(ready, 1_000_000), ready);
    }
}
