//! Two regions, a link and one or two routes, in virtual time.
//!
//! The drivers of [`source`] and [`target`] do what those of the bridge do, with the bridge's own state
//! machines and codecs; everything around them is simulated. Whatever happens is an [`Event`] in one
//! queue, so that a seed gives the same story every time.

mod applications;
mod event;
mod faults;
mod options;
pub mod route;
mod server;
mod session;
mod source;
mod target;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use causeway_proto::checkpoint::{SourceCheckpoint, TargetCheckpoint};
use causeway_proto::codec::LaneDecoder;
use causeway_proto::id::{LaneId, SourceSeq};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use self::event::{BridgeEvent, Event};
pub use self::options::{Fault, Options, Shape, Shares};
use self::route::{Inbound, Outbound, Path, Route, receiver_config, route_name, sender_config};
use crate::disk::SimStore;
use crate::jetstream::{SimServer, SimStream, StreamSettings};
use crate::net::{SIDES, SimLink};
use crate::oracle::Oracle;

/// Once nothing is broken any more, a route that lags must settle something within so long.
const LIVENESS_MAX: Duration = Duration::from_secs(30);
/// Lines of the story that are kept for whoever looks for a fault.
const TRACE_LEN: usize = 400;
const FLUSH_INTERVAL: Duration = Duration::from_millis(300);
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The process beside a region's server.
#[derive(Debug, Default)]
struct Bridge {
    up: bool,
    generation: u64,
    paused_until: Option<Duration>,
    store: SimStore,
    next_lane: u32,
    /// The route of each lane of the session.
    lanes: BTreeMap<LaneId, usize>,
    /// What the oracle reads the wire with, for the lanes that leave here.
    wire: BTreeMap<LaneId, LaneDecoder>,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    options: Options,
    now: Duration,
    rng: StdRng,
    queue: event::Queue,
    link: SimLink,
    servers: [SimServer; 2],
    bridges: [Bridge; 2],
    routes: Vec<Route>,
    /// The last connection of each route's publisher: nothing is asked before it is drained.
    drains: Vec<u64>,
    oracle: Oracle,
    connections: u64,
    questions: u64,
    runs: u64,
    messages: u64,
    trouble_ends: Duration,
    publishing_ends: Duration,
    trace: VecDeque<String>,
    is_loud: bool,
}

/// A broken invariant.
#[derive(Debug)]
pub struct Broken {
    /// Which, and how it shows.
    pub what: String,
    /// When.
    pub at: Duration,
    /// What happened before, oldest first.
    pub trace: Vec<String>,
}

