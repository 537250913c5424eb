//! Reads the records of a batch.

use super::{
    FLAG_RELAYED, FLAG_SAME_SUBJECT, FLAG_TIME_ABSOLUTE, FLAGS_KNOWN, PlainBatch, is_subject,
};
use crate::error::DecodeError;
use crate::id::{SourceSeq, StoredAt};
use crate::limits::{PLAIN_LEN_MAX, SUBJECT_LEN_MAX};
use crate::record::RecordView;
use crate::wire::Reader;

/// Iterator over the records of a [`PlainBatch`]. It ends after the first error, and reports as an
/// error what is left over after the last record.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    reader: Reader<'a>,
    record_count: u32,
    /// Records read so far.
    index: u32,
    done: bool,
    follows: SourceSeq,
    through: SourceSeq,
    last: Last<'a>,
}

/// What the next record is told against.
#[derive(Debug, Clone, Default)]
struct Last<'a> {
    seq: u64,
    stored_at: u64,
    subject: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn new(batch: &'a PlainBatch) -> Self {
        Self {
            reader: Reader::new(&batch.body),
            record_count: batch.record_count,
            index: 0,
            done: false,
            follows: batch.follows,
            through: batch.through,
            last: Last::default(),
        }
    }

    fn record(&mut self) -> Result<RecordView<'a>, DecodeError> {
        let reader = &mut self.reader;
        let flags = reader.u8("flags")?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(DecodeError::OutOfRange {
                field: "flags",
                value: flags.into(),
            });
        }
        let seq = self.last.seq.saturating_add(reader.varint("seq")?);
        let stored_at = if flags & FLAG_TIME_ABSOLUTE != 0 {
            reader.u64("stored_at")?
        } else if self.index == 0 {
            return Err(DecodeError::OutOfRange {
                field: "flags",
                value: flags.into(),
            });
        } else {
            apply_delta(self.last.stored_at, reader.varint("stored_at")?)?
        };
        let subject_len = match flags & FLAG_SAME_SUBJECT {
            0 => Some(reader.len(SUBJECT_LEN_MAX, "subject")?),
            _ => None,
        };
        let headers_len = reader.len(PLAIN_LEN_MAX, "headers")?;
        let payload_len = reader.len(PLAIN_LEN_MAX, "payload")?;
        let subject = match subject_len {
            Some(len) => reader.take(len, "subject")?,
            None => self.last.subject,
        };
        let headers = reader.take(headers_len, "headers")?;
        let payload = reader.take(payload_len, "payload")?;
        self.check(seq, subject, subject_len.is_some())?;
        self.last = Last {
            seq,
            stored_at,
            subject,
        };
        Ok(RecordView {
            seq: SourceSeq(seq),
            stored_at: StoredAt(stored_at),
            relayed: flags & FLAG_RELAYED != 0,
            subject,
            headers,
            payload,
        })
    }

    fn check(&self, seq: u64, subject: &[u8], subject_is_new: bool) -> Result<(), DecodeError> {
        let rises = seq > self.last.seq && seq > self.follows.0;
        if !rises || seq > self.through.0 {
            return Err(DecodeError::SeqOutOfOrder {
                index: self.index,
                seq,
            });
        }
        // The subject of the record before was checked with it; there is none before the first.
        let legal = if subject_is_new {
            is_subject(subject)
        } else {
            !subject.is_empty()
        };
        if legal {
            Ok(())
        } else {
            Err(DecodeError::InvalidSubject { index: self.index })
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index == self.record_count {
            self.done = true;
            return self.reader.clone().finish().err().map(Err);
        }
        let record = self.record();
        self.done = record.is_err();
        self.index += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.done {
            (0, Some(0))
        } else {
            (0, Some((self.record_count - self.index) as usize + 1))
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// Adds a zigzag difference to a store time; one that leaves 64 bits is refused.
fn apply_delta(before: u64, zigzag: u64) -> Result<u64, DecodeError> {
    let delta = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    let out_of_range = DecodeError::OutOfRange {
        field: "stored_at",
        value: zigzag,
    };
    before.checked_add_signed(delta).ok_or(out_of_range)
}
