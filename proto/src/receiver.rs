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
//!    |
//!    +-- connected -- Disconnected <-- connection lost, at any time
//! ```

mod lane;
mod link;
mod look;
mod settle;
mod stall;
mod target;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::lane::InLane;
use self::look::Freshness;
use crate::batch::PlainBatch;
use crate::checkpoint::TargetCheckpoint;
use crate::codec::BatchHead;
use crate::error::{DecodeError, PeerMisbehaved};
use crate::frame::{Ack, Frame, Open, Outcomes, Rejected, Resume, Stall, StallReason};
use crate::id::{Epoch, LaneId, Position, RegionId, SourceSeq, TargetSeq};
use crate::limits::credit_len;
use crate::reconcile::{Applied, Fall, Reconciler, Scanned, Since, Step, TargetFacts};
use crate::residency::{ResidencyPolicy, Verdict};
use crate::run::{Again, Run, RunEnd, RunResult, Stalled};

/// First and longest wait before a stalled target is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A connection that is back so soon is not worth telling the source of: it would only flap.
const RECONNECT_MAX: Duration = Duration::from_secs(1);

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
    /// How often the target is looked at without a run: so that one which is gone shows before it is needed, and what
    /// others write there is passed by little and little, instead of being read by the process that starts next.
    pub rest_max: Duration,
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
        /// Records that were read behind this position are passed over.
        through: Option<SourceSeq>,
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
    /// There is no connection to the target's server, so nothing is asked.
    Disconnected {
        /// When this counts as a stall; `None` once it does.
        stall_at: Option<Duration>,
    },
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
    /// When the target was created that `applied` speaks of: while another is looked at, not that of `facts`.
    applied_in: Option<u64>,
    /// What was put over a hole of the target, and comes again.
    again: Option<Again>,
    /// The last record of a run that fell. It is sent again without what came behind it, so that a target which has all of
    /// it shows that: such a run takes no sequence. With the epoch that it is of.
    fallen: Option<(Epoch, SourceSeq)>,
    /// The target's last sequence as last heard of. Not that of `applied` where others write, too.
    target_last: TargetSeq,
    /// What was sent to the target since it was last known.
    since: Since,
    fresh: Freshness,
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
    /// The epoch of the lane that was asked for last.
    asked_epoch: Option<Epoch>,
    /// That epoch when nothing proved what the target has of it. A higher one is an operator's decision:
    /// its records are wanted whatever is there.
    unknowable_epoch: Option<Epoch>,
    /// What became of records since this process began, over all lanes.
    totals: Outcomes,
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
            applied_in: None,
            again: None,
            fallen: None,
            target_last: TargetSeq(0),
            since: Since::Start,
            fresh: Freshness::default(),
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
            asked_epoch: None,
            unknowable_epoch: None,
            totals: Outcomes::default(),
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
            if self.must_look() {
                return self.look();
            }
            self.settle_leading();
            if let Some(frame) = self.poll_ack() {
                return Some(Action::Send(frame));
            }
            if let Some(run) = self.form_run() {
                self.phase = Phase::Publishing(run.clone());
                self.since = Since::Run { fell: None };
                return Some(Action::Publish(run));
            }
        }
        None
    }

    /// When [`Receiver::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Disconnected { stall_at } => stall_at,
            Phase::Down { retry_at, .. } => retry_at,
            Phase::Ready => self.fresh.timeout(),
            _ => None,
        }
    }

    // --- Getters ---------------------------------------------------------------------------------

    /// What is known to be settled at the target.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// What became of records here since this process began.
    pub fn totals(&self) -> Outcomes {
        self.totals
    }

    /// Why the target takes nothing, if so.
    pub fn stalled(&self) -> Option<&Stalled> {
        self.stalled.as_ref()
    }

    /// Whether the lane is open and the target is known.
    pub fn is_flowing(&self) -> bool {
        let goes_on =
            matches!(self.phase, Phase::Ready | Phase::Publishing(_)) || self.fresh.looking;
        self.lane.is_some() && goes_on
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

    /// Whether it is being found out what the target holds.
    pub fn is_reconciling(&self) -> bool {
        matches!(self.phase, Phase::Reconciling { .. })
    }

    /// Whether a run is under way.
    pub fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Publishing(_))
    }
}

#[cfg(test)]
mod tests;
