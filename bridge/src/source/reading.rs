//! One consumer while it is read: its pulls, its silence, and how far its stream is.

use std::time::Duration;

use causeway_proto::id::SourceSeq;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::pulls::{Delivery, Pulls};
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
    /// The stream goes up to here and holds nothing more for the consumer, if that is known.
    Probed(Option<SourceSeq>),
    /// Nothing came for a while: it is time to ask.
    ProbeDue,
    /// The server has said nothing at all for too long.
    Silence,
}

/// Owns what is known of the consumer that is being read.
pub(super) struct Reading {
    consumer: String,
    deliveries: u64,
    pulls: Pulls,
    heard: Instant,
    probe_at: Instant,
    probe_wait: Duration,
    probe: Option<JoinHandle<Option<u64>>>,
}

impl Reading {
    /// A consumer that was made just now.
    pub(super) fn new(consumer: String) -> Self {
        let now = Instant::now();
        Self {
            consumer,
            deliveries: 0,
            pulls: Pulls::default(),
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

    /// Sorts what came into records and words of the server. The text says why the consumer is of no
    /// more use, if it is not; the records before that are good.
    pub(super) fn sort(
        &mut self,
        block: &nats::Block,
        inbox: &str,
    ) -> (Vec<(usize, Delivery)>, Option<String>) {
        self.heard = Instant::now();
        let mut deliveries = Vec::with_capacity(block.len());
        let mut broken = None;
        for (index, message) in block.iter().enumerate() {
            if let Some(delivery) = Delivery::parse(message.reply, self.consumer.as_bytes()) {
                if delivery.number != self.deliveries + 1 {
                    broken = Some("a delivery is missing".to_owned());
                    break;
                }
                self.deliveries += 1;
                self.pulls.delivered();
                deliveries.push((index, delivery));
            } else if message.subject.starts_with(inbox.as_bytes())
                && !self.pulls.handle_status(&message)
            {
                broken = message
                    .status()
                    .map(|(code, text)| format!("{code} {text}"));
                break;
            }
        }
        if !deliveries.is_empty() {
            self.probe_wait = PROBE_MIN;
            self.probe_at = self.heard + PROBE_MIN;
        }
        (deliveries, broken)
    }

    /// The next pull to send, with its number, if the server owes too little.
    pub(super) fn next_request(&mut self) -> Option<(u64, Value)> {
        self.pulls.next_request(HEARTBEAT)
    }

    /// Waits for what is not a delivery. Cancel safe.
    pub(super) async fn watch(&mut self) -> Heard {
        let probing = self.probe.is_some();
        tokio::select! {
            biased;
            known = join(&mut self.probe) => {
                self.probe = None;
                Heard::Probed(self.note_probe(known))
            }
            () = sleep_until(self.probe_at), if !probing => Heard::ProbeDue,
            () = sleep_until(self.heard + SILENCE_MAX) => Heard::Silence,
        }
    }

    fn note_probe(&mut self, known: Option<u64>) -> Option<SourceSeq> {
        let wait = if known.is_some() {
            PROBE_MIN
        } else {
            self.probe_wait * 2
        };
        self.probe_wait = wait.min(PROBE_MAX);
        self.probe_at = Instant::now() + self.probe_wait;
        known.map(SourceSeq)
    }

    /// Asks how far the stream is ([`Heard::Probed`]). `through`: it was read up to here.
    pub(super) fn probe(&mut self, control: &Control, stream: &str, through: SourceSeq) {
        let (control, stream) = (control.clone(), stream.to_owned());
        let (consumer, deliveries) = (self.consumer.clone(), self.deliveries);
        self.probe = Some(tokio::task::spawn_local(async move {
            let last_seq = control.stream(&stream).await.ok()?.last_seq;
            if last_seq <= through.0 {
                return None;
            }
            // Asked after the stream: nothing up to `last_seq` is left for this consumer.
            let (pending, delivered) = control.consumer_pending(&stream, &consumer).await.ok()?;
            (pending == 0 && delivered == deliveries).then_some(last_seq)
        }));
    }
}
