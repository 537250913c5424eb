//! The driver of a route that arrives here: it does what [`Receiver`] decides.
//!
//! One task owns the receiver, the decoder and the publisher of a route. It waits for one thing to
//! happen ([`Inbound::select`]), applies it, and then does all that the receiver asks for. Branches of
//! the `select!` return a value and do nothing else, so that one that loses loses nothing.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use causeway_proto::batch::PlainBatch;
use causeway_proto::checkpoint::TargetCheckpoint;
use causeway_proto::codec::{BatchHead, LaneDecoder};
use causeway_proto::error::DecodeError;
use causeway_proto::frame::{CloseLane, Frame, LaneCloseReason};
use causeway_proto::id::{Epoch, LaneId};
use causeway_proto::receiver::{Action, Receiver, Report};
use causeway_proto::reconcile::{Scanned, TargetFacts};
use causeway_proto::run::{RunResult, Stalled};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::checkpoint::{CheckpointKey, CheckpointWriter};
use crate::publisher::Publisher;
use crate::reporter::{InboundView, RouteReporter};
use crate::session::{Port, RouteEvent};

/// Bodies up to this are decoded in place: handing them over would cost more than it saves.
const DECODE_INLINE_MAX: usize = 16 * 1024;
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

type Decoded = (LaneDecoder, LaneId, Epoch, Result<PlainBatch, DecodeError>);

/// What a task on the target brought home, with the publisher that it borrowed.
enum Done {
    Connected,
    Described(Result<TargetFacts, Stalled>),
    Scanned(Result<Scanned, Stalled>),
    Published(RunResult),
}

