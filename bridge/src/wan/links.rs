//! The links that measurements and tests speak of by name.

use std::time::Duration;

use super::profile::{Limit, Profile};

/// A queue of a router in front of a slow link: 100 ms, and never less than some full packets.
const QUEUE: Duration = Duration::from_millis(100);
const QUEUE_PACKETS_MIN: u64 = 10;
const MTU: usize = 1_500;

/// A link, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// What it is called on the command line.
    pub name: &'static str,
    /// To the other end and back, for a packet that waits nowhere and meets no jitter.
    pub round_trip: Duration,
    /// Bits a second in each direction, IP headers included.
    pub rate_bps: u64,
    /// Share of packets lost, in each direction.
    pub loss: f64,
    /// Mean number of packets lost in a row; 1 is each for itself.
    pub burst: f64,
    /// Largest addition to the delay, in each direction.
    pub jitter: Duration,
}

const fn link(name: &'static str, round_trip_ms: u64, rate_bps: u64, loss: f64) -> Link {
    Link {
        name,
        round_trip: Duration::from_millis(round_trip_ms),
        rate_bps,
        loss,
        burst: 1.0,
        jitter: Duration::ZERO,
    }
}

/// All links with a name.
pub const LINKS: [Link; 8] = [
    link("metro", 20, 1_000_000_000, 0.0),
    link("atlantic", 80, 200_000_000, 0.001),
    link("lossy", 100, 100_000_000, 0.01),
    Link {
        burst: 3.0,
        ..link("bursty", 200, 50_000_000, 0.03)
    },
    link("thin", 150, 10_000_000, 0.005),
    link("satellite", 600, 20_000_000, 0.01),
    Link {
        jitter: Duration::from_millis(30),
        ..link("lte", 60, 20_000_000, 0.005)
    },
    link("modem", 200, 50_000, 0.0),
];

impl Link {
    /// The link of that name.
    pub fn named(name: &str) -> Option<Self> {
        LINKS.into_iter().find(|link| link.name == name)
    }

    /// Each of its directions.
    pub fn profile(&self) -> Profile {
        Profile {
            delay: self.round_trip / 2,
            jitter: self.jitter,
            rate_bps: Some(self.rate_bps),
            queue: Limit::Bytes(self.queue_bytes()),
            loss: self.loss,
            burst: self.burst,
            mtu: MTU,
            ..Profile::default()
        }
    }

    /// The queue in front of each direction.
    pub fn queue_bytes(&self) -> u64 {
        let bytes = u128::from(self.rate_bps) * QUEUE.as_nanos() / 8_000_000_000;
        u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .max(QUEUE_PACKETS_MIN * MTU as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_is_found_by_its_name_and_can_be_made() {
        for link in LINKS {
            assert_eq!(Link::named(link.name), Some(link));
            assert_eq!(link.profile().check(), Ok(()));
        }
        assert_eq!(Link::named("Metro"), None);
    }

    #[test]
    fn a_queue_holds_a_tenth_of_a_second_and_at_least_ten_packets() {
        let queue = |name| Link::named(name).unwrap().queue_bytes();
        assert_eq!(queue("lossy"), 1_250_000);
        assert_eq!(queue("modem"), 15_000);
    }
}
