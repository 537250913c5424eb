//! The target side of one route: order, policy again, runs to publish, what is settled.
//!
//! A batch stays here until the target's server has answered for each of its records. When the
//! server fails, contradicts us or goes away, nothing is guessed: the receiver looks at what the
//! target really holds ([`Reconciler`]) and goes on from there, in order.
//!
//! ```text
//!            facts               known              poll: Publish
//!   Down ----------> Reconciling --------> Ready <------------------> Publishing
//!    ^                    ^                  |                            |
//!    |                    +-- retry timer ---+-- contradiction -----------+
//!    +-------------------------- connection lost -------------------------+
//! ```

mod lane;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::lane::InLane;
use crate::batch::PlainBatch;
use crate::checkpoint::TargetCheckpoint;
use crate::codec::BatchHead;
use crate::error::{DecodeError, PeerMisbehaved};
use crate::frame::{Ack, Frame, Open, Outcomes, Rejected, Resume, Stall, StallReason};
use crate::id::{Epoch, LaneId, Position, RegionId, SourceSeq, TargetSeq};
use crate::limits::credit_len;
use crate::reconcile::{Applied, Reconciler, Scanned, Step, TargetFacts};
use crate::residency::{ResidencyPolicy, Verdict};
use crate::run::{Run, RunEnd, RunResult, Stalled};

/// First and longest wait before a stalled target is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a receiver must know of its route.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// The region that we publish in.
    pub here: RegionId,
    /// Residency rules, asked a second time.
    pub policy: Arc<ResidencyPolicy>,
    /// Whether the route alone writes the target stream.
    pub sole: bool,
    /// Whether the route accepts `exactly_once = "window"`.
    pub window_suffices: bool,
    /// Wire bytes in flight that the lane is given.
    pub credit_window: u64,
    /// Plain bytes that may wait decoded; beyond them batches wait as they came, compressed.
    pub decoded_max: usize,
    /// Records in a run at most.
    pub run_records_max: u32,
    /// Plain bytes in a run after which it is long enough.
    pub run_len_max: usize,
}

/// What the driver is to do next.
#[derive(Debug)]
pub enum Action {
    /// Send a frame to the peer.
    Send(Frame),
    /// Decode a batch and answer with [`Receiver::handle_decoded`].
    Decode(BatchHead, Bytes),
    /// Ask the server for the target's facts and answer with `handle_target_up` or `_down`.
    Describe,
    /// Read these target sequences and answer with [`Receiver::handle_scanned`].
    Scan {
        /// First sequence to look at.
        from: TargetSeq,
        /// Last sequence to look at.
        to: TargetSeq,
    },
    /// Publish a run and answer with [`Receiver::handle_run`].
    Publish(Run),
    /// Keep a checkpoint; `now` asks for it to be durable before anything else is published.
    Save {
        /// The value.
        checkpoint: TargetCheckpoint,
        /// Whether to wait until it is durable, and then call [`Receiver::handle_saved`].
        now: bool,
    },
    /// Tell a person.
    Report(Report),
}

/// Something that a person should know; states and counters say the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The target held less than the checkpoint said; what is missing is sent again.
    TargetWentBack,
    /// Somebody else writes a stream that the route should write alone.
    ForeignWriter,
}

#[derive(Debug)]
enum Phase {
    Down {
        asked: bool,
        retry_at: Option<Duration>,
    },
    Reconciling {
        reconciler: Reconciler,
        asked: bool,
        step: Step,
    },
    Ready,
    Publishing(Run),
}

#[derive(Debug)]
struct Retained {
    batch: PlainBatch,
    /// Records at its head that are settled.
    done: u32,
    wire_len: u64,
    epoch: Epoch,
}

/// The target side of a route from one source region. See the module.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    phase: Phase,
    facts: Option<TargetFacts>,
    checkpoint: Option<TargetCheckpoint>,
    applied: Applied,
    opening: Option<Open>,
    lane: Option<InLane>,
    follows: Option<SourceSeq>,
    decoding: Option<u64>,
    retained: VecDeque<Retained>,
    decoded_len: usize,
    stalled: Option<Stalled>,
    told_stall: Option<StallReason>,
    out: VecDeque<Action>,
    /// What the next ack says: a batch's end, and the outcomes up to it.
    ack_due: Option<(SourceSeq, Outcomes)>,
    save_due: Option<bool>,
    /// A checkpoint must be durable before anything else is published.
    saving: bool,
    /// A record that the target refused: nothing behind it is published before the source has kept
    /// it aside, since a resume point can only say that all before it is settled.
    refused: Option<Position>,
    retry: Duration,
    foreign_seen: bool,
}

