use bytes::Bytes;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::batch::PlainBatch;
use crate::batch::testing::{Owned, batch_of, event, events, noise, record};
use crate::id::{BatchSeq, Epoch, LaneId, SourceSeq};
use crate::limits::{BODY_SLACK, RAW_LEN_MIN, RAW_RUN_MAX};

mod attacks;
mod heads;

/// Both ends of a lane, with whatever is done to the bytes between them.
struct Lane {
    encoder: LaneEncoder,
    decoder: LaneDecoder,
    seq: u64,
}

impl Lane {
    fn new() -> Self {
        Self {
            encoder: LaneEncoder::new(Effort::Light),
            decoder: LaneDecoder::new(),
            seq: 0,
        }
    }

    fn encode(&mut self, batch: &PlainBatch) -> (BatchHead, Bytes) {
        let seq = BatchSeq(self.seq);
        self.seq += 1;
        let encoded = self
            .encoder
            .encode(LaneId(3), seq, Epoch(1), batch)
            .unwrap();
        assert_eq!(encoded.wire_len, encoded.head.len() + encoded.body.len());
        (BatchHead::decode(&encoded.head).unwrap(), encoded.body)
    }

    /// Carries a batch across; what comes out must be what went in.
    fn carry(&mut self, batch: &PlainBatch) -> BatchHead {
        let (head, body) = self.encode(batch);
        assert_eq!(self.decoder.decode(&head, &body).as_ref(), Ok(batch));
        head
    }
}

fn noise_batch(seed: u64, len: usize) -> PlainBatch {
    batch_of(&[record(seed + 1, &noise(seed, len))])
}

proptest! {
    #[test]
    fn lanes_carry_any_mixture(kinds in proptest::collection::vec((0u8..8, 1u64..40), 1..30)) {
        let mut lane = Lane::new();
        let mut seq = 1;
        for (kind, count) in kinds {
            let batch = match kind {
                0 => PlainBatch::empty(SourceSeq(seq), SourceSeq(seq + count)),
                1 => noise_batch(seq, 300 * count as usize),
                2 => { lane.encoder.idle(); events(seq, count) }
                3 => { lane.encoder.reset(); events(seq, 1) }
                4 => {
                    let efforts = [Effort::Light, Effort::Medium, Effort::Medium, Effort::High];
                    lane.encoder.set_effort(efforts[count as usize % 4]);
                    events(seq, count)
                }
                _ => events(seq, count),
            };
            lane.carry(&batch);
            seq += count;
        }
    }
}

#[test]
fn the_context_lives_across_batches() {
    let mut lane = Lane::new();
    let sizes: Vec<_> = (1..200)
        .map(|seq| lane.carry(&events(seq, 1)).body_len)
        .collect();
    let (first, last) = (sizes[0], sizes[198]);
    assert!(
        last * 2 < first,
        "a batch of one event took {first} bytes at first, then {last}"
    );
}

#[test]
fn small_batches_that_do_not_shrink_still_fill_the_context() {
    let mut lane = Lane::new();
    let tiny = |seq: u64| batch_of(&[record(seq, format!("v={}", seq % 7).as_bytes())]);
    let heads: Vec<_> = (1..50).map(|seq| lane.carry(&tiny(seq))).collect();
    assert!(
        heads
            .iter()
            .all(|head| head.codec == Codec::Zstd && head.context == 0)
    );
    assert!(
        heads[48].body_len < heads[48].plain_len / 2,
        "{:?}",
        heads[48]
    );
}

#[test]
fn noise_travels_raw_and_is_tried_ever_more_seldom() {
    let mut lane = Lane::new();
    let heads: Vec<_> = (0..100)
        .map(|seed| lane.carry(&noise_batch(seed, 8 << 10)))
        .collect();
    assert!(heads.iter().all(|head| head.codec == Codec::Raw));
    let tries = heads.last().expect("a hundred").context;
    assert!((100 / RAW_RUN_MAX..12).contains(&tries), "{tries} tries");

    let back = (0..=RAW_RUN_MAX).map(|turn| lane.carry(&events(u64::from(turn) * 100 + 1, 100)));
    let codecs: Vec<_> = back.map(|head| head.codec).collect();
    assert_eq!(
        codecs.last(),
        Some(&Codec::Zstd),
        "data that shrinks again is noticed"
    );
}

#[test]
fn a_body_is_never_longer_than_plain_and_slack() {
    for len in [
        1,
        10,
        100,
        1000,
        RAW_LEN_MIN - 64,
        RAW_LEN_MIN,
        RAW_LEN_MIN + 1,
        200 << 10,
    ] {
        let head = Lane::new().carry(&noise_batch(1, len));
        assert!(head.body_len as usize <= head.plain_len as usize + BODY_SLACK);
    }
}

#[test]
fn a_large_record_is_a_batch_of_one() {
    let mut lane = Lane::new();
    let text: Vec<u8> = (0..9 << 20)
        .map(|i: u32| b"abcdefgh"[(i / 7 % 8) as usize])
        .collect();
    assert_eq!(
        lane.carry(&batch_of(&[record(1, &text)])).codec,
        Codec::Zstd
    );
    assert_eq!(lane.carry(&noise_batch(2, 9 << 20)).codec, Codec::Raw);
    lane.carry(&events(9, 9));
    assert!(
        lane.encoder.memory() < 3 << 20,
        "memory of a large batch is given back"
    );
}

