//! What rate a connection sends at.
//!
//! A lost packet is no sign of congestion on a WAN, and a late one only where being slower makes the next
//! one less late. So this controller does not react, it experiments: it sends for a while ([`Trial`]), looks
//! at what became of it, and decides once.
//!
//! ```text
//!              delivery stops growing             delay above base + target
//!   Startup ----------------------------> Steady ---------------------------> Draining
//!   (doubles; only without a               | ^ ^                                  |
//!    declared rate)              loss with | | |    it shrank: it was ours; go on just under what was delivered
//!                                no delay  v | +----------------------------------+
//!                                     Policed?     it did not: jitter, or others; back to the rate before,
//!                                   (an eighth     and so much delay is noise from now on
//!                                     slower)
//! ```
//!
//! In `Steady` a rate below the ceiling climbs: by a hundredth a trial up to just above what the path once
//! delivered, then ever faster. The pace is held by the [`Shaper`](super::Shaper); the window only bounds
//! what is unacknowledged when a path dies.

use std::time::Duration;

use super::rtt::RoundTrip;
use super::trial::{Finding, Trial};

/// How a link treats its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The declared rate is the path's; it begins there and comes back to it. Without a declared rate the
    /// same as [`Adaptive`](Self::Adaptive).
    #[default]
    Declared,
    /// Finds its rate; a declared one is the ceiling.
    Adaptive,
    /// Takes what others leave: gives way to every queue, down to 2 % of the ceiling.
    Scavenger,
}

/// What is known of a path beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How to treat it.
    pub mode: Mode,
    /// Bits a second on the wire, never exceeded.
    pub ceiling: Option<u64>,
    /// Expected round trip.
    pub rtt: Duration,
    /// Largest UDP payload.
    pub mtu: u64,
    /// Bytes of IP and UDP headers on each datagram.
    pub headers: u64,
}