impl Receiver {
    /// A receiver with what its store remembers.
    pub fn new(config: ReceiverConfig, checkpoint: Option<TargetCheckpoint>) -> Self {
        let foreign_seen = checkpoint.is_some_and(|known| known.foreign_seen);
        Self {
            config,
            phase: Phase::Down {
                asked: false,
                retry_at: None,
            },
            facts: None,
            checkpoint,
            applied: Applied::default(),
            opening: None,
            lane: None,
            follows: None,
            decoding: None,
            retained: VecDeque::new(),
            decoded_len: 0,
            stalled: None,
            told_stall: None,
            out: VecDeque::new(),
            ack_due: None,
            save_due: None,
            saving: false,
            refused: None,
            retry: RETRY_MIN,
            foreign_seen,
        }
    }

    // --- What happened on the link ---------------------------------------------------------------

    /// The source opens a lane. It is answered when the target's state is known.
    pub fn handle_open(&mut self, open: Open) {
        self.handle_lane_lost();
        self.opening = Some(open);
        self.told_stall = None;
    }

    /// A batch came off the link, in any order.
    pub fn handle_batch(&mut self, head: BatchHead, body: Bytes) -> Result<(), PeerMisbehaved> {
        match &mut self.lane {
            Some(lane) if lane.id == head.lane => lane.accept(head, body),
            _ => Ok(()), // of a lane closed meanwhile
        }
    }

    /// The session ended or the source closed the lane. A run under way is still awaited; the rest
    /// will be read again from the source.
    pub fn handle_lane_lost(&mut self) {
        self.lane = None;
        self.opening = None;
        self.follows = None;
        self.ack_due = None;
        self.decoding = None;
        self.refused = None;
        self.forget_orphans();
    }

    /// Records of a lane that is gone will be read again. They are kept only for a run under way.
    fn forget_orphans(&mut self) {
        if self.lane.is_none() && !matches!(self.phase, Phase::Publishing(_)) {
            self.retained.clear();
            self.decoded_len = 0;
        }
    }

    /// The source has kept a rejected record aside: it sends the frame back.
    pub fn handle_kept_aside(&mut self, kept: &Rejected) -> Result<(), PeerMisbehaved> {
        match &self.lane {
            Some(lane) if lane.id == kept.lane => {}
            _ => return Ok(()), // of a lane closed meanwhile
        }
        if self.refused.take_if(|at| *at == kept.at).is_none() {
            return Err(PeerMisbehaved::WrongTime {
                lane: kept.lane,
                frame: "Rejected",
            });
        }
        self.pass_rejected(kept.at);
        Ok(())
    }

    /// A batch was decoded (or could not be).
    pub fn handle_decoded(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        result: Result<PlainBatch, DecodeError>,
    ) -> Result<(), LaneFault> {
        let Some(wire_len) = self
            .decoding
            .take_if(|_| self.lane.as_ref().is_some_and(|l| l.id == lane))
        else {
            return Ok(()); // of a lane closed meanwhile
        };
        let batch = result?;
        self.check_continuity(lane, epoch, &batch)?;
        self.follows = Some(batch.through);
        self.decoded_len += batch.body.len();
        self.retained.push_back(Retained {
            batch,
            done: 0,
            wire_len,
            epoch,
        });
        Ok(())
    }

