//! A target that was put back under a run, and what only looks like one.

use super::*;
use crate::run::Evidence;

/// A receiver whose target, empty before, has taken one record.
fn holding(seq: u64, sole: bool) -> Receiver {
    let mut receiver = receiver();
    receiver.config.sole = sole;
    connect(&mut receiver, facts(1, 0));
    begin_lane(&mut receiver);
    arrive(&mut receiver, seq);
    assert_eq!(published(&mut receiver), [None]);
    receiver.handle_run(stored(1, 1), SECOND);
    receiver
}

/// Opens a lane, of which records of the first epoch will come.
fn begin_lane(receiver: &mut Receiver) {
    receiver.handle_open(open(1));
    actions(receiver);
    receiver.applied.epoch = Epoch(1);
}

#[test]
fn what_a_run_put_over_a_hole_comes_again_with_other_ids() {
    let mut receiver = holding(1, true);
    arrive(&mut receiver, 2);
    assert_eq!(published(&mut receiver), [None]);
    // All was lost, and the run took the first place.
    receiver.handle_run(stored(1, 1), SECOND);
    actions(&mut receiver);
    receiver.handle_timeout(SECOND * 2);
    let cover = Scanned {
        passed_over: Some(SourceSeq(2)),
        ..Scanned::default()
    };
    assert!(matches!(actions(&mut receiver)[..], [Action::Describe]));
    receiver.handle_target_up(facts(1, 1), SECOND * 2);
    for _ in 0..2 {
        let scanned = match actions(&mut receiver)[..] {
            [Action::Scan { through: None, .. }] => at(2, 1), // in the place of ours
            [Action::Scan { .. }] => cover,
            ref other => panic!("{other:?}"),
        };
        receiver.handle_scanned(scanned, SECOND * 2);
    }
    actions(&mut receiver);
    receiver.handle_saved();
    begin_lane(&mut receiver);
    (1..=3).for_each(|seq| arrive(&mut receiver, seq));
    assert_eq!(published(&mut receiver), [Some(1), Some(1)]);
    receiver.handle_run(stored(2, 3), SECOND * 2);
    assert_eq!(published(&mut receiver), [None]);
}

/// A record of ours stands there.
fn at(seq: u64, target: u64) -> Scanned {
    let source = Position {
        seq: SourceSeq(seq),
        stored_at: crate::id::StoredAt(seq),
    };
    let target_seq = TargetSeq(target);
    Scanned {
        last: Some(Evidence { source, target_seq }),
        ..Scanned::default()
    }
}

/// What becomes part of the dedupe ids of the run that is asked for.
fn published(receiver: &mut Receiver) -> Vec<Option<u32>> {
    match &actions(receiver)[..] {
        [.., Action::Publish(run)] => run.records().map(|record| run.time_of(&record)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Looks at the target after a run that fell, which finds our record in its place.
fn look_after_a_fall(receiver: &mut Receiver, stands: Scanned, last: u64, now: Duration) {
    actions(receiver);
    receiver.handle_timeout(now);
    assert!(matches!(actions(receiver)[..], [Action::Describe]));
    receiver.handle_target_up(facts(1, last), now);
    assert!(matches!(
        actions(receiver)[..],
        [Action::Scan { through: None, .. }]
    ));
    receiver.handle_scanned(stands, now);
}

#[test]
fn a_run_that_the_target_had_in_part_is_sent_again_alone_and_then_all_goes_on() {
    let mut receiver = holding(1, true);
    actions(&mut receiver);
    (2..=4).for_each(|seq| arrive(&mut receiver, seq));
    assert_eq!(published(&mut receiver), [None; 3]);
    // The server knew two of the three.
    receiver.handle_run(stored(3, 2), SECOND);
    (5..=6).for_each(|seq| arrive(&mut receiver, seq));
    look_after_a_fall(&mut receiver, at(1, 1), 2, SECOND * 2);
    let said = actions(&mut receiver);
    assert!(
        !said
            .iter()
            .any(|action| matches!(action, Action::Report(_)))
    );
    receiver.handle_saved();
    assert_eq!(published(&mut receiver), [None; 3]); // those three alone
    let known = RunResult {
        last_seq: None,
        ..stored(3, 0)
    };
    receiver.handle_run(known, SECOND * 2);
    actions(&mut receiver);
    receiver.handle_saved();
    assert_eq!(published(&mut receiver), [None; 2]);
    receiver.handle_run(stored(2, 4), SECOND * 2);
    assert_eq!(receiver.applied().at.map(|at| at.seq.0), Some(6));
}

#[test]
fn a_target_whose_last_record_is_younger_than_what_is_asked_for_again_did_not_go_back() {
    let mut receiver = holding(9, false);
    actions(&mut receiver);
    // An operator seeks back, and the first record of the new epoch takes no place.
    receiver.handle_open(open(2));
    actions(&mut receiver);
    receiver.begin_epoch(Epoch(2), SourceSeq(4));
    actions(&mut receiver);
    receiver.handle_saved();
    arrive(&mut receiver, 5);
    published(&mut receiver);
    let expired = RunResult {
        stored: 0,
        last_seq: None,
        end: RunEnd::Expired,
    };
    receiver.handle_run(expired, SECOND);
    actions(&mut receiver);
    receiver.handle_disconnected(SECOND);
    receiver.handle_connected();
    actions(&mut receiver);
    receiver.handle_target_up(facts(1, 1), SECOND);
    assert!(matches!(actions(&mut receiver)[..], [Action::Scan { .. }]));
    receiver.handle_scanned(at(9, 1), SECOND);
    let said = actions(&mut receiver);
    assert!(
        !said
            .iter()
            .any(|action| matches!(action, Action::Report(_)))
    );
    assert_eq!(receiver.applied().at.map(|at| at.seq.0), Some(5));
}
