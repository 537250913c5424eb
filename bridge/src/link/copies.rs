//! Copies of live batches as QUIC datagrams, around what `causeway_proto::copies` decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_proto::codec::BatchHead;
use causeway_proto::copies::{Assembler, CopyBudget, LivePath, LossMeter, PathTotals, cut};
use causeway_proto::error::CloseReason;
use causeway_proto::limits::COPY_PIECES_MAX;
use quinn::Connection;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

use super::connection::{IncomingBatch, Reader};
use super::rate::{DeclaredRate, Pace};

/// No datagram is longer, whatever the path: a first look, before the queue.
const DATAGRAM_LEN_MAX: usize = 1500;
/// Batches that may wait to be copied; beyond it they travel once, as all batches may.
const QUEUE: usize = 256;

/// How often the connection's counters are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A batch to be sent once more.
struct Wanted {
    head: Bytes,
    body: Bytes,
}

/// Takes batches that are worth a copy.
#[derive(Debug, Clone)]
pub struct CopySender(mpsc::Sender<Wanted>);

impl CopySender {
    /// Begins to send copies on a connection, within a part of the link's rate.
    pub(super) fn start(connection: Connection, rate: DeclaredRate, pace: Arc<Pace>) -> Self {
        let (wanted_tx, wanted) = mpsc::channel(QUEUE);
        let began = Instant::now();
        let copier = Copier {
            connection,
            rate,
            pace,
            began,
            meter: LossMeter::new(Duration::ZERO),
            budget: CopyBudget::new(Duration::ZERO),
            due: BTreeMap::new(),
            numbered: 0,
            batches: 0,
            batch_rate: 0.0,
        };
        tokio::spawn(copier.run(wanted));
        Self(wanted_tx)
    }

    /// Copies a batch if that pays now. Never waits.
    pub fn copy(&self, head: Bytes, body: Bytes) {
        if body.len() > COPY_PIECES_MAX * DATAGRAM_LEN_MAX {
            return;
        }
        // Full or closed: the batch's own stream is enough.
        let _ = self.0.try_send(Wanted { head, body });
    }
}

struct Copier {
    connection: Connection,
    rate: DeclaredRate,
    pace: Arc<Pace>,
    began: Instant,
    meter: LossMeter,
    budget: CopyBudget,
    /// Datagrams by when they leave; the number keeps apart what leaves at once.
    due: BTreeMap<(Instant, u64), Bytes>,
    numbered: u64,
    /// Batches since the last look, and a second at the last one.
    batches: u32,
    batch_rate: f64,
}

impl Copier {
    async fn run(mut self, mut wanted: mpsc::Receiver<Wanted>) {
        let mut look = interval(LOOK);
        loop {
            let next = self.due.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                batch = wanted.recv() => match batch {
                    Some(batch) => self.plan(&batch),
                    None => return, // the session is over
                },
                () = sleep_until(next.unwrap_or(self.began)), if next.is_some() => self.send_due(),
                _ = look.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let stats = self.connection.stats().path;
        let totals = PathTotals {
            sent: stats.sent_packets,
            lost: stats.lost_packets,
            occasions: stats.congestion_events,
        };
        self.meter.observe(self.began.elapsed(), totals);
        self.batch_rate = f64::from(std::mem::take(&mut self.batches)) / LOOK.as_secs_f64();
    }

    fn plan(&mut self, batch: &Wanted) {
        self.batches += 1;
        let path = LivePath {
            packet_time: self.packet_time(),
            round_trip: self.connection.rtt(),
            batches: self.batch_rate.max(f64::from(self.batches)),
        };
        let plan = self.meter.plan(&path);
        let Some(plan) = plan.filter(|_| self.rate.may_copy()) else {
            return;
        };
        let Some(len_max) = self.connection.max_datagram_size() else {
            return; // the peer takes none
        };
        let Ok(Some((head, _))) = BatchHead::decode_prefix(&batch.head) else {
            return;
        };
        let Some(pieces) = cut(head.lane, head.seq, &batch.head, &batch.body, len_max) else {
            return;
        };
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let now = Instant::now();
        for copy in 1..=plan.copies {
            let declared = self.rate.bytes_per_second();
            let found = self.pace.mean().unwrap_or(0) / 8;
            if !self
                .budget
                .take(now - self.began, copy, len, declared, found)
            {
                return;
            }
            for piece in &pieces {
                self.numbered += 1;
                let at = now + plan.first + plan.spacing * (copy - 1);
                self.due.insert((at, self.numbered), piece.clone());
            }
        }
    }

    fn packet_time(&self) -> Duration {
        let bits = u64::from(self.connection.stats().path.current_mtu) * 8;
        let rate = self.pace.mean();
        rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bits as f64 / rate as f64)
        })
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            // What the connection does not take, or drops for newer ones, was only a copy.
            let _ = self.connection.send_datagram(entry.remove());
        }
    }
}

/// Puts the peer's copies together, and hands each on as the batch that it is.
pub(super) async fn read_copies(
    connection: Connection,
    reader: Reader,
    out: mpsc::Sender<IncomingBatch>,
) {
    let mut assembler = Assembler::new();
    while let Ok(datagram) = connection.read_datagram().await {
        match assembler.accept(&datagram) {
            Ok(None) => {}
            Ok(Some(bytes)) => match reader.whole(bytes) {
                Some(batch) => {
                    if out.send(batch).await.is_err() {
                        return; // without a session nobody wants it
                    }
                }
                None => return reader.refuse(&connection, CloseReason::CreditExceeded),
            },
            Err(fault) => return reader.refuse(&connection, fault.in_batch()),
        }
    }
}