    fn check_continuity(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        batch: &PlainBatch,
    ) -> Result<(), PeerMisbehaved> {
        if let Some(expected) = self.follows {
            if self.retained.back().is_some_and(|last| last.epoch != epoch) {
                return Err(PeerMisbehaved::WrongEpoch(lane));
            }
            if batch.follows != expected {
                let follows = batch.follows;
                return Err(PeerMisbehaved::BatchDoesNotFollow {
                    lane,
                    follows,
                    expected,
                });
            }
            return Ok(());
        }
        // The first batch shows what the source decided: to continue, or that its stream is
        // another incarnation than the one we knew, of which nothing is stored yet.
        let continues = self.applied.at.is_some_and(|at| at.seq == batch.follows)
            && (self.applied.epoch == Epoch(0) || self.applied.epoch == epoch);
        if !continues {
            let known = self.applied.at.is_some();
            if known && self.applied.epoch != Epoch(0) && epoch <= self.applied.epoch {
                return Err(PeerMisbehaved::WrongEpoch(lane));
            }
            self.begin_epoch(epoch, batch.follows);
        }
        self.applied.epoch = epoch;
        Ok(())
    }

    /// Nothing of this epoch is stored yet. That is durable before the first record of it is published:
    /// a record found in the target behind this checkpoint is then certainly of this epoch. The time of
    /// the last record settled before goes with it, so that the source can tell whether its stream went
    /// back once more.
    fn begin_epoch(&mut self, epoch: Epoch, follows: SourceSeq) {
        let before = self.applied.at.unwrap_or_default();
        self.applied.epoch = epoch;
        self.applied.at = Some(Position {
            seq: follows,
            stored_at: before.stored_at,
        });
        self.applied.target_seq_shown = false;
        self.applied.skip = 0;
        self.save_before_going_on();
    }

    // --- What happened at the target -------------------------------------------------------------

    /// The target's server described the stream.
    pub fn handle_target_up(&mut self, facts: TargetFacts) {
        self.facts = Some(facts);
        let sole = self.config.sole && !self.foreign_seen;
        let window = self.config.window_suffices;
        let mut reconciler = Reconciler::new(facts, self.newest(), sole, window);
        let step = reconciler.start();
        self.phase = Phase::Reconciling {
            reconciler,
            asked: false,
            step,
        };
        self.conclude(step);
    }

    /// The target cannot be used now. A run under way is lost with it.
    pub fn handle_target_down(&mut self, stalled: Stalled, now: Duration) {
        self.drop_run();
        self.stall(stalled);
        self.phase = Phase::Down {
            asked: false,
            retry_at: Some(now + self.next_retry()),
        };
    }

    /// The connection to the target is new (or back): look before going on.
    pub fn handle_connected(&mut self) {
        self.drop_run();
        self.phase = Phase::Down {
            asked: false,
            retry_at: None,
        };
    }

    /// A scan ended. A scan that failed is answered with `handle_target_down`.
    pub fn handle_scanned(&mut self, scanned: Scanned) {
        let Phase::Reconciling { reconciler, .. } = &mut self.phase else {
            return;
        };
        let step = reconciler.handle_scanned(scanned);
        self.conclude(step);
    }

    /// A run ended.
    pub fn handle_run(&mut self, result: RunResult, now: Duration) {
        if !matches!(self.phase, Phase::Publishing(_)) {
            return; // given up meanwhile
        }
        let Phase::Publishing(run) = std::mem::replace(&mut self.phase, Phase::Ready) else {
            return;
        };
        if result.stored > 0 {
            self.settle_stored(&run, &result);
            self.retry = RETRY_MIN;
        }
        match result.end {
            RunEnd::Complete => self.clear_stall(),
            RunEnd::Rejected { code, reason } => {
                self.clear_stall();
                self.refuse(&run, result.stored, code, &reason);
            }
            RunEnd::Expired => {
                self.clear_stall();
                self.expire(&run, result.stored);
            }
            RunEnd::Stalled(stalled) => self.handle_target_down(stalled, now),
            RunEnd::Contradicted(detail) => {
                let reason = StallReason::Reconciling;
                self.handle_target_down(Stalled { reason, detail }, now);
            }
            RunEnd::ConnectionLost => {
                self.phase = Phase::Down {
                    asked: true,
                    retry_at: None,
                };
            }
        }
        self.forget_orphans();
    }

    /// A checkpoint asked for with `now` is durable.
    pub fn handle_saved(&mut self) {
        self.saving = false;
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Phase::Down {
            asked,
            retry_at: Some(at),
        } = &mut self.phase
            && *at <= now
        {
            *asked = false;
            self.phase = Phase::Down {
                asked: false,
                retry_at: None,
            };
        }
    }

