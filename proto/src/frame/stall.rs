//! `Stall`: why a lane waits.

use bytes::{BufMut, BytesMut};

use super::byte_enum;
use crate::error::{DecodeError, EncodeError};
use crate::id::LaneId;
use crate::limits::DETAIL_LEN_MAX;
use crate::wire::{Reader, put_varint, write_text};

/// The target cannot go on with a lane, and why; or, with `StallReason::None`, it goes on. It
/// informs only: what stops the source is missing credit. The lane goes on by itself when it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// The lane.
    pub lane: LaneId,
    /// What it waits for.
    pub reason: StallReason,
    /// More words for a person, see [`clip_detail`](super::clip_detail).
    pub detail: String,
}

byte_enum! {
    /// What a lane waits for.
    StallReason ("stall reason") {
        /// Nothing: the lane goes on.
        None = 0, "none";
        /// The target's server cannot be reached.
        TargetUnreachable = 1, "target_unreachable";
        /// The target stream is at a limit and refuses new records.
        TargetFull = 2, "target_full";
        /// The target stream has no leader.
        NoQuorum = 3, "no_quorum";
        /// The target's server forbids what we must do.
        NoPermission = 4, "no_permission";
        /// The target stream does not exist.
        TargetMissing = 5, "target_missing";
        /// The target stream cannot be written exactly once as it is configured.
        TargetUnfit = 6, "target_unfit";
        /// The residency rules of the two sides differ and the route is strict.
        Denied = 7, "denied";
        /// The route is paused at the target.
        Paused = 8, "paused";
        /// The target finds out what it has, after a reconnect.
        Reconciling = 9, "reconciling";
        /// A person must decide.
        Operator = 10, "operator";
    }
}

impl Stall {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        out.put_u8(self.reason.code());
        write_text(out, &self.detail, DETAIL_LEN_MAX, "detail")
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            reason: StallReason::decode(reader)?,
            detail: reader.text(DETAIL_LEN_MAX, "detail")?.to_owned(),
        })
    }
}
