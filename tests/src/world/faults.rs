//! What goes wrong: drawn from the seed, or told by a scenario.

use std::time::Duration;

use rand::Rng;

use super::{Event, Fault, World};
use crate::net::{SIDES, SILENCE_MAX};

impl World {
    /// Sets going what happens by itself in a drawn world.
    pub(super) fn begin_random_life(&mut self) {
        for (region, stream) in self.publishers() {
            self.queue.push(self.now, Event::Publish(region, stream));
        }
        SIDES
            .into_iter()
            .for_each(|region| self.queue.push(self.now, Event::Fsync(region)));
        self.queue.push(self.now, Event::Consume(1));
        if !self.options.faults.is_empty() {
            let after = self.some(self.options.fault_gap_max);
            self.queue.push(self.now + after, Event::Fault);
        }
    }

    /// Nothing breaks any more. What is broken heals by the events that are already due.
    pub(super) fn make_peace(&mut self) {
        self.tell(|| "no more trouble".to_owned());
        SIDES.into_iter().for_each(|to| self.end_cut(to));
        SIDES.into_iter().for_each(|region| self.make_room(region));
        // No record may come that would show it.
        if self.options.faults.contains(&Fault::TargetRolledBack) {
            (0..self.routes.len()).for_each(|route| self.break_connection(route));
        }
    }

    pub(super) fn draw_fault(&mut self) {
        if self.now >= self.trouble_ends {
            return;
        }
        let after = self.some(self.options.fault_gap_max);
        self.queue.push(self.now + after, Event::Fault);
        let fault = self.options.faults[self.rng.random_range(0..self.options.faults.len())];
        let region = self.rng.random_range(0..2);
        let route = self.rng.random_range(0..self.routes.len());
        let path = self.routes[route].path;
        let (short, long) = (
            self.some(Duration::from_millis(300)),
            self.some(Duration::from_secs(9)),
        );
        let time = if self.rng.random_ratio(1, 2) {
            short
        } else {
            long
        };
        self.tell(|| format!("fault {fault:?} for {time:?}"));
        match fault {
            Fault::Cut => match self.rng.random_range(0..3) {
                side @ 0..2 => self.cut(side, time),
                _ => SIDES.into_iter().for_each(|side| self.cut(side, time)),
            },
            Fault::SessionLost => self.break_session(),
            Fault::BridgeCrash => self.crash_bridge(region, time),
            Fault::BridgePause => self.pause_bridge(region, time),
            Fault::StoreDeleted => {
                self.crash_bridge(region, time);
                self.wipe_store(region);
            }
            Fault::ConnectionLost => self.break_connection(route),
            Fault::ServerCrash => self.crash_server(region, time, false),
            Fault::PowerLost => self.crash_server(region, time, true),
            Fault::Full => self.fill_target(route, time),
            Fault::NoQuorum => self.lose_quorum(region, time),
            Fault::Purge => self.purge_source(route),
            Fault::SourceRecreated => self.recreate(path.from, path.source),
            Fault::SourceRolledBack => {
                let back = self.rng.random_range(1..60);
                self.go_back(path.from, path.source, back);
            }
            Fault::TargetRolledBack => {
                let back = self.rng.random_range(1..60);
                self.go_back(path.to, path.target, back);
            }
            Fault::TargetRecreated => self.recreate(path.to, path.target),
        }
    }

    // --- The link ------------------------------------------------------------------------------

    /// Cuts the direction that leads to a side.
    pub fn cut(&mut self, to: usize, time: Duration) {
        if self.link.cut[to] {
            return;
        }
        self.link.cut[to] = true;
        self.queue.push(self.now + time, Event::CutEnds(to));
        if time > SILENCE_MAX {
            self.lose_session_by_silence();
        }
    }

    /// Each side notices in its own time.
    fn lose_session_by_silence(&mut self) {
        for side in SIDES {
            if let Some(session) = self.link.session[side] {
                let after = SILENCE_MAX + self.some(Duration::from_secs(1));
                self.queue
                    .push(self.now + after, Event::SessionLost(side, session));
            }
        }
    }

