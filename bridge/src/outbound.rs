//! The driver of a route that leaves here: it does what [`Sender`] decides.
//!
//! One task owns the sender, the reader and the encoder of a route's leg. A batch leaves at once when
//! the lane is idle, and grows by itself while the batch before it is on its way: there is no timer to
//! wait for. When the open batch is full the reader is not asked for more, and back-pressure ends there.

use std::time::Duration;

use causeway_proto::batch::PlainBatch;
use causeway_proto::checkpoint::SourceCheckpoint;
use causeway_proto::codec::{Effort, EncodedBatch, LaneEncoder};
use causeway_proto::error::{EncodeError, PeerMisbehaved};
use causeway_proto::frame::{
    CloseLane, Frame, LaneClass, LaneCloseReason, Rejected, Resume, Stall, StallReason, clip_detail,
};
use causeway_proto::id::{BatchSeq, Epoch, LaneId, Position, SourceSeq};
use causeway_proto::resume::{Beginning, SourceFacts};
use causeway_proto::sender::{Admission, Sender};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::checkpoint::{CheckpointKey, CheckpointWriter};
use crate::command::{Asked, RouteCommand, SeekTo};
use crate::reporter::{OutboundView, RouteReporter};
use crate::session::{Port, RouteEvent, SessionGone};
use crate::source::{Block, Found, Source, SourceEvent};

/// Batches up to this are encoded in place: handing them over would cost more than it saves.
const ENCODE_INLINE_MAX: usize = 16 * 1024;
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(500);

type Encoded = (LaneEncoder, LaneId, Result<EncodedBatch, EncodeError>);

enum Event {
    Route(RouteEvent),
    Source(SourceEvent),
    Encoded(Encoded),
    Sent(Result<(), SessionGone>),
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
    checkpoint: SourceCheckpoint,
    saved: SourceCheckpoint,
    start: SeekTo,
    class: LaneClass,
    effort: Effort,
    key: CheckpointKey,
    store: CheckpointWriter,
    reporter: RouteReporter,
    events: mpsc::Receiver<RouteEvent>,
    commands: mpsc::Receiver<Asked>,
    port: Option<Port>,
    resume: Option<Resume>,
    /// A question to the source under way, and what it is for.
    finding: Option<JoinHandle<Result<Found, String>>>,
    block: Option<(Block, usize)>,
    encoder: Option<LaneEncoder>,
    encoding: Option<JoinHandle<Encoded>>,
    ready: Option<EncodedBatch>,
    sending: Option<JoinHandle<Result<(), SessionGone>>>,
    keeping: Option<JoinHandle<(SourceSeq, bool)>>,
    retry_at: Option<Instant>,
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
    /// Priority.
    pub class: LaneClass,
    /// How much CPU compression may take.
    pub effort: Effort,
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
            checkpoint: parts.checkpoint,
            saved: parts.checkpoint,
            start: parts.start,
            class: parts.class,
            effort: parts.effort,
            key: parts.key,
            store: parts.store,
            reporter: parts.reporter,
            events: parts.events,
            commands: parts.commands,
            port: None,
            resume: None,
            finding: None,
            block: None,
            encoder: None,
            encoding: None,
            ready: None,
            sending: None,
            keeping: None,
            retry_at: None,
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
            if self.draining && (self.port.is_none() || self.sender.is_drained()) {
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
        let wants = self.block.is_none() && self.sender.wants_records() && !self.draining;
        let draining = self.draining;
        let retry_at = self.retry_at;
        tokio::select! {
            biased;
            event = self.events.recv() => event.map_or(Event::Ended, Event::Route),
            Some(asked) = self.commands.recv() => Event::Command(asked),
            encoded = join(&mut self.encoding) => Event::Encoded(encoded),
            sent = join(&mut self.sending) => Event::Sent(sent),
            found = join(&mut self.finding) => Event::Found(found),
            kept = join(&mut self.keeping) => Event::KeptAside(kept.0, kept.1),
            event = self.source.next(), if wants => Event::Source(event),
            () = wait_until(retry_at) => Event::Retry,
            _ = self.drain.changed(), if !draining => Event::Drain,
            _ = report.tick() => Event::Report,
        }
    }

