//! What a trial's finding means, phase by phase.

use std::time::Duration;

use super::{
    Arrived, Control, Finding, LOSS_PACKETS, LOSS_SUSPECT, Mode, POLICER_HOLD, Phase, TARGET,
};

/// Trials of a rate that was found, after which no queue is left of the search for it.
const SETTLED_TRIALS: u32 = 3;
/// Trials within which delay must go a second time to be noise at such a rate: a machine that stood still once does not.
const STRAY_TRIALS: u32 = 8;
/// Of a thousand, by which a rate climbs first where nothing is known of what fills the path.
pub(super) const STEP_UNKNOWN: u64 = 40;

impl Control {
    /// Decides what a trial's finding means, and what is tried next.
    pub(super) fn judge(&mut self, now: Duration, found: Finding) {
        self.decide(now, found);
        if self.looks == 0 {
            self.arrived = Arrived::new(now);
        }
    }

    fn decide(&mut self, now: Duration, found: Finding) {
        let delay = found.low.saturating_sub(self.trip.base());
        let late = found.low_late.saturating_sub(self.trip.base());
        self.trip.calm(now);
        self.doubt_drained(found);
        self.learn_noise(found);
        self.smooth(found, late);
        // A source that pauses can still have filled a queue before it did.
        if found.is_idle && !(found.is_overrun(self.rate) && delay > self.target()) {
            return self.judge_idle(now, found);
        }
        match self.phase {
            Phase::Startup(train) => self.judge_startup(found, train),
            Phase::Landing if found.is_behind() && found.loss > LOSS_SUSPECT * 3 => {
                self.settle(found.delivered);
            }
            Phase::Landing => self.judge_steady(now, found, delay, 20),
            Phase::Steady { step } => self.judge_steady(now, found, delay, step),
            Phase::Draining {
                delay,
                rate,
                delivered,
                ..
            } => self.judge_draining(found, late, (delay, rate, delivered)),
            Phase::Suspicious => {
                let phase = Phase::Policed {
                    rate: self.rate,
                    delivered: found.delivered,
                    loss: found.loss,
                };
                self.go(self.rate * 7 / 8, phase);
            }
            Phase::Policed {
                rate,
                delivered,
                loss,
            } => self.judge_policed(now, found, (rate, delivered, loss)),
        }
    }

    /// There was too little to send to learn anything. What was being tried is tried again another time.
    fn judge_idle(&mut self, now: Duration, found: Finding) {
        match self.phase {
            // The queue is empty now, and so much came out of it.
            Phase::Draining { delivered, .. } if !self.is_anchored() => {
                self.settle(delivered.max(found.delivered));
            }
            Phase::Draining { rate, .. } | Phase::Policed { rate, .. } => {
                self.go(rate, Phase::Steady { step: 10 });
            }
            Phase::Suspicious => self.phase = Phase::Steady { step: 10 },
            // A declared rate is the operator's word, tried or not.
            Phase::Steady { step } if self.is_anchored() && now >= self.hold_until => {
                self.climb(step);
            }
            // So little was missing that the next record may find it too narrow.
            Phase::Startup(train) if train.is_used() && !found.is_behind() => {
                self.grow(train, 2);
            }
            Phase::Steady { step } if found.sent > self.rate / 4 * 3 && !found.is_behind() => {
                self.climb(step);
            }
            Phase::Landing => self.phase = Phase::Steady { step: 20 },
            Phase::Steady { .. } | Phase::Startup(_) => {}
        }
    }

    /// A queue of our own does not come while we send little, nor go while we send all that we may. Delay that does is the
    /// path's: at a declared rate, and at one that was found some time ago. There it may also be that the path is wider
    /// than was found, which is as good a reason to go on.
    fn learn_noise(&mut self, found: Finding) {
        let is_steady = matches!(self.phase, Phase::Steady { .. });
        self.settled = if is_steady {
            self.settled.saturating_add(1)
        } else {
            0
        };
        let strayed = self.stray > 0;
        self.stray = self.stray.saturating_sub(1);
        let is_declared = self.is_anchored() && self.rate == self.ceiling();
        let may_be_found = self.settings.mode != Mode::Scavenger && !self.is_anchored();
        let is_found = may_be_found && self.settled >= SETTLED_TRIALS;
        if !is_declared && !is_found {
            return;
        }
        let base = self.trip.base();
        let [early, late] = [found.low_early, found.low_late].map(|it| it.saturating_sub(base));
        let foreign = if found.sent >= self.rate / 8 * 7 {
            early.saturating_sub(late)
        } else if found.sent < self.rate / 4 && is_declared {
            early.max(late)
        } else {
            return;
        };
        if foreign > self.target().saturating_sub(self.trip.noise()) {
            if is_declared || strayed {
                self.blame_path(foreign);
            }
            self.stray = STRAY_TRIALS;
        }
    }

