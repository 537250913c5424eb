//! A route's leg: where it stands, and what became of its records and positions.

use std::collections::BTreeMap;

use causeway_proto::id::{RegionId, RouteName, StreamName};
use serde::{Deserialize, Serialize};

use super::as_text;
use crate::status::batch_sizes::BatchSizes;

/// Which way a route's records go, seen from this region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteDirection {
    /// They leave.
    Out,
    /// They arrive.
    In,
}

impl RouteDirection {
    /// As in a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// How a route stands. What to do about each is in `deploy/OPERATING.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// It has not yet tried anything.
    Starting,
    /// The source stream cannot be read.
    WaitingForSource,
    /// There is no session with the peer.
    WaitingForLink,
    /// The target has not yet said where to resume.
    WaitingForTarget,
    /// Records flow, and older ones wait.
    CatchingUp,
    /// Records flow as they are stored.
    Live,
    /// The target takes nothing, for a reason that resending does not mend.
    Stalled,
    /// An operator paused it.
    Paused,
    /// Its driver has ended.
    Stopped,
}

impl RouteState {
    /// All of them, in the order of a route's life.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::WaitingForSource,
        Self::WaitingForLink,
        Self::WaitingForTarget,
        Self::CatchingUp,
        Self::Live,
        Self::Stalled,
        Self::Paused,
        Self::Stopped,
    ];

    /// As in a label, and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::WaitingForSource => "waiting_for_source",
            Self::WaitingForLink => "waiting_for_link",
            Self::WaitingForTarget => "waiting_for_target",
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Whether records flow.
    pub fn is_running(self) -> bool {
        matches!(self, Self::CatchingUp | Self::Live)
    }
}

/// What became of records, each counted once. `read = stored + duplicate + denied + returned +
/// rejected + expired + pending`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct OutcomeCounts {
    /// Read from the source stream.
    pub read: u64,
    /// Stored by the target.
    pub stored: u64,
    /// Already in the target.
    pub duplicate: u64,
    /// Kept back by residency.
    pub denied: u64,
    /// Not sent because they have been in the target region before.
    pub returned: u64,
    /// Refused by the target for what they are, and kept aside.
    pub rejected: u64,
    /// Outlived on the way.
    pub expired: u64,
    /// Read, and not yet any of these.
    pub pending: u64,
}

impl OutcomeCounts {
    /// Whether every record has exactly one outcome.
    pub fn balance(&self) -> bool {
        let settled = self.stored + self.duplicate + self.rejected + self.expired;
        self.read == settled + self.denied + self.returned + self.pending
    }
}

/// What became of source positions. `span = read + filtered + expired`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PositionCounts {
    /// Positions settled.
    pub span: u64,
    /// That held a record of the route.
    pub read: u64,
    /// That held none: a subject of no interest here, or a record deleted before it was read.
    pub filtered: u64,
    /// Whose records the source's limits dropped before they could be read: lost to this route.
    pub expired: u64,
}

impl PositionCounts {
    /// Whether every position is explained.
    pub fn balance(&self) -> bool {
        self.span == self.read + self.filtered + self.expired
    }
}

/// A route's leg, as its driver knows it.
#[derive(Debug, Clone, Serialize)]
pub struct RouteStatus {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    pub name: RouteName,
    /// Seen from here.
    pub direction: RouteDirection,
    /// The region at the other end of the leg.
    #[serde(serialize_with = "as_text")]
    pub peer: RegionId,
    /// Source stream.
    #[serde(serialize_with = "as_text")]
    pub stream: StreamName,
    /// Target stream.
    #[serde(serialize_with = "as_text")]
    pub target: StreamName,
    /// How it stands.
    pub state: RouteState,
    /// Why it stands so, where that is not plain.
    pub reason: Option<String>,
    /// Incarnation of the source stream.
    pub epoch: Option<u32>,
    /// Source sequence up to which all is settled.
    pub watermark: Option<u64>,
    /// Last sequence of the source stream, as last heard.
    pub source_last_seq: Option<u64>,
    /// Records of the route that are not settled, as last heard.
    pub lag_records: Option<u64>,
    /// Everything stored at the source before this time is settled. Only the source side knows.
    pub replicated_through: Option<f64>,
    /// When something last proved that the route works: records settled, or nothing left to do.
    pub last_progress: Option<f64>,
    /// When the watermark was last handed to the checkpoint store.
    pub checkpointed: Option<f64>,
    /// Where reading, or applying, was last resumed: it goes on behind this source sequence.
    pub resume_point: Option<u64>,
    /// Records read and not settled.
    pub in_flight_records: u64,
    /// Their bytes, decoded.
    pub in_flight_bytes: u64,
    /// What became of records.
    pub outcomes: OutcomeCounts,
    /// What became of source positions.
    pub positions: PositionCounts,
    /// Residency denials by class, counted when read.
    pub denied_by_class: BTreeMap<String, u64>,
    /// Records whose provenance was not theirs and was taken off.
    pub forged_provenance: u64,
    /// Bytes of records settled: subject, headers, payload.
    pub payload_bytes: u64,
    /// Bytes of batches before compression.
    pub plain_bytes: u64,
    /// Bytes of batches as they travelled.
    pub wire_bytes: u64,
    /// Batches that travelled.
    pub batches: u64,
    /// How much CPU compression takes: light, medium, high, highest. `None` where records arrive.
    pub compression: Option<&'static str>,
    /// Lanes given up because of what the peer sent on them.
    pub lanes_refused: u64,
    /// Records a batch.
    #[serde(skip)]
    pub batch_sizes: BatchSizes,
}

impl RouteStatus {
    /// A leg about which nothing is known yet.
    pub fn new(
        name: RouteName,
        direction: RouteDirection,
        peer: RegionId,
        stream: StreamName,
        target: StreamName,
    ) -> Self {
        Self {
            name,
            direction,
            peer,
            stream,
            target,
            state: RouteState::Starting,
            reason: None,
            epoch: None,
            watermark: None,
            source_last_seq: None,
            lag_records: None,
            replicated_through: None,
            last_progress: None,
            checkpointed: None,
            resume_point: None,
            in_flight_records: 0,
            in_flight_bytes: 0,
            outcomes: OutcomeCounts::default(),
            positions: PositionCounts::default(),
            denied_by_class: BTreeMap::new(),
            forged_provenance: 0,
            payload_bytes: 0,
            plain_bytes: 0,
            wire_bytes: 0,
            batches: 0,
            compression: None,
            lanes_refused: 0,
            batch_sizes: BatchSizes::default(),
        }
    }
}

/// A route's leg, and what is worked out from its history.
#[derive(Debug, Clone, Serialize)]
pub struct RouteReport {
    /// As its driver says.
    #[serde(flatten)]
    pub status: RouteStatus,
    /// Whether the books balance.
    pub balanced: bool,
    /// Now less `replicated_through`.
    pub lag_seconds: Option<f64>,
    /// Now less `checkpointed`.
    pub checkpoint_age_seconds: Option<f64>,
    /// Settled over the last seconds.
    pub records_per_second: f64,
    /// Settled over the last seconds.
    pub bytes_per_second: f64,
    /// Bytes of batches before compression for each byte that travelled; `null` before the first batch.
    pub compression_ratio: Option<f64>,
}
