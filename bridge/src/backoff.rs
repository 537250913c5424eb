//! Waiting longer after each failure, never in step with others.

use std::time::Duration;

use rand::Rng;

/// Why the parameters make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The first wait is zero, so it would never grow.
    #[error("the first wait must not be zero")]
    Zero,
    /// The longest wait is shorter than the first.
    #[error("the longest wait is shorter than the first")]
    Reversed,
}

/// Exponential backoff with jitter: each wait is drawn evenly between half of the current length and
/// all of it, and the length doubles up to a bound. The half that is fixed keeps a peer that is gone
/// from being hammered, the half that is drawn keeps a thousand sidecars from returning at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    length: Duration,
}

impl Backoff {
    /// A backoff whose first wait is at most `min`, and none longer than `max`.
    pub fn try_new(min: Duration, max: Duration) -> Result<Self, InvalidBackoff> {
        if min.is_zero() {
            return Err(InvalidBackoff::Zero);
        }
        if max < min {
            return Err(InvalidBackoff::Reversed);
        }
        Ok(Self {
            min,
            max,
            length: min,
        })
    }

    /// How long to wait now, after one more failure.
    pub fn next_wait(&mut self, random: &mut impl Rng) -> Duration {
        let wait = self.length.mul_f64(random.random_range(0.5..=1.0));
        self.length = self.length.saturating_mul(2).min(self.max);
        wait
    }

    /// Something succeeded: the next failure is the first again.
    pub fn reset(&mut self) {
        self.length = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn waits_grow_to_the_bound_and_start_over_after_a_success() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::try_new(MIN, MAX).unwrap();
        let mut length = MIN;
        for _ in 0..20 {
            let wait = backoff.next_wait(&mut random);
            assert!(
                wait >= length / 2 && wait <= length,
                "{wait:?} of {length:?}"
            );
            length = (length * 2).min(MAX);
        }
        assert_eq!(length, MAX);
        backoff.reset();
        assert!(backoff.next_wait(&mut random) <= MIN);
    }

    #[test]
    fn two_sidecars_do_not_wait_in_step() {
        let waits = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::try_new(MIN, MAX).unwrap();
            (0..8)
                .map(|_| backoff.next_wait(&mut random))
                .collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(3), waits(3));
    }

    #[test]
    fn senseless_parameters_are_refused() {
        let new = |min, max| Backoff::try_new(min, max).map(drop);
        assert_eq!(new(Duration::ZERO, MAX), Err(InvalidBackoff::Zero));
        assert_eq!(new(MAX, MIN), Err(InvalidBackoff::Reversed));
        assert_eq!(new(MIN, MIN), Ok(()));
        let mut random = StdRng::seed_from_u64(1);
        let mut huge = Backoff::try_new(Duration::MAX / 2, Duration::MAX).unwrap();
        for _ in 0..4 {
            huge.next_wait(&mut random);
        }
    }
}
