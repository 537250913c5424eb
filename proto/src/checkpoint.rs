//! Durable values (placeholder of the shapes until their encoding lands).
use crate::id::{Epoch, Position, TargetSeq};
/// What a target's bridge knows of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetCheckpoint {
    /// Epoch of `at`.
    pub source_epoch: Epoch,
    /// Last settled source position.
    pub at: Position,
    /// The target's last sequence then.
    pub target_seq: TargetSeq,
    /// The target stream's creation time.
    pub target_created_ns: u64,
    /// Whether foreign records were seen.
    pub foreign_seen: bool,
}
