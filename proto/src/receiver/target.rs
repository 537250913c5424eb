//! What happens at the target: it is looked at, reconciled with, published to.

use std::time::Duration;

use super::*;
use crate::frame::{CloseLane, LaneCloseReason};

impl Receiver {
    /// The target's server described the stream.
    pub fn handle_target_up(&mut self, facts: TargetFacts, now: Duration) {
        self.facts = Some(facts);
        self.target_last = facts.last_seq;
        let sole = self.config.sole && !self.foreign_seen;
        let window = self.config.window_suffices;
        let mut reconciler = Reconciler::new(facts, self.checkpoint, self.since, sole, window)
            .anchored(self.applied.anchor);
        let step = reconciler.start();
        self.phase = Phase::Reconciling {
            reconciler,
            asked: false,
            step,
        };
        self.conclude(step, now);
    }

    /// The target cannot be used now. A run under way is lost with it.
    pub fn handle_target_down(&mut self, stalled: Stalled, now: Duration) {
        self.drop_run();
        self.fresh.looking = false;
        self.stall(stalled);
        self.phase = Phase::Down {
            asked: false,
            retry_at: Some(now + self.next_retry()),
        };
    }

    /// There is no connection to the target's server. A question under way there is given up; a run is
    /// to be awaited before, as it brings home what was answered.
    pub fn handle_disconnected(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Disconnected { .. }) {
            return;
        }
        self.phase = Phase::Disconnected {
            stall_at: Some(now + RECONNECT_MAX),
        };
        self.fresh.looking = false;
        self.forget_orphans();
    }

    /// The connection to the target is new (or back): look before going on.
    pub fn handle_connected(&mut self) {
        self.drop_run();
        if self.since == Since::Nothing {
            self.since = Since::Run { fell: None }; // what the old connection did not say is not known
        }
    }

    /// A scan ended. A scan that failed is answered with `handle_target_down`.
    pub fn handle_scanned(&mut self, scanned: Scanned, now: Duration) {
        let Phase::Reconciling { reconciler, .. } = &mut self.phase else {
            return;
        };
        let step = reconciler.handle_scanned(scanned);
        self.conclude(step, now);
    }

    /// A run ended.
    pub fn handle_run(&mut self, result: RunResult, now: Duration) {
        if !matches!(self.phase, Phase::Publishing(_)) {
            return; // given up meanwhile
        }
        let Phase::Publishing(run) = std::mem::replace(&mut self.phase, Phase::Ready) else {
            return;
        };
        if let Some(fall) = self.fell(&result) {
            return self.handle_fallen(&run, fall, now);
        }
        if result.stored > 0 {
            self.settle_stored(&run, &result);
            self.retry = RETRY_MIN;
        }
        self.fresh.heard(now, self.config.rest_max);
        if let RunEnd::Complete | RunEnd::Rejected { .. } | RunEnd::Expired = result.end {
            self.since = Since::Nothing;
        }
        match result.end {
            RunEnd::Complete => self.clear_stall(),
            RunEnd::Rejected { code, reason } => {
                self.clear_stall();
                self.refuse(&run, result.stored, code, &reason);
            }
            RunEnd::Expired => {
                self.clear_stall();
                self.expire(&run, result.stored);
            }
            RunEnd::Stalled(stalled) => self.handle_target_down(stalled, now),
            RunEnd::Contradicted(detail) => {
                let reason = StallReason::Reconciling;
                self.handle_target_down(Stalled { reason, detail }, now);
            }
            RunEnd::ConnectionLost => self.handle_disconnected(now),
        }
        self.forget_orphans();
    }

    /// Whether the target gave out fewer sequences than it stored records, or such as it had given out before. Which are
    /// stored is not known then.
    fn fell(&self, result: &RunResult) -> Option<Fall> {
        let last = result.last_seq?;
        let least = self.target_last.0 + u64::from(result.stored);
        let window = self.config.window_suffices && !self.config.sole; // has some of them as a rule
        match last {
            _ if window || last.0 >= least => None,
            last if last <= self.target_last => Some(Fall::Back),
            _ => Some(Fall::Short),
        }
    }

    fn handle_fallen(&mut self, run: &Run, fall: Fall, now: Duration) {
        self.since = Since::Run { fell: Some(fall) };
        let last = run.position(run.record_count - 1);
        self.fallen = last.map(|at| (self.applied.epoch, at.seq));
        let stalled = Stalled {
            reason: StallReason::Reconciling,
            detail: "the target gave out sequences again".to_owned(),
        };
        self.handle_target_down(stalled, now);
    }

    /// A checkpoint asked for with `now` is durable.
    pub fn handle_saved(&mut self) {
        self.saving = false;
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::Ready => self.fresh.handle_timeout(now),
            Phase::Disconnected { stall_at } if stall_at.is_some_and(|at| at <= now) => {
                *stall_at = None;
                self.stall(Stalled {
                    reason: StallReason::TargetUnreachable,
                    detail: "no connection to the target's server".to_owned(),
                });
            }
            Phase::Down {
                retry_at: Some(at), ..
            } if *at <= now => {
                self.phase = Phase::Down {
                    asked: false,
                    retry_at: None,
                };
            }
            _ => {}
        }
    }

    pub(super) fn poll_target(&mut self) -> Option<Action> {
        match &mut self.phase {
            Phase::Down {
                asked,
                retry_at: None,
            } if !*asked => {
                *asked = true;
                Some(Action::Describe)
            }
            Phase::Reconciling {
                asked,
                step: Step::Scan { from, to, through },
                ..
            } if !*asked => {
                *asked = true;
                Some(Action::Scan {
                    from: *from,
                    to: *to,
                    through: *through,
                })
            }
            _ => None,
        }
    }

    fn conclude(&mut self, step: Step, now: Duration) {
        match step {
            Step::Done {
                applied,
                went_back,
                foreign_seen,
            } => {
                if went_back {
                    self.out.push_back(Action::Report(Report::TargetWentBack));
                }
                // Records of ours may come where others' were passed: a new process must not pass them as well.
                let lowered = self
                    .checkpoint
                    .is_some_and(|known| known.passed > self.target_last);
                self.reopen_elsewhere(&applied, went_back);
                if foreign_seen && !self.foreign_seen {
                    self.foreign_seen = true;
                    self.out.push_back(Action::Report(Report::ForeignWriter));
                }
                let fell = matches!(self.since, Since::Run { fell: Some(_) });
                self.applied_in = self.facts.map(|facts| facts.created_ns);
                self.store_again(applied.covered);
                self.adopt(applied);
                self.unknowable_epoch = None;
                self.phase = Phase::Ready;
                self.fresh.looking = false;
                self.since = Since::Nothing;
                self.fresh.heard(now, self.config.rest_max);
                self.clear_stall();
                if went_back || fell || lowered {
                    self.save_before_going_on(); // a new process must not take what covers a hole for proof
                } else {
                    self.save(false);
                }
            }
            Step::Unknowable => self.handle_unknowable(now),
            Step::Scan { .. } => {
                if let Phase::Reconciling {
                    step: current,
                    asked,
                    ..
                } = &mut self.phase
                {
                    *current = step;
                    *asked = false;
                }
            }
        }
    }

    /// Nothing shows what the target has of the route, so that it waits for an operator's seek. That raises
    /// the source's epoch: none of the records asked for since was ever published.
    fn handle_unknowable(&mut self, now: Duration) {
        let sought = self
            .unknowable_epoch
            .is_some_and(|refused| self.asked_epoch > Some(refused));
        if let (true, Some(facts)) = (sought, self.facts) {
            let done = Step::Done {
                applied: Applied {
                    target_seq: facts.last_seq,
                    passed: facts.last_seq, // decided once, not at each look
                    ..Applied::default()
                },
                went_back: false,
                foreign_seen: false,
            };
            return self.conclude(done, now);
        }
        self.fresh.looking = false;
        self.unknowable_epoch = self.unknowable_epoch.or(self.asked_epoch);
        if let Phase::Reconciling { step, .. } = &mut self.phase {
            *step = Step::Unknowable;
        }
        let detail = "the target no longer shows what it has of this route; seek the route, or set \
                      exactly_once = \"window\"";
        self.stall(Stalled {
            reason: StallReason::TargetUnfit,
            detail: detail.to_owned(),
        });
    }

    /// Records on the way build on what the target lost, or the source was told another resume point:
    /// they are dropped, and the source is asked to open the lane anew.
    fn reopen_elsewhere(&mut self, applied: &Applied, went_back: bool) {
        let Some(lane) = &self.lane else { return };
        if applied.at == self.applied.at || (self.follows.is_some() && !went_back) {
            return;
        }
        self.out.push_back(Action::Send(Frame::CloseLane(CloseLane {
            lane: lane.id,
            reason: LaneCloseReason::TargetReset,
            detail: "the target holds something else than it did".to_owned(),
        })));
        self.handle_lane_lost();
    }

    /// The target holds records up to this one ahead of what it lost.
    fn store_again(&mut self, covered: Option<SourceSeq>) {
        let Some(covered) = covered else { return };
        let before = self.again.unwrap_or(Again {
            through: covered,
            time: 0,
        });
        self.again = Some(Again {
            through: covered.max(before.through),
            time: before.time + 1,
        });
    }

    /// Takes over what reconciliation found. With records under way, those that the target shows
    /// by name are settled.
    fn adopt(&mut self, applied: Applied) {
        if self.follows.is_none() {
            self.applied = applied;
            return;
        }
        self.applied.target_seq = applied.target_seq;
        self.applied.target_seq_shown = applied.target_seq_shown;
        self.applied.passed = applied.passed;
        self.applied.anchor = applied.anchor;
        self.applied.skip = applied.skip;
        let Some(at) = applied.at else { return };
        if let Some(stored) = self.stored_through(at) {
            self.applied.at = Some(at);
            self.settle_records(stored);
        }
    }

    /// A run whose fate the connection took with it is found out about by reconciling.
    fn drop_run(&mut self) {
        self.phase = Phase::Down {
            asked: false,
            retry_at: None,
        };
        self.forget_orphans();
    }
}
