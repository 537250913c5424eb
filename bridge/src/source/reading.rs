//! One consumer while it is read: its pulls, its silence, and how far its stream is.

use std::cmp::Ordering;
use std::time::Duration;

use causeway_proto::id::SourceSeq;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::delivery::Delivery;
use super::pulls::{PullSize, Pulls, counted_len};
use crate::control::Control;
use crate::nats;
use crate::wait::join;

/// The server says at least so often that a pull is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Two heartbeats missed: the consumer is gone.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// First and longest wait, while nothing comes, before the server is asked how far the stream is.
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(30);

/// What happens to a consumer beside its deliveries.
pub(super) enum Heard {
    /// The stream's first and last sequence, if it holds nothing more for the consumer.
    Probed(Option<(SourceSeq, SourceSeq)>),
    /// The consumer is not there any more, or was begun again.
    Gone,
    /// The server holds no pull: the next ones are to be sent.
    Starved,
    /// Nothing came for a while: it is time to ask.
    ProbeDue,
    /// The server has said nothing at all for too long.
    Silence,
}

/// Why a consumer is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is gone, or a delivery of it is; another one goes on behind the last record.
    Lost(String),
    /// It delivers what was read already, so that what was read may have been of another stream.
    Behind,
}

/// What came, sorted.
pub(super) struct Sorted {
    /// Messages that are records.
    pub(super) deliveries: Vec<(usize, Delivery)>,
    /// They jump over positions, and what stood there may have waited at the server for too long.
    pub(super) missed: bool,
    /// What came behind them, if the consumer is of no more use.
    pub(super) broken: Option<Broken>,
}

/// What was found by asking how far the stream is.
#[derive(Debug, PartialEq, Eq)]
enum Probed {
    /// Nothing is known, or nothing is new.
    Nothing,
    /// The stream holds these, and nothing more for the consumer as far as its own server has got.
    Done { first: u64, last: u64 },
    /// The stream has copies, and the server that answered for the consumer may be behind the one that answered for the stream.
    DoneByOne { first: u64, last: u64 },
    /// The server holds none of our pulls.
    Starved,
    /// See [`Heard::Gone`].
    Gone,
}

/// Owns what is known of the consumer that is being read.
pub(super) struct Reading {
    consumer: String,
    deliveries: u64,
    pulls: Pulls,
    /// What all that the server says of its pulls begins with. Of another consumer's it may still have something to say.
    replies: String,
    /// The server may keep records waiting. While it does not, it delivers each within moments, and only a
    /// stream that keeps records no longer than that loses one unread.
    waits: bool,
    /// The consumer itself said that nothing up to here is left for it.
    passed: u64,
    heard: Instant,
    probe_at: Instant,
    probe_wait: Duration,
    probe: Option<JoinHandle<Probed>>,
}

impl Reading {
    /// A consumer that was made just now; the server answers its pulls below `inbox`.
    pub(super) fn new(consumer: String, inbox: &str, size: PullSize) -> Self {
        let now = Instant::now();
        Self {
            replies: format!("{inbox}.{consumer}."),
            consumer,
            deliveries: 0,
            pulls: Pulls::new(size),
            waits: true,
            passed: 0,
            heard: now,
            probe_at: now + PROBE_MIN,
            probe_wait: PROBE_MIN,
            probe: None,
        }
    }

    pub(super) fn consumer(&self) -> &str {
        &self.consumer
    }

    /// When the server last spoke, records or heartbeat.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Sorts what came into records and words of the server. `through`: it was read up to here.
    pub(super) fn sort(&mut self, block: &nats::Block, mut through: SourceSeq) -> Sorted {
        let now = Instant::now();
        let mut deliveries = Vec::with_capacity(block.len());
        let (mut missed, mut broken) = (false, None);
        for (index, message) in block.iter().enumerate() {
            if let Some(delivery) = Delivery::parse(message.reply, self.consumer.as_bytes()) {
                if delivery.number != self.deliveries + 1 {
                    broken = Some(Broken::Lost("a delivery is missing".to_owned()));
                    break;
                }
                if delivery.seq <= through {
                    broken = Some(Broken::Behind);
                    break;
                }
                self.heard = now;
                self.waits |= self.pulls.take_used_up();
                missed |= self.waits && delivery.seq.0 > through.0 + 1;
                self.waits = delivery.behind > 0;
                through = delivery.seq;
                self.deliveries += 1;
                self.pulls.delivered(counted_len(&message));
                deliveries.push((index, delivery));
            } else if message.subject.starts_with(self.replies.as_bytes()) {
                self.heard = now;
                self.note_passed(&message);
                if !self.pulls.handle_status(&message) {
                    broken = message
                        .status()
                        .map(|(code, text)| Broken::Lost(format!("{code} {text}")));
                    break;
                }
            }
        }
        if !deliveries.is_empty() {
            self.probe_wait = PROBE_MIN;
            self.probe_at = now + PROBE_MIN;
        }
        Sorted {
            deliveries,
            missed,
            broken,
        }
    }

