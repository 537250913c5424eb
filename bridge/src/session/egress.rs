//! The way out for batches: one task a session writes them all, chunk by chunk, in the order that
//! [`Schedule`] decides and no more than [`Backlog`] has room for.
//!
//! Within quinn each batch's stream has a priority, so that what live lanes write passes whatever else waits there, and
//! other batches finish in the order in which they were begun; between classes and lanes that take turns by weight the
//! schedule decides, at the last moment.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use causeway_proto::error::CloseReason;
use causeway_proto::frame::LaneClass;
use causeway_proto::id::LaneId;
use causeway_proto::lanes::{Backlog, Chunk, PathView, Schedule, Written, stream_priority};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quinn::{Connection, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::SessionGone;
use crate::link::{CopySender, DeclaredRate, SEND_WINDOW_MIN, Session, close};

/// Offers that may wait for the task; a lane has one at most, so it is drivers that would wait.
pub(super) const OFFERS: usize = 256;
/// How often the path is looked at while bytes move.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How often a link that is held is looked at.
const HELD_INTERVAL: Duration = Duration::from_millis(200);

/// A batch that a lane wants to send.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) lane: LaneId,
    pub(super) class: LaneClass,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    /// Answered when quinn has taken all of it.
    pub(super) taken: oneshot::Sender<()>,
}

/// A batch that is being written.
struct Outgoing {
    class: LaneClass,
    /// None until its first chunk.
    stream: Option<SendStream>,
    rest: [Bytes; 2],
    /// Head and body, to be copied; of live batches only.
    whole: Option<[Bytes; 2]>,
    len: u64,
    taken: oneshot::Sender<()>,
}

impl Outgoing {
    fn new(offer: Offer) -> Self {
        Self {
            class: offer.class,
            stream: None,
            len: (offer.head.len() + offer.body.len()) as u64,
            whole: (offer.class == LaneClass::Live)
                .then(|| [offer.head.clone(), offer.body.clone()]),
            rest: [offer.head, offer.body],
            taken: offer.taken,
        }
    }

    /// Cuts the next bytes off.
    fn cut(&mut self, len: usize) -> [Bytes; 2] {
        let [head, body] = &mut self.rest;
        let of_head = len.min(head.len());
        [head.split_to(of_head), body.split_to(len - of_head)]
    }

    /// Whether its lane was closed before anything of it left.
    fn is_withdrawn(&self) -> bool {
        self.stream.is_none() && self.taken.is_closed()
    }
}

type Delivered = Pin<Box<dyn Future<Output = Written> + Send>>;

/// Ends the connection when the task ends by an error or a panic: without the way out a session would stand of
/// which every leaving route waits to hear that it is down. `None` once the session has ended: it says why itself.
struct EndOfConnection(Option<Connection>);

impl Drop for EndOfConnection {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            close(connection, CloseReason::Internal);
        }
    }
}

/// See the module.
pub(super) struct Egress {
    connection: Connection,
    offers: mpsc::Receiver<Offer>,
    rate: DeclaredRate,
    copies: CopySender,
    schedule: Schedule,
    backlog: Backlog,
    batches: HashMap<LaneId, Outgoing>,
    delivered: FuturesUnordered<Delivered>,
    looked_at: Option<Instant>,
    /// What quinn takes without making anybody wait, at the least.
    send_window: u64,
    /// Batches begun so far.
    begun: u32,
}

impl Egress {
    pub(super) fn new(link: &Session, offers: mpsc::Receiver<Offer>) -> Self {
        Self {
            connection: link.connection().clone(),
            offers,
            rate: link.rate.clone(),
            copies: link.copies.clone(),
            schedule: Schedule::new(),
            backlog: Backlog::new(),
            batches: HashMap::new(),
            delivered: FuturesUnordered::new(),
            looked_at: None,
            send_window: SEND_WINDOW_MIN,
            begun: 0,
        }
    }

