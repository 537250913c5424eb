//! Records for the tests of batch and codec.

use super::{BatchBuilder, PlainBatch};
use crate::id::{SourceSeq, StoredAt};
use crate::record::RecordView;

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) seq: u64,
    pub(crate) stored_at: u64,
    pub(crate) relayed: bool,
    pub(crate) subject: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Owned {
    pub(crate) fn view(&self) -> RecordView<'_> {
        RecordView {
            seq: SourceSeq(self.seq),
            stored_at: StoredAt(self.stored_at),
            relayed: self.relayed,
            subject: &self.subject,
            headers: &self.headers,
            payload: &self.payload,
        }
    }
}

/// A record of the given payload.
pub(crate) fn record(seq: u64, payload: &[u8]) -> Owned {
    Owned {
        seq,
        stored_at: 1_795_000_000_000_000_000 + seq * 1_000_003,
        relayed: seq.is_multiple_of(3),
        subject: format!("orders.eu.{}", seq % 4).into_bytes(),
        headers: b"NATS/1.0\r\nTrace: 1\r\n\r\n".to_vec(),
        payload: payload.to_vec(),
    }
}

/// An event such as applications send: the same shape, other values.
pub(crate) fn event(seq: u64) -> Owned {
    let hash = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!(
        r#"{{"id":"{hash:016x}","kind":"order.placed","customer":{},"amount":{},"currency":"EUR"}}"#,
        hash % 10_000,
        hash % 997
    );
    record(seq, text.as_bytes())
}

/// Bytes without any pattern that zstd could find.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// The batch of these records, which covers just their positions and the gaps between them.
pub(crate) fn batch_of(records: &[Owned]) -> PlainBatch {
    let mut builder = BatchBuilder::new();
    for record in records {
        builder.push(&record.view()).unwrap();
    }
    let first = records.first().expect("a batch of something").seq;
    let through = builder.last_seq().expect("a record was pushed");
    builder.seal(SourceSeq(first - 1), through).unwrap()
}

/// A batch of `count` events from `first` on.
pub(crate) fn events(first: u64, count: u64) -> PlainBatch {
    batch_of(&(first..first + count).map(event).collect::<Vec<_>>())
}
