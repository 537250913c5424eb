//! The values whose bytes the golden files pin. A value here may never change either.

use bytes::Bytes;
use causeway_proto::batch::{BatchBuilder, PlainBatch};
use causeway_proto::codec::{BatchHead, Codec};
use causeway_proto::error::CloseReason;
use causeway_proto::frame::{
    Ack, CloseLane, Credit, Frame, Goodbye, Hello, LaneClass, LaneCloseReason, Open, Outcomes,
    Ping, Pong, Rejected, Resume, Stall, StallReason,
};
use causeway_proto::id::{
    BatchSeq, Epoch, FleetName, LaneId, Position, RegionId, RouteName, SourceSeq, StoredAt,
    StreamName,
};
use causeway_proto::record::RecordView;

const LANE: LaneId = LaneId(3);
const EPOCH: Epoch = Epoch(1);

/// 2026-01-02 03:04:05.000000006 UTC.
const STORED_AT: u64 = 1_767_323_045_000_000_006;

fn at(seq: u64) -> Position {
    Position {
        seq: SourceSeq(seq),
        stored_at: StoredAt(STORED_AT),
    }
}

pub(crate) fn hello() -> Frame {
    Frame::Hello(Hello {
        version_min: 1,
        version_max: 1,
        fleet: FleetName::new("acme").unwrap(),
        region: RegionId::new("eu-west").unwrap(),
        incarnation: 0x0102_0304_0506_0708,
        residency_digest: 0x1122_3344_5566_7788,
    })
}

pub(crate) fn open() -> Frame {
    Frame::Open(Open {
        lane: LANE,
        route: RouteName::new("orders").unwrap(),
        stream: StreamName::new("ORDERS").unwrap(),
        epoch: EPOCH,
        class: LaneClass::Normal,
    })
}

pub(crate) fn resume() -> Frame {
    let (after, credit) = (Some(at(1_000_000)), 4 << 20);
    Frame::Resume(Resume {
        lane: LANE,
        epoch: EPOCH,
        after,
        credit,
    })
}

pub(crate) fn resume_from_nothing() -> Frame {
    Frame::Resume(Resume {
        lane: LANE,
        epoch: EPOCH,
        after: None,
        credit: 4 << 20,
    })
}

pub(crate) fn credit() -> Frame {
    Frame::Credit(Credit {
        lane: LANE,
        limit: 5 << 30,
    })
}

pub(crate) fn ack() -> Frame {
    let outcomes = Outcomes {
        stored: 1_000,
        duplicate: 2,
        denied: 0,
        rejected: 1,
        expired: 0,
    };
    Frame::Ack(Ack {
        lane: LANE,
        through: SourceSeq(1_001_500),
        outcomes,
    })
}

pub(crate) fn rejected() -> Frame {
    let reason = "message size exceeds maximum allowed".to_owned();
    Frame::Rejected(Rejected {
        lane: LANE,
        at: at(1_000_007),
        code: 10_054,
        reason,
    })
}

pub(crate) fn stall() -> Frame {
    let detail = "maximum bytes exceeded".to_owned();
    Frame::Stall(Stall {
        lane: LANE,
        reason: StallReason::TargetFull,
        detail,
    })
}

pub(crate) fn close_lane() -> Frame {
    let detail = "stream was restored".to_owned();
    Frame::CloseLane(CloseLane {
        lane: LANE,
        reason: LaneCloseReason::Rewind,
        detail,
    })
}

pub(crate) fn ping() -> Frame {
    Frame::Ping(Ping { nonce: 42 })
}

pub(crate) fn pong() -> Frame {
    Frame::Pong(Pong { nonce: 42 })
}

pub(crate) fn goodbye() -> Frame {
    Frame::Goodbye(Goodbye {
        reason: CloseReason::FrameMalformed,
    })
}

/// Three records and two gaps: 1000001 is a gap, 1000004 another; 1000003 came by a route, has the
/// subject of 1000002 and was stored a nanosecond before it.
pub(crate) fn batch() -> PlainBatch {
    let record = |seq, stored_at, relayed, subject, headers, payload| RecordView {
        seq: SourceSeq(seq),
        stored_at: StoredAt(stored_at),
        relayed,
        subject,
        headers,
        payload,
    };
    let headers = b"NATS/1.0\r\nA: 1\r\n\r\n";
    let mut builder = BatchBuilder::new();
    for record in [
        record(1_000_002, STORED_AT, false, b"orders.new", b"", b"one"),
        record(1_000_003, STORED_AT - 1, true, b"orders.new", headers, b""),
        record(
            1_000_005,
            STORED_AT + 100,
            false,
            b"orders.paid",
            b"",
            b"three",
        ),
    ] {
        builder.push(&record).unwrap();
    }
    builder
        .seal(SourceSeq(1_000_000), SourceSeq(1_000_005))
        .unwrap()
}

/// The batch as it travels raw.
pub(crate) fn batch_raw() -> (BatchHead, Bytes) {
    let batch = batch();
    let len = u32::try_from(batch.body.len()).unwrap();
    let head = BatchHead {
        lane: LANE,
        seq: BatchSeq(0),
        follows: batch.follows,
        through: batch.through,
        record_count: batch.record_count,
        epoch: EPOCH,
        codec: Codec::Raw,
        context: 0,
        context_position: 0,
        plain_len: len,
        packed_len: 0,
        body_len: len,
        crc: 0xc43a_1725,
    };
    (head, batch.body)
}

/// A batch that only moves `through`, in a lane whose encoder has gone idle.
pub(crate) fn batch_empty() -> (BatchHead, Bytes) {
    let (head, _) = batch_raw();
    let (follows, through) = (SourceSeq(1_000_005), SourceSeq(1_000_300));
    let (record_count, plain_len, body_len, crc) = (0, 0, 0, 0);
    let (seq, context) = (BatchSeq(1), 1);
    let head = BatchHead {
        seq,
        follows,
        through,
        record_count,
        context,
        ..head
    };
    (
        BatchHead {
            plain_len,
            body_len,
            crc,
            ..head
        },
        Bytes::new(),
    )
}

/// What the two compressed goldens hold: the batch, and the batch after it, which says the same of
/// later positions.
pub(crate) fn batches_compressed() -> [PlainBatch; 2] {
    let first = batch();
    let mut builder = BatchBuilder::new();
    for record in first.iter().map(Result::unwrap) {
        let seq = SourceSeq(record.seq.0 + 5);
        builder.push(&RecordView { seq, ..record }).unwrap();
    }
    let second = builder
        .seal(first.through, SourceSeq(first.through.0 + 5))
        .unwrap();
    [first, second]
}