impl World {
    /// A world in which nothing has happened yet but the start of everything.
    pub fn new(options: Options) -> Self {
        let paths = Path::of(options.shape);
        let server = |region: usize| SimServer::new(streams(region, &paths, &options));
        let route = |(number, path): (usize, &Path)| Route {
            name: route_name(number),
            path: *path,
            outbound: None,
            inbound: None,
        };
        let mut world = Self {
            now: Duration::ZERO,
            rng: StdRng::seed_from_u64(options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            queue: event::Queue::default(),
            link: SimLink::new(options.latency, options.jitter, options.rate),
            servers: [server(0), server(1)],
            bridges: [Bridge::default(), Bridge::default()],
            routes: paths.iter().enumerate().map(route).collect(),
            drains: vec![0; paths.len()],
            oracle: Oracle::new(paths),
            connections: 0,
            questions: 0,
            runs: 0,
            messages: 0,
            trouble_ends: options.trouble,
            publishing_ends: options.trouble,
            trace: VecDeque::new(),
            is_loud: false,
            options,
        };
        SIDES
            .into_iter()
            .for_each(|region| world.start_bridge(region));
        world.queue.push(Duration::ZERO, Event::Connect);
        world
    }

    /// Prints the story while it happens.
    pub fn loud(mut self) -> Self {
        self.is_loud = true;
        self
    }

    /// The whole life of a drawn world: trouble, then peace, in which all must arrive.
    pub fn live(&mut self) -> Result<(), Broken> {
        self.begin_random_life();
        self.run_until(self.options.trouble)?;
        self.make_peace();
        self.settle()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        self.run_until(self.now + time)
    }

    /// Waits until everything has arrived, to which each route must come nearer all the time (I9),
    /// and looks at all.
    pub fn settle(&mut self) -> Result<(), Broken> {
        let mut reached = vec![(SourceSeq(0), self.now); self.routes.len()];
        while !self.is_settled() {
            self.run_for(Duration::from_millis(500))?;
            for (number, (before, since)) in reached.iter_mut().enumerate() {
                let sender = self.routes[number]
                    .outbound
                    .as_ref()
                    .map(|outbound| &outbound.sender);
                let watermark = sender.map_or(SourceSeq(0), |sender| sender.watermark().seq);
                if watermark > *before || self.lag(number).is_none() {
                    (*before, *since) = (watermark, self.now);
                }
            }
            if reached
                .iter()
                .any(|(_, since)| self.now > *since + LIVENESS_MAX)
            {
                let lagging = self.lagging();
                return Err(self.broken(format!(
                    "I9: nothing moves though nothing is broken: {lagging}"
                )));
            }
        }
        self.run_for(Duration::from_secs(2))?;
        for number in 0..self.routes.len() {
            let path = self.routes[number].path;
            self.oracle
                .audit(number, &self.servers[path.from].streams[path.source]);
        }
        self.check()
    }

    fn run_until(&mut self, end: Duration) -> Result<(), Broken> {
        while let Some((at, event)) = self.queue.pop(end) {
            debug_assert!(at >= self.now, "time never goes back");
            self.now = at;
            self.handle(event);
            self.check()?;
        }
        self.now = end;
        Ok(())
    }

    fn check(&mut self) -> Result<(), Broken> {
        match self.oracle.failure() {
            None => Ok(()),
            Some(what) => {
                let what = what.to_owned();
                Err(self.broken(what))
            }
        }
    }

    fn broken(&mut self, what: String) -> Broken {
        Broken {
            what,
            at: self.now,
            trace: std::mem::take(&mut self.trace).into(),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Bridge(region, generation, event) => {
                self.handle_bridge(region, generation, event);
            }
            Event::Deliver(packet) => self.deliver(packet),
            Event::SessionLost(side, session) => self.lose_session(side, session),
            Event::Connect => self.connect(),
            Event::Publish(region, stream) => self.publish_and_go_on(region, stream),
            Event::Fault => self.draw_fault(),
            Event::CutEnds(to) => self.end_cut(to),
            Event::BridgeStarts(region) => self.start_bridge(region),
            Event::ServerStarts(region, power_lost) => self.start_server(region, power_lost),
            Event::RoomAgain(region) => self.make_room(region),
            Event::ServerReads(region, connection) => self.server_reads(region, connection),
            Event::Consume(region) => self.consume(region),
            Event::Fsync(region) => self.fsync(region),
        }
    }

    fn handle_bridge(&mut self, region: usize, generation: u64, event: BridgeEvent) {
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
    fn pump(&mut self, region: usize) {
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
    fn later(&mut self, region: usize, after: Duration, event: BridgeEvent) {
        let generation = self.bridges[region].generation;
        self.queue
            .push(self.now + after, Event::Bridge(region, generation, event));
    }

    fn start_bridge(&mut self, region: usize) {
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

    fn is_settled(&self) -> bool {
        self.lagging().is_empty()
    }

    /// Which routes are not at their source's end, and why.
    fn lagging(&self) -> String {
        let lags = (0..self.routes.len()).filter_map(|number| self.lag(number));
        lags.collect::<Vec<_>>().join("; ")
    }

    fn lag(&self, number: usize) -> Option<String> {
        let route = &self.routes[number];
        let last = self.servers[route.path.from].streams[route.path.source].last_seq;
        let sender = route.outbound.as_ref().map(|outbound| &outbound.sender);
        let rests = sender.is_some_and(|sender| {
            sender.is_reading() && sender.is_drained() && sender.watermark().seq.0 == last
        });
        let state = sender.map(|s| (s.is_reading(), s.watermark().seq, s.flight_count()));
        let receiver = route.inbound.as_ref().map(|inbound| &inbound.receiver);
        let flows = receiver.map(|receiver| (receiver.is_flowing(), receiver.stalled()));
        (!rests).then(|| format!("{} at {state:?} of {last}, {flows:?}", route.name))
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if !self.is_loud && self.options.trouble == Duration::ZERO {
            return;
        }
        let line = format!("{:>10.4} {}", self.now.as_secs_f64(), line());
        if self.is_loud {
            println!("{line}");
        }
        if self.trace.len() == TRACE_LEN {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// Some time up to `max`.
    fn some(&mut self, max: Duration) -> Duration {
        max.mul_f64(self.rng.random::<f64>())
    }

    /// How long a question to the own region's server takes.
    fn local_latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(100..3000))
    }
}

fn source_key(route: usize) -> String {
    format!("source/{route}")
}

fn target_key(route: usize) -> String {
    format!("target/{route}")
}

/// The streams of a region.
fn streams(region: usize, paths: &[Path], options: &Options) -> Vec<SimStream> {
    let stream = |number: usize| {
        let is_source = paths
            .iter()
            .any(|path| (path.from, path.source) == (region, number));
        let settings = StreamSettings {
            work_queue: options.work_queue && !is_source,
            window: options.window,
            messages_max: options.source_max.filter(|_| is_source),
        };
        SimStream::new(settings, Duration::ZERO)
    };
    vec![stream(0), stream(1)]
}
