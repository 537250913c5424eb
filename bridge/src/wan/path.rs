//! One direction of a link, driven with packets and times.

use std::collections::VecDeque;
use std::time::Duration;

use super::counters::PathCounters;
use super::jitter::Jitter;
use super::loss::{FirstOfRun, Loss};
use super::prng::Prng;
use super::profile::{Profile, wire_time};

/// What becomes of a packet, told when it enters. The sender of a real packet is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at `due`, of which it waits `wait` for the wire; unless the link is cut or changed before.
    Passes {
        /// When it comes out.
        due: Duration,
        /// How long it waits for the wire.
        wait: Duration,
    },
    /// The queue has no room.
    Overflows,
    /// The policer drops it.
    Policed,
    /// It is larger than the MTU.
    Oversized,
    /// It passes the bottleneck and is lost by chance.
    Lost,
    /// The link is cut.
    Cut,
}

/// A packet on its way.
#[derive(Debug)]
struct Flight<T> {
    /// When its last bit has left the bottleneck.
    departs_at: Duration,
    /// When it comes out at the other end.
    due: Duration,
    is_late: bool,
    bytes: u64,
    packet: T,
}

/// One direction of a link. All times are those since any moment that its user chooses, and never go back.
#[derive(Debug)]
pub struct Path<T> {
    profile: Profile,
    jitter: Jitter,
    loss: Loss,
    // One generator for each, so that asking for duplicates does not change which packets are lost.
    reorder: Prng,
    duplicate: Prng,
    /// When the wire will have sent all that waits for it, or the policer's bucket will be full.
    wire_free_at: Duration,
    /// In the order of `due`.
    on_the_way: VecDeque<Flight<T>>,
    /// No packet that keeps its order comes out before this.
    last_due: Duration,
    cut_until: Duration,
    counters: PathCounters,
}

