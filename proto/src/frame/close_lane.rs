//! `CloseLane`: the end of a lane, not of the session.

use bytes::{BufMut, BytesMut};

use super::byte_enum;
use crate::error::{DecodeError, EncodeError};
use crate::id::LaneId;
use crate::limits::DETAIL_LEN_MAX;
use crate::wire::{Reader, put_varint, write_text};

/// A lane ends. What was sent and not acknowledged is forgotten by both sides; the next lane of the
/// route begins at its own resume point. Either end sends it, once; what still arrives is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseLane {
    /// The lane.
    pub lane: LaneId,
    /// Why.
    pub reason: LaneCloseReason,
    /// More words for a person, see [`clip_detail`](super::clip_detail).
    pub detail: String,
}

byte_enum! {
    /// Why a lane ends.
    LaneCloseReason ("lane close reason") {
        /// The target lost records that it had acknowledged; the source must go back.
        Rewind = 0, "rewind";
        /// The source stream is another one than before: a new epoch.
        SourceReset = 1, "source_reset";
        /// The peer has no such route.
        RouteUnknown = 2, "route_unknown";
        /// The route is paused.
        RoutePaused = 3, "route_paused";
        /// The target stream is another one than before.
        TargetReset = 4, "target_reset";
        /// The other end broke the protocol on this lane.
        Misbehaved = 5, "misbehaved";
        /// The bridge shuts down.
        Shutdown = 6, "shutdown";
        /// The route was taken out of the configuration.
        RouteClosed = 7, "route_closed";
    }
}

impl CloseLane {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        out.put_u8(self.reason.code());
        write_text(out, &self.detail, DETAIL_LEN_MAX, "detail")
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            reason: LaneCloseReason::decode(reader)?,
            detail: reader.text(DETAIL_LEN_MAX, "detail")?.to_owned(),
        })
    }
}