    /// Runs until the connection or the session and every driver are gone, or a batch cannot be written.
    pub(super) async fn run(mut self) {
        let mut end = EndOfConnection(Some(self.connection.clone()));
        loop {
            while let Ok(offer) = self.offers.try_recv() {
                self.take(offer);
            }
            self.look();
            let is_held = self.rate.is_held();
            if !is_held && let Some(chunk) = self.schedule.poll_chunk(self.backlog.room()) {
                if self.write(chunk).await.is_err() {
                    return;
                }
                continue;
            }
            let waiting = !self.schedule.is_empty();
            tokio::select! {
                biased;
                _ = self.connection.closed() => return,
                Some(batch) = self.delivered.next() => self.backlog.handle_delivered(batch),
                offer = self.offers.recv() => match offer {
                    Some(offer) => self.take(offer),
                    None => return end.0 = None,
                },
                // The window may have grown, or the month may have ended.
                () = sleep(if is_held { HELD_INTERVAL } else { LOOK_INTERVAL }), if waiting => {}
            }
        }
    }

    fn take(&mut self, offer: Offer) {
        let (lane, class) = (offer.lane, offer.class);
        let batch = Outgoing::new(offer);
        if batch.is_withdrawn() {
            return;
        }
        self.schedule.offer(lane, class, batch.len as usize);
        self.batches.insert(lane, batch);
    }

    async fn write(&mut self, chunk: Chunk) -> Result<(), SessionGone> {
        let Some(mut batch) = self.batches.remove(&chunk.lane) else {
            return Ok(());
        };
        if batch.is_withdrawn() {
            self.schedule.withdraw(chunk.lane);
            return Ok(());
        }
        let mut stream = match batch.stream.take() {
            Some(stream) => stream,
            None => {
                self.begun = self.begun.wrapping_add(1);
                let stream = self.connection.open_uni().await;
                let stream = stream.map_err(|_| SessionGone)?;
                stream
                    .set_priority(stream_priority(batch.class, self.begun))
                    .map_err(|_| SessionGone)?;
                stream
            }
        };
        stream
            .write_all_chunks(&mut batch.cut(chunk.len))
            .await
            .map_err(|_| SessionGone)?;
        self.backlog.handle_written(batch.class, chunk.len);
        if chunk.last {
            stream.finish().map_err(|_| SessionGone)?;
            let written = self.backlog.handle_finished(batch.class);
            self.await_delivery(&stream, written);
            if let Some([head, body]) = batch.whole {
                self.copies.copy(head, body);
            }
            let _ = batch.taken.send(()); // the lane may have been closed meanwhile
        } else {
            batch.stream = Some(stream);
            self.batches.insert(chunk.lane, batch);
        }
        Ok(())
    }

    fn await_delivery(&self, stream: &SendStream, batch: Written) {
        let stopped = stream.stopped();
        self.delivered.push(Box::pin(async move {
            // However it ends, quinn holds nothing of it any more.
            let _ = stopped.await;
            batch
        }));
    }

    /// Looks at the path now and then.
    fn look(&mut self) {
        let now = Instant::now();
        if self.looked_at.is_some_and(|at| now < at + LOOK_INTERVAL) {
            return;
        }
        self.looked_at = Some(now);
        let stats = self.connection.stats();
        let path = stats.path;
        self.backlog.handle_path(&PathView {
            rtt: path.rtt,
            window: path.cwnd,
            rate: self.rate.bytes_per_second(),
            sent: stats.udp_tx.bytes,
            packets_sent: path.sent_packets,
            packets_lost: path.lost_packets,
            mtu: path.current_mtu.into(),
        });
        self.schedule.set_pace(self.backlog.pace());
        // Acknowledged bytes behind a lost packet count against quinn's window until it is repaired.
        let wanted = self.backlog.outstanding_max() * 2;
        if wanted > self.send_window {
            self.send_window = wanted + wanted / 4;
            self.connection.set_send_window(self.send_window);
        }
    }
}
