//! One authenticated connection: its control stream, its batches, its pulse.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causeway_proto::error::CloseReason;
use causeway_proto::frame::Frame;
use causeway_proto::id::RegionId;
use causeway_proto::limits::{BATCH_HEAD_LEN_MAX, BODY_LEN_MAX, FRAME_HEAD_LEN};
use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::copies::{CopySender, read_copies};
use super::pulse::watch_pulse;
use super::rate::{DeclaredRate, Pace};

/// Frames that may wait to be read by the session.
const CONTROL_QUEUE: usize = 256;
/// Batches that may wait to be read by the session.
const BATCH_QUEUE: usize = 256;
/// Bytes of unfinished and waiting batches held for one connection. Credit keeps an honest peer far
/// below, but for a single record of the largest size.
const HELD_MAX: usize = BODY_LEN_MAX + (32 << 20);
/// A peer that has not opened its control stream by then is none.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
const CONTROL_PRIORITY: i32 = i32::MAX;

/// The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone")]
pub struct LinkGone;

/// One batch as it came off its stream: head and body.
#[derive(Debug)]
pub struct IncomingBatch {
    /// The whole stream.
    pub bytes: Bytes,
    held: Held,
}

/// Counts bytes held until dropped.
#[derive(Debug)]
struct Held {
    total: Arc<AtomicUsize>,
    len: usize,
}

impl Held {
    fn grow(&mut self, len: usize) -> bool {
        self.len += len;
        self.total.fetch_add(len, Ordering::Relaxed) + len <= HELD_MAX
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.len, Ordering::Relaxed);
    }
}

impl IncomingBatch {
    /// Bytes that the batch was counted with.
    pub fn len(&self) -> usize {
        self.held.len
    }

    /// Whether the stream was empty, which no batch is.
    pub fn is_empty(&self) -> bool {
        self.held.len == 0
    }
}

/// The way out for frames. Data never delays it: its stream has the highest priority.
#[derive(Debug, Clone)]
pub struct ControlSender(Arc<Mutex<SendStream>>);

impl ControlSender {
    /// Sends one encoded frame.
    pub async fn send(&self, frame: Bytes) -> Result<(), LinkGone> {
        self.0
            .lock()
            .await
            .write_all(&frame)
            .await
            .map_err(|_| LinkGone)
    }
}

/// Counts what one connection holds of batches that nobody has taken yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    total: Arc<AtomicUsize>,
    /// Why the connection was ended here, if the peer was at fault.
    fault: Arc<OnceLock<CloseReason>>,
}

impl Reader {
    /// Ends the connection, and remembers why if it is the peer's fault.
    pub(super) fn refuse(&self, connection: &Connection, reason: CloseReason) {
        if reason.is_fault() {
            let _ = self.fault.set(reason); // the first reason counts
        }
        close(connection, reason);
    }

    fn begin(&self) -> Held {
        Held {
            total: Arc::clone(&self.total),
            len: 0,
        }
    }

    /// A batch that arrived in one piece; `None` where that is more than the connection may hold.
    pub(super) fn whole(&self, bytes: Bytes) -> Option<IncomingBatch> {
        let mut held = self.begin();
        held.grow(bytes.len())
            .then_some(IncomingBatch { bytes, held })
    }
}

/// A connection to a peer whose certificate named its region.
#[derive(Debug)]
pub struct Session {
    /// The region in the peer's certificate.
    pub peer: RegionId,
    /// Whether this side dialled.
    pub dialled_by_us: bool,
    /// Frames out.
    pub control: ControlSender,
    /// Frames in, each whole and within its bound.
    pub control_rx: mpsc::Receiver<Bytes>,
    /// Copies of live batches out.
    pub copies: CopySender,
    /// What was declared of the link's rate.
    pub rate: DeclaredRate,
    /// What it may send now.
    pub pace: Arc<Pace>,
    /// Batches in.
    pub batches_rx: mpsc::Receiver<IncomingBatch>,
    /// What [`Session::await_use`] has seen.
    seen: (Option<Bytes>, Option<IncomingBatch>),
    fault: Arc<OnceLock<CloseReason>>,
    connection: Connection,
}

impl Session {
    /// Opens (the dialler) or awaits (the listener) the control stream and starts reading.
    pub(super) async fn start(
        connection: Connection,
        peer: RegionId,
        dialled_by_us: bool,
        rate: DeclaredRate,
        pace: Arc<Pace>,
    ) -> Result<Self, LinkGone> {
        let streams = async {
            if dialled_by_us {
                connection.open_bi().await
            } else {
                connection.accept_bi().await
            }
        };
        // The listener sees the stream with the dialler's first frame, so we ask for no answer here.
        let Ok(Ok((send, recv))) = timeout(CONTROL_TIMEOUT, streams).await else {
            return Err(LinkGone);
        };
        send.set_priority(CONTROL_PRIORITY).map_err(|_| LinkGone)?;
        let (frames_tx, control_rx) = mpsc::channel(CONTROL_QUEUE);
        let (batches_tx, batches_rx) = mpsc::channel(BATCH_QUEUE);
        let reader = Reader::default();
        let control = read_control(connection.clone(), recv, reader.clone(), frames_tx);
        tokio::spawn(control);
        let fault = Arc::clone(&reader.fault);
        let copies_tx = batches_tx.clone();
        tokio::spawn(read_copies(connection.clone(), reader.clone(), copies_tx));
        tokio::spawn(read_batches(connection.clone(), reader, batches_tx));
        tokio::spawn(watch_pulse(connection.clone()));
        Ok(Self {
            peer,
            dialled_by_us,
            control: ControlSender(Arc::new(Mutex::new(send))),
            control_rx,
            copies: CopySender::start(connection.clone(), rate.clone(), Arc::clone(&pace)),
            rate,
            pace,
            batches_rx,
            seen: (None, None),
            fault,
            connection,
        })
    }

