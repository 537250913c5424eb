//! The head of a batch on the wire.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::id::{BatchSeq, Epoch, LaneId, SourceSeq};
use crate::limits::{
    BATCH_HEAD_LEN_MAX, BATCH_RECORD_COUNT_MAX, BODY_SLACK, PLAIN_LEN_MAX, RECORD_LEN_MIN,
    VARINT_MAX,
};
use crate::wire::{Reader, put_varint};

const MAGIC: u8 = 0xcb;

/// How a body travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    Raw,
    /// Through the lane's zstd context.
    Zstd,
    /// Its shaped form (`crate::shape`) through the lane's zstd context.
    Shaped,
}

impl Codec {
    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Shaped => 2,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8("codec")? {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Shaped),
            unknown => Err(DecodeError::OutOfRange {
                field: "codec",
                value: unknown.into(),
            }),
        }
    }
}

/// What precedes the body of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// The lane that the batch belongs to.
    pub lane: LaneId,
    /// Number of the batch in its lane.
    pub seq: BatchSeq,
    /// The position that the batch follows.
    pub follows: SourceSeq,
    /// The last position that the batch covers.
    pub through: SourceSeq,
    /// Records in the batch.
    pub record_count: u32,
    /// Epoch of the lane.
    pub epoch: Epoch,
    /// How the body travels.
    pub codec: Codec,
    /// The encoder's context.
    pub context: u32,
    /// Bytes that went through the context before this batch.
    pub context_position: u64,
    /// Length of the plain body.
    pub plain_len: u32,
    /// Length of what goes through the context: the plain body or its shaped form; 0 where it is raw.
    pub packed_len: u32,
    /// Length of the body on the wire.
    pub body_len: u32,
    /// CRC32 of the plain body.
    pub crc: u32,
}

impl BatchHead {
    /// Writes the head, or refuses one that no decoder would accept.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        self.check()
            .map_err(|(field, value)| EncodeError::OutOfRange { field, value })?;
        let mut out = BytesMut::with_capacity(BATCH_HEAD_LEN_MAX);
        out.put_u8(MAGIC);
        out.put_u8(self.codec.code());
        put_varint(&mut out, self.lane.0.into());
        put_varint(&mut out, self.seq.0);
        put_varint(&mut out, self.epoch.0.into());
        put_varint(&mut out, self.follows.0);
        put_varint(&mut out, self.through.0 - self.follows.0);
        put_varint(&mut out, self.record_count.into());
        put_varint(&mut out, self.context.into());
        put_varint(&mut out, self.context_position);
        put_varint(&mut out, self.plain_len.into());
        if self.codec == Codec::Shaped {
            put_varint(&mut out, self.packed_len.into());
        }
        put_varint(&mut out, self.body_len.into());
        out.put_u32(self.crc);
        Ok(out.freeze())
    }

    /// Reads a head that fills the slice.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let head = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(head)
    }

    /// Reads a head from the front of a stream's bytes, and says how many bytes it took. `None` asks
    /// for more bytes, of which [`BATCH_HEAD_LEN_MAX`] always suffice.
    pub fn decode_prefix(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let mut reader = Reader::new(bytes);
        match Self::read(&mut reader) {
            Ok(head) => Ok(Some((head, reader.offset()))),
            Err(DecodeError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8("magic")? != MAGIC {
            return Err(DecodeError::BadMagic);
        }
        let codec = Codec::decode(reader)?;
        let lane = LaneId(reader.varint_u32("lane")?);
        let seq = BatchSeq(reader.varint("batch seq")?);
        let epoch = Epoch(reader.varint_u32("epoch")?);
        let follows = reader.varint("follows")?;
        let span = reader.varint("span")?;
        let record_count = reader.varint_u32("record count")?;
        let context = reader.varint_u32("context")?;
        let context_position = reader.varint("context position")?;
        let plain_len = reader.varint_u32("plain length")?;
        let packed_len = match codec {
            Codec::Raw => 0,
            Codec::Zstd => plain_len,
            Codec::Shaped => reader.varint_u32("packed length")?,
        };
        let head = Self {
            lane,
            seq,
            follows: SourceSeq(follows),
            through: SourceSeq(follows + span),
            record_count,
            epoch,
            codec,
            context,
            context_position,
            plain_len,
            packed_len,
            body_len: reader.varint_u32("body length")?,
            crc: reader.u32("crc")?,
        };
        head.check()
            .map_err(|(field, value)| DecodeError::OutOfRange { field, value })?;
        Ok(head)
    }

    /// What encoder and decoder both refuse: `Err` names the field and its value.
    pub(super) fn check(&self) -> Result<(), (&'static str, u64)> {
        let (plain_len, body_len) = (self.plain_len as usize, self.body_len as usize);
        let span = self
            .through
            .0
            .checked_sub(self.follows.0)
            .ok_or(("through", self.through.0))?;
        let at_most = |field, value, max| {
            if value > max {
                Err((field, value))
            } else {
                Ok(())
            }
        };
        at_most("batch seq", self.seq.0, VARINT_MAX)?;
        at_most("through", self.through.0, VARINT_MAX)?;
        at_most("context position", self.context_position, VARINT_MAX)?;
        at_most("plain length", self.plain_len.into(), PLAIN_LEN_MAX as u64)?;
        at_most(
            "record count",
            self.record_count.into(),
            span.min(BATCH_RECORD_COUNT_MAX.into()),
        )?;
        let plain_len_min = self.record_count as usize * RECORD_LEN_MIN;
        if plain_len < plain_len_min || (self.record_count == 0 && plain_len > 0) {
            return Err(("plain length", self.plain_len.into()));
        }
        let body_len_fits = match self.codec {
            Codec::Raw => body_len == plain_len,
            Codec::Zstd | Codec::Shaped => {
                plain_len > 0 && (1..=plain_len + BODY_SLACK).contains(&body_len)
            }
        };
        let packed_len_fits = match self.codec {
            Codec::Raw => self.packed_len == 0,
            Codec::Zstd => self.packed_len == self.plain_len,
            Codec::Shaped => (1..self.plain_len).contains(&self.packed_len),
        };
        if !packed_len_fits {
            return Err(("packed length", self.packed_len.into()));
        }
        if body_len_fits {
            Ok(())
        } else {
            Err(("body length", self.body_len.into()))
        }
    }
}
