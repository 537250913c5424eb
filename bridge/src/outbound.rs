//! The driver of a route that leaves here: it does what [`Sender`] decides.
//!
//! One task owns the sender, the reader and the encoder of a route's leg. A batch leaves at once when
//! the lane is idle, and grows by itself while the batch before it is on its way: there is no timer to
//! wait for. When the open batch is full the reader is not asked for more, and back-pressure ends there.

mod lane;
mod memory;
mod operator;
mod pipeline;
mod pump;
mod reading;

use std::time::Duration;

use causeway_proto::checkpoint::SourceCheckpoint;
use causeway_proto::codec::Effort;
use causeway_proto::error::PeerMisbehaved;
use causeway_proto::frame::{LaneClass, LaneCloseReason, Resume, Stall};
use causeway_proto::id::SourceSeq;
use causeway_proto::lanes::Freshness;
use causeway_proto::sender::Sender;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::memory::Memory;
use self::pipeline::{Done, Pipeline};
use crate::checkpoint::{CheckpointKey, CheckpointWriter};
use crate::command::{Asked, SeekTo};
use crate::reporter::RouteReporter;
use crate::session::{Port, RouteEvent, SessionGone};
use crate::source::{Block, Found, Source, SourceEvent};
use crate::wait::{join, wait_until};

const REPORT_INTERVAL: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(500);
/// A peer that does not know the route learns of it by a restart, and then there is a new session, which asks at once.
const UNKNOWN_RETRY: Duration = Duration::from_secs(30);

enum Event {
    Route(RouteEvent),
    Source(SourceEvent),
    Pipeline(Done),
    Found(Result<Found, String>),
    KeptAside(SourceSeq, bool),
    Command(Asked),
    Retry,
    Drain,
    Report,
    Ended,
}

/// See the module.
pub struct Outbound {
    sender: Sender,
    source: Source,
    memory: Memory,
    start: SeekTo,
    pipeline: Pipeline,
    freshness: Freshness,
    reporter: RouteReporter,
    events: mpsc::Receiver<RouteEvent>,
    commands: mpsc::Receiver<Asked>,
    port: Option<Port>,
    resume: Option<Resume>,
    /// A question to the source under way, and what it is for.
    finding: Option<JoinHandle<Result<Found, String>>>,
    block: Option<(Block, usize)>,
    keeping: Option<JoinHandle<(SourceSeq, bool)>>,
    retry_at: Option<Instant>,
    /// Why the target closed the last lane, if that was logged and nothing was settled since.
    refused: Option<LaneCloseReason>,
    stall: Option<Stall>,
    drain: watch::Receiver<bool>,
    draining: bool,
}

/// What a driver is made of.
pub struct OutboundParts {
    /// The state machine.
    pub sender: Sender,
    /// The stream.
    pub source: Source,
    /// What the store remembers.
    pub checkpoint: SourceCheckpoint,
    /// Where a new route begins.
    pub start: SeekTo,
    /// Priority, where an operator gave one; else live while current, and bulk while catching up.
    pub class: Option<LaneClass>,
    /// The most CPU that compression may take.
    pub effort_max: Effort,
    /// The store's key.
    pub key: CheckpointKey,
    /// The store.
    pub store: CheckpointWriter,
    /// Status.
    pub reporter: RouteReporter,
    /// From the session.
    pub events: mpsc::Receiver<RouteEvent>,
    /// From the operator.
    pub commands: mpsc::Receiver<Asked>,
    /// Turns true when the process is to end.
    pub drain: watch::Receiver<bool>,
}

impl Outbound {
    /// A driver; [`Outbound::run`] runs it.
    pub fn new(parts: OutboundParts) -> Self {
        Self {
            sender: parts.sender,
            source: parts.source,
            memory: Memory::new(parts.checkpoint, parts.key, parts.store),
            start: parts.start,
            pipeline: Pipeline::new(parts.effort_max),
            freshness: Freshness::new(parts.class),
            reporter: parts.reporter,
            events: parts.events,
            commands: parts.commands,
            port: None,
            resume: None,
            finding: None,
            block: None,
            keeping: None,
            retry_at: None,
            refused: None,
            stall: None,
            drain: parts.drain,
            draining: false,
        }
    }

    /// Runs until the session layer is gone.
    pub async fn run(mut self) {
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pump().await;
            if self.draining && (self.sender.is_drained() || self.waits_in_vain()) {
                return self.end().await;
            }
            let event = self.select(&mut report).await;
            if matches!(event, Event::Ended) {
                return;
            }
            if let Err(fault) = self.apply(event).await {
                self.refuse(fault).await;
            }
        }
    }

    async fn select(&mut self, report: &mut tokio::time::Interval) -> Event {
        // What still comes while nothing is read is to be dropped, or it would count against the connection of all.
        let drops = self.source.is_stopped();
        let wants = self.block.is_none() && self.sender.wants_records() && !self.draining;
        let draining = self.draining;
        let retry_at = self.retry_at;
        tokio::select! {
            biased;
            event = self.events.recv() => event.map_or(Event::Ended, Event::Route),
            Some(asked) = self.commands.recv() => Event::Command(asked),
            done = self.pipeline.next() => Event::Pipeline(done),
            found = join(&mut self.finding) => Event::Found(found),
            kept = join(&mut self.keeping) => Event::KeptAside(kept.0, kept.1),
            event = self.source.next(), if wants || drops => Event::Source(event),
            () = wait_until(retry_at) => Event::Retry,
            _ = self.drain.changed(), if !draining => Event::Drain,
            _ = report.tick() => Event::Report,
        }
    }

    async fn apply(&mut self, event: Event) -> Result<(), PeerMisbehaved> {
        match event {
            Event::Route(event) => return self.handle_route(event).await,
            Event::Source(event) => self.handle_source(event).await,
            Event::Pipeline(Done::Encoded(encoded)) => self.handle_encoded(encoded).await,
            Event::Pipeline(Done::Sent(Ok(()))) => {}
            Event::Pipeline(Done::Sent(Err(SessionGone))) => self.port = None, // `Down` follows
            Event::Found(found) => {
                self.finding = None;
                self.handle_found(found).await;
            }
            Event::KeptAside(position, kept) => {
                self.keeping = None;
                self.handle_kept_aside(position, kept).await;
            }
            Event::Command((command, answer)) => {
                let said = self.handle_command(command).await;
                let _ = answer.send(said); // the caller may have gone
            }
            Event::Retry => self.retry_at = None,
            Event::Drain => {
                self.draining = true;
                self.block = None;
            }
            Event::Report => self.report().await,
            Event::Ended => {}
        }
        Ok(())
    }

    /// Whether what was read cannot be settled before something else changes, which may take days.
    fn waits_in_vain(&self) -> bool {
        self.stall.is_some() || self.port.as_ref().is_none_or(Port::is_held)
    }

    /// All is settled that can be: the last words.
    async fn end(&mut self) {
        if !self.sender.is_drained() {
            let records = self.sender.pending().read;
            tracing::info!(route = %self.reporter.name(), records, "what waits for its link or target is read again after the start");
        }
        self.report().await;
        self.end_lane(LaneCloseReason::Shutdown, "the source's sidecar stops")
            .await;
        self.memory.sync().await;
    }
}
