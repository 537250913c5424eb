//! Any bytes as the plain body of a batch. Two bytes say how many records it claims.
#![no_main]

use causeway_proto::batch::{BatchBuilder, PlainBatch};
use causeway_proto::id::SourceSeq;
use causeway_proto::limits::VARINT_MAX;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((count, body)) = bytes.split_first_chunk() else {
        return;
    };
    let batch = PlainBatch {
        follows: SourceSeq(0),
        through: SourceSeq(VARINT_MAX),
        record_count: u16::from_be_bytes(*count).into(),
        body: body.to_vec().into(),
    };
    let records: Result<Vec<_>, _> = batch.iter().collect();
    assert_eq!(batch.validate().is_ok(), records.is_ok());
    let Ok(records) = records else { return };
    let mut builder = BatchBuilder::new();
    for record in &records {
        builder.push(record).expect("a decoded record is legal");
    }
    let built = builder
        .seal(batch.follows, batch.through)
        .expect("and so is the batch");
    assert!(built.iter().eq(records.into_iter().map(Ok)));
});
