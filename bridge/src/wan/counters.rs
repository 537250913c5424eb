//! What a path counted.

use std::time::Duration;

/// The counts of one direction since it began. Bytes are those of whole IP packets.
///
/// `entered = delivered - duplicated + overflowed + policed + oversized + lost + cut + those on their way`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathCounters {
    /// Packets that the sender gave to the link.
    pub entered_packets: u64,
    /// Bytes that the sender gave to the link.
    pub entered_bytes: u64,
    /// Packets that came out at the other end, second copies included.
    pub delivered_packets: u64,
    /// Bytes that came out at the other end, second copies included.
    pub delivered_bytes: u64,
    /// Packets for which the queue had no room.
    pub overflowed_packets: u64,
    /// Packets that the policer dropped.
    pub policed_packets: u64,
    /// Packets larger than the MTU.
    pub oversized_packets: u64,
    /// Packets lost by chance.
    pub lost_packets: u64,
    /// Runs of packets lost by chance, one after the other: `lost_packets / lost_runs` is the mean burst.
    pub lost_runs: u64,
    /// Packets lost to a cut, copies included.
    pub cut_packets: u64,
    /// Packets sent on late, to be overtaken.
    pub reordered_packets: u64,
    /// Second copies made.
    pub duplicated_packets: u64,
    /// Packets that passed the bottleneck, and the bytes that they took of its rate.
    pub passed_packets: u64,
    /// See [`passed_packets`](Self::passed_packets).
    pub passed_bytes: u64,
    /// Time that all passed packets together waited for the wire.
    pub waited: Duration,
    /// The longest that a packet waited for the wire.
    pub waited_max: Duration,
}

impl PathCounters {
    /// The mean wait for the wire: the standing queue, in time.
    pub fn waited_mean(&self) -> Duration {
        match self.passed_packets {
            0 => Duration::ZERO,
            // In f64: 2^32 packets fit no Duration's divisor.
            packets => self.waited.div_f64(packets as f64),
        }
    }
}
