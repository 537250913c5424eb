//! How fast a connection sends: a congestion controller that random loss does not slow.
//!
//! On a long path with 1 % loss, CUBIC falls to a hundredth of the link (it takes every lost packet
//! for congestion) and quinn's BBR keeps a full second bandwidth-delay product in the queue. This
//! controller takes delivery, not loss, for its signal:
//!
//! * With a declared rate, the window is that rate times the smoothed round trip: the packets that the
//!   link holds at that rate. Acknowledgements clock it; a lost packet changes nothing.
//! * Without one, the window follows the highest delivery rate of the last rounds times the lowest
//!   round trip of the last seconds, doubling at first until delivery stops growing, and then trying a
//!   quarter more in one round of eight and giving it back in the next.
//!
//! In both cases a round in which more than a quarter of the bytes died is a link that is smaller than
//! believed, and halves the window for a round.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};

/// Packets that are always allowed: enough to keep acknowledgements coming.
const WINDOW_PACKETS_MIN: u64 = 32;
/// Rounds over which the highest delivery rate counts.
const RATE_ROUNDS: usize = 10;
/// How long the lowest round trip counts.
const RTT_LIFETIME: Duration = Duration::from_secs(10);
/// Start-up ends when three rounds in a row bring less than a quarter more.
const STARTUP_ROUNDS_FLAT: u32 = 3;
/// No window beyond this: 1 Gbit/s over 500 ms.
const WINDOW_MAX: u64 = 64 << 20;

/// The declared rate of a link's wire, changeable while connections run. 0 stands for undeclared.
#[derive(Debug, Clone, Default)]
pub struct DeclaredRate(Arc<AtomicU64>);

impl DeclaredRate {
    /// A rate in bits a second, or none.
    pub fn new(bits_per_second: Option<u64>) -> Self {
        let rate = Self::default();
        rate.set(bits_per_second);
        rate
    }

    /// Changes the rate for connections that already run.
    pub fn set(&self, bits_per_second: Option<u64>) {
        self.0
            .store(bits_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes over another link's rate.
    pub(super) fn copy(&self, other: &Self) {
        self.0
            .store(other.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Bytes a second on the wire.
    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed) / 8).filter(|rate| *rate > 0)
    }
}

/// Builds the controller of each connection.
#[derive(Debug, Clone)]
pub(super) struct RateFactory(pub(super) DeclaredRate);

impl ControllerFactory for RateFactory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(RateController::new(self.0.clone(), now, mtu))
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct RateController {
    declared: DeclaredRate,
    mtu: u64,
    window: u64,
    srtt: Duration,
    rtt_min: Duration,
    rtt_min_at: Instant,
    round: Round,
    rates: [u64; RATE_ROUNDS],
    rounds: usize,
    startup: Option<Startup>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    began: Instant,
    acked: u64,
    lost: u64,
    app_limited: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Startup {
    best: u64,
    flat: u32,
}

impl RateController {
    pub(super) fn new(declared: DeclaredRate, now: Instant, mtu: u16) -> Self {
        let mut controller = Self {
            declared,
            mtu: u64::from(mtu),
            window: 0,
            srtt: Duration::from_millis(100),
            rtt_min: Duration::MAX,
            rtt_min_at: now,
            round: Round::new(now),
            rates: [0; RATE_ROUNDS],
            rounds: 0,
            startup: Some(Startup::default()),
        };
        controller.window = controller.wanted_window();
        controller
    }

    fn window_min(&self) -> u64 {
        WINDOW_PACKETS_MIN * self.mtu
    }

    fn wanted_window(&self) -> u64 {
        let wanted = match self.declared.bytes_per_second() {
            // The rate counts whole packets on the wire, the window only UDP payload.
            Some(rate) => times(rate * self.mtu / (self.mtu + 28), self.srtt),
            None if self.startup.is_some() => self.window.max(self.window_min() * 2),
            None => {
                let rate = self.rates.iter().copied().max().unwrap_or(0);
                let bdp = times(rate, self.rtt_min.min(self.srtt));
                match self.rounds % 8 {
                    0 => bdp * 5 / 4 + 8 * self.mtu,
                    1 => bdp * 7 / 8,
                    _ => bdp + 4 * self.mtu,
                }
            }
        };
        wanted.clamp(self.window_min(), WINDOW_MAX)
    }

    fn end_round(&mut self, now: Instant) {
        let elapsed = now
            .saturating_duration_since(self.round.began)
            .max(Duration::from_millis(1));
        let rate = per_second(self.round.acked, elapsed);
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let slot = self.rounds % RATE_ROUNDS;
        // A round in which we had little to send says nothing of the link.
        self.rates[slot] = if round.app_limited {
            rate.max(self.rates[slot])
        } else {
            rate
        };
        self.rounds += 1;
        if let Some(startup) = &mut self.startup
            && !round.app_limited
        {
            if rate > startup.best + startup.best / 4 {
                *startup = Startup {
                    best: rate,
                    flat: 0,
                };
            } else {
                startup.flat += 1;
            }
            self.window = (self.window * 2).min(WINDOW_MAX);
            if startup.flat >= STARTUP_ROUNDS_FLAT || round.is_overrun() {
                self.startup = None;
            }
        }
        self.window = self.wanted_window();
        if round.is_overrun() {
            self.window = (self.window / 2).max(self.window_min());
        }
    }
}

impl Round {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            acked: 0,
            lost: 0,
            app_limited: false,
        }
    }

    fn is_overrun(&self) -> bool {
        self.lost * 3 > self.acked && self.lost > 0
    }
}

impl Controller for RateController {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        let sample = now.saturating_duration_since(sent);
        if sample <= self.rtt_min || now.saturating_duration_since(self.rtt_min_at) > RTT_LIFETIME {
            self.rtt_min = sample;
            self.rtt_min_at = now;
        }
        self.srtt = rtt.get();
        self.round.acked += bytes;
        self.round.app_limited |= app_limited;
        if now.saturating_duration_since(self.round.began) >= self.srtt {
            self.end_round(now);
        }
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, lost_bytes: u64) {
        self.round.lost += lost_bytes;
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window_min()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

fn times(bytes_per_second: u64, duration: Duration) -> u64 {
    (u128::from(bytes_per_second) * duration.as_micros() / 1_000_000) as u64
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    (u128::from(bytes) * 1_000_000 / elapsed.as_micros().max(1)) as u64
}
