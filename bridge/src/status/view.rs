//! The shapes of `/status`. Field names are part of the interface: people and scripts read them.
//!
//! What is not known is `null`, never a number that comforts. Times are seconds since the Unix epoch,
//! counters start at 0 with the process.

mod link;
mod route;

use std::collections::BTreeMap;

use causeway_proto::id::RegionId;
use serde::Serialize;
use serde::ser::Serializer;

pub use self::link::{LinkReport, LinkState, LinkStatus};
pub use self::route::{
    OutcomeCounts, PositionCounts, RouteDirection, RouteReport, RouteState, RouteStatus,
};
use super::rate_report::RateReport;
use crate::reload::ReloadStatus;

/// Everything an operator may ask of one sidecar, at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The region.
    #[serde(serialize_with = "as_text")]
    pub region: RegionId,
    /// Of this program.
    pub version: &'static str,
    /// Since the process began.
    pub uptime_seconds: f64,
    /// Whether every NATS connection is up and every route has been resumed once.
    pub ready: bool,
    /// Whether the books balance and no task of ours has died.
    pub healthy: bool,
    /// Whether the process is ending.
    pub draining: bool,
    /// What keeps it from being ready or healthy.
    pub reasons: Vec<String>,
    /// Connections to the region's NATS.
    pub connections: Vec<ConnectionStatus>,
    /// What all links together may send.
    pub rate: Option<RateReport>,
    /// One for each peer.
    pub links: Vec<LinkReport>,
    /// One for each leg that leaves or arrives here.
    pub routes: Vec<RouteReport>,
    /// Connections refused since the start, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// The checkpoint store.
    pub checkpoints: CheckpointStatus,
    /// Certificates in use and when they end.
    pub certificates: Vec<CertificateStatus>,
    /// Why their files, as they are now, cannot be used; what was read before stays in use.
    pub certificates_problem: Option<String>,
    /// What became of reading the fleet file again.
    pub reload: ReloadStatus,
}

/// A connection to NATS.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConnectionStatus {
    /// What it is for: `source`, `target` or `control`.
    pub name: &'static str,
    /// Whether it is up.
    pub up: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The server at its other end, as it names itself.
    pub server: Option<String>,
    /// Times that it was up again after it had been lost.
    pub reconnects: u64,
}

impl ConnectionStatus {
    /// A connection that is not up yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }
}

/// The checkpoint store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CheckpointStatus {
    /// Whether the disk takes nothing at the moment.
    pub failing: bool,
    /// Stores found damaged and set aside.
    pub set_aside: u64,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    /// What it is for: `own` or `ca`.
    pub which: &'static str,
    /// Where it was read.
    pub path: String,
    /// Whole days until it ends, negative when it has; of several authorities the one that ends first.
    pub days_left: Option<i64>,
    /// The second since the Unix epoch in which it ends.
    pub ends_at: Option<i64>,
}

fn as_text<S: Serializer>(name: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&name.to_string())
}