impl<T: Clone> Path<T> {
    /// An idle, healthy direction. The profile is taken as it is; see [`Profile::check`].
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut seeds = Prng::new(seed);
        Self {
            profile,
            jitter: Jitter::new(seeds.bits()),
            loss: Loss::new(seeds.bits()),
            reorder: Prng::new(seeds.bits()),
            duplicate: Prng::new(seeds.bits()),
            wire_free_at: Duration::ZERO,
            on_the_way: VecDeque::new(),
            last_due: Duration::ZERO,
            cut_until: Duration::ZERO,
            counters: PathCounters::default(),
        }
    }

    /// Its present properties.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The counts so far.
    pub fn counters(&self) -> PathCounters {
        self.counters
    }

    /// How long a packet that enters now would wait for the wire.
    pub fn backlog(&self, now: Duration) -> Duration {
        self.wire_free_at.saturating_sub(now)
    }

    /// A packet of so many bytes, IP header included, enters.
    pub fn enter(&mut self, now: Duration, bytes: usize, packet: T) -> Fate {
        self.counters.entered_packets += 1;
        self.counters.entered_bytes += bytes as u64;
        if now < self.cut_until {
            self.counters.cut_packets += 1;
            return Fate::Cut;
        }
        if bytes > self.profile.mtu {
            self.counters.oversized_packets += 1;
            return Fate::Oversized;
        }
        let bytes = bytes as u64;
        let Some((wait, departs_at)) = self.pass_bottleneck(now, bytes) else {
            return if self.profile.is_policed {
                self.counters.policed_packets += 1;
                Fate::Policed
            } else {
                self.counters.overflowed_packets += 1;
                Fate::Overflows
            };
        };
        self.counters.passed_packets += 1;
        self.counters.passed_bytes += bytes;
        self.counters.waited += wait;
        self.counters.waited_max = self.counters.waited_max.max(wait);
        if let Some(FirstOfRun(is_first)) = self.loss.next(self.profile.loss, self.profile.burst) {
            self.counters.lost_packets += 1;
            self.counters.lost_runs += u64::from(is_first);
            return Fate::Lost;
        }
        let due = self.fly(departs_at, bytes, packet);
        Fate::Passes { due, wait }
    }

    /// When the next packet comes out.
    pub fn next_at(&self) -> Option<Duration> {
        self.on_the_way.front().map(|flight| flight.due)
    }

    /// The next packet that has come out by now.
    pub fn leave(&mut self, now: Duration) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        let flight = self.on_the_way.pop_front()?;
        self.counters.delivered_packets += 1;
        self.counters.delivered_bytes += flight.bytes;
        Some(flight.packet)
    }

    /// Takes other properties from now on. What is on its way between the bottleneck and the end arrives as it
    /// would have; what still waits for the wire leaves at the new rate, but has kept its place in a queue that has become
    /// shorter.
    pub fn change(&mut self, now: Duration, profile: Profile) {
        let before = std::mem::replace(&mut self.profile, profile);
        let rescale = |at: Duration| match (before.rate_bps, profile.rate_bps) {
            (Some(old), Some(new)) => {
                let nanos =
                    at.saturating_sub(now).as_nanos() * u128::from(old) / u128::from(new.max(1));
                now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
            (None, _) | (_, None) => now,
        };
        if self.wire_free_at > now {
            self.wire_free_at = rescale(self.wire_free_at);
        }
        let waiting: Vec<Flight<T>> = {
            let (sent, waiting) = self
                .on_the_way
                .drain(..)
                .partition::<Vec<_>, _>(|flight| flight.departs_at <= now);
            self.on_the_way = sent.into();
            waiting
        };
        self.last_due = self
            .on_the_way
            .iter()
            .filter(|it| !it.is_late)
            .map(|it| it.due)
            .max()
            .unwrap_or_default();
        for mut flight in waiting {
            flight.departs_at = rescale(flight.departs_at);
            flight.due = self.arrival(flight.departs_at, flight.is_late);
            self.insert(flight);
        }
    }

    /// Cuts the link until then: nothing enters, and what is on its way is lost. `Duration::MAX` waits for
    /// [`heal`](Self::heal).
    pub fn cut(&mut self, until: Duration) {
        self.counters.cut_packets += self.on_the_way.len() as u64;
        self.on_the_way.clear();
        self.wire_free_at = Duration::ZERO;
        self.cut_until = until;
    }

    /// Ends a cut.
    pub fn heal(&mut self) {
        self.cut_until = Duration::ZERO;
    }

    /// The wait for the wire and the time at which the last bit is on it; nothing if there is no room.
    fn pass_bottleneck(&mut self, now: Duration, bytes: u64) -> Option<(Duration, Duration)> {
        let Some(rate_bps) = self.profile.rate_bps else {
            return Some((Duration::ZERO, now));
        };
        let wait = self.backlog(now);
        let sending = wire_time(bytes, rate_bps);
        let limit = self.profile.queue.time(rate_bps);
        // An idle wire takes every packet, however small the limit.
        if wait > Duration::ZERO && wait + sending > limit {
            return None;
        }
        self.wire_free_at = now + wait + sending;
        Some(if self.profile.is_policed {
            (Duration::ZERO, now)
        } else {
            (wait, self.wire_free_at)
        })
    }

    /// Puts a packet, and perhaps its copy, on the way to the other end.
    fn fly(&mut self, departs_at: Duration, bytes: u64, packet: T) -> Duration {
        let is_late = self.profile.reorder > 0.0 && self.reorder.unit() < self.profile.reorder;
        let is_twice =
            self.profile.duplicate > 0.0 && self.duplicate.unit() < self.profile.duplicate;
        let due = self.arrival(departs_at, is_late);
        self.counters.reordered_packets += u64::from(is_late);
        self.counters.duplicated_packets += u64::from(is_twice);
        let copy = is_twice.then(|| packet.clone());
        for packet in std::iter::once(packet).chain(copy) {
            self.insert(Flight {
                departs_at,
                due,
                is_late,
                bytes,
                packet,
            });
        }
        due
    }

    /// When a packet that departs then comes out.
    fn arrival(&mut self, departs_at: Duration, is_late: bool) -> Duration {
        let due = departs_at + self.profile.delay + self.jitter.at(departs_at, self.profile.jitter);
        if is_late {
            return due + self.profile.reorder_by;
        }
        // A delay that has become shorter by a change does not reorder either.
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    fn insert(&mut self, flight: Flight<T>) {
        // Nearly always at the end: only what comes late is passed by others.
        let mut place = self.on_the_way.len();
        while place > 0 && self.on_the_way[place - 1].due > flight.due {
            place -= 1;
        }
        self.on_the_way.insert(place, flight);
    }
}

#[cfg(test)]
mod tests;
