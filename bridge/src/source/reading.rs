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
    /// The stream's first and last sequence, if it holds nothing more for the consumer.
    Probed(Option<(SourceSeq, SourceSeq)>),
    /// The consumer is not there any more, or was begun again.
    Gone,
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
    /// The stream holds these and nothing more for the consumer.
    Done(u64, u64),
    /// See [`Heard::Gone`].
    Gone,
}

/// Owns what is known of the consumer that is being read.
pub(super) struct Reading {
    consumer: String,
    deliveries: u64,
    pulls: Pulls,
    /// The server may keep records waiting. While it does not, it delivers each within moments, and only a
    /// stream that keeps records no longer than that loses one unread.
    waits: bool,
    /// With the last delivery it said that others wait.
    has_more: bool,
    heard: Instant,
    probe_at: Instant,
    probe_wait: Duration,
    probe: Option<JoinHandle<Probed>>,
}

impl Reading {
    /// A consumer that was made just now.
    pub(super) fn new(consumer: String) -> Self {
        let now = Instant::now();
        Self {
            consumer,
            deliveries: 0,
            pulls: Pulls::default(),
            waits: true,
            has_more: false,
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
    pub(super) fn sort(
        &mut self,
        block: &nats::Block,
        inbox: &str,
        mut through: SourceSeq,
    ) -> Sorted {
        self.heard = Instant::now();
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
                self.waits |= self.pulls.take_used_up();
                missed |= self.waits && delivery.seq.0 > through.0 + 1;
                self.has_more = delivery.behind > 0;
                self.waits = self.has_more;
                through = delivery.seq;
                self.deliveries += 1;
                self.pulls.delivered(&message);
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
        Sorted {
            deliveries,
            missed,
            broken,
        }
    }

    /// Whether records may have waited at the server and left their stream since the last delivery.
    pub(super) fn may_miss(&mut self) -> bool {
        self.waits |= self.pulls.take_used_up();
        self.waits
    }

    /// Nothing waits at the server.
    pub(super) fn handle_nothing_waits(&mut self) {
        self.waits = false;
        self.has_more = false;
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
            found = join(&mut self.probe) => {
                self.probe = None;
                self.note_probe(&found);
                match found {
                    Probed::Nothing => Heard::Probed(None),
                    Probed::Done(first, last) => Heard::Probed(Some((SourceSeq(first), SourceSeq(last)))),
                    Probed::Gone => Heard::Gone,
                }
            }
            () = sleep_until(self.probe_at), if !probing => Heard::ProbeDue,
            () = sleep_until(self.heard + SILENCE_MAX) => Heard::Silence,
        }
    }

    fn note_probe(&mut self, found: &Probed) {
        let wait = match found {
            Probed::Nothing => self.probe_wait * 2,
            Probed::Done(..) | Probed::Gone => PROBE_MIN,
        };
        self.probe_wait = wait.min(PROBE_MAX);
        self.probe_at = Instant::now() + self.probe_wait;
    }

    /// Nothing has come for a while. If more should have, it is time to ask for it again.
    pub(super) fn note_quiet(&mut self) {
        if self.has_more {
            self.pulls.forget();
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
            if info.last_seq <= through.0 {
                return Probed::Nothing;
            }
            // Asked after the stream: nothing up to `last_seq` is left for this consumer.
            match control.consumer_pending(&stream, &consumer).await {
                Ok((_, delivered)) if delivered < deliveries => Probed::Gone,
                Ok((0, delivered)) if delivered == deliveries => {
                    Probed::Done(info.first_seq, info.last_seq)
                }
                Err(why) if why.is_missing() || why.is_offline() => Probed::Gone,
                Ok(_) | Err(_) => Probed::Nothing,
            }
        }));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use super::*;

    const INBOX: &str = "_INBOX";

    /// What consumer `c1` delivers from its delivery `number` on: sequences, and how many wait behind.
    fn block(number: usize, records: &[(u64, u64)]) -> nats::Block {
        let message = |(index, (seq, behind)): (usize, &(u64, u64))| {
            let number = number + index;
            format!("MSG orders.new 1 $JS.ACK.S.c1.1.{seq}.{number}.1.{behind} 2\r\n{{}}\r\n")
        };
        let bytes: String = records.iter().enumerate().map(message).collect();
        nats::Block::scanned(bytes.as_bytes()).unwrap()
    }

    fn sort(seqs: &[u64], through: u64) -> (Vec<u64>, Option<Broken>) {
        let mut reading = Reading::new("c1".into());
        let records: Vec<_> = seqs.iter().map(|seq| (*seq, 0)).collect();
        let sorted = reading.sort(&block(1, &records), INBOX, SourceSeq(through));
        let seqs = sorted.deliveries.iter().map(|(_, d)| d.seq.0).collect();
        (seqs, sorted.broken)
    }

    #[tokio::test]
    async fn deliveries_at_or_behind_what_was_read_break_the_consumer() {
        assert_eq!(sort(&[8, 9, 12], 7), (vec![8, 9, 12], None));
        assert_eq!(sort(&[7, 8], 7), (vec![], Some(Broken::Behind)));
        assert_eq!(sort(&[8, 8], 7), (vec![8], Some(Broken::Behind)));
        assert_eq!(sort(&[8, 5], 7), (vec![8], Some(Broken::Behind)));
    }

    #[tokio::test]
    async fn a_jump_matters_where_records_may_have_waited() {
        let mut reading = Reading::new("c1".into());
        let mut missed = |number, records: &[_], through| {
            let sorted = reading.sort(&block(number, records), INBOX, SourceSeq(through));
            sorted.missed
        };
        assert!(missed(1, &[(3, 0)], 1), "nobody knows what waited before");
        assert!(!missed(2, &[(9, 0), (15, 2)], 3), "a filter's jumps");
        assert!(!missed(4, &[(16, 2), (17, 0)], 15), "no jump");
        assert!(missed(6, &[(18, 1), (30, 0)], 17));
    }

    #[tokio::test]
    async fn what_the_server_has_and_does_not_deliver_is_asked_for_again() {
        let asked = |behind| {
            let mut reading = Reading::new("c1".into());
            while reading.next_request().is_some() {}
            reading.sort(&block(1, &[(1, behind)]), INBOX, SourceSeq(0));
            assert!(reading.next_request().is_none(), "enough is owed");
            reading.note_quiet();
            reading.next_request().is_some()
        };
        assert!(asked(1));
        assert!(!asked(0));
    }
}
