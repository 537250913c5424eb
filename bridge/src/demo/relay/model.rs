//! One direction of the emulated WAN, in virtual time.
//!
//! A packet passes, in this order: the cut (a cut link takes nothing), the queue (bounded; what does not fit is
//! dropped), the wire at its rate, the loss (drawn by the seed), the delay. Jitter is 0, so packets stay in
//! order. A cut also loses what is on its way.
//!
//! `now` is the time since the relay began; the model reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::demo::prng::Prng;

/// What IPv4 and UDP add to each datagram on a real wire; counted, and taking its share of the rate.
pub const IP_UDP_HEADER_BYTES: usize = 28;

/// The properties of one direction.
#[derive(Debug, Clone, Copy)]
pub struct PathOptions {
    /// The time from one end to the other.
    pub delay: Duration,
    /// Packets lost by chance, in parts of a million.
    pub loss_ppm: u32,
    /// Bits a second, headers included; none is without limit.
    pub rate_bps: Option<u64>,
    /// What may wait for the wire, in bytes; has no meaning without a rate.
    pub queue_bytes_max: u64,
}

/// What happened to the packets of one direction, headers included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathCounters {
    /// Packets that the sender gave to the link.
    pub sent_packets: u64,
    /// Bytes that the sender gave to the link.
    pub sent_bytes: u64,
    /// Packets that came out at the other end.
    pub delivered_packets: u64,
    /// Bytes that came out at the other end.
    pub delivered_bytes: u64,
    /// Packets lost by chance.
    pub lost_packets: u64,
    /// Packets for which the queue had no room.
    pub overflowed_packets: u64,
    /// Packets lost to the cut.
    pub cut_packets: u64,
}

/// A datagram on its way, and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<T> {
    /// Where it goes; the model does not look at it.
    pub to: T,
    /// The datagram's payload.
    pub bytes: Vec<u8>,
}

/// One direction of the link.
#[derive(Debug)]
pub struct PathModel<T> {
    options: PathOptions,
    prng: Prng,
    /// When the wire will have sent all that waits for it.
    wire_free_at: Duration,
    on_the_way: VecDeque<(Duration, Packet<T>)>,
    is_cut: bool,
    counters: PathCounters,
}

impl<T> PathModel<T> {
    /// An idle, healthy direction.
    pub fn new(options: PathOptions, seed: u64) -> Self {
        Self {
            options,
            prng: Prng::new(seed),
            wire_free_at: Duration::ZERO,
            on_the_way: VecDeque::new(),
            is_cut: false,
            counters: PathCounters::default(),
        }
    }

    /// The counts so far.
    pub fn counters(&self) -> PathCounters {
        self.counters
    }

