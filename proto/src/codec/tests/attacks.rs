//! What a faulty or hostile peer, or bad memory, may put before the decoder.

use proptest::prelude::*;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use super::*;
use crate::error::{CloseReason, DecodeError};
use crate::limits::{DECODE_STEP, PLAIN_LEN_MAX, WINDOW_LOG};

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
        packed_len: plain.body.len() as u32,
        body_len: body.len() as u32,
        crc: crc32fast::hash(&plain.body),
    }
}

proptest! {
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
        packed_len: plain_len + 1,
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