    /// So much delay is noise. What was found before that was known is not to be relied upon.
    pub(super) fn blame_path(&mut self, delay: Duration) {
        if self.trip.noise() < TARGET
            && !self.is_anchored()
            && self.capacity.take().is_some()
            && let Phase::Steady { step } = &mut self.phase
        {
            *step = STEP_UNKNOWN.max(*step);
        }
        self.trip.is_not_ours(delay);
    }

    /// Smooths what arrived, and the share that died where no queue can have dropped it.
    fn smooth(&mut self, found: Finding, late: Duration) {
        if late <= self.target() {
            let weight = found.packets.min(LOSS_PACKETS);
            let rest = LOSS_PACKETS - weight;
            self.loss = (self.loss * rest + found.loss * weight) / LOSS_PACKETS;
        }
        self.delivery = (self.delivery * 3 + found.delivered) / 4;
    }

    fn judge_steady(&mut self, now: Duration, found: Finding, delay: Duration, step: u64) {
        if self.settings.mode == Mode::Scavenger && delay > self.target() {
            return self.go(self.rate / 2, Phase::Steady { step: 20 });
        }
        // Where we send less than we may and all of it arrives, a queue is not of our making.
        let is_large = delay > self.target() * 2 && found.is_used(self.rate);
        let is_pressed = found.is_busy || found.is_overrun(self.rate) || is_large;
        if delay > self.target() && is_pressed {
            // Where delay wanders, and against the operator's word, one look is not enough: a machine that was
            // busy for a moment looks like a queue, too.
            self.looks += 1;
            let is_calm = self.trip.noise() < TARGET;
            let is_sure = is_calm || delay > self.target() * 2;
            let enough = if is_calm || !self.is_anchored() { 1 } else { 2 };
            if self.looks > enough || (is_sure && !self.is_anchored()) {
                self.looks = 0;
                self.drain_first(found, delay);
            }
            return;
        }
        self.looks = 0;
        let suspect = LOSS_SUSPECT + self.loss_usual * 3 / 2;
        if self.loss.min(found.loss) > suspect && now >= self.suspect_after {
            self.phase = Phase::Suspicious;
            return;
        }
        // What does not arrive need not be sent faster.
        let arriving = self.delivery.max(found.delivered);
        let expected = self.rate / 1_000 * (1_000 - self.loss_usual / 1_000);
        let arrives = arriving * 8 >= expected * 7;
        let is_spared = self.is_anchored() && !found.is_busy;
        if (arrives || is_spared) && now >= self.hold_until && self.rate < self.ceiling() {
            self.climb(step);
        }
    }

    fn judge_policed(&mut self, now: Duration, found: Finding, before: (u64, u64, u64)) {
        let (rate, delivered, loss) = before;
        // Chance takes the same share of less; a policer lets as much pass as before, or all that is sent.
        let passes_as_much = found.delivered * 100 > delivered * 94 && found.loss * 8 < loss * 7;
        if passes_as_much || found.loss * 3 < loss {
            self.suspicions_wrong = 0;
            self.settle(delivered.max(found.delivered).min(rate));
            self.policers = (self.policers + 1).min(4);
            self.hold_until = now + POLICER_HOLD * (1 << self.policers) / 2;
        } else {
            self.policers = 0;
            self.loss_usual = found.loss.max(loss).min(500_000);
            self.suspicions_wrong = (self.suspicions_wrong + 1).min(6);
            self.suspect_after = now + POLICER_HOLD * (1 << self.suspicions_wrong);
            self.go(rate, Phase::Steady { step: 10 });
        }
    }

    fn climb(&mut self, step: u64) {
        let near = self
            .capacity
            .is_some_and(|most| self.rate < most + most / 20);
        let most = match self.settings.mode {
            Mode::Scavenger => 50,
            Mode::Declared if self.is_anchored() => 1000,
            Mode::Declared | Mode::Adaptive => 250,
        };
        let next = if near {
            step.min(20)
        } else {
            (step * 2).min(most)
        };
        self.go(
            self.rate + self.rate / 1000 * step,
            Phase::Steady { step: next },
        );
    }

    pub(super) fn go(&mut self, rate: u64, phase: Phase) {
        self.rate = rate.clamp(self.floor(), self.ceiling());
        self.phase = phase;
    }
}
