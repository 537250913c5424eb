use bytes::Bytes;
use proptest::prelude::*;

use super::testing::{Owned, batch_of, event, record};
use super::*;
use crate::error::EncodeError;
use crate::limits::{
    BATCH_PLAIN_LEN_TARGET, RECORD_LEN_MIN, RECORD_OVERHEAD_MAX, SUBJECT_LEN_MAX, VARINT_MAX,
};

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    let numbers = (1u64..1 << 40, any::<(u64, bool)>());
    let one = (numbers, "[a-c.]{1,4}", bytes(40), bytes(80));
    proptest::collection::vec(one, 1..20).prop_map(|records| {
        let mut seq = 0;
        let owned =
            |((delta, (stored_at, relayed)), subject, headers, payload): (_, String, _, _)| {
                seq += delta;
                Owned {
                    seq,
                    stored_at,
                    relayed,
                    subject: subject.into_bytes(),
                    headers,
                    payload,
                }
            };
        records.into_iter().map(owned).collect()
    })
}

fn decoded(batch: &PlainBatch) -> Result<Vec<Owned>, DecodeError> {
    let owned = |view: crate::record::RecordView<'_>| Owned {
        seq: view.seq.0,
        stored_at: view.stored_at.0,
        relayed: view.relayed,
        subject: view.subject.to_vec(),
        headers: view.headers.to_vec(),
        payload: view.payload.to_vec(),
    };
    batch.iter().map(|record| record.map(owned)).collect()
}

fn with_body(batch: &PlainBatch, body: impl Into<Bytes>) -> PlainBatch {
    PlainBatch {
        body: body.into(),
        ..batch.clone()
    }
}

/// The verdict on a body that claims one record in the span 1 to 100.
fn verdict(body: &'static [u8]) -> Result<(), DecodeError> {
    let (follows, through) = (SourceSeq(0), SourceSeq(100));
    PlainBatch {
        follows,
        through,
        record_count: 1,
        body: Bytes::from_static(body),
    }
    .validate()
}

proptest! {
    #[test]
    fn batches_round_trip(records in records()) {
        let batch = batch_of(&records);
        prop_assert_eq!(batch.validate(), Ok(()));
        prop_assert_eq!(decoded(&batch), Ok(records));
    }

    #[test]
    fn truncated_and_trailing_bytes_are_refused(records in records()) {
        let batch = batch_of(&records);
        for cut in 0..batch.body.len() {
            prop_assert!(with_body(&batch, batch.body.slice(..cut)).validate().is_err());
        }
        let longer = with_body(&batch, [&batch.body[..], &[0]].concat());
        prop_assert_eq!(longer.validate(), Err(DecodeError::TrailingBytes { count: 1 }));
    }

    #[test]
    fn a_flipped_bit_never_panics(records in records()) {
        let batch = batch_of(&records);
        let mut body = batch.body.to_vec();
        for bit in 0..body.len() * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            let flipped = with_body(&batch, body.clone());
            prop_assert_eq!(flipped.validate().is_ok(), decoded(&flipped).is_ok());
            body[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), record_count in 0u32..5) {
        let (follows, through) = (SourceSeq(0), SourceSeq(VARINT_MAX));
        let batch = PlainBatch { follows, through, record_count, body: body.into() };
        prop_assert_eq!(batch.validate().is_ok(), decoded(&batch).is_ok());
    }

    #[test]
    fn a_record_takes_no_more_than_its_overhead(records in records()) {
        let size: usize = records.iter().map(|record| record.view().size()).sum();
        let len = batch_of(&records).body.len();
        prop_assert!(len <= size + records.len() * RECORD_OVERHEAD_MAX);
    }
}

#[test]
fn a_count_other_than_the_records_is_refused() {
    let batch = batch_of(&[event(1), event(2)]);
    let fewer = PlainBatch {
        record_count: 1,
        ..batch.clone()
    };
    assert!(matches!(
        fewer.validate(),
        Err(DecodeError::TrailingBytes { .. })
    ));
    let more = PlainBatch {
        record_count: 3,
        ..batch
    };
    assert!(matches!(
        more.validate(),
        Err(DecodeError::Truncated { field: "flags", .. })
    ));
}

