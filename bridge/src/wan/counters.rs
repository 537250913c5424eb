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
    /// What was counted since an earlier look at the same path. The longest wait is that of all its time.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            entered_packets: self.entered_packets - before.entered_packets,
            entered_bytes: self.entered_bytes - before.entered_bytes,
            delivered_packets: self.delivered_packets - before.delivered_packets,
            delivered_bytes: self.delivered_bytes - before.delivered_bytes,
            overflowed_packets: self.overflowed_packets - before.overflowed_packets,
            policed_packets: self.policed_packets - before.policed_packets,
            oversized_packets: self.oversized_packets - before.oversized_packets,
            lost_packets: self.lost_packets - before.lost_packets,
            lost_runs: self.lost_runs - before.lost_runs,
            cut_packets: self.cut_packets - before.cut_packets,
            reordered_packets: self.reordered_packets - before.reordered_packets,
            duplicated_packets: self.duplicated_packets - before.duplicated_packets,
            passed_packets: self.passed_packets - before.passed_packets,
            passed_bytes: self.passed_bytes - before.passed_bytes,
            waited: self.waited - before.waited,
            waited_max: self.waited_max,
        }
    }

    /// The mean wait for the wire: the standing queue, in time.
    pub fn waited_mean(&self) -> Duration {
        match self.passed_packets {
            0 => Duration::ZERO,
            // In f64: 2^32 packets fit no Duration's divisor.
            packets => self.waited.div_f64(packets as f64),
        }
    }
}
