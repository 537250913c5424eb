//! The driver of a route that arrives here: it does what [`Receiver`] decides.
//!
//! One task owns the receiver, the decoder and the publisher of a route. It waits for one thing to
//! happen ([`Inbound::select`]), applies it, and then does all that the receiver asks for. Branches of
//! the `select!` return a value and do nothing else, so that one that loses loses nothing.

mod decoding;
mod target;

use std::time::Duration;

use causeway_proto::checkpoint::TargetCheckpoint;
use causeway_proto::frame::{CloseLane, Frame, LaneCloseReason, clip_detail};
use causeway_proto::id::LaneId;
use causeway_proto::receiver::{Action, Receiver, Report};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::decoding::{Decoded, Decoding};
use self::target::{Done, Target, Turn};
use crate::checkpoint::{CheckpointKey, CheckpointWriter};
use crate::publisher::Publisher;
use crate::reporter::{InboundView, RouteReporter};
use crate::session::{Port, RouteEvent};
use crate::wait::{join, wait_until};

const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Between attempts to save what has to be durable.
const SAVE_RETRY: Duration = Duration::from_millis(500);

/// What happened.
enum Event {
    Route(RouteEvent),
    Target(Turn),
    Decoded(Decoded),
    Saved,
    Timer,
    Drain,
    Report,
    Ended,
}

/// See the module.
pub struct Inbound {
    receiver: Receiver,
    target: Target,
    decoding: Decoding,
    key: CheckpointKey,
    store: CheckpointWriter,
    saving: Option<JoinHandle<()>>,
    reporter: RouteReporter,
    events: mpsc::Receiver<RouteEvent>,
    port: Option<Port>,
    started: Instant,
    drain: watch::Receiver<bool>,
    draining: bool,
}

impl Inbound {
    /// A driver; [`Inbound::run`] runs it.
    pub fn new(
        receiver: Receiver,
        publisher: Publisher,
        key: CheckpointKey,
        store: CheckpointWriter,
        reporter: RouteReporter,
        events: mpsc::Receiver<RouteEvent>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        Self {
            receiver,
            target: Target::new(publisher),
            decoding: Decoding::default(),
            key,
            store,
            saving: None,
            reporter,
            events,
            port: None,
            started: Instant::now(),
            drain,
            draining: false,
        }
    }

    /// Runs until the session layer is gone.
    pub async fn run(mut self) {
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.receiver.handle_disconnected(self.started.elapsed());
        loop {
            self.pump().await;
            if self.draining && !self.receiver.is_publishing() {
                self.store.sync().await;
                return;
            }
            let event = self.select(&mut report).await;
            if matches!(event, Event::Ended) {
                return;
            }
            self.apply(event).await;
        }
    }

    async fn select(&mut self, report: &mut tokio::time::Interval) -> Event {
        if let Some(decoded) = self.decoding.poll_done() {
            return Event::Decoded(decoded);
        }
        let draining = self.draining;
        let timer = self.receiver.poll_timeout().map(|at| self.started + at);
        tokio::select! {
            biased;
            turn = self.target.turn() => Event::Target(turn),
            decoded = self.decoding.finished() => Event::Decoded(decoded),
            () = join(&mut self.saving) => Event::Saved,
            event = self.events.recv() => event.map_or(Event::Ended, Event::Route),
            () = wait_until(timer) => Event::Timer,
            _ = self.drain.changed(), if !draining => Event::Drain,
            _ = report.tick() => Event::Report,
        }
    }

    async fn apply(&mut self, event: Event) {
        match event {
            Event::Route(event) => self.handle_route(event).await,
            Event::Target(Turn::Joined(joined)) => {
                let done = self.target.give_back(joined);
                self.handle_target(done);
            }
            Event::Target(Turn::Lost) => {
                self.target.handle_lost();
                self.receiver.handle_disconnected(self.started.elapsed());
            }
            Event::Decoded(decoded) => {
                let (lane, epoch, result) = self.decoding.give_back(decoded);
                if let Err(fault) = self.receiver.handle_decoded(lane, epoch, result) {
                    self.refuse_lane(lane, &fault.to_string()).await;
                }
            }
            Event::Saved => {
                self.saving = None;
                self.receiver.handle_saved();
            }
            Event::Timer => self.receiver.handle_timeout(self.started.elapsed()),
            Event::Drain => self.draining = true,
            Event::Report => self.reporter.inbound(&InboundView {
                receiver: &self.receiver,
                has_session: self.port.is_some(),
                connected: self.target.is_connected(),
            }),
            Event::Ended => {}
        }
    }