#[test]
fn records_stay_within_the_span() {
    let batch = batch_of(&[event(7), event(9)]);
    let late = PlainBatch {
        follows: SourceSeq(7),
        ..batch.clone()
    };
    assert_eq!(
        late.validate(),
        Err(DecodeError::SeqOutOfOrder { index: 0, seq: 7 })
    );
    let short = PlainBatch {
        through: SourceSeq(8),
        ..batch.clone()
    };
    assert_eq!(
        short.validate(),
        Err(DecodeError::SeqOutOfOrder { index: 1, seq: 9 })
    );
    let backwards = PlainBatch {
        follows: SourceSeq(9),
        through: SourceSeq(8),
        ..batch
    };
    assert_eq!(
        backwards.validate(),
        Err(DecodeError::OutOfRange {
            field: "through",
            value: 8
        })
    );
}

#[test]
fn records_of_wrong_bytes_are_refused() {
    // flags, seq, time (8 bytes), lengths of subject, headers and payload, subject "s".
    assert_eq!(verdict(b"\x02\x01\0\0\0\0\0\0\0\0\x01\0\0s"), Ok(()));
    let repeated = verdict(b"\x02\x00\0\0\0\0\0\0\0\0\x01\0\0s");
    assert_eq!(
        repeated,
        Err(DecodeError::SeqOutOfOrder { index: 0, seq: 0 })
    );
    let unknown_flag = verdict(b"\x0a\x01\0\0\0\0\0\0\0\0\x01\0\0s");
    assert_eq!(
        unknown_flag,
        Err(DecodeError::OutOfRange {
            field: "flags",
            value: 10
        })
    );
    let relative_time = verdict(b"\x00\x01\x00\x01\0\0s");
    assert_eq!(
        relative_time,
        Err(DecodeError::OutOfRange {
            field: "flags",
            value: 0
        })
    );
    let no_subject_before = verdict(b"\x06\x01\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(
        no_subject_before,
        Err(DecodeError::InvalidSubject { index: 0 })
    );
    let line_break = verdict(b"\x02\x01\0\0\0\0\0\0\0\0\x01\0\0\n");
    assert_eq!(line_break, Err(DecodeError::InvalidSubject { index: 0 }));
    let payload_len = verdict(b"\x02\x01\0\0\0\0\0\0\0\0\x01\0\xff\xff\xff\xff\xff\xff\xff\xffs");
    assert!(matches!(
        payload_len,
        Err(DecodeError::TooLong {
            field: "payload",
            ..
        })
    ));
}

#[test]
fn the_builder_refuses_what_the_decoder_would_and_stays_as_it_was() {
    let mut builder = BatchBuilder::new();
    builder.push(&event(5).view()).unwrap();
    let (plain_len, count) = (builder.plain_len(), builder.record_count());
    let out_of_order = |seq| Err(EncodeError::SeqOutOfOrder { seq });
    assert_eq!(builder.push(&event(5).view()), out_of_order(5));
    assert_eq!(builder.push(&event(0).view()), out_of_order(0));
    for subject in [&b""[..], b"a b", b"a\r\nPUB x"] {
        let bad = Owned {
            subject: subject.to_vec(),
            ..event(6)
        };
        assert_eq!(builder.push(&bad.view()), Err(EncodeError::InvalidSubject));
    }
    let long = Owned {
        subject: vec![b's'; SUBJECT_LEN_MAX + 1],
        ..event(6)
    };
    assert!(matches!(
        builder.push(&long.view()),
        Err(EncodeError::TooLong { .. })
    ));
    let large = record(6, &vec![0; PLAIN_LEN_MAX]);
    assert!(matches!(
        builder.push(&large.view()),
        Err(EncodeError::TooLong { .. })
    ));
    assert_eq!(
        builder.seal(SourceSeq(5), SourceSeq(9)),
        Err(EncodeError::SeqOutOfOrder { seq: 5 })
    );
    assert_eq!(
        builder.seal(SourceSeq(0), SourceSeq(4)),
        Err(EncodeError::SeqOutOfOrder { seq: 5 })
    );
    assert_eq!(
        (builder.plain_len(), builder.record_count()),
        (plain_len, count)
    );
    assert_eq!(
        decoded(&builder.seal(SourceSeq(0), SourceSeq(9)).unwrap()),
        Ok(vec![event(5)])
    );
}

