//! A source stream as a route reads it: an ephemeral pull consumer, kept open, recreated as needed.
//!
//! Pulls overlap, so that there is never a moment without one open: a fresh record is on its way at
//! once, and catching up is the same code. The consumer lives in the server's memory only; where we
//! stand is our own knowledge, and after anything unexpected (server restarted, consumer lost, a
//! delivery missing) it is made anew right behind the last record, if that still stands in the stream.

mod aside;
mod block;
mod connecting;
mod consumer;
mod delivery;
mod finder;
mod judge;
mod pulls;
mod reading;
mod retention;

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use causeway_proto::resume::ReadSoFar;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::block::Block;
use self::consumer::Made;
pub use self::finder::{Finder, Found};
pub use self::judge::{Judge, Origin};
pub use self::pulls::PullSize;
use self::reading::{Broken, Heard, Reading, Sorted};
use self::retention::Retention;
use crate::control::{Control, ControlError};
use crate::nats::{self, Client, Subscription};

/// Between attempts to make a consumer.
const RETRY: Duration = Duration::from_millis(250);

/// What reading brings.
#[derive(Debug)]
pub enum SourceEvent {
    /// Records, in order.
    Records(Block),
    /// Up to here the stream holds nothing more for this route.
    NothingThrough(SourceSeq),
    /// Up to here records left the stream before they were read.
    LostThrough(SourceSeq),
    /// The stream cannot be read now; reading goes on by itself.
    Unavailable(String),
    /// What comes next may be of another stream than what was read. Reading has stopped.
    WentBack(&'static str),
}

enum State {
    Stopped,
    /// Waiting for a connection, or for the next attempt.
    Down {
        retry_at: Option<Instant>,
    },
    Creating(JoinHandle<Result<Made, ControlError>>),
    Reading(Reading),
}

/// See the module.
pub struct Source {
    client: Client,
    control: Control,
    stream: String,
    filters: Vec<String>,
    /// Says of each record where it comes from.
    pub judge: Judge,
    inbox: String,
    replies: Subscription,
    pull_size: PullSize,
    generation: Option<u64>,
    state: State,
    read: ReadSoFar,
    retention: Retention,
}

impl Source {
    /// When the server last spoke, records or heartbeat, to a consumer that is being read: up to then
    /// nothing was kept from us.
    pub fn heard(&self) -> Option<Instant> {
        match &self.state {
            State::Reading(reading) => Some(reading.heard()),
            _ => None,
        }
    }

    /// A source that does not read yet.
    pub fn new(
        client: Client,
        control: Control,
        stream: String,
        filters: Vec<String>,
        judge: Judge,
        pull_size: PullSize,
    ) -> Self {
        let inbox = client.new_inbox();
        let replies = client
            .subscribe(&format!("{inbox}.>"))
            .expect("an inbox that the client itself made is a plain subject");
        Self {
            client,
            control,
            stream,
            filters,
            judge,
            inbox,
            replies,
            pull_size,
            generation: None,
            state: State::Stopped,
            read: ReadSoFar::default(),
            retention: Retention::default(),
        }
    }

    /// Asks about the stream, apart from reading.
    pub fn finder(&self) -> Finder {
        Finder::new(self.control.clone(), self.stream.clone())
    }

    /// Reads from right behind `after`, in the stream that was created at `created_ns`.
    pub fn start(&mut self, after: SourceSeq, created_ns: u64) {
        self.stop();
        self.read = ReadSoFar {
            created_ns,
            through: after,
            ..ReadSoFar::default()
        };
        self.state = State::Down { retry_at: None };
    }

    /// Stops reading. What is on its way is dropped when it comes, as long as [`Self::next`] is called.
    pub fn stop(&mut self) {
        self.retention.clear();
        self.leave(State::Stopped);
    }

    /// Whether it does not read.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// Takes another state. A consumer that was read until then is of no more use.
    fn leave(&mut self, next: State) {
        if let State::Reading(reading) = std::mem::replace(&mut self.state, next) {
            let (control, stream) = (self.control.clone(), self.stream.clone());
            tokio::task::spawn_local(async move {
                // A server that does not answer forgets the consumer by itself.
                let _ = control.delete_consumer(&stream, reading.consumer()).await;
            });
        }
    }

