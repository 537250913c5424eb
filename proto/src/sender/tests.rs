//! What the reader brings: where it lost its place it is not taken, and what it missed is counted once.

use super::*;
use crate::frame::Resume;
use crate::id::{ClassName, StoredAt};
use crate::residency::{Regions, ResidencyClass};
use crate::subject::SubjectFilter;

const LANE: LaneId = LaneId(1);

fn policy() -> ResidencyPolicy {
    ResidencyPolicy::new(vec![ResidencyClass {
        name: ClassName::new("open").unwrap(),
        subjects: vec![SubjectFilter::parse("orders.>").unwrap()],
        regions: Regions::Any,
    }])
    .unwrap()
}

/// A sender whose lane begins at the start of a stream of a hundred records.
fn reading() -> Sender {
    let mut sender = sender(Position::default());
    resume(&mut sender, LANE, None);
    sender
}

fn sender(watermark: Position) -> Sender {
    let config = SenderConfig {
        route: RouteName::new("orders").unwrap(),
        stream: StreamName::new("ORDERS").unwrap(),
        to: RegionId::new("eu").unwrap(),
        class: LaneClass::Live,
        policy: Arc::new(policy()),
        batch_len_max: 1 << 16,
        batch_records_max: 100,
    };
    Sender::new(config, Epoch(1), watermark)
}

/// A lane begins behind what the target names.
fn resume(sender: &mut Sender, lane: LaneId, after: Option<u64>) {
    sender.open(lane);
    let resume = Resume {
        lane,
        epoch: Epoch(after.map_or(0, |_| 1)),
        after: after.map(at),
        credit: 1 << 20,
    };
    let facts = SourceFacts {
        first_seq: SourceSeq(1),
        last_seq: SourceSeq(100),
        younger_from: SourceSeq(after.unwrap_or(0) + 1),
    };
    sender
        .handle_resume(&resume, Beginning::default(), &facts)
        .unwrap();
}

fn at(seq: u64) -> Position {
    Position {
        seq: SourceSeq(seq),
        stored_at: StoredAt(seq),
    }
}

fn read(sender: &mut Sender, seq: u64) -> Admission {
    let record = RecordView {
        seq: SourceSeq(seq),
        stored_at: StoredAt(seq),
        relayed: false,
        subject: b"orders.new",
        headers: b"",
        payload: b"{}",
    };
    sender.handle_record(&record, false)
}

#[test]
fn a_record_behind_what_was_read_is_not_taken() {
    let mut sender = reading();
    assert_eq!(read(&mut sender, 5), Admission::Batched);
    sender.handle_nothing_through(SourceSeq(9));
    for behind in [4, 5, 9] {
        assert_eq!(read(&mut sender, behind), Admission::Behind);
    }
    let (_, batch) = sender.seal().unwrap();
    assert_eq!((batch.record_count, batch.through), (1, SourceSeq(9)));
    // Nor is it when the batch that passed it has left.
    assert_eq!(read(&mut sender, 9), Admission::Behind);
    assert_eq!(sender.seal().map(|(seq, _)| seq), None);
    assert_eq!(read(&mut sender, 10), Admission::Batched);
}

/// The target has settled all that was sent on a lane, and stored as many records.
fn settle(sender: &mut Sender, lane: LaneId, stored: u64) {
    let (_, batch) = sender.seal().unwrap();
    let ack = Ack {
        lane,
        through: batch.through,
        outcomes: Outcomes {
            stored,
            ..Outcomes::default()
        },
    };
    sender.handle_ack(&ack).unwrap();
}

/// What a second lane counts as lost: it resumes behind `after`, and the source now begins behind 60.
fn lost_on_a_second_lane(sender: &mut Sender, after: Option<u64>) -> u64 {
    resume(sender, LaneId(2), after);
    let before = sender.totals().lost_to_retention;
    sender.handle_lost_to_retention(SourceSeq(60));
    settle(sender, LaneId(2), 0);
    assert!(sender.totals().balances(), "{:?}", sender.totals());
    sender.totals().lost_to_retention - before
}

#[test]
fn positions_that_were_handled_before_are_not_lost() {
    // The target stored 5, and nothing up to 50 was for this route.
    let first = || {
        let mut sender = reading();
        read(&mut sender, 5);
        sender.handle_nothing_through(SourceSeq(50));
        settle(&mut sender, LANE, 1);
        sender
    };
    assert_eq!(lost_on_a_second_lane(&mut first(), Some(5)), 10);
    // A target that went back asks for what it had: that is lost indeed.
    assert_eq!(lost_on_a_second_lane(&mut first(), Some(3)), 57);
    assert_eq!(lost_on_a_second_lane(&mut first(), None), 60);
    // A process that begins knows its watermark.
    assert_eq!(lost_on_a_second_lane(&mut sender(at(50)), Some(5)), 10);
}
