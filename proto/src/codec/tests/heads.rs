//! The bytes of a head.

use proptest::prelude::*;

use super::*;
use crate::error::DecodeError;
use crate::limits::{BATCH_HEAD_LEN_MAX, VARINT_MAX};

fn head() -> impl Strategy<Value = BatchHead> {
    let number = || (0..=VARINT_MAX / 2, 0u32..62).prop_map(|(value, shift)| value >> shift);
    let numbers = (number(), number(), number(), number());
    let codec = prop_oneof![Just(Codec::Raw), Just(Codec::Zstd), Just(Codec::Shaped)];
    let lens = (1u32..60_000, 0u32..10_000_000, codec);
    (numbers, lens, any::<(u32, u32, u32, u32)>()).prop_map(
        |((seq, follows, span, position), (count, extra, codec), (lane, epoch, context, crc))| {
            let plain_len = count * 5 + extra;
            let (packed_len, body_len) = match codec {
                Codec::Raw => (0, plain_len),
                Codec::Zstd => (plain_len, plain_len / 3 + 1),
                Codec::Shaped => (plain_len / 2 + 1, plain_len / 4 + 1),
            };
            BatchHead {
                lane: LaneId(lane),
                seq: BatchSeq(seq),
                follows: SourceSeq(follows),
                through: SourceSeq(follows + span + u64::from(count)),
                record_count: count,
                epoch: Epoch(epoch),
                codec,
                context,
                context_position: position,
                plain_len,
                packed_len,
                body_len,
                crc,
            }
        },
    )
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
            packed_len: good.plain_len - 1,
            ..good
        },
        BatchHead {
            codec: Codec::Shaped,
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
