use super::*;
use crate::frame::LaneClass;
use crate::id::{ClassName, RouteName, StreamName};
use crate::residency::{Regions, ResidencyClass};
use crate::subject::SubjectFilter;

mod put_back;

const SECOND: Duration = Duration::from_secs(1);

fn receiver() -> Receiver {
    let class = ResidencyClass {
        name: ClassName::new("open").unwrap(),
        subjects: vec![SubjectFilter::parse(">").unwrap()],
        regions: Regions::Any,
    };
    let config = ReceiverConfig {
        here: RegionId::new("eu").unwrap(),
        policy: Arc::new(ResidencyPolicy::new(vec![class]).unwrap()),
        sole: true,
        window_suffices: false,
        credit_window: 1000,
        decoded_max: 1000,
        run_records_max: 10,
        run_len_max: 1000,
        rest_max: SECOND * 60,
    };
    Receiver::new(config, None)
}

fn open(epoch: u32) -> Open {
    Open {
        lane: LaneId(epoch),
        route: RouteName::new("orders").unwrap(),
        stream: StreamName::new("ORDERS").unwrap(),
        epoch: Epoch(epoch),
        class: LaneClass::Live,
    }
}

fn facts(first: u64, last: u64) -> TargetFacts {
    TargetFacts {
        created_ns: 1,
        first_seq: TargetSeq(first),
        last_seq: TargetSeq(last),
        evidence_stays: false,
        adds_markers: false,
    }
}

/// What the receiver asks for, until it asks for nothing.
fn actions(receiver: &mut Receiver) -> Vec<Action> {
    std::iter::from_fn(|| receiver.poll_action()).collect()
}

/// Connects, and lets the target describe itself.
fn connect(receiver: &mut Receiver, facts: TargetFacts) {
    receiver.handle_connected();
    assert!(matches!(actions(receiver)[..], [Action::Describe]));
    receiver.handle_target_up(facts, Duration::ZERO);
}

