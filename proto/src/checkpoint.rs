//! Durable values: what a sidecar must still know after it was killed.
//!
//! A value is magic, version, body, CRC32 of all before. Whatever does not check out is refused, and
//! then rebuilt from the streams themselves, so that a lost store costs time and no record.
//!
//! ```text
//! source  "CWSC" u8 version  u32 epoch  u64 created_ns  u64 watermark.seq  u64 watermark.stored_at
//!                u64 first   u8 flags (1 first is known, 2 paused)                      u32 crc
//! target  "CWTC" u8 version  u32 epoch  u64 at.seq  u64 at.stored_at  u64 target_seq
//!                u64 created_ns  u8 flags (1 foreign records seen)                      u32 crc
//! ```
//! Numbers are big-endian.

use crate::id::{Epoch, Position, SourceSeq, StoredAt, TargetSeq};

const SOURCE_MAGIC: &[u8; 4] = b"CWSC";
const TARGET_MAGIC: &[u8; 4] = b"CWTC";
const VERSION: u8 = 1;
const HEAD_LEN: usize = 5;
const CRC_LEN: usize = 4;

/// What a source's bridge knows of a route towards one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceCheckpoint {
    /// The stream's incarnation.
    pub epoch: Epoch,
    /// Creation time of the stream, in nanoseconds since the Unix epoch.
    pub stream_created_ns: u64,
    /// All up to here is settled.
    pub watermark: Position,
    /// The position that reading began behind: what `start` or a `seek` came to. Kept, so that
    /// `start = "new"` means the same after a restart.
    pub first: Option<SourceSeq>,
    /// Whether an operator paused the route.
    pub paused: bool,
}

/// What a target's bridge knows of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetCheckpoint {
    /// Epoch of `at`.
    pub source_epoch: Epoch,
    /// The last source position that is settled.
    pub at: Position,
    /// The target's last sequence then.
    pub target_seq: TargetSeq,
    /// Creation time of the target stream, in nanoseconds since the Unix epoch.
    pub target_created_ns: u64,
    /// Whether records of somebody else were found where the route should write alone.
    pub foreign_seen: bool,
}

/// Why stored bytes are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorruptValue {
    /// The length is wrong.
    #[error("{0} bytes is no length of this value")]
    Length(usize),
    /// The magic is another one.
    #[error("not a checkpoint of this kind")]
    Magic,
    /// A version that this release does not know.
    #[error("version {0} is not known to this release")]
    Version(u8),
    /// The checksum does not hold.
    #[error("checksum does not hold")]
    Checksum,
}

impl SourceCheckpoint {
    /// The durable form.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = begin(SOURCE_MAGIC);
        value.extend(self.epoch.0.to_be_bytes());
        value.extend(self.stream_created_ns.to_be_bytes());
        value.extend(self.watermark.seq.0.to_be_bytes());
        value.extend(self.watermark.stored_at.0.to_be_bytes());
        value.extend(self.first.unwrap_or_default().0.to_be_bytes());
        value.push(u8::from(self.first.is_some()) | u8::from(self.paused) << 1);
        seal(value)
    }

    /// Reads the durable form.
    pub fn decode(value: &[u8]) -> Result<Self, CorruptValue> {
        let mut fields = Fields(open(value, SOURCE_MAGIC, 4 + 4 * 8 + 1)?);
        let epoch = Epoch(fields.u32());
        let stream_created_ns = fields.u64();
        let watermark = fields.position();
        let first = SourceSeq(fields.u64());
        let flags = fields.u8();
        let first = (flags & 1 != 0).then_some(first);
        Ok(Self {
            epoch,
            stream_created_ns,
            watermark,
            first,
            paused: flags & 2 != 0,
        })
    }
}

impl TargetCheckpoint {
    /// The durable form.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = begin(TARGET_MAGIC);
        value.extend(self.source_epoch.0.to_be_bytes());
        value.extend(self.at.seq.0.to_be_bytes());
        value.extend(self.at.stored_at.0.to_be_bytes());
        value.extend(self.target_seq.0.to_be_bytes());
        value.extend(self.target_created_ns.to_be_bytes());
        value.push(u8::from(self.foreign_seen));
        seal(value)
    }

    /// Reads the durable form.
    pub fn decode(value: &[u8]) -> Result<Self, CorruptValue> {
        let mut fields = Fields(open(value, TARGET_MAGIC, 4 + 4 * 8 + 1)?);
        Ok(Self {
            source_epoch: Epoch(fields.u32()),
            at: fields.position(),
            target_seq: TargetSeq(fields.u64()),
            target_created_ns: fields.u64(),
            foreign_seen: fields.u8() & 1 != 0,
        })
    }
}

fn begin(magic: &[u8; 4]) -> Vec<u8> {
    let mut value = magic.to_vec();
    value.push(VERSION);
    value
}

fn seal(mut value: Vec<u8>) -> Vec<u8> {
    value.extend(crc32fast::hash(&value).to_be_bytes());
    value
}

fn open<'a>(value: &'a [u8], magic: &[u8; 4], body_len: usize) -> Result<&'a [u8], CorruptValue> {
    if value.len() < HEAD_LEN + CRC_LEN {
        return Err(CorruptValue::Length(value.len()));
    }
    let (content, crc) = value.split_at(value.len() - CRC_LEN);
    if &content[..4] != magic {
        return Err(CorruptValue::Magic);
    }
    if crc32fast::hash(content).to_be_bytes() != crc {
        return Err(CorruptValue::Checksum);
    }
    if content[4] != VERSION {
        return Err(CorruptValue::Version(content[4]));
    }
    let body = &content[HEAD_LEN..];
    if body.len() != body_len {
        return Err(CorruptValue::Length(value.len()));
    }
    Ok(body)
}

/// Reads fields from a body whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .expect("the body's length was checked against its fields");
        self.0 = rest;
        *head
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    fn position(&mut self) -> Position {
        Position {
            seq: SourceSeq(self.u64()),
            stored_at: StoredAt(self.u64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SourceCheckpoint = SourceCheckpoint {
        epoch: Epoch(3),
        stream_created_ns: 5,
        watermark: Position {
            seq: SourceSeq(7),
            stored_at: StoredAt(8),
        },
        first: Some(SourceSeq(2)),
        paused: true,
    };
    const TARGET: TargetCheckpoint = TargetCheckpoint {
        source_epoch: Epoch(3),
        at: Position {
            seq: SourceSeq(7),
            stored_at: StoredAt(8),
        },
        target_seq: TargetSeq(9),
        target_created_ns: 10,
        foreign_seen: true,
    };

    #[test]
    fn values_are_read_as_written() {
        assert_eq!(SourceCheckpoint::decode(&SOURCE.encode()), Ok(SOURCE));
        assert_eq!(TargetCheckpoint::decode(&TARGET.encode()), Ok(TARGET));
    }

    #[test]
    fn bytes_that_may_never_change() {
        let hex: String = TARGET
            .encode()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let fields = "435754430100000003000000000000000700000000000000080000000000000009";
        assert_eq!(hex[..hex.len() - 8], format!("{fields}000000000000000a01"));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_seen() {
        let good = SOURCE.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SourceCheckpoint::decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(
                SourceCheckpoint::decode(&good[..len]).is_err(),
                "length {len}"
            );
        }
        assert_eq!(TargetCheckpoint::decode(&good), Err(CorruptValue::Magic));
    }
}
