//! Encoding batches for a lane, and decoding them.

use causeway_proto::batch::PlainBatch;
use causeway_proto::codec::{BatchHead, Effort, EncodedBatch, LaneDecoder, LaneEncoder};
use causeway_proto::id::{BatchSeq, Epoch, LaneId};

use crate::Options;
use crate::batcher;
use crate::events::Events;
use crate::report::{Report, median, timed};

fn encode(effort: Effort, batches: &[PlainBatch]) -> Vec<EncodedBatch> {
    let mut encoder = LaneEncoder::new(effort);
    let encode = |(batch, seq)| {
        let encoded = encoder.encode(LaneId(1), BatchSeq(seq), Epoch(1), batch);
        encoded.expect("the builder's batches fit")
    };
    batches.iter().zip(0..).map(encode).collect()
}

/// Decodes, checks and counts; the batches are dropped one by one, as when they are published.
fn decode(encoded: &[EncodedBatch]) -> u64 {
    let mut decoder = LaneDecoder::new();
    let decode = |batch: &EncodedBatch| {
        let head = BatchHead::decode(&batch.head).expect("the encoder's heads are valid");
        let plain = decoder
            .decode(&head, &batch.body)
            .expect("the encoder's bodies are valid");
        u64::from(plain.record_count)
    };
    encoded.iter().map(decode).sum()
}

pub(crate) fn measure(events: &Events, effort: Effort, options: &Options) -> Report {
    let batches = batcher::batches(events, options.batch_len);
    let encoded = encode(effort, &batches);
    Report {
        name: "codec",
        records: events.len(),
        batches: batches.len(),
        size: events.size(),
        wire_len: Some(encoded.iter().map(|batch| batch.wire_len).sum()),
        steps: vec![
            (
                "encode",
                median(options, || timed(|| encode(effort, &batches)).0),
            ),
            ("decode", median(options, || timed(|| decode(&encoded)).0)),
        ],
    }
}
