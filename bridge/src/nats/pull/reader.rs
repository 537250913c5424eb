//! The reader: select, apply, again.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use causeway_proto::id::{SourceSeq, StoredAt};
use rand::Rng;
use tokio::time::{Instant, sleep_until};

use super::super::block::{Block, Message};
use super::super::client::{Client, Reply};
use super::super::error::RequestError;
use super::super::frame::InvalidSubject;
use super::super::subscription::{Event, Subscription};
use super::ack::{Ack, AckReader, is_ack};
use super::api::{Created, Limits, NewConsumer, next};
use super::credit::Credit;
use super::records::{Place, RecordBlock};
use super::{PullOptions, ReadEvent, ReadProblem, Start};

/// Delay before a consumer is asked for again, after the first attempt failed; doubles.
const DELAY_MIN: Duration = Duration::from_millis(50);

/// Longest delay: reading goes on within a second of the server's return.
const DELAY_MAX: Duration = Duration::from_millis(400);

/// Heartbeats that may be missing, and a little for their way.
const HEARTBEATS_MISSING: u32 = 2;
const HEARTBEAT_SLACK: Duration = Duration::from_millis(500);

type Opening = Pin<Box<dyn Future<Output = Result<Reply, RequestError>>>>;

/// ```text
///              Up                 answer
///  Offline ──────────► Opening ──────────► Reading
///     ▲                 ▲    │ refused        │ gap, silence, status
///     │ Down            │    ▼                │
///     └──────────────── Waiting ◄─────────────┘
/// ```
enum Phase {
    /// No connection.
    Offline,
    /// A consumer is asked for.
    Opening { name: String, answer: Opening },
    /// Something failed; it is tried again then.
    Waiting { until: Instant },
    /// A consumer delivers.
    Reading(Consumer),
}

struct Consumer {
    name: String,
    acks: AckReader,
    /// Number of the next delivery.
    next_delivery: u64,
    batch_max: Option<u64>,
    heard_at: Instant,
}

enum Wake {
    Event(Option<Event>),
    Answer(Result<Reply, RequestError>),
    Timer,
}

/// Reads one stream. Driven by [`PullReader::next`]; between two calls nothing moves but what the
/// server still sends within the credit.
pub struct PullReader {
    client: Client,
    options: PullOptions,
    inbox: String,
    subscription: Subscription,
    /// Connection in use.
    generation: u64,
    phase: Phase,
    credit: Credit,
    /// Everything up to here is behind us; None before the first consumer said where it begins.
    position: Option<SourceSeq>,
    ready: VecDeque<ReadEvent>,
    /// Failures in a row.
    failures: u32,
    last_problem: Option<ReadProblem>,
}

impl PullReader {
    /// Begins to read as soon as there is a connection and credit.
    pub fn new(client: &Client, options: PullOptions) -> Result<Self, InvalidSubject> {
        let inbox = client.new_inbox();
        let subscription = client.subscribe(&format!("{inbox}.*"))?;
        let position = match options.start {
            Start::At(SourceSeq(seq)) => Some(SourceSeq(seq.saturating_sub(1))),
            _ => None,
        };
        Ok(Self {
            client: client.clone(),
            credit: Credit::new(options.expires),
            options,
            inbox,
            subscription,
            generation: 0,
            phase: Phase::Offline,
            position,
            ready: VecDeque::new(),
            failures: 0,
            last_problem: None,
        })
    }

    /// Allows this many bytes more. The first call sets the window; later ones return what
    /// [`RecordBlock::credit`] says, when done with the block. A caller that keeps more than three
    /// quarters of the window gets nothing more until it returns some.
    pub fn allow(&mut self, bytes: u64) {
        self.credit.allow(bytes);
    }

    /// Everything up to here is behind the reader.
    pub fn position(&self) -> Option<SourceSeq> {
        self.position
    }

    /// Bytes asked for and not delivered.
    pub fn outstanding(&self) -> u64 {
        u64::try_from(self.credit.outstanding()).unwrap_or(0)
    }