/// What happened.
enum Event {
    Route(RouteEvent),
    Target(Box<Publisher>, Done),
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
    publisher: Option<Box<Publisher>>,
    target_task: Option<JoinHandle<(Box<Publisher>, Done)>>,
    /// What to ask the target next, once the publisher is free.
    target_next: Option<Action>,
    key: CheckpointKey,
    store: CheckpointWriter,
    saving: Option<JoinHandle<bool>>,
    reporter: RouteReporter,
    events: mpsc::Receiver<RouteEvent>,
    port: Option<Port>,
    decoder: Option<(LaneId, LaneDecoder)>,
    decoding: Option<JoinHandle<Decoded>>,
    decoded: VecDeque<Decoded>,
    started: Instant,
    connected: bool,
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
            publisher: Some(Box::new(publisher)),
            target_task: None,
            target_next: None,
            key,
            store,
            saving: None,
            reporter,
            events,
            port: None,
            decoder: None,
            decoding: None,
            decoded: VecDeque::new(),
            started: Instant::now(),
            connected: false,
            drain,
            draining: false,
        }
    }

    /// Runs until the session layer is gone.
    pub async fn run(mut self) {
        let mut report = interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
        if let Some(decoded) = self.decoded.pop_front() {
            return Event::Decoded(decoded);
        }
        let draining = self.draining;
        let timer = self.receiver.poll_timeout().map(|at| self.started + at);
        tokio::select! {
            biased;
            joined = join(&mut self.target_task) => Event::Target(joined.0, joined.1),
            decoded = join(&mut self.decoding) => Event::Decoded(decoded),
            _ = join(&mut self.saving) => Event::Saved,
            event = self.events.recv() => event.map_or(Event::Ended, Event::Route),
            () = wait_until(timer) => Event::Timer,
            _ = self.drain.changed(), if !draining => Event::Drain,
            _ = report.tick() => Event::Report,
        }
    }

    async fn apply(&mut self, event: Event) {
        match event {
            Event::Route(event) => self.handle_route(event).await,
            Event::Target(publisher, done) => {
                self.target_task = None;
                self.publisher = Some(publisher);
                self.handle_target(done);
            }
            Event::Decoded((decoder, lane, epoch, result)) => {
                self.decoding = None;
                if self
                    .decoder
                    .as_ref()
                    .is_none_or(|(current, _)| *current == lane)
                {
                    self.decoder = Some((lane, decoder));
                }
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
                connected: self.connected,
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
        self.decoder = None;
        self.decoded.clear();
    }

    /// The lane's bytes or sequence are wrong: it ends, and the source may open another.
    async fn refuse_lane(&mut self, lane: LaneId, fault: &str) {
        tracing::warn!(%lane, fault, "lane refused");
        self.reporter.lane_refused();
        self.drop_lane();
        let close = CloseLane {
            lane,
            reason: LaneCloseReason::Misbehaved,
            detail: causeway_proto::frame::clip_detail(fault),
        };
        self.send(Frame::CloseLane(close)).await;
    }

    fn handle_target(&mut self, done: Done) {
        let now = self.started.elapsed();
        self.connected = self
            .publisher
            .as_ref()
            .is_some_and(|publisher| publisher.is_connected());
        match done {
            Done::Connected => {
                self.target_next = None;
                self.receiver.handle_connected();
            }
            Done::Described(Ok(facts)) => self.receiver.handle_target_up(facts),
            Done::Scanned(Ok(scanned)) => self.receiver.handle_scanned(scanned),
            Done::Described(Err(stalled)) | Done::Scanned(Err(stalled)) => {
                self.receiver.handle_target_down(stalled, now);
            }
            Done::Published(result) => self.receiver.handle_run(result, now),
        }
    }

    /// Does all that the receiver asks for.
    async fn pump(&mut self) {
        while let Some(action) = self.receiver.poll_action() {
            match action {
                Action::Send(frame) => self.send(frame).await,
                Action::Decode(head, body) => self.decode(head, body),
                Action::Save { checkpoint, now } => self.save(checkpoint, now).await,
                Action::Report(report) => self.tell(&report),
                Action::Describe | Action::Scan { .. } | Action::Publish(_) => {
                    self.target_next = Some(action);
                }
            }
        }
        self.start_target_task();
    }

    fn start_target_task(&mut self) {
        if self.target_task.is_some() {
            return;
        }
        // Without a connection nothing can be asked; a new one makes the receiver ask anew.
        let next = if self.connected {
            self.target_next.take()
        } else {
            Some(Action::Describe)
        };
        let Some(next) = next else { return };
        let Some(mut publisher) = self.publisher.take() else {
            return;
        };
        let connected = self.connected;
        self.target_task = Some(tokio::task::spawn_local(async move {
            let done = match next {
                _ if !connected => {
                    publisher.connected().await;
                    Done::Connected
                }
                Action::Scan { from, to } => Done::Scanned(publisher.scan(from, to).await),
                Action::Publish(run) => Done::Published(publisher.publish(&run).await),
                _ => Done::Described(publisher.describe().await),
            };
            (publisher, done)
        }));
    }

    async fn send(&mut self, frame: Frame) {
        if let Some(port) = &self.port
            && port.send(frame).await.is_err()
        {
            self.port = None; // `Down` follows
        }
    }

    fn decode(&mut self, head: BatchHead, body: Bytes) {
        let lane = head.lane;
        let mut decoder = match self.decoder.take() {
            Some((current, decoder)) if current == lane => decoder,
            _ => LaneDecoder::new(),
        };
        let work = move || {
            let result = decoder.decode(&head, &body);
            (decoder, lane, head.epoch, result)
        };
        if head.plain_len as usize <= DECODE_INLINE_MAX {
            self.decoded.push_back(work());
        } else {
            self.decoding = Some(tokio::task::spawn_blocking(work));
        }
    }

    async fn save(&mut self, checkpoint: TargetCheckpoint, now: bool) {
        self.store.put(self.key.clone(), checkpoint.encode()).await;
        self.reporter.checkpointed();
        if now {
            let store = self.store.clone();
            self.saving = Some(tokio::task::spawn_local(async move { store.sync().await }));
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

/// Waits for a task that may not be there.
async fn join<T>(task: &mut Option<JoinHandle<T>>) -> T {
    match task {
        Some(handle) => handle
            .await
            .expect("a task of ours neither panics nor is aborted"),
        None => std::future::pending().await,
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
