//! How far what enters a link runs ahead of a rate.

use std::time::Duration;

/// A bucket that leaks at a rate: its highest level is the most by which any interval exceeded `rate x t`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    bytes_per_second: f64,
    level: f64,
    at: Duration,
    most: f64,
}

impl Burst {
    /// Begins empty at that time; the rate is in bits a second.
    pub(crate) fn new(rate_bps: u64, now: Duration) -> Self {
        Self {
            bytes_per_second: rate_bps as f64 / 8.0,
            level: 0.0,
            at: now,
            most: 0.0,
        }
    }

    /// A packet of so many bytes.
    pub(crate) fn see(&mut self, now: Duration, bytes: usize) {
        let leaked = now.saturating_sub(self.at).as_secs_f64() * self.bytes_per_second;
        self.level = (self.level - leaked).max(0.0) + bytes as f64;
        self.at = now;
        self.most = self.most.max(self.level);
    }

    /// Bytes over `rate x t` of the worst interval so far.
    pub(crate) fn most(&self) -> f64 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: over all intervals that begin and end with a packet.
    fn by_definition(rate_bps: u64, packets: &[(Duration, usize)]) -> f64 {
        let mut most = 0.0_f64;
        for first in 0..packets.len() {
            let mut bytes = 0.0;
            for (at, len) in &packets[first..] {
                bytes += *len as f64;
                let t = (*at - packets[first].0).as_secs_f64();
                most = most.max(bytes - t * rate_bps as f64 / 8.0);
            }
        }
        most
    }

    #[test]
    fn the_highest_level_is_the_worst_of_all_intervals() {
        let ms = Duration::from_millis;
        let packets = [
            (ms(0), 1_500),
            (ms(1), 1_500),
            (ms(1), 200),
            (ms(9), 1_500),
            (ms(10), 1_500),
            (ms(10), 1_500),
            (ms(40), 900),
        ];
        for rate_bps in [50_000, 1_000_000, 4_000_000, 100_000_000] {
            let mut burst = Burst::new(rate_bps, Duration::ZERO);
            for (at, len) in packets {
                burst.see(at, len);
            }
            let wanted = by_definition(rate_bps, &packets);
            assert!((burst.most() - wanted).abs() < 1e-6, "{rate_bps}");
        }
    }
}
