use proptest::prelude::*;

use super::*;
use crate::error::CloseReason;
use crate::id::{
    Epoch, FleetName, LaneId, Position, RegionId, RouteName, SourceSeq, StoredAt, StreamName,
};
use crate::limits::{DETAIL_LEN_MAX, VARINT_MAX};

fn number() -> impl Strategy<Value = u64> {
    (0..=VARINT_MAX, 0u32..62).prop_map(|(value, shift)| value >> shift)
}

fn lane() -> impl Strategy<Value = LaneId> {
    any::<u32>().prop_map(LaneId)
}

fn detail() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| clip_detail(&text))
}

fn position() -> impl Strategy<Value = Position> {
    (number(), any::<u64>()).prop_map(|(seq, stored_at)| Position {
        seq: SourceSeq(seq),
        stored_at: StoredAt(stored_at),
    })
}

fn hello() -> impl Strategy<Value = Frame> {
    let names = ("[a-zA-Z0-9_-]{1,64}", "[a-zA-Z0-9_-]{1,64}");
    (any::<(u16, u16, u64, u64)>(), names).prop_map(|((a, b, incarnation, digest), names)| {
        Frame::Hello(Hello {
            version_min: a.min(b),
            version_max: a.max(b),
            fleet: FleetName::new(&names.0).unwrap(),
            region: RegionId::new(&names.1).unwrap(),
            incarnation,
            residency_digest: digest,
        })
    })
}

fn open() -> impl Strategy<Value = Frame> {
    let names = ("[a-zA-Z0-9_-]{1,64}", "[a-zA-Z0-9_-]{1,255}");
    (
        lane(),
        names,
        any::<u32>(),
        proptest::sample::select(LaneClass::ALL),
    )
        .prop_map(|(lane, names, epoch, class)| {
            let route = RouteName::new(&names.0).unwrap();
            let stream = StreamName::new(&names.1).unwrap();
            Frame::Open(Open {
                lane,
                route,
                stream,
                epoch: Epoch(epoch),
                class,
            })
        })
}

fn lane_frames() -> impl Strategy<Value = Frame> {
    let resume = (
        lane(),
        any::<u32>(),
        proptest::option::of(position()),
        number(),
    )
        .prop_map(|(lane, epoch, after, credit)| {
            Frame::Resume(Resume {
                lane,
                epoch: Epoch(epoch),
                after,
                credit,
            })
        });
    let credit = (lane(), number()).prop_map(|(lane, limit)| Frame::Credit(Credit { lane, limit }));
    let ack = (lane(), number(), proptest::array::uniform5(number())).prop_map(
        |(lane, through, [stored, duplicate, denied, rejected, expired])| {
            let outcomes = Outcomes {
                stored,
                duplicate,
                denied,
                rejected,
                expired,
            };
            Frame::Ack(Ack {
                lane,
                through: SourceSeq(through),
                outcomes,
            })
        },
    );
    prop_oneof![resume, credit, ack]
}

fn detail_frames() -> impl Strategy<Value = Frame> {
    let rejected =
        (lane(), position(), any::<u32>(), detail()).prop_map(|(lane, at, code, reason)| {
            Frame::Rejected(Rejected {
                lane,
                at,
                code,
                reason,
            })
        });
    let stall = (lane(), proptest::sample::select(StallReason::ALL), detail()).prop_map(
        |(lane, reason, detail)| {
            Frame::Stall(Stall {
                lane,
                reason,
                detail,
            })
        },
    );
    let close = (
        lane(),
        proptest::sample::select(LaneCloseReason::ALL),
        detail(),
    )
        .prop_map(|(lane, reason, detail)| {
            Frame::CloseLane(CloseLane {
                lane,
                reason,
                detail,
            })
        });
    prop_oneof![rejected, stall, close]
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        hello(),
        open(),
        lane_frames(),
        detail_frames(),
        any::<u64>().prop_map(|nonce| Frame::Ping(Ping { nonce })),
        any::<u64>().prop_map(|nonce| Frame::Pong(Pong { nonce })),
        proptest::sample::select(CloseReason::ALL)
            .prop_map(|reason| Frame::Goodbye(Goodbye { reason })),
    ]
}

