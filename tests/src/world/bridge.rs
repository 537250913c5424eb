//! The process beside a region's server: it starts, hears what happens to it, and lets its drivers work.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_proto::checkpoint::{SourceCheckpoint, TargetCheckpoint};
use causeway_proto::codec::LaneDecoder;
use causeway_proto::id::LaneId;

use super::route::{Inbound, Outbound, receiver_config, sender_config};
use super::{BridgeEvent, Event, World};
use crate::disk::SimStore;

const FLUSH_INTERVAL: Duration = Duration::from_millis(300);
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The process beside a region's server.
#[derive(Debug, Default)]
pub(super) struct Bridge {
    pub(super) up: bool,
    pub(super) generation: u64,
    pub(super) paused_until: Option<Duration>,
    pub(super) store: SimStore,
    pub(super) next_lane: u32,
    /// The route of each lane of the session.
    pub(super) lanes: BTreeMap<LaneId, usize>,
    /// What the oracle reads the wire with, for the lanes that leave here.
    pub(super) wire: BTreeMap<LaneId, LaneDecoder>,
}

impl World {
    pub(super) fn handle_bridge(&mut self, region: usize, generation: u64, event: BridgeEvent) {
        let bridge = &self.bridges[region];
        if !bridge.up || bridge.generation != generation {
            return; // it was killed meanwhile
        }
        if let Some(until) = bridge.paused_until {
            if until > self.now {
                self.queue
                    .push(until, Event::Bridge(region, generation, event));
                return;
            }
            self.bridges[region].paused_until = None;
        }
        match event {
            BridgeEvent::Wake => self.time_passes(region),
            BridgeEvent::Flush => {
                self.bridges[region].store.flush();
                self.later(region, FLUSH_INTERVAL, BridgeEvent::Flush);
            }
            BridgeEvent::Report => {
                self.report(region);
                self.later(region, REPORT_INTERVAL, BridgeEvent::Report);
            }
            BridgeEvent::Found {
                route,
                question,
                facts,
                reader,
                created_ns,
            } => {
                self.found(route, question, facts, reader, created_ns);
            }
            BridgeEvent::Read(route) => self.read(route),
            BridgeEvent::Sent(route) => self.sent(route),
            BridgeEvent::KeptAside(route, seq, stored_at) => self.kept_aside(route, seq, stored_at),
            BridgeEvent::ConnectTarget(route) => self.connect_target(route),
            BridgeEvent::Described(route, connection, result, at) => {
                self.described(route, connection, result, at);
            }
            BridgeEvent::Scanned(route, connection, result) => {
                self.scanned(route, connection, result);
            }
            BridgeEvent::RunEnded(route, run, result) => self.run_ended(route, run, result),
            BridgeEvent::Saved(route) => self.saved(route),
        }
        self.pump(region);
    }

    /// Lets the drivers of a region do all they can now.
    pub(super) fn pump(&mut self, region: usize) {
        for number in 0..self.routes.len() {
            let path = self.routes[number].path;
            if path.from == region {
                self.pump_outbound(number);
            }
            if path.to == region {
                self.pump_inbound(number);
            }
        }
    }

    /// Timers of the state machines.
    fn time_passes(&mut self, region: usize) {
        let now = self.now;
        for route in &mut self.routes {
            if let Some(outbound) = route
                .outbound
                .as_mut()
                .filter(|_| route.path.from == region)
            {
                outbound.retry_at.take_if(|at| *at <= now);
            }
            if let Some(inbound) = route.inbound.as_mut().filter(|_| route.path.to == region) {
                inbound.timer.take_if(|at| *at <= now);
                inbound.receiver.handle_timeout(now);
            }
        }
    }

    /// An event for the bridge of a region as it runs now.
    pub(super) fn later(&mut self, region: usize, after: Duration, event: BridgeEvent) {
        let generation = self.bridges[region].generation;
        self.queue
            .push(self.now + after, Event::Bridge(region, generation, event));
    }

    pub(super) fn start_bridge(&mut self, region: usize) {
        let bridge = &mut self.bridges[region];
        bridge.up = true;
        bridge.generation += 1;
        bridge.paused_until = None;
        let store = &bridge.store;
        for (number, route) in self.routes.iter_mut().enumerate() {
            let path = route.path;
            if path.from == region {
                let known = store.get(&source_key(number));
                let known = known.map(|v| SourceCheckpoint::decode(v).expect("what we wrote"));
                route.outbound = Some(Outbound::new(
                    sender_config(number, path, &self.options),
                    known,
                ));
            }
            if path.to == region {
                let known = store.get(&target_key(number));
                let known = known.map(|v| TargetCheckpoint::decode(v).expect("what we wrote"));
                route.inbound = Some(Inbound::new(receiver_config(path, &self.options), known));
            }
        }
        for number in 0..self.routes.len() {
            if self.routes[number].path.to == region {
                self.later(
                    region,
                    Duration::from_millis(1),
                    BridgeEvent::ConnectTarget(number),
                );
            }
        }
        self.later(region, FLUSH_INTERVAL, BridgeEvent::Flush);
        self.later(region, REPORT_INTERVAL, BridgeEvent::Report);
        self.tell(|| format!("bridge {region} starts"));
    }
}

pub(super) fn source_key(route: usize) -> String {
    format!("source/{route}")
}

pub(super) fn target_key(route: usize) -> String {
    format!("target/{route}")
}
