//! How far what enters a link runs ahead of a rate.

use std::time::Duration;

/// A bucket that leaks at a rate: its highest level is the most by which any interval exceeded `rate x t`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    bytes_per_second: f64,
    level: f64,
    at: Duration,
    most: f64,
    /// The same if each packet came when that makes the least of it.
    certain: Bucket,
}

/// The bucket of packets whose times are not known exactly.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: f64,
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
            certain: Bucket {
                level: 0.0,
                at: now.as_secs_f64(),
                most: 0.0,
            },
        }
    }

    /// A packet of so many bytes that is read now, and came after a time at which there was none.
    pub(crate) fn see(&mut self, after: Duration, now: Duration, bytes: usize) {
        let certain = &mut self.certain;
        // As soon as the bucket is empty is the best time to come.
        let empty_at = certain.at + certain.level / self.bytes_per_second;
        let earliest = after.as_secs_f64().max(certain.at);
        let at = empty_at.min(now.as_secs_f64()).max(earliest);
        let leaked = (at - certain.at) * self.bytes_per_second;
        certain.level = (certain.level - leaked).max(0.0) + bytes as f64;
        certain.at = at;
        certain.most = certain.most.max(certain.level);
        let leaked = now.saturating_sub(self.at).as_secs_f64() * self.bytes_per_second;
        self.level = (self.level - leaked).max(0.0) + bytes as f64;
        self.at = now;
        self.most = self.most.max(self.level);
    }

    /// Bytes over `rate x t` of the worst interval so far, whenever its packets came since the reader had last looked.
    pub(crate) fn certain(&self) -> f64 {
        self.certain.most
    }

    /// Bytes over `rate x t` of the worst interval so far, as if packets had come when they were read.
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
                burst.see(at, at, len);
            }
            let wanted = by_definition(rate_bps, &packets);
            assert!((burst.most() - wanted).abs() < 1e-6, "{rate_bps}");
            assert!((burst.certain() - wanted).abs() < 1e-6, "{rate_bps}");
        }
    }

    #[test]
    fn packets_that_waited_for_the_reader_are_no_certain_burst_but_too_many_of_them_are() {
        let ms = Duration::from_millis;
        // 1,500 bytes a millisecond.
        let mut burst = Burst::new(12_000_000, ms(0));
        for _ in 0..10 {
            burst.see(ms(0), ms(10), 1_500);
        }
        assert!((burst.most() - 15_000.0).abs() < 1e-6);
        assert!((burst.certain() - 1_500.0).abs() < 1e-6);
        for _ in 0..30 {
            burst.see(ms(10), ms(20), 1_500);
        }
        // Thirty in ten milliseconds: one at once, ten more as it leaks, nineteen too many.
        assert!(
            (burst.certain() - 30_000.0).abs() < 1e-6,
            "{}",
            burst.certain()
        );
    }
}
