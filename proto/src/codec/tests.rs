use bytes::Bytes;
use proptest::prelude::*;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use super::*;
use crate::batch::PlainBatch;
use crate::batch::testing::{batch_of, events, noise, record};
use crate::error::{CloseReason, DecodeError};
use crate::id::{BatchSeq, Epoch, LaneId, SourceSeq};
use crate::limits::{
    BATCH_HEAD_LEN_MAX, BODY_SLACK, DECODE_STEP, PLAIN_LEN_MAX, RAW_LEN_MIN, RAW_RUN_MAX,
    VARINT_MAX, WINDOW_LOG,
};

/// Both ends of a lane, with whatever is done to the bytes between them.
struct Lane {
    encoder: LaneEncoder,
    decoder: LaneDecoder,
    seq: u64,
}

impl Lane {
    fn new() -> Self {
        Self {
            encoder: LaneEncoder::new(LEVEL_DEFAULT),
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

fn head() -> impl Strategy<Value = BatchHead> {
    let number = || (0..=VARINT_MAX / 2, 0u32..62).prop_map(|(value, shift)| value >> shift);
    let numbers = (number(), number(), number(), number());
    let lens = (1u32..60_000, 0u32..10_000_000, any::<bool>());
    (numbers, lens, any::<(u32, u32, u32, u32)>()).prop_map(
        |((seq, follows, span, position), (count, extra, raw), (lane, epoch, context, crc))| {
            let plain_len = count * 5 + extra;
            BatchHead {
                lane: LaneId(lane),
                seq: BatchSeq(seq),
                follows: SourceSeq(follows),
                through: SourceSeq(follows + span + u64::from(count)),
                record_count: count,
                epoch: Epoch(epoch),
                codec: if raw { Codec::Raw } else { Codec::Zstd },
                context,
                context_position: position,
                plain_len,
                body_len: if raw { plain_len } else { plain_len / 3 + 1 },
                crc,
            }
        },
    )
}

/// A body made by another hand: `frames` through a zstd stream of its own, flushed or ended.
fn foreign_body(window_log: u32, plain: &[u8], end: bool) -> Vec<u8> {
    let mut zstd = Encoder::new(1).unwrap();
    zstd.set_parameter(CParameter::WindowLog(window_log))
        .unwrap();
    let mut body = Vec::with_capacity(plain.len() + 1024);
    let mut input = InBuffer::around(plain);
    let mut output = OutBuffer::around(&mut body);
    while input.pos() < plain.len() {
        zstd.run(&mut input, &mut output).unwrap();
    }
    let left = if end {
        zstd.finish(&mut output, true)
    } else {
        zstd.flush(&mut output)
    };
    assert_eq!(left.unwrap(), 0);
    body
}

/// The head of a foreign body, right in all but what the test is about.
fn foreign_head(plain: &PlainBatch, body: &[u8]) -> BatchHead {
    BatchHead {
        lane: LaneId(3),
        seq: BatchSeq(0),
        follows: plain.follows,
        through: plain.through,
        record_count: plain.record_count,
        epoch: Epoch(1),
        codec: Codec::Zstd,
        context: 0,
        context_position: 0,
        plain_len: plain.body.len() as u32,
        body_len: body.len() as u32,
        crc: crc32fast::hash(&plain.body),
    }
}

proptest! {
    #[test]
    fn heads_round_trip(head in head()) {
        let bytes = head.encode().unwrap();
        prop_assert!(bytes.len() <= BATCH_HEAD_LEN_MAX);
        prop_assert_eq!(BatchHead::decode(&bytes), Ok(head));
        let stream = [&bytes[..], b"body"].concat();
        prop_assert_eq!(BatchHead::decode_prefix(&stream), Ok(Some((head, bytes.len()))));
        prop_assert_eq!(BatchHead::decode(&stream), Err(DecodeError::TrailingBytes { count: 4 }));
        for cut in 0..bytes.len() {
            prop_assert_eq!(BatchHead::decode_prefix(&bytes[..cut]), Ok(None));
            prop_assert!(BatchHead::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_head_has_one_encoding(head in head(), flip in any::<proptest::sample::Index>()) {
        let mut bytes = head.encode().unwrap().to_vec();
        let bit = flip.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = BatchHead::decode(&bytes) {
            prop_assert_eq!(other.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn random_heads_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Some(magic) = bytes.first_mut() {
            *magic = 0xcb;
        }
        if let Ok(Some((head, len))) = BatchHead::decode_prefix(&bytes) {
            prop_assert_eq!(head.encode().unwrap(), &bytes[..len]);
        }
    }

    #[test]
    fn lanes_carry_any_mixture(kinds in proptest::collection::vec((0u8..6, 1u64..40), 1..30)) {
        let mut lane = Lane::new();
        let mut seq = 1;
        for (kind, count) in kinds {
            let batch = match kind {
                0 => PlainBatch::empty(SourceSeq(seq), SourceSeq(seq + count)),
                1 => noise_batch(seq, 300 * count as usize),
                2 => { lane.encoder.idle(); events(seq, count) }
                3 => { lane.encoder.reset(); events(seq, 1) }
                _ => events(seq, count),
            };
            lane.carry(&batch);
            seq += count;
        }
    }

    #[test]
    fn a_flipped_bit_in_a_body_never_changes_a_record(
        count in 1u64..20,
        flip in any::<proptest::sample::Index>(),
    ) {
        let mut lane = Lane::new();
        lane.carry(&events(1, 10));
        let batch = events(100, count);
        let (head, body) = lane.encode(&batch);
        let mut body = body.to_vec();
        let bit = flip.index(body.len() * 8);
        body[bit / 8] ^= 1 << (bit % 8);
        // A few bits of a zstd block mean nothing, or choose between equal copies of a text.
        let decoded = lane.decoder.decode(&head, &body);
        prop_assert!(decoded.is_err() || decoded == Ok(batch));
    }

    #[test]
    fn random_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 1..300), magic in any::<bool>()) {
        let body = if magic { [&[0x28, 0xb5, 0x2f, 0xfd][..], &body].concat() } else { body };
        let head = BatchHead { body_len: body.len() as u32, ..foreign_head(&events(1, 5), &body) };
        prop_assert!(LaneDecoder::new().decode(&head, &body).is_err());
    }
}

#[test]
fn every_truncation_of_a_body_is_refused() {
    let (head, body) = Lane::new().encode(&events(1, 20));
    for cut in 0..body.len() {
        assert!(LaneDecoder::new().decode(&head, &body[..cut]).is_err());
        let declared = BatchHead {
            body_len: cut as u32,
            ..head
        };
        assert!(
            LaneDecoder::new().decode(&declared, &body[..cut]).is_err(),
            "cut at {cut}"
        );
    }
    let longer = [&body[..], &[0]].concat();
    let refused = LaneDecoder::new().decode(&head, &longer);
    assert_eq!(refused, Err(DecodeError::TrailingBytes { count: 1 }));
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
fn a_lost_or_repeated_batch_is_noticed() {
    let mut lane = Lane::new();
    let (first, second) = (lane.encode(&events(1, 5)), lane.encode(&events(6, 5)));
    let skipped = LaneDecoder::new().decode(&second.0, &second.1);
    let (context, position) = (0, u64::from(first.0.plain_len));
    let (expected_context, expected_position) = (0, 0);
    let mismatch = DecodeError::ContextMismatch {
        context,
        position,
        expected_context,
        expected_position,
    };
    assert_eq!(skipped, Err(mismatch));
    lane.decoder.decode(&first.0, &first.1).unwrap();
    let repeated = lane.decoder.decode(&first.0, &first.1);
    assert!(matches!(repeated, Err(DecodeError::ContextMismatch { .. })));
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
        encoder < 3 << 19 && decoder < 3 << 18,
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
fn a_new_level_begins_a_new_context() {
    let mut lane = Lane::new();
    lane.carry(&events(1, 50));
    lane.encoder.set_level(LEVEL_DEFAULT);
    assert_eq!(lane.carry(&events(51, 50)).context, 0);
    lane.encoder.set_level(6);
    assert_eq!(lane.carry(&events(101, 50)).context, 1);
}

#[test]
fn a_zip_bomb_is_refused_at_the_declared_length() {
    let bomb = vec![0; 256 << 20];
    let body = foreign_body(WINDOW_LOG, &bomb, false);
    assert!(body.len() < 64 << 10, "{} bytes", body.len());
    let head = foreign_head(&events(1, 1000), &body);
    let mut decoder = LaneDecoder::new();
    let mismatch = DecodeError::PlainLenMismatch {
        declared: head.plain_len,
    };
    assert_eq!(decoder.decode(&head, &body), Err(mismatch));
    assert_eq!(decoder.memory(), 0, "given back with the error");
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let plain = events(1, 5);
    let body = foreign_body(WINDOW_LOG, &plain.body, false);
    let plain_len = PLAIN_LEN_MAX as u32;
    let head = BatchHead {
        plain_len,
        ..foreign_head(&plain, &body)
    };
    let mut zstd = decoder::new_context().unwrap();
    let mut taken = Vec::new();
    let refused = decoder::decompress(&mut zstd, &body, plain_len, &mut taken);
    assert_eq!(
        refused,
        Err(DecodeError::PlainLenMismatch {
            declared: plain_len
        })
    );
    assert!(taken.capacity() <= DECODE_STEP);
    assert!(LaneDecoder::new().decode(&head, &body).is_err());

    let beyond = BatchHead {
        plain_len: plain_len + 1,
        ..head
    };
    let out_of_range = DecodeError::OutOfRange {
        field: "plain length",
        value: 68_157_441,
    };
    assert_eq!(LaneDecoder::new().decode(&beyond, &body), Err(out_of_range));
}

#[test]
fn a_window_beyond_the_bound_is_refused() {
    let plain = batch_of(&[record(1, &vec![b'x'; 3 << 20])]);
    let body = foreign_body(WINDOW_LOG, &plain.body, false);
    let head = foreign_head(&plain, &body);
    assert_eq!(LaneDecoder::new().decode(&head, &body).as_ref(), Ok(&plain));
    let body = foreign_body(WINDOW_LOG + 1, &plain.body, false);
    let head = foreign_head(&plain, &body);
    assert_eq!(
        LaneDecoder::new().decode(&head, &body),
        Err(DecodeError::Undecodable)
    );
}

#[test]
fn a_context_that_ends_is_refused() {
    let plain = events(1, 50);
    let body = foreign_body(WINDOW_LOG, &plain.body, true);
    let head = foreign_head(&plain, &body);
    assert_eq!(
        LaneDecoder::new().decode(&head, &body),
        Err(DecodeError::Undecodable)
    );
}

#[test]
fn what_is_not_what_was_read_is_a_bad_checksum() {
    let mut lane = Lane::new();
    let (head, body) = lane.encode(&events(1, 5));
    let other = BatchHead {
        crc: !head.crc,
        ..head
    };
    let refused = lane.decoder.decode(&other, &body).unwrap_err();
    let (declared, found) = (!head.crc, head.crc);
    assert_eq!(refused, DecodeError::BadChecksum { declared, found });
    assert_eq!(refused.in_batch(), CloseReason::BadChecksum);
    assert!(
        lane.decoder.decode(&head, &body).is_err(),
        "the context is gone"
    );
    lane.encoder.reset();
    lane.carry(&events(1, 5));
}

#[test]
fn heads_that_contradict_themselves_are_refused() {
    let (good, _) = Lane::new().encode(&events(1, 5));
    let bad = [
        BatchHead {
            through: SourceSeq(4),
            ..good
        },
        BatchHead {
            record_count: 0,
            ..good
        },
        BatchHead {
            record_count: 6,
            ..good
        },
        BatchHead {
            plain_len: 24,
            ..good
        },
        BatchHead {
            body_len: 0,
            ..good
        },
        BatchHead {
            body_len: good.plain_len + 65,
            ..good
        },
        BatchHead {
            codec: Codec::Raw,
            ..good
        },
        BatchHead {
            seq: BatchSeq(VARINT_MAX + 1),
            ..good
        },
    ];
    for head in bad {
        assert!(head.encode().is_err(), "{head:?}");
    }
}
