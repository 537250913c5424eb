//! A source stream as a route reads it: an ephemeral pull consumer, kept open, recreated as needed.
//!
//! Pulls overlap, so that there is never a moment without one open: a fresh record is on its way at
//! once, and catching up is the same code. The consumer lives in the server's memory only; where we
//! stand is our own knowledge, and after anything unexpected (server restarted, consumer lost, a
//! delivery missing) it is made anew right behind the last record.

mod aside;
mod block;
mod finder;
mod judge;
mod pulls;
mod reading;

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub use self::block::Block;
pub use self::finder::{Finder, Found};
pub use self::judge::{Judge, Origin};
use self::reading::{Heard, Reading};
use crate::control::{Control, ControlError};
use crate::nats::{self, Client, Subscription};

/// Between attempts to make a consumer.
const RETRY: Duration = Duration::from_millis(250);
/// The server forgets the consumer when nothing was pulled for so long.
const INACTIVE: Duration = Duration::from_secs(60);

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
}

enum State {
    Stopped,
    /// Waiting for a connection, or for the next attempt.
    Down {
        retry_at: Option<Instant>,
    },
    Creating(JoinHandle<Result<(String, u64), ControlError>>),
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
    generation: Option<u64>,
    state: State,
    through: SourceSeq,
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
            generation: None,
            state: State::Stopped,
            through: SourceSeq(0),
        }
    }

    /// Asks about the stream, apart from reading.
    pub fn finder(&self) -> Finder {
        Finder::new(self.control.clone(), self.stream.clone())
    }

    /// Reads from right behind `after`.
    pub fn start(&mut self, after: SourceSeq) {
        self.stop();
        self.through = after;
        self.state = State::Down { retry_at: None };
    }

    /// Stops reading. What is on its way is dropped when it comes.
    pub fn stop(&mut self) {
        if let State::Reading(reading) = std::mem::replace(&mut self.state, State::Stopped) {
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

    /// While stopped, connections come and go.
    async fn idle(&mut self) -> Option<SourceEvent> {
        let event = self.replies.next().await;
        self.note_connection(event.as_ref()).await;
        None
    }

    async fn come_up(&mut self) -> Option<SourceEvent> {
        let State::Down { retry_at } = &self.state else {
            return None;
        };
        let retry_at = *retry_at;
        if self.generation.is_none() {
            let event = self.replies.next().await;
            self.note_connection(event.as_ref()).await;
            return None;
        }
        if let Some(at) = retry_at {
            sleep_until(at).await;
        }
        let (control, stream) = (self.control.clone(), self.stream.clone());
        let config = self.consumer_config();
        self.state = State::Creating(tokio::task::spawn_local(async move {
            let info = control.stream(&stream).await?;
            Ok((
                control.create_consumer(&stream, &config).await?,
                info.first_seq,
            ))
        }));
        None
    }

    fn consumer_config(&self) -> Value {
        let name = format!("causeway-{:08x}", rand::random::<u32>());
        let mut config = json!({
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.through.0 + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE.as_nanos() as u64,
        });
        match self.filters.as_slice() {
            [all] if all == ">" => {}
            [one] => config["filter_subject"] = json!(one),
            many => config["filter_subjects"] = json!(many),
        }
        config
    }

    async fn await_consumer(&mut self) -> Option<SourceEvent> {
        let State::Creating(task) = &mut self.state else {
            return None;
        };
        let result = task
            .await
            .expect("a task of ours neither panics nor is aborted");
        match result {
            Ok((consumer, first_seq)) => {
                self.state = State::Reading(Reading::new(consumer));
                self.pull();
                let lost = SourceSeq(first_seq.saturating_sub(1));
                (lost > self.through).then(|| {
                    self.through = lost;
                    SourceEvent::LostThrough(lost)
                })
            }
            Err(why) => {
                self.state = State::Down {
                    retry_at: Some(Instant::now() + RETRY),
                };
                Some(SourceEvent::Unavailable(why.to_string()))
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
                Heard::Probed(last) => self.probed(last),
                Heard::ProbeDue => {
                    reading.probe(&self.control, &self.stream, self.through);
                    None
                }
                Heard::Silence => {
                    self.recreate();
                    Some(SourceEvent::Unavailable("the consumer fell silent".into()))
                }
            },
        }
    }

    /// Keeps the number of the connection; without one, reading waits for the next.
    async fn note_connection(&mut self, event: Option<&nats::Event>) {
        match event {
            Some(nats::Event::Up { generation, .. }) => {
                self.generation = Some(*generation);
                self.recreate();
            }
            Some(nats::Event::Down { .. }) => {
                self.generation = None;
                self.recreate();
            }
            Some(_) => {}
            None => std::future::pending().await, // shut down: nothing will come
        }
    }

    fn recreate(&mut self) {
        if !matches!(self.state, State::Stopped) {
            self.state = State::Down { retry_at: None };
        }
    }

    fn take(&mut self, block: nats::Block) -> Option<SourceEvent> {
        let State::Reading(reading) = &mut self.state else {
            return None;
        };
        let (deliveries, broken) = reading.sort(&block, &self.inbox);
        if let Some((_, delivery)) = deliveries.last() {
            self.through = delivery.seq;
        }
        match broken {
            None => self.pull(),
            Some(_) => self.recreate(),
        }
        if deliveries.is_empty() {
            return broken.map(SourceEvent::Unavailable);
        }
        Some(SourceEvent::Records(Block { block, deliveries }))
    }

    /// Keeps enough pulls open.
    fn pull(&mut self) {
        let (State::Reading(reading), Some(generation)) = (&mut self.state, self.generation) else {
            return;
        };
        let subject = self.control.pull_subject(&self.stream, reading.consumer());
        while let Some((number, request)) = reading.next_request() {
            let reply = format!("{}.{number}", self.inbox);
            self.client
                .publish(&subject, &reply, request.to_string().as_bytes(), generation)
                .expect("stream and consumer names are plain");
        }
    }

    fn probed(&mut self, last: Option<SourceSeq>) -> Option<SourceEvent> {
        let last = last.filter(|last| *last > self.through)?;
        self.through = last;
        Some(SourceEvent::NothingThrough(last))
    }
}