    async fn apply(&mut self, event: Event) -> Result<(), PeerMisbehaved> {
        match event {
            Event::Route(event) => return self.handle_route(event).await,
            Event::Source(event) => self.handle_source(event),
            Event::Encoded((encoder, lane, result)) => {
                self.encoding = None;
                self.handle_encoded(encoder, lane, result).await;
            }
            Event::Sent(result) => {
                self.sending = None;
                if result.is_err() {
                    self.port = None; // `Down` follows
                }
            }
            Event::Found(found) => {
                self.finding = None;
                self.handle_found(found).await;
            }
            Event::KeptAside(position, kept) => {
                self.keeping = None;
                if kept {
                    let told = self.sender.handle_kept_aside(position);
                    if let (Some(rejected), Some(port)) = (told, &self.port)
                        && port.send(Frame::Rejected(rejected)).await.is_err()
                    {
                        self.port = None; // `Down` follows
                    }
                } else {
                    self.retry_at = Some(Instant::now() + RETRY);
                }
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

    /// All that was read is settled: the last words.
    async fn end(&mut self) {
        self.report().await;
        self.end_lane(LaneCloseReason::Shutdown, "the source's sidecar stops")
            .await;
        self.store.sync().await;
    }

    // --- The session ---------------------------------------------------------------------------

    async fn handle_route(&mut self, event: RouteEvent) -> Result<(), PeerMisbehaved> {
        match event {
            RouteEvent::Up(port) => {
                self.port = Some(port);
                self.open_lane().await;
            }
            RouteEvent::Down => {
                self.port = None;
                self.close_lane();
            }
            RouteEvent::Frame(frame) => return self.handle_frame(frame).await,
            RouteEvent::Batch(..) => {} // the session refuses batches on lanes of ours
        }
        Ok(())
    }

    async fn handle_frame(&mut self, frame: Frame) -> Result<(), PeerMisbehaved> {
        let lane = match &frame {
            Frame::Resume(resume) => resume.lane,
            Frame::Credit(credit) => credit.lane,
            Frame::Ack(ack) => ack.lane,
            Frame::Rejected(rejected) => rejected.lane,
            Frame::Stall(stall) => stall.lane,
            Frame::CloseLane(close) => close.lane,
            _ => return Ok(()),
        };
        if self.sender.lane() != Some(lane) {
            return Ok(()); // of a lane closed meanwhile
        }
        match frame {
            Frame::Resume(resume) => {
                let after = resume.after.unwrap_or_default();
                self.resume = Some(resume);
                self.stall = None;
                self.find(after);
            }
            Frame::Credit(credit) => self.sender.handle_credit(&credit)?,
            Frame::Ack(ack) => {
                self.sender.handle_ack(&ack)?;
                self.reporter.progressed();
            }
            Frame::Rejected(rejected) => self.sender.handle_rejected(rejected)?,
            Frame::Stall(stall) => {
                self.stall = Some(stall).filter(|stall| stall.reason != StallReason::None);
            }
            Frame::CloseLane(close) => {
                tracing::warn!(route = %self.reporter.name(), reason = %close.reason, detail = close.detail, "target closed the lane");
                self.close_lane();
                self.retry_at = Some(Instant::now() + RETRY);
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks the target where to resume, once it is known where a new route begins.
    async fn open_lane(&mut self) {
        if self.port.is_none()
            || self.checkpoint.paused
            || self.draining
            || self.sender.lane().is_some()
        {
            return;
        }
        if self.checkpoint.first.is_none() {
            return self.find(Position::default()); // what `start` comes to
        }
        let Some(port) = self.port.clone() else {
            return;
        };
        let open = self.sender.open(port.new_lane());
        if port.send(Frame::Open(open)).await.is_err() {
            self.port = None;
        }
    }

    fn close_lane(&mut self) {
        self.sender.close();
        self.source.stop();
        self.block = None;
        self.encoder = None;
        self.ready = None;
        self.resume = None;
        // What was asked for this lane is of no more use.
        if let Some(finding) = self.finding.take() {
            finding.abort();
        }
        // A batch half on its way is sent to its end, or the peer would see it cut off.
        self.sending = None;
    }

    async fn refuse(&mut self, fault: PeerMisbehaved) {
        tracing::warn!(route = %self.reporter.name(), %fault, "peer misbehaved on a lane");
        self.end_lane(LaneCloseReason::Misbehaved, &fault.to_string())
            .await;
        self.retry_at = Some(Instant::now() + RETRY);
    }

    async fn end_lane(&mut self, reason: LaneCloseReason, detail: &str) {
        if let (Some(lane), Some(port)) = (self.sender.lane(), &self.port) {
            let close = CloseLane {
                lane,
                reason,
                detail: clip_detail(detail),
            };
            if port.send(Frame::CloseLane(close)).await.is_err() {
                self.port = None;
            }
        }
        self.close_lane();
    }

    // --- The stream ----------------------------------------------------------------------------

    /// Asks the source what it is now, and what stands at `position`.
    fn find(&mut self, position: Position) {
        if self.finding.is_none() {
            let finder = self.source.finder();
            let start = self.start;
            let unresolved = self.checkpoint.first.is_none();
            self.finding = Some(tokio::task::spawn_local(async move {
                finder.find(position, unresolved.then_some(start)).await
            }));
        }
    }

    async fn handle_found(&mut self, found: Result<Found, String>) {
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                self.reporter.source_unreachable(why);
                self.retry_at = Some(Instant::now() + RETRY);
                return;
            }
        };
        self.reporter.source_measured(found.facts.last_seq);
        if let Some(first) = found.first {
            self.checkpoint.first.get_or_insert(first);
        }
        self.checkpoint.stream_created_ns = found.created_ns;
        if self.resume.is_some() {
            self.begin_reading(&found.facts).await;
        } else {
            self.open_lane().await;
        }
    }

    async fn begin_reading(&mut self, facts: &SourceFacts) {
        let Some(resume) = self.resume.take() else {
            return;
        };
        let beginning = Beginning {
            behind: self.checkpoint.first.unwrap_or_default(),
            sought: self.checkpoint.sought,
        };
        match self.sender.handle_resume(&resume, beginning, facts) {
            Ok(from) => {
                let route = self.reporter.name();
                if from.started_over {
                    tracing::warn!(%route, epoch = %from.epoch, "the source stream is another one than the target's last record came from: what is new in it is read");
                }
                tracing::info!(%route, after = %from.follows, epoch = %from.epoch, "reading");
                self.checkpoint.first = Some(from.beginning.behind);
                self.checkpoint.sought = from.beginning.sought;
                self.checkpoint.epoch = from.epoch;
                self.reporter.resumed(from.follows, from.epoch);
                self.encoder = Some(LaneEncoder::new(self.effort));
                let lost = SourceSeq(facts.first_seq.0.saturating_sub(1));
                self.sender.handle_lost_to_retention(lost);
                self.source.start(from.follows.max(lost));
            }
            Err(fault) => self.refuse(fault).await,
        }
    }

    fn handle_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Records(block) => {
                self.block = Some((block, 0));
                self.take_block();
            }
            SourceEvent::NothingThrough(through) => {
                self.sender.handle_nothing_through(through);
                self.reporter.source_found(through);
            }
            SourceEvent::LostThrough(through) => self.sender.handle_lost_to_retention(through),
            SourceEvent::Unavailable(why) => self.reporter.source_unreachable(why),
        }
    }

    /// Feeds records to the sender until the block ends or the open batch is full.
    fn take_block(&mut self) {
        let Some((block, mut index)) = self.block.take() else {
            return;
        };
        while index < block.len() {
            if self.sender.is_full() {
                self.block = Some((block, index));
                return;
            }
            let (record, origin) = block.record(index, &mut self.source.judge);
            if origin.forged {
                self.reporter.forged();
            }
            match self.sender.handle_record(&record, origin.returns) {
                Admission::Full => {
                    self.block = Some((block, index));
                    return;
                }
                Admission::Denied(reason) => self.reporter.denied(reason),
                Admission::Batched | Admission::Returned | Admission::Rejected => {}
            }
            index += 1;
        }
        self.reporter.source_found(block.last_seq());
        self.reporter.source_behind(block.behind());
    }

    // --- The link ------------------------------------------------------------------------------

    /// Does all that can be done now.
    async fn pump(&mut self) {
        loop {
            self.send_ready();
            if self.sender.is_reading() {
                self.take_block();
            }
            if !self.seal().await {
                break;
            }
        }
        if self.keeping.is_none()
            && self.retry_at.is_none()
            && let Some(rejected) = self.sender.poll_aside()
        {
            self.keep_aside(rejected);
        }
        let idle = self.finding.is_none() && self.retry_at.is_none() && !self.draining;
        if idle && self.port.is_some() && self.sender.lane().is_none() {
            self.open_lane().await;
        } else if idle && self.resume.is_some() {
            let after = self
                .resume
                .as_ref()
                .and_then(|resume| resume.after)
                .unwrap_or_default();
            self.find(after);
        }
    }

    /// Seals and encodes the open batch if the lane is idle, or if the batch is full and the next
    /// place in the pipeline is free. `true`: something changed at once.
    async fn seal(&mut self) -> bool {
        let lane_idle = self.sending.is_none();
        if self.ready.is_some() || self.encoding.is_some() || self.encoder.is_none() {
            return false;
        }
        if !lane_idle && !self.sender.is_full() {
            return false;
        }
        let Some((seq, batch)) = self.sender.seal() else {
            return false;
        };
        let Some(encoder) = self.encoder.take() else {
            return false;
        };
        let lane = self.sender.lane().unwrap_or_default();
        self.encode(encoder, lane, seq, batch).await
    }

    async fn encode(
        &mut self,
        mut encoder: LaneEncoder,
        lane: LaneId,
        seq: BatchSeq,
        batch: PlainBatch,
    ) -> bool {
        let epoch = self.sender.epoch();
        self.reporter
            .batch_sealed(batch.record_count, batch.body.len());
        let inline = batch.body.len() <= ENCODE_INLINE_MAX;
        let work = move || {
            let result = encoder.encode(lane, seq, epoch, &batch);
            (encoder, lane, result)
        };
        if inline {
            let (encoder, lane, result) = work();
            self.handle_encoded(encoder, lane, result).await;
        } else {
            self.encoding = Some(tokio::task::spawn_blocking(work));
        }
        inline
    }

    async fn handle_encoded(
        &mut self,
        encoder: LaneEncoder,
        lane: LaneId,
        result: Result<EncodedBatch, EncodeError>,
    ) {
        if self.sender.lane() != Some(lane) {
            return; // the lane was closed meanwhile
        }
        self.encoder = Some(encoder);
        match result {
            Ok(batch) => self.ready = Some(batch),
            Err(fault) => {
                tracing::error!(route = %self.reporter.name(), %fault, "a batch cannot be encoded");
                self.end_lane(LaneCloseReason::Rewind, &fault.to_string())
                    .await;
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    fn send_ready(&mut self) {
        let may = |ready: &EncodedBatch| self.sender.may_send(ready.body.len());
        if self.sending.is_some() || !self.ready.as_ref().is_some_and(may) {
            return;
        }
        let (Some(port), Some(batch)) = (self.port.clone(), self.ready.take()) else {
            return;
        };
        self.sender.handle_sent(batch.body.len());
        self.reporter.batch_sent(batch.wire_len);
        let priority = match self.class {
            LaneClass::Live => 2,
            LaneClass::Normal => 1,
            LaneClass::Bulk => 0,
        };
        let is_live = self.class == LaneClass::Live;
        let sending = port.send_batch(batch.head, batch.body, priority, is_live);
        self.sending = Some(tokio::task::spawn_local(sending));
    }

    // --- Aside, operator, status ---------------------------------------------------------------

    fn keep_aside(&mut self, rejected: Rejected) {
        let route = self.reporter.name().clone();
        let finder = self.source.finder();
        self.keeping = Some(tokio::task::spawn_local(async move {
            let position = rejected.at.seq;
            loop {
                match finder.keep_aside(&route, &rejected).await {
                    Ok(()) => return (position, true),
                    Err(why) => {
                        tracing::warn!(%route, %why, %position, "rejected record not yet kept aside");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }));
    }

    async fn handle_command(&mut self, command: RouteCommand) -> Result<String, String> {
        match command {
            RouteCommand::Pause => {
                self.checkpoint.paused = true;
                self.end_lane(LaneCloseReason::RoutePaused, "paused by an operator")
                    .await;
            }
            RouteCommand::Resume => self.checkpoint.paused = false,
            RouteCommand::Seek(to) => {
                let finder = self.source.finder();
                let found = finder.find(Position::default(), Some(to)).await?;
                let first = found.first.unwrap_or_default();
                self.end_lane(LaneCloseReason::Rewind, "an operator seeks")
                    .await;
                self.checkpoint.epoch = Epoch(self.checkpoint.epoch.0 + 1);
                self.checkpoint.first = Some(first);
                self.checkpoint.sought = true;
                self.checkpoint.watermark = Position {
                    seq: first,
                    ..Position::default()
                };
                self.sender
                    .raise_epoch(self.checkpoint.epoch, self.checkpoint.watermark);
            }
        }
        self.save().await;
        if !self.store.sync().await {
            return Err("done, but the state directory cannot be written".into());
        }
        let paused = if self.checkpoint.paused {
            "paused"
        } else {
            "running"
        };
        let (epoch, watermark) = (self.checkpoint.epoch, self.checkpoint.watermark.seq);
        Ok(format!("{paused}, epoch {epoch}, watermark {watermark}"))
    }

    async fn report(&mut self) {
        if self.sender.is_reading() {
            self.checkpoint.watermark = self.sender.watermark();
        }
        self.save().await;
        self.reporter.outbound(&OutboundView {
            sender: &self.sender,
            source_heard: self.source.heard(),
            has_session: self.port.is_some(),
            paused: self.checkpoint.paused,
            stall: self.stall.as_ref(),
        });
    }

    async fn save(&mut self) {
        if self.checkpoint != self.saved {
            self.saved = self.checkpoint;
            self.store
                .put(self.key.clone(), self.checkpoint.encode())
                .await;
            self.reporter.checkpointed();
        }
    }
}

/// Waits for a task that may not be there.
async fn join<T>(task: &mut Option<JoinHandle<T>>) -> T {
    match task {
        Some(handle) => handle
            .await
            .expect("a task of ours neither panics nor is awaited aborted"),
        None => std::future::pending().await,
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