fn told(actions: &[Action]) -> Option<StallReason> {
    match actions {
        [Action::Send(Frame::Stall(stall))] => Some(stall.reason),
        [] => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_source_hears_of_a_lost_target_once_it_stays_away() {
    let mut receiver = receiver();
    connect(&mut receiver, facts(1, 0));
    receiver.handle_open(open(1));
    let said = actions(&mut receiver);
    assert!(matches!(said[..], [Action::Send(Frame::Resume(_))]));

    // Back soon: looked at, and not a word of it.
    receiver.handle_disconnected(SECOND * 10);
    receiver.handle_timeout(SECOND * 10 + SECOND / 2);
    assert_eq!(told(&actions(&mut receiver)), None);
    connect(&mut receiver, facts(1, 0));
    assert_eq!(told(&actions(&mut receiver)), None);

    receiver.handle_disconnected(SECOND * 20);
    receiver.handle_disconnected(SECOND * 21); // no news
    assert_eq!(receiver.poll_timeout(), Some(SECOND * 21));
    receiver.handle_timeout(SECOND * 21);
    assert_eq!(
        told(&actions(&mut receiver)),
        Some(StallReason::TargetUnreachable)
    );
    assert_eq!(receiver.poll_timeout(), None);
    connect(&mut receiver, facts(1, 0));
    assert_eq!(told(&actions(&mut receiver)), Some(StallReason::None));
}

/// A receiver whose target does not show what it had.
fn unknowing() -> Receiver {
    let mut receiver = receiver();
    receiver.handle_open(open(3));
    connect(&mut receiver, facts(101, 100)); // all consumed
    let said = told(&actions(&mut receiver));
    assert_eq!(said, Some(StallReason::TargetUnfit));
    receiver
}

#[test]
fn what_cannot_be_known_is_left_to_an_operator_who_seeks() {
    let mut receiver = unknowing();

    // The link was lost: nobody has decided anything.
    receiver.handle_open(open(3));
    assert!(matches!(actions(&mut receiver)[..], [Action::Describe, ..]));
    receiver.handle_target_up(facts(101, 100), Duration::ZERO);
    assert_eq!(told(&actions(&mut receiver)), None);

    receiver.handle_open(open(4));
    assert!(matches!(actions(&mut receiver)[..], [Action::Describe, ..]));
    receiver.handle_target_up(facts(103, 102), Duration::ZERO);
    let said = actions(&mut receiver);
    let [Action::Save { .. }, Action::Send(Frame::Resume(resume))] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((resume.epoch, resume.after), (Epoch(0), None));
    assert_eq!(receiver.applied().target_seq, TargetSeq(102));
}

#[test]
fn a_record_after_a_pause_waits_for_a_look_at_the_target() {
    let mut receiver = receiver();
    receiver.handle_connected();
    actions(&mut receiver);
    receiver.handle_target_up(facts(1, 0), SECOND * 10);
    receiver.handle_open(open(1));
    actions(&mut receiver);
    assert_eq!(receiver.poll_timeout(), Some(SECOND * 11));
    arrive(&mut receiver, 1);
    let [.., Action::Publish(_)] = &actions(&mut receiver)[..] else {
        panic!("known a moment ago");
    };
    receiver.handle_run(stored(1, 1), SECOND * 12);
    actions(&mut receiver);
    arrive(&mut receiver, 2);
    let [.., Action::Publish(_)] = &actions(&mut receiver)[..] else {
        panic!("a run was a moment ago");
    };
    receiver.handle_run(stored(1, 2), SECOND * 13);
    actions(&mut receiver);
    receiver.handle_timeout(SECOND * 14);
    arrive(&mut receiver, 3);
    assert!(matches!(actions(&mut receiver)[..], [Action::Describe]));
    assert!(receiver.is_flowing());
    receiver.handle_target_up(facts(1, 2), SECOND * 14);
    let [.., Action::Publish(_)] = &actions(&mut receiver)[..] else {
        panic!("it is as it was");
    };
}

#[test]
fn an_idle_target_is_looked_at_and_what_others_wrote_there_is_passed() {
    let mut receiver = receiver();
    receiver.config.sole = false;
    receiver.handle_connected();
    actions(&mut receiver);
    receiver.handle_target_up(facts(1, 0), Duration::ZERO);
    let saved = |actions: &[Action]| match actions {
        [
            Action::Save {
                checkpoint,
                now: false,
            },
        ] => Some((
            checkpoint.at.seq.0,
            checkpoint.target_seq.0,
            checkpoint.passed.0,
        )),
        [] => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(saved(&actions(&mut receiver)), None);
    let mut look = |at: Duration, last| {
        while let Some(due) = receiver.poll_timeout() {
            assert!(due <= at);
            receiver.handle_timeout(due);
            if let [Action::Describe] = actions(&mut receiver)[..] {
                break;
            }
        }
        receiver.handle_target_up(facts(1, last), at);
        saved(&actions(&mut receiver))
    };
    assert_eq!(look(SECOND * 60, 500), Some((0, 0, 500)));
    assert_eq!(look(SECOND * 120, 500), None); // nothing new
    assert_eq!(look(SECOND * 180, 900), Some((0, 0, 900)));
}

/// Describes the target whenever that is asked for, until the time is over.
fn rest(receiver: &mut Receiver, until: Duration, facts: TargetFacts) -> Vec<Action> {
    let mut asked = Vec::new();
    while let Some(due) = receiver.poll_timeout().filter(|due| *due <= until) {
        receiver.handle_timeout(due);
        while let Some(action) = receiver.poll_action() {
            match action {
                Action::Describe => receiver.handle_target_up(facts, due),
                other => asked.push(other),
            }
        }
    }
    asked
}

#[test]
fn what_an_operator_decided_outlasts_an_idle_look() {
    let mut receiver = unknowing();
    receiver.handle_open(open(4));
    actions(&mut receiver);
    receiver.handle_target_up(facts(101, 100), Duration::ZERO);
    let said = actions(&mut receiver);
    let [
        Action::Save { checkpoint, .. },
        Action::Send(Frame::Resume(_)),
    ] = &said[..]
    else {
        panic!("{said:?}");
    };
    // Nothing comes, and somebody else's record goes: the route waits for its first, and so does a new process.
    assert!(rest(&mut receiver, SECOND * 300, facts(101, 100)).is_empty());
    let saved = rest(&mut receiver, SECOND * 600, facts(102, 101));
    assert!(receiver.stalled().is_none(), "{saved:?}");
    let mut after = Receiver::new(receiver.config.clone(), Some(*checkpoint));
    connect(&mut after, facts(101, 100));
    assert!(actions(&mut after).is_empty());
    assert!(after.stalled().is_none());
}

#[test]
fn fewer_records_of_others_are_durable_before_ours_take_their_places() {
    let mut receiver = receiver();
    receiver.config.sole = false;
    receiver.handle_connected();
    actions(&mut receiver);
    receiver.handle_target_up(facts(1, 100), Duration::ZERO);
    let Some(Action::Scan { .. }) = receiver.poll_action() else {
        panic!("nothing is known");
    };
    let others = Scanned {
        foreign: 100,
        ..Scanned::default()
    };
    receiver.handle_scanned(others, Duration::ZERO);
    let saves = |actions: &[Action]| match actions {
        [.., Action::Save { checkpoint, now }] => (checkpoint.passed.0, *now),
        other => panic!("{other:?}"),
    };
    assert_eq!(saves(&actions(&mut receiver)), (100, false));
    let lost = rest(&mut receiver, SECOND * 60, facts(1, 50));
    assert_eq!(saves(&lost), (50, true));
}

/// A batch of one record has been decoded.
fn arrive(receiver: &mut Receiver, seq: u64) {
    let record = crate::record::RecordView {
        seq: SourceSeq(seq),
        stored_at: crate::id::StoredAt(seq),
        relayed: false,
        subject: b"orders.new",
        headers: b"",
        payload: b"{}",
    };
    let mut builder = crate::batch::BatchBuilder::new();
    builder.push(&record).unwrap();
    let batch = builder.seal(SourceSeq(seq - 1), SourceSeq(seq)).unwrap();
    receiver.retained.push_back(Retained {
        batch,
        done: 0,
        wire_len: 0,
        epoch: Epoch(1),
    });
}

fn stored(count: u32, last: u64) -> RunResult {
    RunResult {
        stored: count,
        last_seq: Some(TargetSeq(last)),
        end: RunEnd::Complete,
    }
}