    pub(super) fn end_cut(&mut self, to: usize) {
        for (at, packet) in self.link.heal(to, self.now, &mut self.rng) {
            self.queue.push(at, Event::Deliver(packet));
        }
    }

    /// The session breaks; one side may notice a little later.
    pub fn break_session(&mut self) {
        for side in SIDES {
            if let Some(session) = self.link.session[side] {
                let after = self.some(Duration::from_millis(100));
                self.queue
                    .push(self.now + after, Event::SessionLost(side, session));
            }
        }
    }

    // --- Bridges -------------------------------------------------------------------------------

    /// Kills a bridge; it starts again after a while.
    pub fn crash_bridge(&mut self, region: usize, down: Duration) {
        if !self.bridges[region].up {
            return;
        }
        self.tell(|| format!("bridge {region} is killed"));
        for number in 0..self.routes.len() {
            if self.routes[number].path.to == region {
                self.break_connection(number);
            }
            let route = &mut self.routes[number];
            if route.path.from == region {
                route.outbound = None;
            }
            if route.path.to == region {
                route.inbound = None;
                self.oracle.bridge_killed(number);
            }
        }
        let bridge = &mut self.bridges[region];
        bridge.up = false;
        bridge.store.crash(&mut self.rng);
        self.link.session[region] = None;
        let peer = 1 - region;
        if let Some(session) = self.link.session[peer] {
            let after = self.some(SILENCE_MAX);
            self.queue
                .push(self.now + after, Event::SessionLost(peer, session));
        }
        self.queue
            .push(self.now + down, Event::BridgeStarts(region));
    }

    /// Deletes what a bridge that does not run has stored.
    pub fn wipe_store(&mut self, region: usize) {
        if self.bridges[region].up {
            return;
        }
        self.tell(|| format!("store {region} is deleted"));
        self.bridges[region].store.wipe();
    }

    /// A bridge does nothing for a while.
    pub fn pause_bridge(&mut self, region: usize, time: Duration) {
        let bridge = &mut self.bridges[region];
        if !bridge.up || bridge.paused_until.is_some() {
            return;
        }
        bridge.paused_until = Some(self.now + time);
        if time > SILENCE_MAX {
            self.lose_session_by_silence();
        }
    }

    // --- Streams -------------------------------------------------------------------------------

    fn fill_target(&mut self, route: usize, time: Duration) {
        let path = self.routes[route].path;
        self.set_full(path.to, path.target, true);
        self.queue.push(self.now + time, Event::RoomAgain(path.to));
    }

    /// Whether a stream takes records of a route.
    pub fn set_full(&mut self, region: usize, stream: usize, is_full: bool) {
        self.servers[region].streams[stream].is_full = is_full;
    }

    fn lose_quorum(&mut self, region: usize, time: Duration) {
        self.servers[region].quorum = false;
        self.queue.push(self.now + time, Event::RoomAgain(region));
    }

    fn purge_source(&mut self, route: usize) {
        let path = self.routes[route].path;
        let stream = &mut self.servers[path.from].streams[path.source];
        let some = self.rng.random_range(0..=stream.last_seq);
        if self.rng.random_ratio(1, 3) {
            stream.purge(some);
        } else {
            let gone = some..some.saturating_add(self.rng.random_range(1..20));
            stream.messages.retain(|seq, _| !gone.contains(seq));
        }
    }

    /// Deletes a stream and makes it anew.
    pub fn recreate(&mut self, region: usize, stream: usize) {
        self.servers[region].streams[stream].recreate(self.now);
        self.covers.begin((region, stream), 0, self.now);
        self.oracle.recreated(region, stream, self.now);
    }

    /// Puts a stream back by so many records.
    pub fn go_back(&mut self, region: usize, stream: usize, count: u64) {
        let kept = &mut self.servers[region].streams[stream];
        let through = kept.last_seq.saturating_sub(count);
        let through = self.covers.end((region, stream), through);
        kept.go_back(through);
        self.covers.begin((region, stream), through, self.now);
        self.tell(|| format!("stream {stream} of region {region} goes back to {through}"));
        self.oracle.went_back(region, stream, through, self.now);
    }
}