    async fn handle_route(&mut self, event: RouteEvent) {
        match event {
            RouteEvent::Up(port) => self.port = Some(port),
            RouteEvent::Down => {
                self.port = None;
                self.drop_lane();
            }
            RouteEvent::Frame(Frame::Open(open)) => {
                self.drop_lane();
                self.reporter.lane_opened(open.epoch);
                self.receiver.handle_open(open);
            }
            RouteEvent::Frame(Frame::CloseLane(close)) => {
                if self.receiver.lane() == Some(close.lane) {
                    self.drop_lane();
                }
            }
            RouteEvent::Frame(Frame::Rejected(kept)) => {
                if let Err(fault) = self.receiver.handle_kept_aside(&kept) {
                    self.refuse_lane(kept.lane, &fault.to_string()).await;
                }
            }
            RouteEvent::Frame(_) => {}
            RouteEvent::Batch(head, body) => {
                let lane = head.lane;
                self.reporter.batch_arrived(&head, body.len());
                if let Err(fault) = self.receiver.handle_batch(head, body) {
                    self.refuse_lane(lane, &fault.to_string()).await;
                }
            }
        }
    }

    fn drop_lane(&mut self) {
        self.receiver.handle_lane_lost();
        self.decoding.forget_lane();
    }

    /// The lane's bytes or sequence are wrong: it ends, and the source may open another.
    async fn refuse_lane(&mut self, lane: LaneId, fault: &str) {
        tracing::warn!(%lane, fault, "lane refused");
        self.reporter.lane_refused();
        self.drop_lane();
        let close = CloseLane {
            lane,
            reason: LaneCloseReason::Misbehaved,
            detail: clip_detail(fault),
        };
        self.send(Frame::CloseLane(close)).await;
    }

    fn handle_target(&mut self, done: Done) {
        let now = self.started.elapsed();
        let is_connected = self.target.is_connected();
        match done {
            Done::Published(result) => self.receiver.handle_run(result, now),
            _ if !is_connected => {} // the next connection asks anew
            Done::Connected => self.receiver.handle_connected(),
            Done::Described(Ok(facts)) => self.receiver.handle_target_up(facts, now),
            Done::Scanned(Ok(scanned)) => self.receiver.handle_scanned(scanned, now),
            Done::Described(Err(stalled)) | Done::Scanned(Err(stalled)) => {
                self.receiver.handle_target_down(stalled, now);
            }
        }
        if !is_connected {
            self.receiver.handle_disconnected(now);
        }
    }

    /// Does all that the receiver asks for.
    async fn pump(&mut self) {
        while let Some(action) = self.receiver.poll_action() {
            match action {
                Action::Send(frame) => self.send(frame).await,
                Action::Decode(head, body) => self.decoding.start(head, body),
                Action::Save { checkpoint, now } => self.save(checkpoint, now).await,
                Action::Report(report) => self.tell(&report),
                Action::Describe | Action::Scan { .. } | Action::Publish(_) => {
                    self.target.ask(action);
                }
            }
        }
        self.target.start_next();
    }

    async fn send(&mut self, frame: Frame) {
        if let Some(port) = &self.port
            && port.send(frame).await.is_err()
        {
            self.port = None; // `Down` follows
        }
    }

    async fn save(&mut self, checkpoint: TargetCheckpoint, now: bool) {
        self.store.put(self.key.clone(), checkpoint.encode()).await;
        self.reporter.checkpointed();
        if now {
            let store = self.store.clone();
            // What waits for this would be told wrong after a crash: it waits for a disk that fails, too.
            self.saving = Some(tokio::task::spawn_local(async move {
                while !store.sync().await {
                    sleep(SAVE_RETRY).await;
                }
            }));
        }
    }

    fn tell(&self, report: &Report) {
        match report {
            Report::TargetWentBack => tracing::warn!(
                route = %self.reporter.name(),
                "the target holds less than was acknowledged (restored, or power lost); \
                 what is missing is sent again"
            ),
            Report::ForeignWriter => tracing::error!(
                route = %self.reporter.name(),
                "somebody else writes the target stream; set writers = \"shared\" on the route"
            ),
        }
    }
}
