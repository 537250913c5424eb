//! `Credit`: how much a lane may carry.

use bytes::BytesMut;

use crate::error::{DecodeError, EncodeError};
use crate::id::LaneId;
use crate::wire::{Reader, put_varint, write_varint};

/// Wire bytes that a lane may carry in all since it was opened. It only grows, so a frame that is
/// late or repeated does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// The lane.
    pub lane: LaneId,
    /// The new limit.
    pub limit: u64,
}

impl Credit {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        write_varint(out, self.limit, "limit")
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            limit: reader.varint("limit")?,
        })
    }
}