    /// The next event; None once the client is shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<ReadEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.pump();
            let deadline = self.deadline();
            let answer = async {
                match &mut self.phase {
                    Phase::Opening { answer, .. } => answer.await,
                    _ => pending().await,
                }
            };
            let wake = tokio::select! {
                biased;
                event = self.subscription.next() => Wake::Event(event),
                answer = answer => Wake::Answer(answer),
                () = sleep_until(deadline) => Wake::Timer,
            };
            match wake {
                Wake::Event(None) => return None,
                Wake::Event(Some(event)) => self.apply_event(event),
                Wake::Answer(answer) => self.apply_answer(answer),
                Wake::Timer => self.apply_timer(),
            }
        }
    }

    /// Ends reading and has the server remove the consumer.
    pub fn close(self) {
        self.remove_consumer();
    }

    /// Asks for what the credit allows.
    fn pump(&mut self) {
        let Phase::Reading(consumer) = &mut self.phase else {
            return;
        };
        let now = Instant::now();
        while let Some(ask) = self.credit.ask(now) {
            let PullOptions {
                api_prefix,
                stream,
                heartbeat,
                ..
            } = &self.options;
            let subject = format!("{api_prefix}.CONSUMER.MSG.NEXT.{stream}.{}", consumer.name);
            let reply = format!("{}.{}", self.inbox, ask.id);
            let body = next(&ask, *heartbeat, consumer.batch_max);
            // The subject was good enough to make the consumer.
            let _ = self
                .client
                .publish(&subject, &reply, &body, self.generation);
            consumer.heard_at = consumer.heard_at.max(now);
        }
    }

    /// When to wake without an event.
    fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        match &self.phase {
            Phase::Offline | Phase::Opening { .. } => far,
            Phase::Waiting { until } => *until,
            Phase::Reading(consumer) if self.credit.has_open() => {
                let expiry = self.credit.deadline().unwrap_or(far);
                expiry.min(consumer.heard_at + self.silence_max())
            }
            Phase::Reading(_) => far,
        }
    }

    fn silence_max(&self) -> Duration {
        self.options.heartbeat * HEARTBEATS_MISSING + HEARTBEAT_SLACK
    }

    fn apply_timer(&mut self) {
        let now = Instant::now();
        self.credit.expire(now);
        match &self.phase {
            Phase::Waiting { until } if *until <= now => self.open(),
            Phase::Reading(consumer)
                if self.credit.has_open() && consumer.heard_at + self.silence_max() <= now =>
            {
                self.interrupt(ReadProblem::Silent);
            }
            _ => {}
        }
    }

    fn apply_event(&mut self, event: Event) {
        match event {
            Event::Up { generation, .. } => {
                self.generation = generation;
                self.failures = 0;
                self.open();
            }
            Event::Block(block) if block.generation() == self.generation => self.apply_block(block),
            Event::Block(_) => {}
            Event::Denied(text) => {
                let PullOptions {
                    api_prefix, stream, ..
                } = &self.options;
                let next = format!("{api_prefix}.CONSUMER.MSG.NEXT.{stream}.");
                if text.contains(&next) || text.contains(&self.inbox) {
                    self.interrupt(ReadProblem::Denied(text.to_string()));
                }
            }
            Event::Down { .. } => {
                self.tell(ReadProblem::Disconnected);
                self.credit.reset();
                self.phase = Phase::Offline;
            }
        }
    }

    /// Asks for a consumer behind the position.
    fn open(&mut self) {
        let start = match self.position {
            Some(position) => Start::At(SourceSeq(position.0 + 1)),
            None => self.options.start,
        };
        let name = format!("{}-{:016x}", self.options.name, rand::rng().random::<u64>());
        let consumer = NewConsumer {
            prefix: &self.options.api_prefix,
            stream: &self.options.stream,
            name: &name,
            filters: &self.options.filter_subjects,
            start,
            inactive_threshold: self.options.inactive_threshold,
        };
        let (subject, body) = consumer.call();
        let (client, timeout) = (self.client.clone(), self.options.request_timeout);
        let answer = Box::pin(async move { client.request(&subject, &body, timeout).await });
        self.credit.reset();
        self.phase = Phase::Opening { name, answer };
    }

    fn apply_answer(&mut self, answer: Result<Reply, RequestError>) {
        let Phase::Opening { name, .. } = std::mem::replace(&mut self.phase, Phase::Offline) else {
            return;
        };
        let created = match answer.map(|reply| serde_json::from_slice::<Created>(&reply.payload)) {
            Ok(Ok(created)) => created,
            Ok(Err(_)) => return self.interrupt(ReadProblem::Malformed),
            Err(RequestError::NotConnected | RequestError::Disconnected | RequestError::Closed) => {
                return self.interrupt(ReadProblem::Disconnected);
            }
            Err(RequestError::Timeout) => return self.interrupt(ReadProblem::Timeout),
            Err(RequestError::NoResponders) => return self.interrupt(ReadProblem::NoResponders),
            Err(RequestError::Denied(text)) => return self.interrupt(ReadProblem::Denied(text)),
            Err(error @ RequestError::InvalidSubject) => {
                return self.interrupt(ReadProblem::Denied(error.to_string()));
            }
        };
        if let Some(error) = created.error {
            let (code, err_code) = (error.code, error.err_code);
            let description = error.description;
            return self.interrupt(ReadProblem::Refused {
                code,
                err_code,
                description,
            });
        }
        let follows = SourceSeq(created.delivered.stream_seq);
        let Limits {
            max_batch,
            max_expires,
            max_bytes,
        } = created.config;
        let given = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
        self.credit.limit(
            given(max_expires).map(Duration::from_nanos),
            given(max_bytes),
        );
        self.phase = Phase::Reading(Consumer {
            acks: AckReader::new(name.clone()),
            name,
            next_delivery: 1,
            batch_max: given(max_batch),
            heard_at: Instant::now(),
        });
        match self.position {
            Some(position) if follows < position => {
                self.interrupt(ReadProblem::WentBack {
                    position,
                    found: follows,
                });
            }
            _ => {
                self.position = Some(follows);
                let pending = created.num_pending;
                self.ready.push_back(ReadEvent::Opened { follows, pending });
            }
        }
    }

    fn apply_block(&mut self, block: Block) {
        let Phase::Reading(consumer) = &mut self.phase else {
            return;
        };
        let Some(follows) = self.position else { return };
        let mut position = follows;
        let mut places = Vec::with_capacity(block.len());
        let (mut pending, mut credit, mut problem) = (0, 0, None);
        let mut through = None;
        for (index, message) in block.iter().enumerate() {
            let step = if is_ack(message.reply) {
                let Some(ack) = consumer.acks.read(message.reply) else {
                    continue;
                };
                consumer.accept(&ack, position).inspect(|()| {
                    position = SourceSeq(ack.seq);
                    pending = ack.pending;
                    let size = message.subject.len()
                        + message.reply.len()
                        + message.headers.len()
                        + message.payload.len();
                    credit += size as u64;
                    self.credit.delivered(size);
                    let stored_at = StoredAt(ack.stored_at);
                    places.push(Place {
                        index: index as u32,
                        seq: position,
                        stored_at,
                    });
                })
            } else {
                consumer
                    .apply_status(&mut self.credit, &message)
                    .map(|looked_at| through = looked_at.or(through))
            };
            if let Err(found) = step {
                problem = Some(found);
                break;
            }
        }
        consumer.heard_at = Instant::now();
        if !places.is_empty() || through.is_some() {
            self.failures = 0;
            self.last_problem = None;
        }
        if !places.is_empty() {
            let records = RecordBlock {
                block,
                places,
                follows,
                pending,
                credit,
            };
            self.ready.push_back(ReadEvent::Records(records));
        }
        if let Some(through) = through.filter(|through| *through > position) {
            position = through;
            self.ready.push_back(ReadEvent::CaughtUp { through });
        }
        self.position = Some(position);
        if let Some(problem) = problem {
            self.interrupt(problem);
        }
    }

    /// Gives up the consumer and asks for another one: at once the first time, later with delay.
    fn interrupt(&mut self, problem: ReadProblem) {
        self.remove_consumer();
        self.tell(problem);
        self.credit.reset();
        if self.client.generation() != Some(self.generation) {
            self.phase = Phase::Offline; // `Up` opens again
            return;
        }
        let delay = match self.failures {
            0 => Duration::ZERO,
            failures => DELAY_MAX.min(DELAY_MIN * 2_u32.pow((failures - 1).min(10))),
        };
        self.failures += 1;
        self.phase = Phase::Waiting {
            until: Instant::now() + delay,
        };
    }

    fn tell(&mut self, problem: ReadProblem) {
        if self.last_problem.as_ref() != Some(&problem) {
            self.last_problem = Some(problem.clone());
            self.ready.push_back(ReadEvent::Interrupted { problem });
        }
    }

    /// The server would remove it by itself, only later.
    fn remove_consumer(&self) {
        if let Phase::Reading(consumer) = &self.phase {
            let PullOptions {
                api_prefix, stream, ..
            } = &self.options;
            let subject = format!("{api_prefix}.CONSUMER.DELETE.{stream}.{}", consumer.name);
            let reply = format!("{}.removed", self.inbox);
            // The subject was good enough to make the consumer.
            let _ = self.client.publish(&subject, &reply, b"", self.generation);
        }
    }
}

