//! Each way that a target can stand to its checkpoint, and the question or the answer that follows.

use super::*;
use crate::id::{Position, SourceSeq, StoredAt};
use crate::run::Evidence;

fn position(seq: u64) -> Position {
    Position {
        seq: SourceSeq(seq),
        stored_at: StoredAt(seq * 10),
    }
}

fn facts(first: u64, last: u64, evidence_stays: bool) -> TargetFacts {
    TargetFacts {
        created_ns: 5,
        first_seq: TargetSeq(first),
        last_seq: TargetSeq(last),
        evidence_stays,
        adds_markers: false,
    }
}

fn checkpoint(source: u64, target: u64) -> TargetCheckpoint {
    TargetCheckpoint {
        source_epoch: Epoch(2),
        at: position(source),
        target_seq: TargetSeq(target),
        target_seq_shown: true,
        passed: TargetSeq(target),
        target_created_ns: 5,
        foreign_seen: false,
    }
}

fn found(source: u64, target: u64, foreign: u64, unseen_behind: u64) -> Scanned {
    let last = Some(Evidence {
        source: position(source),
        target_seq: TargetSeq(target),
    });
    Scanned {
        last,
        foreign,
        unseen_behind,
        passed_over: None,
    }
}

/// A look with the checkpoint of source position 20 at target sequence 8, after a start.
fn behind(facts: TargetFacts, sole: bool, window: bool) -> Reconciler {
    Reconciler::new(facts, Some(checkpoint(20, 8)), Since::Start, sole, window)
}

