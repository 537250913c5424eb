//! A link to a peer.

use causeway_proto::id::RegionId;
use serde::Serialize;

use super::as_text;
use crate::status::rate_report::LinkRateReport;

/// How a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Dialled, or waiting to be dialled, for the first time or again.
    Connecting,
    /// Connected; the two sides agree on the protocol and on their routes.
    Handshaking,
    /// Records can flow.
    Up,
    /// Lost or refused; the reason says why, and it is tried again.
    Down,
}

/// A link to a peer.
#[derive(Debug, Clone, Serialize)]
pub struct LinkStatus {
    /// The region at the other end.
    #[serde(serialize_with = "as_text")]
    pub peer: RegionId,
    /// How it stands.
    pub state: LinkState,
    /// Why it stands so, where that is not plain.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<f64>,
    /// The peer's address: the one dialled, or the one it came from.
    pub address: Option<String>,
    /// Round trip as QUIC measures it.
    pub rtt_ms: Option<f64>,
    /// UDP payload sent, all connections of the link together.
    pub sent_bytes: u64,
    /// UDP payload received.
    pub received_bytes: u64,
    /// Packets that QUIC gave up and sent again.
    pub lost_packets: u64,
    /// Times that it was up again after it had been lost.
    pub reconnects: u64,
    /// Whether the two ends have different residency rules; then what both allow flows.
    pub residency_skew: bool,
}

impl LinkStatus {
    /// A link that has not been up yet.
    pub fn new(peer: RegionId) -> Self {
        Self {
            peer,
            state: LinkState::Connecting,
            reason: None,
            since: None,
            address: None,
            rtt_ms: None,
            sent_bytes: 0,
            received_bytes: 0,
            lost_packets: 0,
            reconnects: 0,
            residency_skew: false,
        }
    }
}

/// A link, and what is worked out from its history.
#[derive(Debug, Clone, Serialize)]
pub struct LinkReport {
    /// As the link says.
    #[serde(flatten)]
    pub status: LinkStatus,
    /// What it may send, and what it has sent.
    pub rate: Option<LinkRateReport>,
    /// Over the last seconds.
    pub sent_bytes_per_second: f64,
    /// Over the last seconds.
    pub received_bytes_per_second: f64,
}
