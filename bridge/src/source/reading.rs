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

/// Why a consumer is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is gone, or a delivery of it is; another one goes on behind the last record.
    Lost(String),
    /// It delivers what was read already, so that what was read may have been of another stream.
    Behind,
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

    /// Sorts what came into records and words of the server. `through`: it was read up to here. The
    /// records before whatever breaks the consumer are good.
    pub(super) fn sort(
        &mut self,
        block: &nats::Block,
        inbox: &str,
        mut through: SourceSeq,
    ) -> (Vec<(usize, Delivery)>, Option<Broken>) {
        self.heard = Instant::now();
        let mut deliveries = Vec::with_capacity(block.len());
        let mut broken = None;
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
                through = delivery.seq;
                self.deliveries += 1;
                self.pulls.delivered();
                deliveries.push((index, delivery));
            } else if message.subject.starts_with(inbox.as_bytes())
                && !self.pulls.handle_status(&message)
            {
                broken = message
                    .status()
                    .map(|(code, text)| Broken::Lost(format!("{code} {text}")));
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use super::*;

    /// What consumer `c1` delivers, one record a sequence.
    fn deliveries(seqs: &[u64]) -> nats::Block {
        let message = |(index, seq): (usize, &u64)| {
            let number = index + 1;
            format!("MSG orders.new 1 $JS.ACK.S.c1.1.{seq}.{number}.{seq}.0 2\r\n{{}}\r\n")
        };
        let bytes: String = seqs.iter().enumerate().map(message).collect();
        nats::Block::scanned(bytes.as_bytes()).unwrap()
    }

    fn sort(seqs: &[u64], through: u64) -> (Vec<u64>, Option<Broken>) {
        let mut reading = Reading::new("c1".into());
        let (sorted, broken) = reading.sort(&deliveries(seqs), "_INBOX", SourceSeq(through));
        let seqs = sorted.iter().map(|(_, delivery)| delivery.seq.0).collect();
        (seqs, broken)
    }

    #[tokio::test]
    async fn deliveries_at_or_behind_what_was_read_break_the_consumer() {
        assert_eq!(sort(&[8, 9, 12], 7), (vec![8, 9, 12], None));
        assert_eq!(sort(&[7, 8], 7), (vec![], Some(Broken::Behind)));
        assert_eq!(sort(&[8, 8], 7), (vec![8], Some(Broken::Behind)));
        assert_eq!(sort(&[8, 5], 7), (vec![8], Some(Broken::Behind)));
    }
}