/// Queues shorter than this are left alone.
const TARGET: Duration = Duration::from_millis(6);
const TARGET_SCAVENGER: Duration = Duration::from_millis(3);
/// No rate below this, whatever happens: a packet in three quarters of a second keeps the path known.
const RATE_MIN: u64 = 16_000;
/// No rate above this without a ceiling.
const RATE_MAX: u64 = 100_000_000_000;
/// Packets of the first round trip where no rate is declared.
const FIRST_PACKETS: u64 = 16;
/// Loss, in packets of a million, that may be a policer where there is no delay.
const LOSS_SUSPECT: u64 = 30_000;
/// Packets over which loss is smoothed.
const LOSS_PACKETS: u64 = 1000;
/// How long a policer's rate is kept before it is tried to exceed it, and how long at least lies between
/// two suspicions that were wrong.
const POLICER_HOLD: Duration = Duration::from_secs(10);
/// Packets that are always allowed in flight.
const WINDOW_PACKETS_MIN: u64 = 20;
/// No window above this: 1 Gbit/s over 600 ms, once and a half.
const WINDOW_MAX: u64 = 128 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Startup {
        best: u64,
    },
    Steady {
        step: u64,
    },
    Draining {
        delay: Duration,
        rate: u64,
        delivered: u64,
    },
    Suspicious,
    Policed {
        rate: u64,
        delivered: u64,
        loss: u64,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Control {
    settings: Settings,
    phase: Phase,
    rate: u64,
    /// What the path was last seen to deliver when it was full.
    capacity: Option<u64>,
    trip: RoundTrip,
    trial: Trial,
    /// Bits a second that the path passed of late.
    delivery: u64,
    /// Packets in a million that died of late.
    loss: u64,
    /// Packets in a million that die without being too many.
    loss_usual: u64,
    suspect_after: Duration,
    suspicions_wrong: u32,
    /// How often in a row they were right.
    policers: u32,
    /// Trials in a row that found the path full.
    looks: u32,
    hold_until: Duration,
}

impl Control {
    /// A connection that begins now.
    pub fn new(settings: Settings, now: Duration) -> Self {
        let mut control = Self {
            settings,
            phase: Phase::Steady { step: 10 },
            rate: 0,
            capacity: None,
            trip: RoundTrip::new(settings.rtt),
            trial: Trial::new(now, settings.rtt),
            delivery: 0,
            loss: 0,
            loss_usual: 0,
            suspect_after: now,
            suspicions_wrong: 0,
            policers: 0,
            looks: 0,
            hold_until: now,
        };
        control.begin();
        control.trial = Trial::new(now, control.trial_length());
        control
    }

    fn begin(&mut self) {
        let first = per_second(
            FIRST_PACKETS * (self.settings.mtu + self.settings.headers),
            self.settings.rtt,
        );
        (self.phase, self.rate) = match (self.settings.mode, self.settings.ceiling) {
            (Mode::Declared, Some(rate)) => (Phase::Steady { step: 10 }, rate),
            (Mode::Adaptive | Mode::Declared, _) => (Phase::Startup { best: 0 }, first),
            (Mode::Scavenger, _) => (Phase::Steady { step: 20 }, first),
        };
        self.rate = self.rate.clamp(self.floor(), self.ceiling());
    }

    /// Bits a second that the connection may put on the wire, headers included.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes of UDP payload that may be unacknowledged.
    pub fn window(&self) -> u64 {
        let round = self.trip.smoothed() * 3 / 2 + Duration::from_millis(20) + self.trip.noise();
        let packets = WINDOW_PACKETS_MIN * self.settings.mtu;
        (bytes_in(self.rate, round) + packets).min(WINDOW_MAX)
    }

    /// The operator changed the ceiling or the mode.
    pub fn set(&mut self, now: Duration, mode: Mode, ceiling: Option<u64>) {
        if (mode, ceiling) == (self.settings.mode, self.settings.ceiling) {
            return;
        }
        let was_anchored = self.is_anchored();
        (self.settings.mode, self.settings.ceiling) = (mode, ceiling);
        if self.is_anchored() {
            self.rate = self.ceiling();
            self.phase = Phase::Steady { step: 10 };
            self.capacity = None;
        } else if was_anchored {
            // The rate of before is as good a start as any.
            self.phase = Phase::Steady { step: 10 };
        }
        self.rate = self.rate.clamp(self.floor(), self.ceiling());
        self.trial = Trial::new(now, self.trial_length());
    }

    /// The largest UDP payload changed.
    pub fn set_mtu(&mut self, mtu: u64) {
        self.settings.mtu = mtu;
    }

    /// A packet of so many bytes of UDP payload was acknowledged. `app_limited`: there was nothing more to send.
    pub fn handle_ack(&mut self, now: Duration, sent: Duration, bytes: u64, app_limited: bool) {
        self.trip.sample(now, now.saturating_sub(sent));
        let wire = bytes + self.settings.headers;
        if self.trial.acked(now, sent, wire, app_limited) {
            if let Some(finding) = self.trial.finding() {
                self.judge(now, finding);
            }
            self.trial = Trial::new(now, self.trial_length());
        }
    }

    /// Packets of so many bytes in all were lost, the last of them sent then.
    pub fn handle_loss(&mut self, sent: Duration, bytes: u64) {
        let packets = bytes.div_ceil(self.settings.mtu.max(1));
        let wire = bytes + packets * self.settings.headers;
        self.trial.lost(sent, packets, wire);
    }

    fn judge(&mut self, now: Duration, found: Finding) {
        let delay = found.low.saturating_sub(self.trip.base());
        let late = found.low_late.saturating_sub(self.trip.base());
        self.trip.calm(now);
        self.smooth(found, late);
        if found.is_idle {
            return self.judge_idle(now);
        }
        match self.phase {
            Phase::Startup { best } => self.judge_startup(found, late, best),
            Phase::Steady { step } => self.judge_steady(now, found, delay, step),
            Phase::Draining {
                delay: before,
                rate,
                delivered,
            } => {
                // What was sent before we slowed down may have made it longer still.
                let early = found.low_early.saturating_sub(self.trip.base());
                let before = before.max(early);
                if late * 2 <= before || late <= self.target() {
                    if rate == self.ceiling() && self.is_anchored() && delivered >= rate / 20 * 19 {
                        // All of it arrives: the queue was an accident, and is gone.
                        return self.go(rate, Phase::Steady { step: 10 });
                    }
                    self.settle(delivered);
                } else if late * 5 <= before * 4 {
                    // It shrinks, but there was more of it than could leave in that time.
                    self.drain(found, late, rate);
                } else {
                    self.trip.is_not_ours(late);
                    self.go(rate, Phase::Steady { step: 10 });
                }
            }
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
    fn judge_idle(&mut self, now: Duration) {
        match self.phase {
            Phase::Draining { rate, .. } | Phase::Policed { rate, .. } => {
                self.go(rate, Phase::Steady { step: 10 });
            }
            Phase::Suspicious => self.phase = Phase::Steady { step: 10 },
            // A declared rate is the operator's word, tried or not.
            Phase::Steady { step } if self.is_anchored() && now >= self.hold_until => {
                self.climb(step);
            }
            Phase::Steady { .. } | Phase::Startup { .. } => {}
        }
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

    fn judge_startup(&mut self, found: Finding, delay: Duration, best: u64) {
        if delay > self.target() * 2 {
            return self.drain(found, delay, self.rate);
        }
        if found.delivered < best + best / 3 || (found.is_busy && found.delivered < self.rate / 2) {
            self.looks += 1;
            if self.looks > 1 {
                self.settle(best.max(found.delivered));
            }
            return;
        }
        self.looks = 0;
        let best = found.delivered;
        self.go(self.rate * 2, Phase::Startup { best });
        if self.rate == self.ceiling() {
            self.phase = Phase::Steady { step: 10 };
        }
    }

    fn judge_steady(&mut self, now: Duration, found: Finding, delay: Duration, step: u64) {
        if self.settings.mode == Mode::Scavenger && delay > self.target() {
            return self.go(self.rate / 2, Phase::Steady { step: 20 });
        }
        // Where we send less than we may and all of it arrives, a queue is not of our making.
        let is_pressed = found.is_busy || found.delivered * 8 < found.sent * 7;
        if delay > self.target() && is_pressed {
            // Where delay wanders, and against the operator's word, one look is not enough: a machine that was
            // busy for a moment looks like a queue, too.
            self.looks += 1;
            let is_sure = self.trip.noise() < TARGET || delay > self.target() * 2;
            if self.looks > 1 || (is_sure && !self.is_anchored()) {
                self.looks = 0;
                self.drain(found, delay, self.rate);
            }
            return;
        }
        self.looks = 0;
        let is_lossy = self.loss > LOSS_SUSPECT + self.loss_usual * 3 / 2;
        if is_lossy && now >= self.suspect_after {
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
        // Chance takes the same share of less; a policer lets as much pass as before.
        if found.delivered * 100 > delivered * 94 && found.loss * 8 < loss * 7 {
            self.suspicions_wrong = 0;
            self.settle(found.delivered.min(self.rate));
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

    /// Slows down by as much as empties a queue of that delay within the next trial.
    fn drain(&mut self, found: Finding, delay: Duration, rate: u64) {
        let mut delivered = self.repaired(found);
        if self.trip.noise() > TARGET {
            // Jitter stretches one trial and squeezes the next.
            delivered = delivered.max(self.delivery);
        }
        let delivered = delivered.min(rate);
        let phase = Phase::Draining {
            delay,
            rate,
            delivered,
        };
        let length = self.trip.base().max(Duration::from_millis(20));
        // Until now, one round trip after what was seen, it went on growing.
        let excess = (rate - delivered) * 1000 / delivered.max(1);
        let delay = delay + length * excess.min(2000) as u32 / 1000;
        let share = (delay.as_nanos() * 1000 / length.as_nanos().max(1)) as u64;
        let rate = delivered - delivered * share.clamp(100, 500) / 1000;
        self.go(rate, phase);
    }

    /// What the link passes, when so much of it arrived.
    fn repaired(&self, found: Finding) -> u64 {
        let usual = found.loss.min(self.loss).min(500_000);
        (u128::from(found.delivered) * 1_000_000 / u128::from(1_000_000 - usual)) as u64
    }

    /// Goes on just under what was delivered.
    fn settle(&mut self, delivered: u64) {
        self.capacity = Some(delivered);
        let rate = delivered - delivered / 50;
        self.go(rate, Phase::Steady { step: 10 });
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
        let next = if near { 10 } else { (step * 2).min(most) };
        self.go(
            self.rate + self.rate / 1000 * step,
            Phase::Steady { step: next },
        );
    }

    fn go(&mut self, rate: u64, phase: Phase) {
        self.rate = rate.clamp(self.floor(), self.ceiling());
        self.phase = phase;
    }

    fn target(&self) -> Duration {
        let target = match self.settings.mode {
            Mode::Scavenger => TARGET_SCAVENGER,
            Mode::Declared | Mode::Adaptive => TARGET,
        };
        // Our own queue holds two packets, which counts where they take long.
        let packets = if self.rate < 1_000_000 { 6 } else { 3 };
        target + self.packet_time() * packets + self.trip.noise()
    }

    /// Half a round trip, and enough packets to tell something by.
    fn trial_length(&self) -> Duration {
        let base = self.trip.base();
        let (share, packets) = match self.phase {
            Phase::Startup { .. } | Phase::Steady { .. } => (base / 2, 16),
            Phase::Draining { .. } => (base, 16),
            Phase::Suspicious | Phase::Policed { .. } => (base * 3, 200),
        };
        let packets = self.packet_time() * packets;
        share
            .max(packets.min(Duration::from_secs(5)))
            .max(Duration::from_millis(20))
    }

    fn packet_time(&self) -> Duration {
        let bits = (self.settings.mtu + self.settings.headers) * 8;
        Duration::from_nanos(bits * 1_000_000_000 / self.rate.max(1))
    }

    fn is_anchored(&self) -> bool {
        self.settings.mode == Mode::Declared && self.settings.ceiling.is_some()
    }

    fn ceiling(&self) -> u64 {
        self.settings.ceiling.unwrap_or(RATE_MAX).max(1)
    }

    fn floor(&self) -> u64 {
        let share = self.settings.ceiling.map_or(0, |rate| rate / 50);
        share.max(RATE_MIN).min(self.ceiling())
    }
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_nanos() / 8_000_000_000) as u64
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    (u128::from(bytes) * 8_000_000_000 / time.as_nanos().max(1)) as u64
}

#[cfg(test)]
mod tests;
