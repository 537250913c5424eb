//! A lane's batches between the sender and the link: one being encoded, one ready, one leaving.

use std::time::Duration;

use causeway_proto::batch::PlainBatch;
use causeway_proto::codec::{Effort, EffortControl, EncodedBatch, LaneEncoder, Waits};
use causeway_proto::error::EncodeError;
use causeway_proto::frame::LaneClass;
use causeway_proto::id::{BatchSeq, Epoch, LaneId};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::session::{Port, SessionGone};
use crate::wait::join;

/// Batches up to this are encoded in place: handing them over would cost more than it saves.
const ENCODE_INLINE_MAX: usize = 16 * 1024;

/// After so long without a batch a lane gives its context's memory back. The next batch takes a few hundred bytes more.
const QUIET: Duration = Duration::from_secs(10);

/// No more is expected of the next batch, however well the last ones compressed.
const RATIO_MAX: u64 = 8;

/// An encoder that comes back with its batch.
pub(super) struct Encoded {
    encoder: Box<LaneEncoder>,
    lane: LaneId,
    took: Duration,
    plain_len: usize,
    result: Result<EncodedBatch, EncodeError>,
}

/// What a task of the pipeline brought home.
pub(super) enum Done {
    Encoded(Encoded),
    /// The link has taken a batch.
    Sent(Result<(), SessionGone>),
}

/// Owns the encoder of the lane, and every batch that has left the sender but not yet this process.
pub(super) struct Pipeline {
    effort: EffortControl,
    /// Where the effort's clock begins.
    began: Instant,
    encoder: Option<Box<LaneEncoder>>,
    encoding: Option<JoinHandle<Encoded>>,
    /// When the last batch was encoded, until the lane is quiet.
    encoded_at: Option<Instant>,
    ready: Option<(LaneId, EncodedBatch)>,
    sending: Option<JoinHandle<Result<(), SessionGone>>>,
    /// Bytes of the lane's last batches, before and after encoding, older ones counting less.
    plain: u64,
    encoded: u64,
}

impl Pipeline {
    pub(super) fn new(effort_max: Effort) -> Self {
        Self {
            effort: EffortControl::new(effort_max, Duration::ZERO),
            began: Instant::now(),
            encoder: None,
            encoding: None,
            encoded_at: None,
            ready: None,
            sending: None,
            plain: 0,
            encoded: 0,
        }
    }

    /// A lane begins: its batches are compressed in a context of their own.
    pub(super) fn begin(&mut self) {
        self.encoder = Some(Box::new(LaneEncoder::new(self.effort.effort())));
    }

    /// The lane is gone. A batch half on its way is sent to its end, or the peer would see it cut off;
    /// one that has not begun does not leave ([`Port::send_batch`]).
    pub(super) fn clear(&mut self) {
        self.encoder = None;
        self.ready = None;
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }

    /// Gives memory back once the lane has been quiet for a while.
    pub(super) fn rest(&mut self, now: Instant) {
        let is_quiet = self.encoded_at.is_some_and(|at| now >= at + QUIET);
        if is_quiet && let Some(encoder) = &mut self.encoder {
            encoder.idle();
            self.encoded_at = None;
        }
    }

    /// Whether no batch is leaving: the next one need not wait until it is full.
    pub(super) fn is_idle(&self) -> bool {
        self.sending.is_none()
    }

    /// Whether the encoder is free and the place behind it too.
    pub(super) fn can_encode(&self) -> bool {
        self.ready.is_none() && self.encoding.is_none() && self.encoder.is_some()
    }

    /// Encodes a batch, if [`Pipeline::can_encode`]: a small one at once, a big one on a worker
    /// ([`Pipeline::next`]).
    pub(super) fn encode(
        &mut self,
        lane: LaneId,
        seq: BatchSeq,
        epoch: Epoch,
        batch: PlainBatch,
    ) -> Option<Encoded> {
        let mut encoder = self.encoder.take()?;
        let in_place = batch.body.len() <= ENCODE_INLINE_MAX;
        encoder.set_effort(self.effort.effort());
        let work = move || {
            let began = Instant::now();
            let result = encoder.encode(lane, seq, epoch, &batch);
            Encoded {
                encoder,
                lane,
                took: began.elapsed(),
                plain_len: batch.body.len(),
                result,
            }
        };
        if in_place {
            return Some(work());
        }
        self.encoding = Some(tokio::task::spawn_blocking(work));
        None
    }

