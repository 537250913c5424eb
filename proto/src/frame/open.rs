//! `Open`: the source begins a lane.

use bytes::{BufMut, BytesMut};

use super::byte_enum;
use crate::error::{DecodeError, EncodeError};
use crate::id::{Epoch, LaneId, NAME_LEN_MAX, RouteName, STREAM_NAME_LEN_MAX, StreamName};
use crate::wire::{Reader, put_varint, write_text};

/// A lane for a route begins. The target answers with `Resume` when its publisher is ready, with
/// `Stall` while it is not, or with `CloseLane` when there is no such route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The lane, numbered by the source side and never used before in this session.
    pub lane: LaneId,
    /// The route whose records it will carry.
    pub route: RouteName,
    /// The source stream, which is part of every record's name.
    pub stream: StreamName,
    /// Incarnation of the source stream. Another than the target knows makes its resume point void.
    pub epoch: Epoch,
    /// Who goes first when the link is full.
    pub class: LaneClass,
}

byte_enum! {
    /// Who goes first when a link is full.
    LaneClass ("class") {
        /// Fresh records that somebody waits for.
        Live = 0, "live";
        /// The usual.
        Normal = 1, "normal";
        /// Backlog; goes when nothing else does.
        Bulk = 2, "bulk";
    }
}

impl Open {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        write_text(out, self.route.as_str(), NAME_LEN_MAX, "route")?;
        write_text(out, self.stream.as_str(), STREAM_NAME_LEN_MAX, "stream")?;
        put_varint(out, self.epoch.0.into());
        out.put_u8(self.class.code());
        Ok(())
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            route: reader.name(NAME_LEN_MAX, "route", RouteName::new)?,
            stream: reader.name(STREAM_NAME_LEN_MAX, "stream", StreamName::new)?,
            epoch: Epoch(reader.varint_u32("epoch")?),
            class: LaneClass::decode(reader)?,
        })
    }
}
