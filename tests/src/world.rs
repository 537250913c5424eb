//! Two regions, a link and one or two routes, in virtual time.
//!
//! The drivers of [`source`] and [`target`] do what those of the bridge do, with the bridge's own state
//! machines and codecs; everything around them is simulated. Whatever happens is an [`Event`] in one
//! queue, so that a seed gives the same story every time.

mod applications;
mod bridge;
mod covers;
mod event;
mod faults;
mod options;
pub mod route;
mod server;
mod session;
mod source;
mod target;

use std::collections::VecDeque;
use std::time::Duration;

use causeway_proto::id::SourceSeq;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::bridge::Bridge;
pub use self::event::{BridgeEvent, Event};
pub use self::options::{Fault, Options, Shape, Shares};
use self::route::{Path, Route, route_name};
use crate::jetstream::{SimServer, SimStream, StreamSettings};
use crate::net::{SIDES, SimLink};
use crate::oracle::Oracle;

/// Once nothing is broken any more, a route that lags must settle something within so long.
const LIVENESS_MAX: Duration = Duration::from_secs(30);
/// How often routes may find that they have to begin further back once nothing breaks any more.
const FALLS_MAX: u32 = 8;
/// Lines of the story that are kept for whoever looks for a fault.
const TRACE_LEN: usize = 400;

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
    covers: covers::Covers,
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
            covers: covers::Covers::default(),
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
        let mut falls = 0;
        while !self.is_settled() {
            self.run_for(Duration::from_millis(500))?;
            for (number, (before, since)) in reached.iter_mut().enumerate() {
                let sender = self.routes[number]
                    .outbound
                    .as_ref()
                    .map(|outbound| &outbound.sender);
                let watermark = sender.map_or(SourceSeq(0), |sender| sender.watermark().seq);
                // What a stream lost before the peace may be noticed after it, and is then brought again from there.
                let fell = watermark < *before && falls < FALLS_MAX;
                falls += u32::from(fell);
                if watermark > *before || fell || self.lag(number).is_none() {
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

/// The streams of a region.
fn streams(region: usize, paths: &[Path], options: &Options) -> Vec<SimStream> {
    let stream = |number: usize| {
        let is_source = paths
            .iter()
            .any(|path| (path.from, path.source) == (region, number));
        let settings = StreamSettings {
            work_queue: options.work_queue && !is_source,
            adds_markers: options.adds_markers && !is_source,
            window: options.window,
            messages_max: options.source_max.filter(|_| is_source),
        };
        SimStream::new(settings, Duration::ZERO)
    };
    vec![stream(0), stream(1)]
}