#[test]
fn a_full_batch_asks_for_a_seal() {
    let mut builder = BatchBuilder::new();
    let large = |seq| record(seq, &vec![7; PLAIN_LEN_MAX - 1024]);
    builder.push(&large(1).view()).unwrap();
    assert!(!builder.has_room(&large(2).view()));
    assert_eq!(builder.push(&large(2).view()), Err(EncodeError::BatchFull));
    builder
        .seal(SourceSeq(0), SourceSeq(1))
        .unwrap()
        .validate()
        .unwrap();
    builder.push(&large(2).view()).unwrap();
}

#[test]
fn the_smallest_records_reach_the_target_before_the_count() {
    let smallest = |seq| Owned {
        subject: b"s".to_vec(),
        headers: Vec::new(),
        payload: Vec::new(),
        stored_at: 0,
        ..event(seq)
    };
    let mut builder = BatchBuilder::new();
    let mut seq = 0;
    while builder.plain_len() < BATCH_PLAIN_LEN_TARGET {
        seq += 1;
        builder.push(&smallest(seq).view()).unwrap();
    }
    assert!(builder.plain_len() >= seq as usize * RECORD_LEN_MIN);
    builder
        .seal(SourceSeq(0), SourceSeq(seq))
        .unwrap()
        .validate()
        .unwrap();
}

#[test]
fn a_batch_without_records_moves_through() {
    let mut builder = BatchBuilder::new();
    let batch = builder.seal(SourceSeq(3), SourceSeq(9)).unwrap();
    assert_eq!(batch, PlainBatch::empty(SourceSeq(3), SourceSeq(9)));
    assert_eq!(batch.validate(), Ok(()));
    assert_eq!(batch.iter().count(), 0);
    assert!(with_body(&batch, vec![0]).validate().is_err());
}

#[test]
fn clock_leaps_are_carried() {
    let times = [u64::MAX, 0, u64::MAX / 2, 1, 1 << 61, (1 << 62) + 1];
    let at = |(seq, &stored_at): (usize, &u64)| Owned {
        stored_at,
        ..event(seq as u64 + 1)
    };
    let records: Vec<_> = times.iter().enumerate().map(at).collect();
    let batch = batch_of(&records);
    assert_eq!(batch.validate(), Ok(()));
    assert_eq!(decoded(&batch), Ok(records));
}

#[test]
fn the_builder_uses_its_memory_again() {
    let mut builder = BatchBuilder::new();
    let mut fill = |first: u64| {
        (first..first + 100).for_each(|seq| builder.push(&event(seq).view()).unwrap());
        builder
            .seal(SourceSeq(first - 1), SourceSeq(first + 99))
            .unwrap()
    };
    drop(fill(1));
    let places: std::collections::HashSet<_> = (1..50)
        .map(|round| fill(round * 100 + 1).body.as_ptr() as usize)
        .collect();
    assert!(places.len() <= 3, "{places:?}");
}

#[test]
fn the_iterator_ends_after_an_error() {
    let batch = batch_of(&[event(1), event(2)]);
    let torn = with_body(&batch, batch.body.slice(..batch.body.len() - 1));
    let mut records = torn.iter();
    assert!(matches!(records.next(), Some(Ok(_))));
    assert!(matches!(records.next(), Some(Err(_))));
    assert!(records.next().is_none() && records.next().is_none());
}