    /// Takes an encoded batch and its encoder back, unless their lane was closed meanwhile.
    pub(super) fn give_back(
        &mut self,
        encoded: Encoded,
        lane: Option<LaneId>,
    ) -> Result<(), EncodeError> {
        self.effort.handle_encoded(encoded.took);
        if lane == Some(encoded.lane) {
            self.encoder = Some(encoded.encoder);
            self.encoded_at = Some(Instant::now());
            let batch = encoded.result?;
            self.plain = self.plain * 7 / 8 + encoded.plain_len as u64;
            self.encoded = self.encoded * 7 / 8 + batch.body.len() as u64;
            self.ready = Some((encoded.lane, batch));
        }
        Ok(())
    }

    /// The batch that could leave now, if `may` says so of its body's length.
    pub(super) fn take_ready(
        &mut self,
        may: impl Fn(usize) -> bool,
    ) -> Option<(LaneId, EncodedBatch)> {
        if self.sending.is_some() {
            return None;
        }
        self.ready.take_if(|(_, batch)| may(batch.body.len()))
    }

    /// Hands a batch to the link ([`Pipeline::next`]).
    pub(super) fn send(&mut self, port: Port, lane: LaneId, class: LaneClass, batch: EncodedBatch) {
        let sending = port.send_batch(lane, class, batch.head, batch.body);
        self.sending = Some(tokio::task::spawn_local(sending));
    }

    /// After all that could be done was done: what does the lane wait for? `is_full` says that another
    /// batch could be encoded.
    pub(super) fn note_waits(&mut self, is_full: bool) {
        let waits = if self.ready.is_some() || (self.sending.is_some() && is_full) {
            Waits::Link
        } else if self.encoding.is_some() && self.sending.is_none() {
            Waits::Encoder
        } else {
            Waits::Records
        };
        self.effort.handle_waits(self.began.elapsed(), waits);
    }

    /// How many times smaller batches became of late, at least 1.
    pub(super) fn ratio(&self) -> u64 {
        (self.plain / self.encoded.max(1)).clamp(1, RATIO_MAX)
    }

    /// The effort that compression takes now.
    pub(super) fn effort(&self) -> Effort {
        self.effort.effort()
    }

    /// Waits for the worker, or until the link has taken the batch that is leaving. Cancel safe.
    pub(super) async fn next(&mut self) -> Done {
        tokio::select! {
            biased;
            encoded = join(&mut self.encoding) => {
                self.encoding = None;
                Done::Encoded(encoded)
            }
            sent = join(&mut self.sending) => {
                self.sending = None;
                Done::Sent(sent)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use causeway_proto::batch::BatchBuilder;
    use causeway_proto::id::{SourceSeq, StoredAt};
    use causeway_proto::record::RecordView;

    use super::*;

    fn batch() -> PlainBatch {
        let mut builder = BatchBuilder::new();
        let record = RecordView {
            seq: SourceSeq(1),
            stored_at: StoredAt(1),
            relayed: false,
            subject: b"orders.new",
            headers: b"",
            payload: b"{\"number\":1}",
        };
        builder.push(&record).unwrap();
        builder.seal(SourceSeq(0), SourceSeq(1)).unwrap()
    }

    #[test]
    fn a_quiet_lane_gives_its_memory_back_and_goes_on() {
        let lane = LaneId(1);
        let mut pipeline = Pipeline::new(Effort::Light);
        pipeline.begin();
        for seq in 0..2 {
            let encoded = pipeline.encode(lane, BatchSeq(seq), Epoch(1), batch());
            pipeline.give_back(encoded.unwrap(), Some(lane)).unwrap();
            assert!(pipeline.take_ready(|_| true).is_some());
            pipeline.rest(Instant::now());
            assert!(pipeline.encoder.as_ref().unwrap().memory() > 0);
            pipeline.rest(Instant::now() + QUIET);
            assert_eq!(pipeline.encoder.as_ref().unwrap().memory(), 0);
        }
    }
}