    /// What [`Session::await_use`] has seen: it comes before everything in the queues.
    pub fn take_seen(&mut self) -> (Option<Bytes>, Option<IncomingBatch>) {
        std::mem::take(&mut self.seen)
    }

    /// Waits until the peer sends something, a frame or a batch, and keeps it. `false`:
    /// the connection is gone.
    pub async fn await_use(&mut self) -> bool {
        if self.seen.0.is_none() && self.seen.1.is_none() {
            tokio::select! {
                frame = self.control_rx.recv() => self.seen.0 = frame,
                batch = self.batches_rx.recv() => self.seen.1 = batch,
            }
        }
        self.seen.0.is_some() || self.seen.1.is_some()
    }

    /// Ends the connection and tells the peer why.
    pub fn close(&self, reason: CloseReason) {
        close(&self.connection, reason);
    }

    /// quinn's handle, for its counters.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// For which fault of the peer's bytes the connection was ended here, if so.
    pub fn fault(&self) -> Option<CloseReason> {
        self.fault.get().copied()
    }

    /// Why the connection ended, in words, if it has.
    pub fn end(&self) -> Option<String> {
        self.connection
            .close_reason()
            .map(|reason| describe(&reason))
    }
}

/// Ends a connection. One that has ended already keeps its own reason.
pub(crate) fn close(connection: &Connection, reason: CloseReason) {
    if connection.close_reason().is_some() {
        return;
    }
    connection.close(
        VarInt::from_u32(reason.code()),
        reason.to_string().as_bytes(),
    );
}

fn describe(reason: &quinn::ConnectionError) -> String {
    match reason {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason);
            format!("closed by the peer: {text}")
        }
        other => other.to_string(),
    }
}

async fn read_control(
    connection: Connection,
    mut recv: RecvStream,
    reader: Reader,
    out: mpsc::Sender<Bytes>,
) {
    let reason = loop {
        let mut head = [0; FRAME_HEAD_LEN];
        if recv.read_exact(&mut head).await.is_err() {
            break CloseReason::Done;
        }
        let len = match Frame::decode_head(head) {
            Ok((_, len)) => len,
            Err(fault) => break fault.in_frame(),
        };
        let mut frame = BytesMut::zeroed(FRAME_HEAD_LEN + len);
        frame[..FRAME_HEAD_LEN].copy_from_slice(&head);
        if recv.read_exact(&mut frame[FRAME_HEAD_LEN..]).await.is_err() {
            break CloseReason::Done;
        }
        if out.send(frame.freeze()).await.is_err() {
            break CloseReason::Done;
        }
    };
    reader.refuse(&connection, reason);
}

/// Accepts every stream and drains each in a task of its own, so that none waits for another.
async fn read_batches(connection: Connection, reader: Reader, out: mpsc::Sender<IncomingBatch>) {
    while let Ok(recv) = connection.accept_uni().await {
        let held = reader.begin();
        let batch = read_batch(connection.clone(), recv, reader.clone(), held, out.clone());
        tokio::spawn(batch);
    }
}

async fn read_batch(
    connection: Connection,
    mut recv: RecvStream,
    reader: Reader,
    mut held: Held,
    out: mpsc::Sender<IncomingBatch>,
) {
    let mut parts: Vec<Bytes> = Vec::new();
    loop {
        match recv.read_chunk(1 << 20, true).await {
            Ok(Some(chunk)) => {
                let fits = held.grow(chunk.bytes.len());
                if !fits || held.len > BODY_LEN_MAX + BATCH_HEAD_LEN_MAX {
                    return reader.refuse(&connection, CloseReason::CreditExceeded);
                }
                parts.push(chunk.bytes);
            }
            Ok(None) => break,
            // A stream given up by its sender belongs to a lane that it closed.
            Err(ReadError::Reset(_)) => return,
            Err(_) => return,
        }
    }
    let bytes = join(parts, held.len);
    // Without a session nobody wants the batch.
    let _ = out.send(IncomingBatch { bytes, held }).await;
}

/// One piece of memory of exactly the length: chunks would keep whole receive buffers alive.
fn join(parts: Vec<Bytes>, len: usize) -> Bytes {
    let mut whole = BytesMut::with_capacity(len);
    for part in parts {
        whole.extend_from_slice(&part);
    }
    whole.freeze()
}
