//! `Ack`: what the target has settled.

use bytes::BytesMut;

use crate::error::{DecodeError, EncodeError};
use crate::id::{LaneId, SourceSeq};
use crate::wire::{Reader, put_varint, write_varint};

/// Everything of the lane through this position is settled, sent only after the target's server said
/// so. It alone moves the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The lane.
    pub lane: LaneId,
    /// The last settled position; gaps count.
    pub through: SourceSeq,
    /// What became of the records through there, counted since the lane was opened.
    pub outcomes: Outcomes,
}

/// Records by what became of them. The sum is the number of records that are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// Stored in the target stream.
    pub stored: u64,
    /// Already in the target stream.
    pub duplicate: u64,
    /// Refused by the target region's residency rules.
    pub denied: u64,
    /// Impossible to store, because of the record itself.
    pub rejected: u64,
    /// Out of date before it could be stored.
    pub expired: u64,
}

impl Outcomes {
    /// All settled records. Saturates, because the counters may be a peer's.
    pub fn total(&self) -> u64 {
        self.stored
            .saturating_add(self.duplicate)
            .saturating_add(self.denied)
            .saturating_add(self.rejected)
            .saturating_add(self.expired)
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        write_varint(out, self.stored, "stored")?;
        write_varint(out, self.duplicate, "duplicate")?;
        write_varint(out, self.denied, "denied")?;
        write_varint(out, self.rejected, "rejected")?;
        write_varint(out, self.expired, "expired")
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            stored: reader.varint("stored")?,
            duplicate: reader.varint("duplicate")?,
            denied: reader.varint("denied")?,
            rejected: reader.varint("rejected")?,
            expired: reader.varint("expired")?,
        })
    }
}

impl Ack {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_varint(out, self.lane.0.into());
        write_varint(out, self.through.0, "through")?;
        self.outcomes.encode(out)
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lane: LaneId(reader.varint_u32("lane")?),
            through: SourceSeq(reader.varint("through")?),
            outcomes: Outcomes::decode(reader)?,
        })
    }
}
