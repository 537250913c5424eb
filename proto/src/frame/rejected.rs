//! `Rejected`: a record that the target can never store.

use bytes::BytesMut;

use super::resume::{decode_position, encode_position};
use crate::error::{DecodeError, EncodeError};
use crate::id::{LaneId, Position};
use crate::limits::DETAIL_LEN_MAX;
use crate::wire::{Reader, put_varint, write_text};

/// A record that the target's server refuses for ever, because of the record itself. The source keeps
/// it aside and then sends the frame back; until then the target publishes nothing behind it, and after
/// it the `Ack` that covers the record counts it as rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The lane.
    pub lane: LaneId,
    /// Which record.
    pub at: Position,
    /// JetStream's `err_code`, or 0 where the refusal did not come from the server.
    pub code: u32,
    /// The server's words, see [`clip_detail`](super::clip_detail).
    pub reason: String,
}

impl Rejected {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        encode_position(self.at, out)?;
        put_varint(out, self.code.into());
        write_text(out, &self.reason, DETAIL_LEN_MAX, "reason")
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            at: decode_position(reader)?,
            code: reader.varint_u32("code")?,
            reason: reader.text(DETAIL_LEN_MAX, "reason")?.to_owned(),
        })
    }
}
