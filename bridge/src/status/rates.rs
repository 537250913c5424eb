//! How fast counters grow, smoothed over some seconds. The one place that works out rates.

use std::time::Duration;

/// After so long a change shows to two thirds.
const SMOOTHING: Duration = Duration::from_secs(5);

/// The rate of one counter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    last: Option<u64>,
    per_second: f64,
    is_settled: bool,
}

impl Rate {
    /// The counter stands at `value`, `elapsed` after the last time.
    pub(super) fn sample(&mut self, value: u64, elapsed: Duration) {
        let Some(last) = self.last.replace(value) else {
            return;
        };
        if elapsed.is_zero() {
            return;
        }
        let now = value.saturating_sub(last) as f64 / elapsed.as_secs_f64();
        if self.is_settled {
            let weight = 1.0 - (-elapsed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
            self.per_second += weight * (now - self.per_second);
        } else {
            // The first measure stands for itself, or a new route would look slow for seconds.
            self.per_second = now;
            self.is_settled = true;
        }
        if self.per_second < 0.005 {
            self.per_second = 0.0;
        }
    }

    /// Rounded to what is worth reading.
    pub(super) fn per_second(&self) -> f64 {
        (self.per_second * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_steady_counter_shows_its_rate_at_once_and_a_stopped_one_falls_to_zero() {
        let mut rate = Rate::default();
        for step in 0..4 {
            rate.sample(1000 + step * 500, SECOND);
        }
        assert_eq!(rate.per_second(), 500.0);
        for _ in 0..5 {
            rate.sample(2500, SECOND);
        }
        assert!(
            rate.per_second() < 200.0 && rate.per_second() > 100.0,
            "{rate:?}"
        );
        for _ in 0..120 {
            rate.sample(2500, SECOND);
        }
        assert_eq!(rate.per_second(), 0.0);
    }

    #[test]
    fn a_counter_that_starts_again_is_not_a_negative_rate() {
        let mut rate = Rate::default();
        rate.sample(1000, SECOND);
        rate.sample(0, SECOND);
        rate.sample(10, Duration::ZERO);
        assert_eq!(rate.per_second(), 0.0);
    }
}
