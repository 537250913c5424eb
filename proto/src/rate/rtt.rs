//! What the round trip is without a queue, and how far it strays without one.

use std::time::Duration;

/// The lowest round trip counts for six of these. A rerouted path is believed after so long.
const SPAN: Duration = Duration::from_secs(5);
const SPANS: usize = 6;
/// Noise shrinks to a third in that time.
const NOISE_LIFE: Duration = Duration::from_secs(20);
/// No more than this is taken for noise: a path that jitters more has a queue.
pub(super) const NOISE_MAX: Duration = Duration::from_millis(80);

/// The round trips of one path.
#[derive(Debug, Clone)]
pub(super) struct RoundTrip {
    lows: [Duration; SPANS],
    span: u64,
    smoothed: Option<Duration>,
    expected: Duration,
    /// Delay beyond the lowest that was no queue of ours.
    noise: Duration,
    calmed_at: Duration,
}

impl RoundTrip {
    pub(super) fn new(expected: Duration) -> Self {
        Self {
            lows: [Duration::MAX; SPANS],
            span: 0,
            smoothed: None,
            expected,
            noise: Duration::ZERO,
            calmed_at: Duration::ZERO,
        }
    }

    pub(super) fn sample(&mut self, now: Duration, raw: Duration) {
        let span = (now.as_secs() / SPAN.as_secs()).max(self.span);
        if span > self.span {
            for passed in self.span + 1..=span.min(self.span + SPANS as u64) {
                self.lows[passed as usize % SPANS] = Duration::MAX;
            }
            // A clock that jumped several spans clears all of them; the slot in use is one of those.
            self.lows[span as usize % SPANS] = Duration::MAX;
            self.span = span;
        }
        let low = &mut self.lows[self.span as usize % SPANS];
        *low = raw.min(*low);
        let smoothed = self.smoothed.unwrap_or(raw);
        self.smoothed = Some((smoothed * 15 + raw) / 16);
    }

    /// The lowest of the last half minute, or what is expected before the first.
    pub(super) fn base(&self) -> Duration {
        let low = self.lows.iter().min().copied().unwrap_or(Duration::MAX);
        if low == Duration::MAX {
            self.expected
        } else {
            low
        }
    }

    pub(super) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(self.expected)
    }

    pub(super) fn noise(&self) -> Duration {
        self.noise
    }

    /// So much delay beyond the lowest was no queue of ours.
    pub(super) fn is_not_ours(&mut self, delay: Duration) {
        self.noise = self.noise.max(delay * 6 / 5).min(NOISE_MAX);
    }

    /// Forgets noise by and by.
    pub(super) fn calm(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.calmed_at).min(NOISE_LIFE);
        self.calmed_at = now;
        let share = (passed.as_micros() * 1_000_000 / NOISE_LIFE.as_micros()) as u32;
        self.noise = self.noise.saturating_sub(self.noise * share / 1_000_000);
    }
}