#[test]
fn a_new_context_begins_at_zero_and_an_old_one_never_returns() {
    let mut lane = Lane::new();
    let (old, body) = lane.encode(&events(1, 5));
    lane.encoder.reset();
    let new = lane.carry(&events(1, 5));
    assert_eq!((new.context, new.context_position), (1, 0));
    assert!(lane.decoder.decode(&old, &body).is_err());
    let leap = BatchHead {
        context: 2,
        context_position: 1,
        ..new
    };
    assert!(lane.decoder.decode(&leap, &body).is_err());
}

#[test]
fn memory_is_taken_late_bounded_and_given_back() {
    let mut lane = Lane::new();
    assert_eq!((lane.encoder.memory(), lane.decoder.memory()), (0, 0));
    lane.carry(&PlainBatch::empty(SourceSeq(0), SourceSeq(1)));
    assert_eq!((lane.encoder.memory(), lane.decoder.memory()), (0, 0));
    for first in 0..20 {
        lane.carry(&events(first * 2_000 + 1, 2_000));
    }
    let (encoder, decoder) = (lane.encoder.memory(), lane.decoder.memory());
    println!("encoder {encoder}, decoder {decoder}");
    assert!(
        encoder < 2 << 20 && decoder < 3 << 18,
        "encoder {encoder}, decoder {decoder}"
    );
    lane.encoder.idle();
    assert_eq!(lane.encoder.memory(), 0);
    lane.carry(&PlainBatch::empty(SourceSeq(40_000), SourceSeq(40_001)));
    assert_eq!(
        lane.decoder.memory(),
        0,
        "an empty batch tells that the context is over"
    );
    lane.carry(&events(50_000, 10));
}

#[test]
fn batches_leave_in_the_form_that_is_smaller() {
    // Each says something new, in the same words.
    let mut lane = Lane::new();
    let codecs = (0..3).map(|at| lane.carry(&events(at * 2_000 + 1, 2_000)).codec);
    assert_eq!(codecs.collect::<Vec<_>>(), [Codec::Shaped; 3]);
    // A few states, said again and again in no order.
    let mix = |seq: u64| seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seq >> 3);
    let state = |seq: u64| {
        let which = mix(mix(seq) >> 17) >> 40;
        let value = |at| format!("\"key{at}\":\"value {}\"", mix(which % 20 * 100 + at) >> 44);
        let values: Vec<_> = (0..16).map(value).collect();
        format!("{{{}}}", values.join(",")).into_bytes()
    };
    let mut lane = Lane::new();
    let mut next = 1;
    let mut codec = || {
        let payloads: Vec<_> = (next..next + 500).map(|seq| (seq, state(seq))).collect();
        let records: Vec<_> = payloads
            .iter()
            .map(|(seq, json)| record(*seq, json))
            .collect();
        next += 500;
        lane.carry(&batch_of(&records)).codec
    };
    assert_eq!(codec(), Codec::Shaped, "both are tried");
    assert_eq!(codec(), Codec::Zstd);
}

#[test]
fn columns_that_zstd_cannot_shrink_are_still_half_of_the_batch() {
    let random = |seq: u64, at: u64| xxh3_64(&(seq << 16 | at).to_le_bytes());
    let hashes = |seq: u64| {
        let hash = |at: u64| (at * 4..at * 4 + 4).map(|part| format!("{:016x}", random(seq, part)));
        let values: Vec<String> = (0..16).map(|at| hash(at).collect()).collect();
        let payload = format!("[\"{}\"]", values.join("\",\""));
        Owned {
            stored_at: random(seq, 100),
            relayed: false,
            subject: b"a".to_vec(),
            headers: Vec::new(),
            ..record(seq, payload.as_bytes())
        }
    };
    let mut lane = Lane::new();
    for batch in 0..20 {
        let records: Vec<_> = (1..240).map(|at| hashes(batch * 240 + at)).collect();
        let head = lane.carry(&batch_of(&records));
        assert!(head.body_len < head.plain_len * 11 / 20, "{head:?}");
    }
}

#[test]
fn a_huge_record_among_small_ones_leaves_no_memory_behind() {
    let mut lane = Lane::new();
    let mut records: Vec<_> = (1..30).map(event).collect();
    records.push(record(30, &noise(1, 6 << 20)));
    lane.encoder.set_effort(Effort::Medium);
    lane.carry(&batch_of(&records));
    assert!(lane.encoder.memory() < 4 << 20, "{}", lane.encoder.memory());
}

#[test]
fn another_effort_begins_a_new_context() {
    let mut lane = Lane::new();
    lane.carry(&events(1, 50));
    lane.encoder.set_effort(Effort::Light);
    assert_eq!(lane.carry(&events(51, 50)).context, 0);
    lane.encoder.set_effort(Effort::High);
    let shaped = lane.carry(&events(101, 50));
    assert_eq!((shaped.context, shaped.codec), (1, Codec::Shaped));
    assert!(shaped.packed_len < shaped.plain_len);
    // Shaped and other batches share the context.
    let mut next = 151;
    for count in [1, 50, 3, 200] {
        let head = lane.carry(&events(next, count));
        assert_eq!(
            (head.context, head.codec == Codec::Shaped),
            (1, count >= 50)
        );
        next += count;
    }
}
