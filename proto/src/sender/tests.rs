//! The reader loses its place: what it brings then is not taken.

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
    let config = SenderConfig {
        route: RouteName::new("orders").unwrap(),
        stream: StreamName::new("ORDERS").unwrap(),
        to: RegionId::new("eu").unwrap(),
        class: LaneClass::Live,
        policy: Arc::new(policy()),
        batch_len_max: 1 << 16,
        batch_records_max: 100,
    };
    let mut sender = Sender::new(config, Epoch(1), Position::default());
    sender.open(LANE);
    let resume = Resume {
        lane: LANE,
        epoch: Epoch(0),
        after: None,
        credit: 1 << 20,
    };
    let facts = SourceFacts {
        first_seq: SourceSeq(1),
        last_seq: SourceSeq(100),
        younger_from: SourceSeq(1),
    };
    sender
        .handle_resume(&resume, Beginning::default(), &facts)
        .unwrap();
    sender
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
