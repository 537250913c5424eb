//! Builds a batch record by record.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::{FLAG_RELAYED, FLAG_SAME_SUBJECT, FLAG_TIME_ABSOLUTE, PlainBatch, is_subject};
use crate::error::EncodeError;
use crate::id::{SourceSeq, StoredAt};
use crate::limits::{
    BATCH_PLAIN_LEN_TARGET, BATCH_RECORD_COUNT_MAX, PLAIN_LEN_MAX, RECORD_OVERHEAD_MAX,
    SUBJECT_LEN_MAX, VARINT_MAX,
};
use crate::record::RecordView;
use crate::wire::{checked, put_varint};

/// Collects records into a plain body.
///
/// It is reused for batch after batch. Batches are cut from one piece of memory, which is used again
/// once all batches cut from it are gone.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    body: BytesMut,
    record_count: u32,
    first_seq: SourceSeq,
    last_seq: SourceSeq,
    last_stored_at: StoredAt,
    /// Where the last record's subject stands in `body`.
    last_subject: Range<usize>,
    /// Length of the batch before: what to reserve for the next one.
    len_expected: usize,
}

impl BatchBuilder {
    /// A builder that holds no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no record has been pushed since the last seal.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Records pushed since the last seal.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Length of the body so far.
    pub fn plain_len(&self) -> usize {
        self.body.len()
    }

    /// Sequence of the last record pushed since the last seal.
    pub fn last_seq(&self) -> Option<SourceSeq> {
        (!self.is_empty()).then_some(self.last_seq)
    }

    /// Whether a push of this record stays within what a batch may hold.
    pub fn has_room(&self, record: &RecordView<'_>) -> bool {
        self.record_count < BATCH_RECORD_COUNT_MAX
            && self.body.len() + record.size() + RECORD_OVERHEAD_MAX <= PLAIN_LEN_MAX
    }

    /// Appends a record. Sequences rise strictly. On an error nothing has changed.
    ///
    /// [`EncodeError::BatchFull`] asks for a seal; any other error blames this record, which no batch
    /// can hold.
    pub fn push(&mut self, record: &RecordView<'_>) -> Result<(), EncodeError> {
        self.check(record)?;
        if self.is_empty() {
            self.first_seq = record.seq;
            self.body
                .reserve(self.len_expected.max(record.size() + RECORD_OVERHEAD_MAX));
        }
        let same_subject =
            !self.is_empty() && self.body[self.last_subject.clone()] == *record.subject;
        self.put_head(record, same_subject);
        if !same_subject {
            self.last_subject = self.body.len()..self.body.len() + record.subject.len();
            self.body.put_slice(record.subject);
        }
        self.body.put_slice(record.headers);
        self.body.put_slice(record.payload);
        self.last_seq = record.seq;
        self.last_stored_at = record.stored_at;
        self.record_count += 1;
        Ok(())
    }

    fn check(&self, record: &RecordView<'_>) -> Result<(), EncodeError> {
        if checked(record.seq.0, "seq")? == 0 || self.last_seq().is_some_and(|l| record.seq <= l) {
            return Err(EncodeError::SeqOutOfOrder { seq: record.seq.0 });
        }
        let len = record.subject.len();
        if len > SUBJECT_LEN_MAX {
            return Err(EncodeError::TooLong {
                field: "subject",
                len,
                max: SUBJECT_LEN_MAX,
            });
        }
        if !is_subject(record.subject) {
            return Err(EncodeError::InvalidSubject);
        }
        let (len, max) = (record.size(), PLAIN_LEN_MAX - RECORD_OVERHEAD_MAX);
        if len > max {
            return Err(EncodeError::TooLong {
                field: "record",
                len,
                max,
            });
        }
        if self.has_room(record) {
            Ok(())
        } else {
            Err(EncodeError::BatchFull)
        }
    }

    /// Flags and numbers of a record.
    fn put_head(&mut self, record: &RecordView<'_>, same_subject: bool) {
        let (seq_before, delta) = if self.is_empty() {
            (0, None)
        } else {
            (
                self.last_seq.0,
                time_delta(self.last_stored_at, record.stored_at),
            )
        };
        let mut flags = 0;
        flags |= if record.relayed { FLAG_RELAYED } else { 0 };
        flags |= if delta.is_none() {
            FLAG_TIME_ABSOLUTE
        } else {
            0
        };
        flags |= if same_subject { FLAG_SAME_SUBJECT } else { 0 };
        let out = &mut self.body;
        out.put_u8(flags);
        put_varint(out, record.seq.0 - seq_before);
        match delta {
            Some(delta) => put_varint(out, delta),
            None => out.put_u64(record.stored_at.0),
        }
        if !same_subject {
            put_varint(out, record.subject.len() as u64);
        }
        put_varint(out, record.headers.len() as u64);
        put_varint(out, record.payload.len() as u64);
    }

    /// Ends the batch, which covers the positions `follows + 1 ..= through`, and begins the next.
    /// Without records it gives the batch that only moves `through`. On an error nothing has changed.
    pub fn seal(
        &mut self,
        follows: SourceSeq,
        through: SourceSeq,
    ) -> Result<PlainBatch, EncodeError> {
        if checked(through.0, "through")? < follows.0 {
            return Err(EncodeError::OutOfRange {
                field: "through",
                value: through.0,
            });
        }
        if !self.is_empty() && self.first_seq <= follows {
            return Err(EncodeError::SeqOutOfOrder {
                seq: self.first_seq.0,
            });
        }
        if !self.is_empty() && self.last_seq > through {
            return Err(EncodeError::SeqOutOfOrder {
                seq: self.last_seq.0,
            });
        }
        if self.is_empty() {
            return Ok(PlainBatch::empty(follows, through));
        }
        self.len_expected = (self.body.len() + self.body.len() / 8).min(BATCH_PLAIN_LEN_TARGET);
        let record_count = std::mem::take(&mut self.record_count);
        let body = self.body.split().freeze();
        Ok(PlainBatch {
            follows,
            through,
            record_count,
            body,
        })
    }

    /// Forgets the records pushed since the last seal, and gives all memory back: for a route that
    /// goes idle or starts again from elsewhere.
    pub fn release(&mut self) {
        *self = Self::new();
    }
}

/// Zigzag of the difference of two store times, where a varint can carry it. It cannot across more
/// than 73 years, which only a broken clock produces.
fn time_delta(before: StoredAt, after: StoredAt) -> Option<u64> {
    let delta = after.0.wrapping_sub(before.0) as i64;
    let exact = i128::from(delta) == i128::from(after.0) - i128::from(before.0);
    let zigzag = (delta << 1) as u64 ^ (delta >> 63) as u64;
    (exact && zigzag <= VARINT_MAX).then_some(zigzag)
}