    // --- What to do next -------------------------------------------------------------------------

    /// The next action; call until it returns `None`, after each `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.out.pop_front() {
            return Some(action);
        }
        if let Some(frame) = self.poll_ack() {
            return Some(Action::Send(frame));
        }
        if let Some(now) = self.save_due.take()
            && let Some(checkpoint) = self.checkpoint
        {
            return Some(Action::Save { checkpoint, now });
        }
        if let Some(action) = self.poll_target() {
            return Some(action);
        }
        if let Some(frame) = self.poll_lane_open() {
            return Some(Action::Send(frame));
        }
        if let Some(action) = self.poll_decode() {
            return Some(action);
        }
        if matches!(self.phase, Phase::Ready) && !self.saving && self.refused.is_none() {
            self.settle_leading();
            if let Some(frame) = self.poll_ack() {
                return Some(Action::Send(frame));
            }
            if let Some(run) = self.form_run() {
                self.phase = Phase::Publishing(run.clone());
                return Some(Action::Publish(run));
            }
        }
        None
    }

    /// When [`Receiver::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Down { retry_at, .. } => retry_at,
            _ => None,
        }
    }

    fn poll_target(&mut self) -> Option<Action> {
        match &mut self.phase {
            Phase::Down {
                asked,
                retry_at: None,
            } if !*asked => {
                *asked = true;
                Some(Action::Describe)
            }
            Phase::Reconciling {
                asked,
                step: Step::Scan { from, to },
                ..
            } if !*asked => {
                *asked = true;
                Some(Action::Scan {
                    from: *from,
                    to: *to,
                })
            }
            _ => None,
        }
    }

    fn poll_lane_open(&mut self) -> Option<Frame> {
        let open = self.opening.as_ref()?;
        if !matches!(self.phase, Phase::Ready) || self.saving {
            let stalled = self.stalled.as_ref()?;
            return tell_stall(open.lane, stalled, &mut self.told_stall);
        }
        let lane = InLane::new(open.lane, self.config.credit_window);
        let resume = Resume {
            lane: open.lane,
            epoch: self.applied.epoch,
            after: self.applied.at,
            credit: lane.limit(),
        };
        self.opening = None;
        self.lane = Some(lane);
        self.retained.clear();
        self.decoded_len = 0;
        Some(Frame::Resume(resume))
    }

    fn poll_decode(&mut self) -> Option<Action> {
        if self.decoding.is_some() || self.decoded_len >= self.config.decoded_max {
            return None;
        }
        let (head, body) = self.lane.as_mut()?.take_next()?;
        self.decoding = Some(credit_len(body.len()));
        Some(Action::Decode(head, body))
    }

    // --- Getters ---------------------------------------------------------------------------------

    /// What is known to be settled at the target.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Why the target takes nothing, if so.
    pub fn stalled(&self) -> Option<&Stalled> {
        self.stalled.as_ref()
    }

    /// Whether the lane is open and the target is known.
    pub fn is_flowing(&self) -> bool {
        self.lane.is_some() && matches!(self.phase, Phase::Ready | Phase::Publishing(_))
    }

    /// Whether somebody else was seen writing a stream that the route should write alone.
    pub fn foreign_seen(&self) -> bool {
        self.foreign_seen
    }

    /// Plain bytes decoded and not settled.
    pub fn decoded_len(&self) -> usize {
        self.decoded_len
    }

    /// The lane that is open or opening.
    pub fn lane(&self) -> Option<LaneId> {
        let opening = self.opening.as_ref().map(|open| open.lane);
        opening.or_else(|| self.lane.as_ref().map(|lane| lane.id))
    }

    /// Whether a run is under way.
    pub fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Publishing(_))
    }
}

mod settle;

/// Why a lane cannot go on: its bytes or its sequence are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneFault {
    /// The bytes are wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The sequence is wrong.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
}

fn tell_stall(lane: LaneId, stalled: &Stalled, told: &mut Option<StallReason>) -> Option<Frame> {
    if *told == Some(stalled.reason) {
        return None;
    }
    *told = Some(stalled.reason);
    Some(Frame::Stall(Stall {
        lane,
        reason: stalled.reason,
        detail: stalled.detail.clone(),
    }))
}