impl Consumer {
    /// Checks that nothing was lost or repeated.
    fn accept(&mut self, ack: &Ack, position: SourceSeq) -> Result<(), ReadProblem> {
        if ack.delivery != self.next_delivery {
            return Err(ReadProblem::Gap {
                expected: self.next_delivery,
            });
        }
        if ack.seq <= position.0 {
            return Err(ReadProblem::WentBack {
                position,
                found: SourceSeq(ack.seq),
            });
        }
        self.next_delivery += 1;
        Ok(())
    }

    /// A control message. Some if the server has looked at everything up to a sequence and there
    /// is nothing more for us. What is said about a pull that is not open any more concerns an
    /// older consumer.
    fn apply_status(
        &self,
        credit: &mut Credit,
        message: &Message<'_>,
    ) -> Result<Option<SourceSeq>, ReadProblem> {
        let Some((code, text)) = message.status() else {
            return Ok(None);
        };
        let Some(id) = pull_id(message.subject).filter(|id| credit.is_open(*id)) else {
            return Ok(None);
        };
        let number = |name: &str| {
            message
                .header(name)
                .and_then(|value| value.parse::<u64>().ok())
        };
        let is_refused = code == 409 && text.starts_with("Message Size Exceeds MaxBytes");
        let is_ended = matches!(code, 404 | 408) || text.starts_with("Batch Completed");
        if is_refused || is_ended {
            let unused = number("Nats-Pending-Bytes").unwrap_or(0);
            credit.ended(id, unused, is_refused);
            return Ok(None);
        }
        if code != 100 {
            return Err(match code {
                503 => ReadProblem::ConsumerLost("it does not answer".to_owned()),
                _ => ReadProblem::ConsumerLost(text.to_owned()),
            });
        }
        match (number("Nats-Last-Consumer"), number("Nats-Last-Stream")) {
            (Some(delivered), Some(looked_at)) if delivered + 1 == self.next_delivery => {
                Ok(Some(SourceSeq(looked_at)))
            }
            (Some(delivered), _) if delivered >= self.next_delivery => Err(ReadProblem::Gap {
                expected: self.next_delivery,
            }),
            _ => Ok(None),
        }
    }
}

/// The number behind the last dot.
fn pull_id(subject: &[u8]) -> Option<u64> {
    std::str::from_utf8(subject.rsplit(|byte| *byte == b'.').next()?)
        .ok()?
        .parse()
        .ok()
}
