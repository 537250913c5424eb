//! Durable values: what a sidecar must still know after it was killed.
//!
//! A value is magic, version, body, CRC32 of all before. Whatever does not check out is refused, and
//! then rebuilt from the streams themselves, so that a lost store costs time and no record.
//!
//! The layout of a version never changes. A release that needs another one raises the version, keeps
//! the reader of each older version beside the new one, and adds an arm to `decode`; a version from
//! the future is refused like damage, which a downgrade survives as it survives a lost store.
//!
//! ```text
//! source  "CWSC" u8 version  u32 epoch  u64 created_ns  u64 watermark.seq  u64 watermark.stored_at
//!                u64 first   u8 flags (1 first is known, 2 paused, 4 sought)            u32 crc
//! target  "CWTC" u8 version  u32 epoch  u64 at.seq  u64 at.stored_at  u64 target_seq
//!                u64 created_ns  u64 passed (from version 2)
//!                u8 flags (1 foreign records seen, 2 target_seq shown)                  u32 crc
//! ```
//! Numbers are big-endian. A source's value has version 1, a target's version 2.

use crate::id::{Epoch, Position, SourceSeq, StoredAt, TargetSeq};

const SOURCE_MAGIC: &[u8; 4] = b"CWSC";
const TARGET_MAGIC: &[u8; 4] = b"CWTC";
const SOURCE_VERSION: u8 = 1;
const TARGET_VERSION: u8 = 2;
const HEAD_LEN: usize = 5;
const CRC_LEN: usize = 4;

const FIRST_KNOWN: u8 = 1;
const PAUSED: u8 = 2;
const SOUGHT: u8 = 4;
const FOREIGN_SEEN: u8 = 1;
const TARGET_SEQ_SHOWN: u8 = 2;

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
    /// Whether the epoch was raised by an operator's seek.
    pub sought: bool,
    /// Whether an operator paused the route.
    pub paused: bool,
}

/// What a target's bridge knows of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetCheckpoint {
    /// Epoch of `at`.
    pub source_epoch: Epoch,
    /// The last record that is settled. Where none of the epoch is: the position that its reading began
    /// behind, and the store time of the last record settled before. Position 0 of epoch 0: the target holds
    /// nothing that counts, since it went back.
    pub at: Position,
    /// The target's last sequence then.
    pub target_seq: TargetSeq,
    /// Whether this route's own record stands at `target_seq`, as far as nobody removed it.
    pub target_seq_shown: bool,
    /// Up to here nothing of this route stands behind `target_seq`: what others wrote there need not be
    /// looked at again. Never before `target_seq`.
    pub passed: TargetSeq,
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
    /// Flags that this version does not have.
    #[error("flags {0:#04x} are not known in this version")]
    Flags(u8),
}

impl SourceCheckpoint {
    /// The durable form.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = begin(SOURCE_MAGIC, SOURCE_VERSION);
        value.extend(self.epoch.0.to_be_bytes());
        value.extend(self.stream_created_ns.to_be_bytes());
        value.extend(self.watermark.seq.0.to_be_bytes());
        value.extend(self.watermark.stored_at.0.to_be_bytes());
        value.extend(self.first.unwrap_or_default().0.to_be_bytes());
        value.push(
            flag(self.first.is_some(), FIRST_KNOWN)
                | flag(self.paused, PAUSED)
                | flag(self.sought, SOUGHT),
        );
        seal(value)
    }

    /// Reads the durable form.
    pub fn decode(value: &[u8]) -> Result<Self, CorruptValue> {
        match open(value, SOURCE_MAGIC)? {
            (1, body) => Self::decode_v1(body),
            (version, _) => Err(CorruptValue::Version(version)),
        }
    }

    fn decode_v1(body: &[u8]) -> Result<Self, CorruptValue> {
        let mut fields = Fields::of(body, 4)?;
        let epoch = Epoch(fields.u32());
        let stream_created_ns = fields.u64();
        let watermark = fields.position();
        let first = SourceSeq(fields.u64());
        let flags = fields.flags(FIRST_KNOWN | PAUSED | SOUGHT)?;
        Ok(Self {
            epoch,
            stream_created_ns,
            watermark,
            first: (flags & FIRST_KNOWN != 0).then_some(first),
            sought: flags & SOUGHT != 0,
            paused: flags & PAUSED != 0,
        })
    }
}

