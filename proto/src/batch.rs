//! A batch: an ordered run of a route's records, sealed together. It is the unit of compression, of
//! checksum, of acknowledgement and of loss.
//!
//! A batch says which span of the source stream it covers: the positions `follows + 1 ..= through`. A
//! position in the span without a record is a gap, declared and not inferred. A batch without records
//! only moves `through`.
//!
//! The plain body is the records one after the other, and needs nothing from the head:
//!
//! | Element | Form |
//! |---|---|
//! | flags | one byte: 1 relayed, 2 store time is absolute, 4 subject of the record before |
//! | sequence | varint, less the sequence of the record before (the first: less 0) |
//! | store time | 8 bytes if absolute; else varint, zigzag, less that of the record before |
//! | subject length | varint; absent with flag 4 |
//! | header length | varint |
//! | payload length | varint |
//! | subject | bytes; absent with flag 4 |
//! | headers | bytes |
//! | payload | bytes |
//!
//! The builder copies each record once and takes no memory for one; the iterator yields views into the
//! body.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::id::SourceSeq;
use crate::limits::{BATCH_RECORD_COUNT_MAX, PLAIN_LEN_MAX};

mod builder;
mod records;

pub use builder::BatchBuilder;
pub use records::Records;

/// The source vouches for the record's provenance header.
const FLAG_RELAYED: u8 = 1;
/// The store time is absolute. So is always the first; a later one only where the clock leapt.
pub(crate) const FLAG_TIME_ABSOLUTE: u8 = 2;
/// The subject is that of the record before.
pub(crate) const FLAG_SAME_SUBJECT: u8 = 4;
const FLAGS_KNOWN: u8 = FLAG_RELAYED | FLAG_TIME_ABSOLUTE | FLAG_SAME_SUBJECT;

/// A sealed batch before compression, or after decompression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainBatch {
    /// The position that the batch follows.
    pub follows: SourceSeq,
    /// The last position that the batch covers.
    pub through: SourceSeq,
    /// How many records the body holds.
    pub record_count: u32,
    /// The records.
    pub body: Bytes,
}

impl PlainBatch {
    /// A batch without records, which only moves `through`.
    pub fn empty(follows: SourceSeq, through: SourceSeq) -> Self {
        Self {
            follows,
            through,
            record_count: 0,
            body: Bytes::new(),
        }
    }

    /// The records, as views into the body. Of a batch that passed [`validate`](Self::validate) every
    /// item is `Ok`.
    pub fn iter(&self) -> Records<'_> {
        Records::new(self)
    }

    /// Walks the whole body once: strictly rising sequences within the span, exactly `record_count`
    /// records, no byte left over.
    pub fn validate(&self) -> Result<(), DecodeError> {
        check_shape(self).map_err(|(field, value)| DecodeError::OutOfRange { field, value })?;
        self.iter().try_for_each(|record| record.map(|_| ()))
    }
}

impl<'a> IntoIterator for &'a PlainBatch {
    type Item = Result<crate::record::RecordView<'a>, DecodeError>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What can be said of a batch without a look at its records: `Err` names the field and its value.
fn check_shape(batch: &PlainBatch) -> Result<(), (&'static str, u64)> {
    if batch.through < batch.follows {
        return Err(("through", batch.through.0));
    }
    if batch.record_count > BATCH_RECORD_COUNT_MAX {
        return Err(("record count", batch.record_count.into()));
    }
    if batch.body.len() > PLAIN_LEN_MAX {
        return Err(("plain length", batch.body.len() as u64));
    }
    Ok(())
}

/// Whether NATS can carry a subject. A record with another one would break out of the protocol line
/// in which the publisher writes it.
fn is_subject(subject: &[u8]) -> bool {
    let breaks_line = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    !subject.is_empty() && !subject.iter().any(breaks_line)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