    /// The next event. Cancel safe: everything that goes on is kept in `self`.
    pub async fn next(&mut self) -> SourceEvent {
        loop {
            if let Some(block) = self.retention.release().await {
                return SourceEvent::Records(block);
            }
            let event = match &mut self.state {
                State::Stopped => self.idle().await,
                State::Down { .. } => self.come_up().await,
                State::Creating(_) => self.await_consumer().await,
                State::Reading(_) => self.read().await,
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    async fn read(&mut self) -> Option<SourceEvent> {
        let State::Reading(reading) = &mut self.state else {
            return None;
        };
        tokio::select! {
            biased;
            event = self.replies.next() => match event {
                Some(nats::Event::Block(block)) => self.take(block),
                other => {
                    self.note_connection(other.as_ref()).await;
                    None
                }
            },
            heard = reading.watch() => match heard {
                Heard::Probed(range) => self.probed(range),
                Heard::ProbeDue => {
                    reading.probe(&self.control, &self.stream, self.read.through);
                    None
                }
                Heard::Starved => {
                    self.pull();
                    None
                }
                Heard::Silence => self.lose("the consumer fell silent".to_owned()),
                Heard::Gone => self.lose("the consumer is gone".to_owned()),
            },
        }
    }

    /// The consumer is given up. The next one is made at once, unless this one was of no use from the start.
    fn lose(&mut self, why: String) -> Option<SourceEvent> {
        let was_useful = matches!(&self.state, State::Reading(reading) if reading.has_delivered());
        let retry_at = (!was_useful).then(|| Instant::now() + RETRY);
        self.leave(State::Down { retry_at });
        Some(SourceEvent::Unavailable(why))
    }

    fn take(&mut self, block: nats::Block) -> Option<SourceEvent> {
        let State::Reading(reading) = &mut self.state else {
            return None;
        };
        let after = self.read.through;
        let Sorted {
            deliveries,
            missed,
            broken,
        } = reading.sort(&block, after);
        if let Some((_, delivery)) = deliveries.last() {
            self.read.through = delivery.seq;
            self.read.record = delivery.position();
        }
        let lost = match broken {
            None => {
                self.pull();
                None
            }
            Some(Broken::Lost(why)) => self.lose(why),
            Some(Broken::Behind) => {
                self.stop();
                return Some(SourceEvent::WentBack("it delivers what was read before"));
            }
        };
        if deliveries.is_empty() {
            return lost;
        }
        let block = Block::new(block, deliveries);
        if missed {
            let held = self
                .retention
                .hold(block, after, &self.control, &self.stream);
            return held.map(SourceEvent::Records);
        }
        Some(SourceEvent::Records(block))
    }

    /// Keeps enough pulls open.
    fn pull(&mut self) {
        let (State::Reading(reading), Some(generation)) = (&mut self.state, self.generation) else {
            return;
        };
        let subject = self.control.pull_subject(&self.stream, reading.consumer());
        while let Some((reply, request)) = reading.next_request() {
            self.client
                .publish(&subject, &reply, request.to_string().as_bytes(), generation)
                .expect("stream and consumer names are plain");
        }
    }

    /// Nothing more waits for the consumer, so that all up to the stream's last sequence is done with.
    fn probed(&mut self, range: Option<(SourceSeq, SourceSeq)>) -> Option<SourceEvent> {
        let State::Reading(reading) = &mut self.state else {
            return None;
        };
        let (first, last) = range.filter(|(_, last)| *last > self.read.through)?;
        let lost = SourceSeq(first.0.saturating_sub(1));
        if reading.may_miss() && lost > self.read.through {
            self.read.through = lost; // the rest follows with the next answer
            return Some(SourceEvent::LostThrough(lost));
        }
        reading.handle_nothing_waits();
        self.read.through = last;
        Some(SourceEvent::NothingThrough(last))
    }
}