    /// A heartbeat says how far the consumer has looked, in the order of its deliveries.
    fn note_passed(&mut self, message: &nats::Message<'_>) {
        let number = |name: &str| message.header(name)?.parse::<u64>().ok();
        if number("Nats-Last-Consumer") == Some(self.deliveries)
            && let Some(passed) = number("Nats-Last-Stream")
        {
            self.passed = self.passed.max(passed);
        }
    }

    /// Whether this consumer has delivered anything.
    pub(super) fn has_delivered(&self) -> bool {
        self.deliveries > 0
    }

    /// Whether records may have waited at the server and left their stream since the last delivery.
    pub(super) fn may_miss(&mut self) -> bool {
        self.waits |= self.pulls.take_used_up();
        self.waits
    }

    /// Nothing waits at the server.
    pub(super) fn handle_nothing_waits(&mut self) {
        self.waits = false;
    }

    /// The next pull to send, with where to answer, if the server owes too little.
    pub(super) fn next_request(&mut self) -> Option<(String, Value)> {
        let (number, request) = self.pulls.next_request(HEARTBEAT)?;
        Some((format!("{}{number}", self.replies), request))
    }

    /// Waits for what is not a delivery. Cancel safe.
    pub(super) async fn watch(&mut self) -> Heard {
        let probing = self.probe.is_some();
        tokio::select! {
            biased;
            found = join(&mut self.probe) => {
                self.probe = None;
                self.note_probe(&found);
                self.judge(found)
            }
            () = sleep_until(self.probe_at), if !probing => Heard::ProbeDue,
            () = sleep_until(self.heard + SILENCE_MAX) => Heard::Silence,
        }
    }

    fn note_probe(&mut self, found: &Probed) {
        let wait = match found {
            Probed::Nothing => self.probe_wait * 2,
            _ => PROBE_MIN,
        };
        self.probe_wait = wait.min(PROBE_MAX);
        self.probe_at = Instant::now() + self.probe_wait;
    }

    fn judge(&mut self, found: Probed) -> Heard {
        let done = |first, last| Heard::Probed(Some((SourceSeq(first), SourceSeq(last))));
        match found {
            Probed::Nothing => Heard::Probed(None),
            Probed::Done { first, last } => done(first, last),
            Probed::DoneByOne { first, last } => done(first, last.min(self.passed)),
            Probed::Starved => {
                self.pulls.forget();
                Heard::Starved
            }
            Probed::Gone => Heard::Gone,
        }
    }

    /// Asks how far the stream is ([`Heard::Probed`]). `through`: it was read up to here.
    pub(super) fn probe(&mut self, control: &Control, stream: &str, through: SourceSeq) {
        let (control, stream) = (control.clone(), stream.to_owned());
        let (consumer, deliveries) = (self.consumer.clone(), self.deliveries);
        self.probe = Some(tokio::task::spawn_local(async move {
            let Ok(info) = control.stream(&stream).await else {
                return Probed::Nothing;
            };
            let state = match control.consumer(&stream, &consumer).await {
                Ok(state) => state,
                Err(why) if why.is_missing() || why.is_offline() => return Probed::Gone,
                Err(_) => return Probed::Nothing,
            };
            let (first, last) = (info.first_seq, info.last_seq);
            // Asked after the stream: with nothing pending, nothing up to `last` is left for this consumer.
            let is_done = state.pending == 0 && last > through.0;
            match state.delivered.cmp(&deliveries) {
                Ordering::Less => Probed::Gone,
                Ordering::Greater => Probed::Nothing,
                Ordering::Equal if state.pulls == 0 => Probed::Starved,
                Ordering::Equal if !is_done => Probed::Nothing,
                Ordering::Equal if info.is_replicated() => Probed::DoneByOne { first, last },
                Ordering::Equal => Probed::Done { first, last },
            }
        }));
    }
}

#[cfg(test)]
mod tests;
