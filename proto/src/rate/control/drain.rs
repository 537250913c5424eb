//! The experiment that tells a queue of ours from the path's own delay: be slower for a trial, and see whether it shrinks.

use std::time::Duration;

use super::super::rtt::NOISE_MAX;
use super::judge::STEP_UNKNOWN;
use super::{Control, Finding, Phase, TARGET};

/// Slower by so much of a thousand at most.
const SHARE_MAX: u64 = 500;

/// A drain that ended, and with it what it took for a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drained {
    /// Bits a second before it.
    rate: u64,
    /// What was left of the delay.
    left: Duration,
}

impl Control {
    /// Begins where `found` shows a queue of that delay.
    pub(super) fn drain_first(&mut self, found: Finding, delay: Duration) {
        let mut delivered = self.repaired(found.delivered, &found);
        // A link that shrank shows in one trial before it shows in several, but so does jitter: against the
        // operator's word, and where nothing shrank yet, several count.
        if self.is_anchored() || self.phase == Phase::Landing || !found.is_behind() {
            delivered = delivered.max(self.repaired(found.arrived, &found));
        }
        self.drain(delivered, &found, delay, self.rate);
    }

    /// Slows down by as much as empties a queue of that delay within the next trial, where so much was delivered of what
    /// was sent at `rate`. What that needs more than half for is not empty when the trial has left, and we stay slow until
    /// it is judged.
    fn drain(&mut self, delivered: u64, found: &Finding, delay: Duration, rate: u64) {
        let is_noisy = self.trip.noise() > TARGET;
        // Jitter stretches one trial and squeezes the next; a source that paused did not fill it.
        let delivered = if is_noisy || found.sent < self.rate / 8 * 7 {
            delivered.max(self.delivery)
        } else {
            delivered
        };
        let delivered = delivered.min(rate);
        let length = self.trip.base().max(Duration::from_millis(20));
        let trial = length.max(self.trip.noise() * 4);
        // Until now, one round trip after what was seen, it went on growing.
        let excess = (rate - delivered) * 1000 / delivered.max(1);
        let queue = delay + length * excess.min(2000) as u32 / 1000;
        let share = (queue.as_nanos() * 1000 / trial.as_nanos()) as u64;
        let slow = delivered - delivered * share.clamp(100, SHARE_MAX) / 1000;
        let is_enough = share <= SHARE_MAX;
        let then = if is_enough {
            self.below(delivered)
        } else {
            slow
        };
        let phase = Phase::Draining {
            delay,
            rate,
            delivered,
            then: then.max(self.floor()),
            is_over: false,
        };
        self.go(slow, phase);
    }

    /// A trial of less, in whose second half the delay was `late`. `before` it: the delay, the rate, and what of it arrived.
    pub(super) fn judge_draining(
        &mut self,
        found: Finding,
        late: Duration,
        before: (Duration, u64, u64),
    ) {
        let (delay, rate, delivered) = before;
        // The window kept nearly everything back: what arrived was sent before the queue could shrink.
        if found.sent < self.rate / 4 {
            return;
        }
        // Two packets wait at our own end, longer now. That is no queue of the path.
        let waits = self.packet_time().saturating_sub(self.packet_time_at(rate)) * 2;
        let late = late.saturating_sub(waits);
        // What was sent before we slowed down may have made it longer still.
        let early = found.low_early.saturating_sub(self.trip.base());
        let delay = delay.max(early);
        let arrived = self.repaired(found.arrived, &found);
        let is_behind =
            arrived * 5 < found.sent.min(self.rate) * 4 || (found.is_behind() && late > delay);
        if late * 2 <= delay || late <= self.target_at(rate) {
            self.end_drain(late, rate, delivered, arrived);
        } else if late * 5 <= delay * 4 {
            // It shrinks, but there was more of it than could leave in that time. What arrived now is
            // what was sent now, no measure of the path.
            self.drain(delivered.max(found.delivered), &found, late, rate);
        } else if is_behind || late > NOISE_MAX {
            // Even of less, not all arrives, or there is more than noise can be: the link carries less than we thought.
            self.drain(arrived, &found, late, rate);
        } else {
            self.blame_path(late);
            // Where nothing was found that fills the path, or its rate is declared, there may be much more of it.
            let is_found = self.capacity.is_some() && !self.is_anchored();
            let step = if is_found { 10 } else { STEP_UNKNOWN };
            self.go(rate, Phase::Steady { step });
        }
    }

    /// It shrank. `arrived` came out of the queue meanwhile, which is no more than the path carries.
    fn end_drain(&mut self, left: Duration, rate: u64, delivered: u64, arrived: u64) {
        if rate == self.ceiling() && self.is_anchored() && delivered >= rate / 20 * 19 {
            // All of it arrives: the queue was an accident, and is gone.
            return self.go(rate, Phase::Steady { step: 10 });
        }
        // Chance looks like this, too, where delay wanders: then step by step.
        let is_noisy = self.is_anchored() && self.trip.noise() > TARGET;
        let least = if is_noisy { rate / 8 * 7 } else { 0 };
        self.settle(delivered.max(least).max(arrived.min(rate)));
        self.drained = Some(Drained { rate, left });
    }

    /// What a drain left of a queue cannot have grown in the round trip after it, at no more than what was delivered. Delay
    /// that is there again with the first packets of the next trial is the path's, and what was taken for a queue before
    /// may have been, too.
    pub(super) fn doubt_drained(&mut self, found: Finding) {
        let Some(drained) = self.drained.take() else {
            return;
        };
        let early = found.low_early.saturating_sub(self.trip.base());
        if early <= drained.left + self.target() || found.is_behind() {
            return;
        }
        self.blame_path(early);
        if self.is_anchored() {
            self.rate = drained.rate;
        }
    }

    /// Goes on just under what was delivered.
    pub(super) fn settle(&mut self, delivered: u64) {
        self.capacity = Some(delivered);
        self.go(self.below(delivered), Phase::Steady { step: 10 });
    }

    /// Just under what was delivered.
    pub(super) fn below(&self, delivered: u64) -> u64 {
        // Where delay wanders, a queue is seen late.
        let is_noisy = self.trip.noise() > TARGET && !self.is_anchored();
        let margin = if is_noisy { 16 } else { 50 };
        delivered - delivered / margin
    }

    /// What the link passes, when so much of it arrived.
    pub(super) fn repaired(&self, bits: u64, found: &Finding) -> u64 {
        let usual = found.loss.min(self.loss).min(500_000);
        (u128::from(bits) * 1_000_000 / u128::from(1_000_000 - usual)) as u64
    }
}
