//! How `/status` shows rates, and why they are what they are.

use causeway_proto::rate::Mode;
use serde::Serialize;

use crate::link::DeclaredRate;

/// Why a rate is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum RateReason {
    /// Nothing is declared; it is found by probing.
    #[default]
    Undeclared,
    /// The key `rate`.
    Declared,
    /// A window of the schedule.
    Schedule,
    /// The month's bytes are used.
    MonthlyCap,
}

impl RateReason {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Undeclared,
        Self::Declared,
        Self::Schedule,
        Self::MonthlyCap,
    ];

    /// As in a label, and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undeclared => "undeclared",
            Self::Declared => "declared",
            Self::Schedule => "schedule",
            Self::MonthlyCap => "monthly_cap",
        }
    }
}

/// What decides a rate at the moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RateStatus {
    /// Why it is what it is.
    pub reason: RateReason,
    /// The window of the schedule that holds, by its number from 0.
    pub window: Option<usize>,
    /// When the schedule changes it next.
    pub until: Option<f64>,
    /// The month's count, where there is a cap.
    pub cap: Option<CapStatus>,
}

/// A month's count and its cap, in bytes on the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapStatus {
    /// The cap.
    pub limit_bytes: u64,
    /// From here on it warns.
    pub warn_bytes: u64,
    /// Sent since the month began.
    pub used_bytes: u64,
    /// `below`, `warned` or `reached`.
    pub state: &'static str,
    /// When the next month begins.
    pub resets_at: f64,
}

/// What a link, or the region, may send, and what it has sent. Rates and bytes are those of the wire, IP and UDP
/// headers included.
#[derive(Debug, Clone, Serialize)]
pub struct RateReport {
    /// The rate that holds now; `null` where none is declared.
    pub bits_per_second: Option<u64>,
    /// Why.
    #[serde(flatten)]
    pub status: RateStatus,
}

/// What only a link has.
#[derive(Debug, Clone, Serialize)]
pub struct LinkRateReport {
    /// As of the region.
    #[serde(flatten)]
    pub rate: RateReport,
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
    pub(super) fn new(rate: &DeclaredRate, status: RateStatus) -> Self {
        Self {
            bits_per_second: rate.get(),
            status,
        }
    }
}

impl LinkRateReport {
    pub(super) fn new(rate: &DeclaredRate, status: RateStatus, is_up: bool) -> Self {
        Self {
            rate: RateReport::new(rate, status),
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
