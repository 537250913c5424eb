//! The properties of one direction of a link.

use std::time::Duration;

/// What may be in front of the wire, the packet that is on it included; or the depth of a policer's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes, IP headers included.
    Bytes(u64),
    /// As many bytes as the rate passes in that time.
    Time(Duration),
}

impl Limit {
    /// The limit in time at that rate.
    pub(super) fn time(self, rate_bps: u64) -> Duration {
        match self {
            Self::Bytes(bytes) => wire_time(bytes, rate_bps),
            Self::Time(time) => time,
        }
    }
}

/// One direction of a link. [`Default`] is a wire without delay, limit or fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// From one end to the other, for a packet that waits nowhere.
    pub delay: Duration,
    /// Added to the delay: wanders between 0 and this, on average half of it. Packets keep their order.
    pub jitter: Duration,
    /// Bits a second, IP headers included and framing below IP left out; `None` is without limit.
    pub rate_bps: Option<u64>,
    /// What may be in front of the wire; an idle one takes any packet. Has no meaning without a rate.
    pub queue: Limit,
    /// Drop what exceeds the rate instead of letting it wait; [`queue`](Self::queue) is then the depth of the token
    /// bucket, and conforming packets pass at once.
    pub is_policed: bool,
    /// Share of packets lost behind the bottleneck, 0 to below 1.
    pub loss: f64,
    /// Mean number of packets lost in a row. Up to 1: each packet for itself (whose runs are `1 / (1 - loss)` long).
    pub burst: f64,
    /// Share of packets that come late by [`reorder_by`](Self::reorder_by), behind those that followed them.
    pub reorder: f64,
    /// How much later a reordered packet comes.
    pub reorder_by: Duration,
    /// Share of packets that come twice.
    pub duplicate: f64,
    /// The largest IP packet that passes, in bytes.
    pub mtu: usize,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate_bps: None,
            queue: Limit::Time(Duration::from_millis(100)),
            is_policed: false,
            loss: 0.0,
            burst: 1.0,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            duplicate: 0.0,
            mtu: usize::MAX,
        }
    }
}

/// A profile that describes no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A share outside of 0 to below 1.
    #[error("{0} must be at least 0 and below 1")]
    Share(&'static str),
    /// A rate of 0 never sends anything; a cut says that better.
    #[error("the rate must not be 0")]
    Rate,
    /// A mean burst that is no number, or so long that the stated loss cannot be reached.
    #[error("the mean burst must be a finite number of packets")]
    Burst,
}

impl Profile {
    /// Whether a [`Path`](super::Path) can be made of it.
    ///
    /// # Errors
    /// A value outside of the bounds given with its field.
    pub fn check(&self) -> Result<(), ProfileError> {
        let shares = [
            ("loss", self.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
        ];
        for (name, share) in shares {
            if !(0.0..1.0).contains(&share) {
                return Err(ProfileError::Share(name));
            }
        }
        if self.rate_bps == Some(0) {
            return Err(ProfileError::Rate);
        }
        if !self.burst.is_finite() {
            return Err(ProfileError::Burst);
        }
        Ok(())
    }
}

/// How long the wire is busy with so many bytes.
pub(super) fn wire_time(bytes: u64, rate_bps: u64) -> Duration {
    let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(rate_bps.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_link_and_shares_and_rates_are_checked() {
        let good = Profile::default();
        assert_eq!(good.check(), Ok(()));
        let loss = |loss| Profile { loss, ..good }.check();
        assert_eq!(loss(1.0), Err(ProfileError::Share("loss")));
        assert_eq!(loss(-0.1), Err(ProfileError::Share("loss")));
        assert_eq!(loss(f64::NAN), Err(ProfileError::Share("loss")));
        let still = Profile {
            rate_bps: Some(0),
            ..good
        };
        assert_eq!(still.check(), Err(ProfileError::Rate));
        let burst = f64::INFINITY;
        assert_eq!(Profile { burst, ..good }.check(), Err(ProfileError::Burst));
    }
}
