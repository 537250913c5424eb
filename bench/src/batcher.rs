//! Building batches from records, and reading the records of batches.

use causeway_proto::batch::{BatchBuilder, PlainBatch};
use causeway_proto::id::SourceSeq;

use crate::Options;
use crate::events::Events;
use crate::report::{Report, median, timed};

/// Hands each batch of the events to `consume`, which a driver would do by sending it away.
pub(crate) fn build(events: &Events, batch_len: usize, mut consume: impl FnMut(PlainBatch)) {
    let mut builder = BatchBuilder::new();
    let mut follows = SourceSeq(0);
    let mut seal = |builder: &mut BatchBuilder| {
        let through = builder.last_seq().unwrap_or(follows);
        consume(
            builder
                .seal(follows, through)
                .expect("the span is that of the records"),
        );
        follows = through;
    };
    for record in events.records() {
        builder.push(&record).expect("a generated event fits");
        if builder.plain_len() >= batch_len {
            seal(&mut builder);
        }
    }
    if !builder.is_empty() {
        seal(&mut builder);
    }
}

/// All batches of the events.
pub(crate) fn batches(events: &Events, batch_len: usize) -> Vec<PlainBatch> {
    let mut batches = Vec::new();
    build(events, batch_len, |batch| batches.push(batch));
    batches
}

/// Reads every record once, as a publisher does.
pub(crate) fn read(batches: &[PlainBatch]) -> usize {
    let records = batches.iter().flat_map(PlainBatch::iter);
    records
        .map(|record| record.expect("the builder's batches are valid").size())
        .sum()
}

pub(crate) fn measure(events: &Events, options: &Options) -> Report {
    let batches = batches(events, options.batch_len);
    let validate = || batches.iter().all(|batch| batch.validate().is_ok());
    assert!(validate(), "the builder's batches are valid");
    Report {
        name: "batcher",
        records: events.len(),
        batches: batches.len(),
        size: events.size(),
        wire_len: None,
        steps: vec![
            (
                "build",
                median(options, || {
                    timed(|| build(events, options.batch_len, drop)).0
                }),
            ),
            ("validate", median(options, || timed(validate).0)),
            ("read", median(options, || timed(|| read(&batches)).0)),
        ],
    }
}