impl TargetCheckpoint {
    /// Whether nothing is settled: what the target may hold of the route does not count.
    pub fn says_nothing(&self) -> bool {
        self.source_epoch == Epoch(0) && self.at == Position::default()
    }

    /// Whether this target never held anything of the route that counts: all it says is what was passed.
    pub fn is_fresh(&self) -> bool {
        self.says_nothing() && self.target_seq == TargetSeq(0)
    }

    /// The durable form.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = begin(TARGET_MAGIC, TARGET_VERSION);
        value.extend(self.source_epoch.0.to_be_bytes());
        value.extend(self.at.seq.0.to_be_bytes());
        value.extend(self.at.stored_at.0.to_be_bytes());
        value.extend(self.target_seq.0.to_be_bytes());
        value.extend(self.target_created_ns.to_be_bytes());
        value.extend(self.passed.0.to_be_bytes());
        value.push(
            flag(self.foreign_seen, FOREIGN_SEEN) | flag(self.target_seq_shown, TARGET_SEQ_SHOWN),
        );
        seal(value)
    }

    /// Reads the durable form.
    pub fn decode(value: &[u8]) -> Result<Self, CorruptValue> {
        match open(value, TARGET_MAGIC)? {
            (1, body) => Self::read(Fields::of(body, 4)?, 1),
            (2, body) => Self::read(Fields::of(body, 5)?, 2),
            (version, _) => Err(CorruptValue::Version(version)),
        }
    }

    fn read(mut fields: Fields<'_>, version: u8) -> Result<Self, CorruptValue> {
        let source_epoch = Epoch(fields.u32());
        let at = fields.position();
        let target_seq = TargetSeq(fields.u64());
        let target_created_ns = fields.u64();
        let passed = match version {
            1 => target_seq,
            _ => TargetSeq(fields.u64()).max(target_seq),
        };
        let flags = fields.flags(FOREIGN_SEEN | TARGET_SEQ_SHOWN)?;
        Ok(Self {
            source_epoch,
            at,
            target_seq,
            target_seq_shown: flags & TARGET_SEQ_SHOWN != 0,
            passed,
            target_created_ns,
            foreign_seen: flags & FOREIGN_SEEN != 0,
        })
    }
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

pub(crate) fn begin(magic: &[u8; 4], version: u8) -> Vec<u8> {
    let mut value = magic.to_vec();
    value.push(version);
    value
}

pub(crate) fn seal(mut value: Vec<u8>) -> Vec<u8> {
    value.extend(crc32fast::hash(&value).to_be_bytes());
    value
}

/// Checks what all versions have in common. Returns the version and the body.
pub(crate) fn open<'a>(value: &'a [u8], magic: &[u8; 4]) -> Result<(u8, &'a [u8]), CorruptValue> {
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
    Ok((content[4], &content[HEAD_LEN..]))
}

/// Reads fields from a body whose length was checked.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A body of an epoch, so many numbers, and the flags.
    fn of(body: &'a [u8], numbers: usize) -> Result<Self, CorruptValue> {
        if body.len() != 4 + numbers * 8 + 1 {
            return Err(CorruptValue::Length(HEAD_LEN + body.len() + CRC_LEN));
        }
        Ok(Self(body))
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .expect("the body's length was checked against its fields");
        self.0 = rest;
        *head
    }

    fn flags(&mut self, known: u8) -> Result<u8, CorruptValue> {
        let [flags] = self.take();
        match flags & !known {
            0 => Ok(flags),
            _ => Err(CorruptValue::Flags(flags)),
        }
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
mod tests;