/// Either the bytes are refused or they are the one encoding of what they decode to.
fn refused_or_canonical(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(frame) = Frame::decode_message(bytes) {
        prop_assert_eq!(frame.encode().unwrap(), bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn frames_round_trip(frame in frame()) {
        let bytes = frame.encode().unwrap();
        prop_assert!(bytes.len() <= FRAME_HEAD_LEN + FRAME_BODY_LEN_USED);
        prop_assert_eq!(Frame::decode_message(&bytes), Ok(frame));
    }

    #[test]
    fn every_truncation_is_refused(frame in frame()) {
        let bytes = frame.encode().unwrap();
        for cut in 0..bytes.len() {
            prop_assert!(Frame::decode_message(&bytes[..cut]).is_err());
        }
        for cut in FRAME_HEAD_LEN..bytes.len() {
            prop_assert!(Frame::decode(frame.type_(), &bytes[FRAME_HEAD_LEN..cut]).is_err());
        }
    }

    #[test]
    fn trailing_bytes_are_refused(frame in frame(), extra in any::<u8>()) {
        let mut bytes = frame.encode().unwrap().to_vec();
        bytes.push(extra);
        prop_assert!(Frame::decode_message(&bytes).is_err());
        let within_body = Frame::decode(frame.type_(), &bytes[FRAME_HEAD_LEN..]);
        prop_assert_eq!(within_body, Err(DecodeError::TrailingBytes { count: 1 }));
    }

    #[test]
    fn a_flipped_bit_is_refused_or_another_frame(frame in frame()) {
        let mut bytes = frame.encode().unwrap().to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused_or_canonical(&bytes)?;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn random_bytes_never_panic(type_ in 0u8..14, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = vec![type_];
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        refused_or_canonical(&bytes)?;
    }

    #[test]
    fn clipped_text_fits(text in any::<String>()) {
        let clipped = clip_detail(&text);
        prop_assert!(clipped.len() <= DETAIL_LEN_MAX && text.starts_with(&clipped));
    }
}

#[test]
fn an_oversize_length_is_refused_in_the_head() {
    let refused = Frame::decode_head([9, 0, 1, 0, 1]).unwrap_err();
    let expected = DecodeError::TooLong {
        field: "frame body",
        len: 65_537,
        max: 65_536,
    };
    assert_eq!(refused, expected);
    assert_eq!(refused.in_frame(), CloseReason::FrameTooLong);
    assert_eq!(Frame::decode_head([9, 0, 1, 0, 0]), Ok((9, 65_536)));
}

#[test]
fn an_unknown_type_is_refused_in_the_head() {
    for type_ in [0, 12, 255] {
        let refused = Frame::decode_head([type_, 0, 0, 0, 0]);
        assert_eq!(refused, Err(DecodeError::UnknownFrame(type_)));
        assert_eq!(
            Frame::decode(type_, &[]),
            Err(DecodeError::UnknownFrame(type_))
        );
    }
}

#[test]
fn the_encoder_refuses_what_the_decoder_would() {
    let (lane, detail) = (LaneId(1), "x".repeat(DETAIL_LEN_MAX + 1));
    let long = Frame::Stall(Stall {
        lane,
        reason: StallReason::Operator,
        detail,
    });
    let too_long = EncodeError::TooLong {
        field: "detail",
        len: 257,
        max: 256,
    };
    assert_eq!(long.encode(), Err(too_long));

    let wide = Frame::Credit(Credit {
        lane,
        limit: VARINT_MAX + 1,
    });
    let out_of_range = EncodeError::OutOfRange {
        field: "limit",
        value: VARINT_MAX + 1,
    };
    assert_eq!(wide.encode(), Err(out_of_range));

    let (fleet, region) = (FleetName::new("f").unwrap(), RegionId::new("r").unwrap());
    let (version_min, version_max, incarnation, residency_digest) = (2, 1, 0, 0);
    let hello = Hello {
        version_min,
        version_max,
        fleet,
        region,
        incarnation,
        residency_digest,
    };
    let out_of_range = EncodeError::OutOfRange {
        field: "version_max",
        value: 1,
    };
    assert_eq!(Frame::Hello(hello).encode(), Err(out_of_range));
}

#[test]
fn a_name_with_a_foreign_character_is_refused() {
    let whole = b"\x02\x00\x00\x00\x09\x01\x02a.\x02st\x00\x00";
    let refused = Frame::decode_message(whole).unwrap_err();
    assert!(
        matches!(refused, DecodeError::InvalidName { field: "route", .. }),
        "{refused}"
    );
}

#[test]
fn a_goodbye_without_meaning_is_refused() {
    let refused = Frame::decode(11, &[0, 0, 0, 99]);
    assert_eq!(
        refused,
        Err(DecodeError::OutOfRange {
            field: "close reason",
            value: 99
        })
    );
}
