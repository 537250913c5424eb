//! What rate a connection sends at.
//!
//! A lost packet is no sign of congestion on a WAN, and a late one only where being slower makes the next
//! one less late. So this controller does not react, it experiments: it sends for a while ([`Trial`]), looks
//! at what became of it, and decides once.
//!
//! ```text
//!       less arrives than was sent                  delay above base + target
//!   Startup ---------> Landing ----------> Steady ---------------------------> Draining
//!   (trains; only without a                | ^ ^                                  |
//!    declared rate)              loss with | | |    it shrank: it was ours; go on just under what was delivered
//!                                no delay  v | +----------------------------------+
//!                                     Policed?     it did not: jitter, or others; back to the rate before,
//!                                   (an eighth     and so much delay is noise from now on
//!                                     slower)
//! ```
//!
//! `Draining` is slow for one trial only; while that is on its way back we go on just under what was delivered. How much
//! that is, several round trips say where one trial may have been stretched by jitter.
//!
//! Noise is also learned without an experiment: from delay that comes while little of a declared rate is sent, and from delay
//! that shrinks while all that may be is sent.
//!
//! How `Startup` finds a rate in a few round trips is told in [`startup`]. In `Steady` a rate below the ceiling climbs: by a
//! hundredth or two a trial up to just above what the path once delivered, then ever faster. The pace is held by the
//! [`Shaper`](super::Shaper); the window only bounds what is unacknowledged when a path dies.

use std::time::Duration;

use super::rtt::RoundTrip;
use super::trial::{Arrived, Finding, Trial};
use drain::Drained;
use startup::Train;

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
    Startup(Train),
    /// The first trial at the rate that startup found: it may have been an illusion.
    Landing,
    Steady {
        step: u64,
    },
    Draining {
        delay: Duration,
        rate: u64,
        delivered: u64,
        /// Bits a second once the slower trial has left and only its acknowledgements are waited for.
        then: u64,
        is_over: bool,
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
    /// Trials in a row in `Steady`.
    settled: u32,
    /// Since the last judgement that left nothing to look at again.
    arrived: Arrived,
    /// The drain that ended with the trial before.
    drained: Option<Drained>,
    /// Trials left in which delay that goes by itself is seen for the second time.
    stray: u32,
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
            settled: 0,
            arrived: Arrived::new(now),
            drained: None,
            stray: 0,
        };
        control.begin();
        control.trial = Trial::new(now, control.trial_length());
        control
    }

    fn begin(&mut self) {
        let train = Train::first(&self.settings);
        let first = train.mean(&self.trip);
        (self.phase, self.rate) = match (self.settings.mode, self.settings.ceiling) {
            (Mode::Declared, Some(rate)) => (Phase::Steady { step: 10 }, rate),
            (Mode::Adaptive | Mode::Declared, _) => (Phase::Startup(train), first),
            (Mode::Scavenger, _) => (Phase::Steady { step: 20 }, first),
        };
        self.rate = self.rate.clamp(self.floor(), self.ceiling());
    }

    /// Bits a second that the connection may put on the wire on average, headers included.
    pub fn rate(&self) -> u64 {
        match self.phase {
            Phase::Draining {
                then,
                is_over: true,
                ..
            } => then.min(self.ceiling()),
            _ => self.rate,
        }
    }

    /// Bits a second at which its packets may leave now. The same as [`rate`](Self::rate), but for trains at
    /// the beginning.
    pub fn pace(&self) -> u64 {
        match &self.phase {
            Phase::Startup(train) => train.pace(&self.trip).clamp(self.floor(), self.ceiling()),
            _ => self.rate(),
        }
    }

    /// A packet of so many bytes of UDP payload left.
    pub fn handle_sent(&mut self, bytes: u64) {
        if let Phase::Startup(train) = &mut self.phase {
            train.sent(bytes + self.settings.headers);
        }
    }

    /// Bytes of UDP payload that may be unacknowledged.
    pub fn window(&self) -> u64 {
        let round = self.trip.smoothed() * 3 / 2 + Duration::from_millis(20) + self.trip.noise();
        let packets = WINDOW_PACKETS_MIN * self.settings.mtu;
        // quinn spreads a window over the round trip: that of a train must let it leave at once.
        let rate = match &self.phase {
            Phase::Startup(train) => train.peak(&self.trip),
            _ => self.rate(),
        };
        (bytes_in(rate, round) + packets).min(WINDOW_MAX)
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
        self.arrived.add(wire);
        if let Phase::Draining { is_over, .. } = &mut self.phase {
            *is_over |= self.trial.has_left(now);
        }
        if !self.trial.acked(now, sent, wire, app_limited) {
            return;
        }
        let found = self.trial.finding(self.arrived.rate(now));
        if let (Phase::Startup(train), Some(found)) = (&mut self.phase, &found)
            && train.is_early(found)
        {
            self.trial = Trial::new(sent, startup::length(&self.trip));
            self.trial.acked(now, sent, wire, app_limited);
            return;
        }
        if let Some(found) = found {
            self.judge(now, found);
        }
        self.trial = match &mut self.phase {
            Phase::Startup(train) => {
                train.begin();
                Trial::of_next(now, startup::length(&self.trip))
            }
            _ => Trial::new(now, self.trial_length()),
        };
    }

    /// Packets of so many bytes in all were lost, the last of them sent then.
    pub fn handle_loss(&mut self, sent: Duration, bytes: u64) {
        let packets = bytes.div_ceil(self.settings.mtu.max(1));
        let wire = bytes + packets * self.settings.headers;
        self.trial.lost(sent, packets, wire);
    }

    fn target(&self) -> Duration {
        self.target_at(self.rate)
    }

    fn target_at(&self, rate: u64) -> Duration {
        let target = match self.settings.mode {
            Mode::Scavenger => TARGET_SCAVENGER,
            Mode::Declared | Mode::Adaptive => TARGET,
        };
        // Our own queue holds two packets, which counts where they take long.
        let packets = if rate < 1_000_000 { 6 } else { 3 };
        target + self.packet_time_at(rate) * packets + self.trip.noise()
    }

    /// Half a round trip, and enough packets to tell something by.
    fn trial_length(&self) -> Duration {
        let base = self.trip.base();
        let (share, packets) = match self.phase {
            Phase::Startup(_) => return startup::length(&self.trip),
            // Longer than delay wanders, or what arrived meanwhile says little.
            Phase::Landing | Phase::Steady { .. } => ((base / 2).max(self.trip.noise() * 4), 16),
            Phase::Draining { .. } => (base.max(self.trip.noise() * 4), 16),
            Phase::Suspicious | Phase::Policed { .. } => (base * 3, 400),
        };
        let packets = self.packet_time() * packets;
        share
            .max(packets.min(Duration::from_secs(5)))
            .max(Duration::from_millis(20))
    }

    fn packet_time(&self) -> Duration {
        self.packet_time_at(self.rate)
    }

    fn packet_time_at(&self, rate: u64) -> Duration {
        let bits = (self.settings.mtu + self.settings.headers) * 8;
        Duration::from_nanos(bits * 1_000_000_000 / rate.max(1))
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

mod drain;
mod judge;
mod startup;
#[cfg(test)]
mod tests;