    /// Cuts or heals the link.
    pub fn handle_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
        if is_cut {
            self.counters.cut_packets += self.on_the_way.len() as u64;
            self.on_the_way.clear();
            self.wire_free_at = Duration::ZERO;
        }
    }

    /// A packet enters.
    pub fn handle_packet(&mut self, packet: Packet<T>, now: Duration) {
        let bytes = (packet.bytes.len() + IP_UDP_HEADER_BYTES) as u64;
        self.counters.sent_packets += 1;
        self.counters.sent_bytes += bytes;
        if self.is_cut {
            self.counters.cut_packets += 1;
            return;
        }
        let Some(sent_at) = self.reserve_wire(bytes, now) else {
            self.counters.overflowed_packets += 1;
            return;
        };
        if self.prng.chance(self.options.loss_ppm) {
            self.counters.lost_packets += 1;
            return;
        }
        self.on_the_way
            .push_back((sent_at + self.options.delay, packet));
    }

    /// The next packet that has arrived by now.
    pub fn poll_packet(&mut self, now: Duration) -> Option<Packet<T>> {
        if self.poll_timeout()? > now {
            return None;
        }
        let (_, packet) = self.on_the_way.pop_front()?;
        self.counters.delivered_packets += 1;
        self.counters.delivered_bytes += (packet.bytes.len() + IP_UDP_HEADER_BYTES) as u64;
        Some(packet)
    }

    /// When the next packet arrives.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.on_the_way.front().map(|(due, _)| *due)
    }

    /// When the wire will have sent these bytes; nothing if the queue has no room for them.
    fn reserve_wire(&mut self, bytes: u64, now: Duration) -> Option<Duration> {
        let Some(rate_bps) = self.options.rate_bps else {
            return Some(now);
        };
        let begins_at = self.wire_free_at.max(now);
        let waiting_bytes = (begins_at - now).as_nanos() * u128::from(rate_bps) / 8_000_000_000;
        if waiting_bytes + u128::from(bytes) > u128::from(self.options.queue_bytes_max) {
            return None;
        }
        let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(rate_bps.max(1));
        self.wire_free_at =
            begins_at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(self.wire_free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(40);

    fn path(loss_ppm: u32, rate_bps: Option<u64>) -> PathModel<u32> {
        let options = PathOptions {
            delay: DELAY,
            loss_ppm,
            rate_bps,
            queue_bytes_max: 10_000,
        };
        PathModel::new(options, 7)
    }

    fn packet(to: u32, wire_bytes: usize) -> Packet<u32> {
        Packet {
            to,
            bytes: vec![0; wire_bytes - IP_UDP_HEADER_BYTES],
        }
    }

    fn arrivals(path: &mut PathModel<u32>) -> Vec<(Duration, u32)> {
        let mut arrivals = Vec::new();
        while let Some(due) = path.poll_timeout() {
            assert_eq!(path.poll_packet(due - Duration::from_nanos(1)), None);
            arrivals.extend(path.poll_packet(due).map(|packet| (due, packet.to)));
        }
        arrivals
    }

    #[test]
    fn a_healthy_path_delivers_everything_in_order_after_the_delay() {
        let mut path = path(0, None);
        for n in 0..100 {
            path.handle_packet(packet(n, 1_000), Duration::from_millis(n.into()));
        }
        let expected: Vec<_> = (0..100)
            .map(|n| (DELAY + Duration::from_millis(n.into()), n))
            .collect();
        assert_eq!(arrivals(&mut path), expected);
    }

    #[test]
    fn chance_loses_the_stated_share_and_the_same_packets_for_the_same_seed() {
        let lost = || {
            let mut path = path(10_000, None);
            (0..200_000).for_each(|n| path.handle_packet(packet(n, 100), Duration::ZERO));
            (path.counters().lost_packets, arrivals(&mut path))
        };
        let (count, survivors) = lost();
        // 2,000 expected, standard deviation 44: five of them.
        assert!((1_780..2_220).contains(&count), "{count}");
        assert_eq!(lost(), (count, survivors));
    }

    #[test]
    fn the_wire_sends_at_its_rate_and_the_queue_is_bounded() {
        let mut path = path(0, Some(8_000_000)); // 1,000 bytes a millisecond
        (0..20).for_each(|n| path.handle_packet(packet(n, 1_000), Duration::ZERO));
        assert_eq!(path.counters().overflowed_packets, 10);
        let expected: Vec<_> = (0..10)
            .map(|n| (DELAY + Duration::from_millis(u64::from(n) + 1), n))
            .collect();
        assert_eq!(arrivals(&mut path), expected);
    }

    #[test]
    fn a_cut_loses_what_is_on_its_way_and_what_comes_and_healing_ends_it() {
        let mut path = path(0, None);
        path.handle_packet(packet(1, 100), Duration::ZERO);
        path.handle_cut(true);
        path.handle_packet(packet(2, 100), Duration::ZERO);
        path.handle_cut(false);
        path.handle_packet(packet(3, 100), Duration::ZERO);
        assert_eq!(arrivals(&mut path), [(DELAY, 3)]);
        let counters = path.counters();
        assert_eq!((counters.sent_packets, counters.cut_packets), (3, 2));
        assert_eq!((counters.sent_bytes, counters.delivered_bytes), (300, 100));
    }
}