fn found_out(step: Step) -> Applied {
    match step {
        Step::Done { applied, .. } => applied,
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn a_current_checkpoint_needs_no_look() {
    let mut r = behind(facts(1, 8, true), true, false);
    let got = found_out(r.start());
    assert_eq!(
        (got.at, got.epoch, got.skip),
        (Some(position(20)), Epoch(2), 0)
    );
}

#[test]
fn a_trailing_checkpoint_is_brought_forward_by_evidence() {
    let mut r = behind(facts(1, 10, true), true, false);
    assert_eq!(
        r.start(),
        Step::Scan {
            from: TargetSeq(9),
            to: TargetSeq(10),
            through: None,
        }
    );
    let got = found_out(r.handle_scanned(found(24, 10, 0, 0)));
    assert_eq!(
        (got.at, got.target_seq, got.skip),
        (Some(position(24)), TargetSeq(10), 0)
    );
}

#[test]
fn a_sole_writer_counts_what_was_consumed() {
    let mut r = behind(facts(12, 11, false), true, false);
    let got = found_out(r.start());
    assert_eq!(
        (got.at, got.target_seq, got.skip),
        (Some(position(20)), TargetSeq(11), 3)
    );
}

#[test]
fn what_the_server_writes_itself_is_not_counted_as_a_record() {
    let marked = TargetFacts {
        adds_markers: true,
        ..facts(1, 11, true)
    };
    let mut r = Reconciler::new(marked, Some(checkpoint(20, 8)), Since::Start, true, false);
    r.start();
    let gone = Scanned {
        unseen_behind: 3,
        ..Scanned::default()
    };
    let step = r.handle_scanned(gone);
    let alone = matches!(step, Step::Done { foreign_seen, .. } if !foreign_seen);
    assert!(alone, "{step:?}");
    let got = found_out(step);
    assert_eq!((got.at, got.skip), (Some(position(20)), 0));
}

#[test]
fn a_shared_work_queue_proves_nothing() {
    let mut r = behind(facts(12, 11, false), false, false);
    assert_eq!(r.start(), Step::Unknowable);
    let mut r = behind(facts(12, 11, false), false, true);
    assert_eq!(found_out(r.start()).skip, 0);
}

#[test]
fn a_shared_target_that_went_back_is_known_by_what_stands_in_our_place() {
    let confirm = Step::Scan {
        from: TargetSeq(8),
        to: TargetSeq(8),
        through: None,
    };
    let whole = Step::Scan {
        from: TargetSeq(1),
        to: TargetSeq(10),
        through: None,
    };
    let start = || {
        let mut r = behind(facts(1, 10, true), false, false);
        assert_eq!(r.start(), confirm);
        r
    };
    let mut intact = start();
    let behind = Step::Scan {
        from: TargetSeq(9),
        to: TargetSeq(10),
        through: None,
    };
    assert_eq!(intact.handle_scanned(found(20, 8, 0, 0)), behind);
    let mut overwritten = start();
    let foreign = Scanned {
        foreign: 1,
        ..Scanned::default()
    };
    assert_eq!(overwritten.handle_scanned(foreign), whole);
    let mut step = start();
    assert_eq!(
        step.handle_scanned(Scanned {
            unseen_behind: 1,
            ..Scanned::default()
        }),
        behind
    );
}

#[test]
fn a_target_that_went_back_is_searched_whole() {
    let mut r = behind(facts(1, 5, true), true, false);
    assert_eq!(
        r.start(),
        Step::Scan {
            from: TargetSeq(1),
            to: TargetSeq(5),
            through: None,
        }
    );
    match r.handle_scanned(found(13, 5, 0, 0)) {
        Step::Done {
            applied, went_back, ..
        } => {
            assert!(went_back);
            assert_eq!((applied.at, applied.epoch), (Some(position(13)), Epoch(0)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_target_is_fresh_and_a_lost_store_on_a_work_queue_is_not_guessed() {
    let mut fresh = Reconciler::new(facts(1, 0, true), None, Since::Start, true, false);
    assert_eq!(found_out(fresh.start()), Applied::default());
    let mut lost = Reconciler::new(facts(9, 8, false), None, Since::Start, true, false);
    assert_eq!(lost.start(), Step::Unknowable);
}

#[test]
fn foreign_records_in_a_sole_writers_target_are_reported() {
    let mut r = behind(facts(1, 10, true), true, false);
    let step = r.handle_scanned(found(21, 9, 1, 0));
    assert!(matches!(
        step,
        Step::Done {
            foreign_seen: true,
            ..
        }
    ));
}

#[test]
fn a_run_that_covered_a_hole_is_not_taken_for_what_was_in_it() {
    let run = Since::Run {
        fell: Some(Fall::Short),
    };
    let whole = |last| Step::Scan {
        from: TargetSeq(1),
        to: TargetSeq(last),
        through: Some(SourceSeq(20)),
    };
    for sole in [true, false] {
        // The run ended before our last record's place: the last sequence tells.
        let mut short =
            Reconciler::new(facts(1, 7, true), Some(checkpoint(20, 8)), run, sole, false);
        assert_eq!(short.start(), whole(7));
        let passed = Scanned {
            passed_over: Some(SourceSeq(22)),
            ..found(15, 5, 0, 0)
        };
        match short.handle_scanned(passed) {
            Step::Done {
                applied, went_back, ..
            } => {
                assert!(went_back);
                assert_eq!((applied.at, applied.skip), (Some(position(15)), 0));
                assert_eq!(applied.covered, Some(SourceSeq(22)));
                // The next look begins behind the run.
                assert_eq!(applied.target_seq, TargetSeq(7));
                assert!(!applied.target_seq_shown);
            }
            other => panic!("{other:?}"),
        }
        // It went on beyond: what stands in our place tells.
        let mut long = Reconciler::new(
            facts(1, 12, true),
            Some(checkpoint(20, 8)),
            run,
            sole,
            false,
        );
        assert!(matches!(long.start(), Step::Scan { from, to, .. } if from == to));
        assert_eq!(long.handle_scanned(found(23, 8, 0, 0)), whole(12));
    }
}

#[test]
fn a_second_run_that_fell_is_not_taken_for_proof_either() {
    let covered = TargetCheckpoint {
        target_seq_shown: false,
        ..checkpoint(20, 8)
    };
    let run = Since::Run {
        fell: Some(Fall::Short),
    };
    let start = |evidence_stays| {
        let facts = facts(1, 12, evidence_stays);
        Reconciler::new(facts, Some(covered), run, true, false).start()
    };
    let ours_only_through_the_last_settled = Step::Scan {
        from: TargetSeq(1),
        to: TargetSeq(12),
        through: Some(SourceSeq(20)),
    };
    assert_eq!(start(true), ours_only_through_the_last_settled);
    // Where consumers take the evidence away, all behind what was settled is sent again.
    let got = found_out(start(false));
    assert_eq!(
        (got.at, got.target_seq),
        (Some(position(20)), TargetSeq(12))
    );
}

#[test]
fn an_idle_look_asks_little() {
    let look = |last, sole| {
        let known = Some(checkpoint(20, 8));
        Reconciler::new(facts(1, last, true), known, Since::Nothing, sole, false)
    };
    let mut sole = look(8, true);
    assert_eq!(found_out(sole.start()).at, Some(position(20)));
    let mut shared = look(100_000, false);
    let confirm = Step::Scan {
        from: TargetSeq(8),
        to: TargetSeq(8),
        through: None,
    };
    assert_eq!(shared.start(), confirm);
    let got = found_out(shared.handle_scanned(found(20, 8, 0, 0)));
    assert_eq!((got.at, got.target_seq), (Some(position(20)), TargetSeq(8)));
    assert_eq!(got.passed, TargetSeq(100_000));
}

#[test]
fn what_others_wrote_is_looked_at_once() {
    let start = |known, last| {
        let mut r = Reconciler::new(
            facts(1, last, true),
            Some(known),
            Since::Start,
            false,
            false,
        );
        let step = r.start();
        (r, step)
    };
    let whole = |from, to| Step::Scan {
        from: TargetSeq(from),
        to: TargetSeq(to),
        through: None,
    };
    let passed = TargetCheckpoint {
        passed: TargetSeq(70),
        ..checkpoint(20, 8)
    };
    let (mut r, confirm) = start(passed, 90);
    assert_eq!(confirm, whole(8, 8));
    assert_eq!(r.handle_scanned(found(20, 8, 0, 0)), whole(71, 90));
    let others = Scanned {
        foreign: 20,
        ..Scanned::default()
    };
    let got = found_out(r.handle_scanned(others));
    assert_eq!((got.at, got.passed), (Some(position(20)), TargetSeq(90)));
    assert_eq!(got.target_seq, TargetSeq(8));

    // The target lost what was passed, not what is ours: all behind it is new.
    let (mut r, _) = start(passed, 60);
    assert_eq!(r.handle_scanned(found(20, 8, 0, 0)), whole(9, 60));
}

#[test]
fn a_route_that_never_sent_anything_passes_what_others_wrote_as_well() {
    let facts = facts(1, 90, true);
    let mut lost = Reconciler::new(facts, None, Since::Start, false, false);
    assert!(matches!(lost.start(), Step::Scan { from, .. } if from == TargetSeq(1)));
    let got = found_out(lost.handle_scanned(Scanned {
        foreign: 90,
        ..Scanned::default()
    }));
    let all = TargetSeq(90);
    assert_eq!((got.at, got.target_seq, got.passed), (None, all, all));

    let fresh = TargetCheckpoint {
        source_epoch: Epoch(0),
        at: Position::default(),
        target_seq: TargetSeq(0),
        target_seq_shown: false,
        passed: TargetSeq(70),
        ..checkpoint(20, 8)
    };
    assert!(fresh.is_fresh());
    let mut again = Reconciler::new(facts, Some(fresh), Since::Start, false, false);
    assert!(matches!(again.start(), Step::Scan { from, .. } if from == TargetSeq(71)));
    let mut none_since = Reconciler::new(
        facts,
        Some(TargetCheckpoint {
            passed: all,
            ..fresh
        }),
        Since::Start,
        false,
        false,
    );
    assert_eq!(found_out(none_since.start()), got);
    // Another stream of that name: nothing was lost in it.
    let renewed = TargetFacts {
        created_ns: 6,
        ..facts
    };
    let mut another = Reconciler::new(renewed, Some(fresh), Since::Start, false, false);
    assert!(matches!(another.start(), Step::Scan { from, .. } if from == TargetSeq(1)));
    assert!(!another.went_back);
}

#[test]
fn a_scan_leaves_out_what_the_target_no_longer_has() {
    let known = Some(checkpoint(20, 8));
    let mut r = Reconciler::new(facts(50, 52, false), known, Since::Start, true, false);
    let rest = Step::Scan {
        from: TargetSeq(50),
        to: TargetSeq(52),
        through: None,
    };
    assert_eq!(r.start(), rest);
    let gone = Scanned {
        unseen_behind: 3,
        ..Scanned::default()
    };
    assert_eq!(found_out(r.handle_scanned(gone)).skip, 44);
}
