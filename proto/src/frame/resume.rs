//! `Resume`: the target is ready for a lane's records.

use bytes::{BufMut, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::id::{Epoch, LaneId, Position, SourceSeq, StoredAt};
use crate::wire::{Reader, put_varint, write_varint};

/// The target's answer to `Open`: where to go on, and the first credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The lane.
    pub lane: LaneId,
    /// The epoch of `after`. Where it is not the lane's, the source decides what `after` still means.
    pub epoch: Epoch,
    /// The last position that the target has; `None` when it knows nothing of this route.
    pub after: Option<Position>,
    /// Wire bytes that the lane may carry in all, as in `Credit`.
    pub credit: u64,
}

impl Resume {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        put_varint(out, self.epoch.0.into());
        match self.after {
            None => out.put_u8(0),
            Some(position) => {
                out.put_u8(1);
                encode_position(position, out)?;
            }
        }
        write_varint(out, self.credit, "credit")
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            epoch: Epoch(reader.varint_u32("epoch")?),
            after: match reader.u8("after")? {
                0 => None,
                1 => Some(decode_position(reader)?),
                value => {
                    let value = u64::from(value);
                    return Err(DecodeError::OutOfRange {
                        field: "after",
                        value,
                    });
                }
            },
            credit: reader.varint("credit")?,
        })
    }
}

/// A position: the sequence as a varint, the store time as a fixed number.
pub(super) fn encode_position(position: Position, out: &mut BytesMut) -> Result<(), EncodeError> {
    write_varint(out, position.seq.0, "seq")?;
    out.put_u64(position.stored_at.0);
    Ok(())
}

pub(super) fn decode_position(reader: &mut Reader<'_>) -> Result<Position, DecodeError> {
    Ok(Position {
        seq: SourceSeq(reader.varint("seq")?),
        stored_at: StoredAt(reader.u64("stored_at")?),
    })
}
