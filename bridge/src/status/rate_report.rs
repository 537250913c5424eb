//! How `/status` shows a link's rate.

use causeway_proto::rate::Mode;
use serde::Serialize;

use crate::link::DeclaredRate;

/// What a link may send, and what it has sent. Rates and bytes are those of the wire, IP and UDP headers included.
#[derive(Debug, Clone, Serialize)]
pub struct RateReport {
    /// The rate that holds now; `null` where none is declared and it is found by probing.
    pub bits_per_second: Option<u64>,
    /// `declared`, `adaptive` or `scavenger`.
    pub mode: &'static str,
    /// What the congestion controller allows at the moment; `null` while the link is down.
    pub in_use_bits_per_second: Option<u64>,
    /// Sent since the process began.
    pub wire_sent_bytes: u64,
    /// Packets sent since the process began.
    pub wire_sent_packets: u64,
}

impl RateReport {
    pub(super) fn new(rate: &DeclaredRate, is_up: bool) -> Self {
        Self {
            bits_per_second: rate.get(),
            mode: match rate.mode() {
                Mode::Declared => "declared",
                Mode::Adaptive => "adaptive",
                Mode::Scavenger => "scavenger",
            },
            in_use_bits_per_second: rate.in_use().filter(|_| is_up),
            wire_sent_bytes: rate.sent_bytes(),
            wire_sent_packets: rate.sent_packets(),
        }
    }
}
