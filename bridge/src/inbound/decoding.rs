//! Decodes the batches of a lane, in order: small ones in place, big ones on a worker.

use std::collections::VecDeque;

use bytes::Bytes;
use causeway_proto::batch::PlainBatch;
use causeway_proto::codec::{BatchHead, LaneDecoder};
use causeway_proto::error::DecodeError;
use causeway_proto::id::{Epoch, LaneId};
use tokio::task::JoinHandle;

use crate::wait::join;

/// Bodies up to this are decoded in place: handing them over would cost more than it saves.
const DECODE_INLINE_MAX: usize = 16 * 1024;

/// A decoded batch, and the decoder that it brings back.
pub(super) struct Decoded {
    decoder: LaneDecoder,
    lane: LaneId,
    epoch: Epoch,
    result: Result<PlainBatch, DecodeError>,
}

/// Owns the decoder of the current lane. The receiver asks for one batch at a time.
#[derive(Default)]
pub(super) struct Decoding {
    decoder: Option<(LaneId, LaneDecoder)>,
    working: Option<JoinHandle<Decoded>>,
    done: VecDeque<Decoded>,
}

impl Decoding {
    /// Begins to decode.
    pub(super) fn start(&mut self, head: BatchHead, body: Bytes) {
        let (lane, epoch) = (head.lane, head.epoch);
        let mut decoder = match self.decoder.take() {
            Some((current, decoder)) if current == lane => decoder,
            _ => LaneDecoder::new(),
        };
        let in_place = head.plain_len as usize <= DECODE_INLINE_MAX;
        let work = move || {
            let result = decoder.decode(&head, &body);
            Decoded {
                decoder,
                lane,
                epoch,
                result,
            }
        };
        if in_place {
            self.done.push_back(work());
        } else {
            self.working = Some(tokio::task::spawn_blocking(work));
        }
    }

    /// What is decoded already.
    pub(super) fn poll_done(&mut self) -> Option<Decoded> {
        self.done.pop_front()
    }

    /// Waits for the worker. Cancel safe.
    pub(super) async fn finished(&mut self) -> Decoded {
        let decoded = join(&mut self.working).await;
        self.working = None;
        decoded
    }

    /// Takes the decoder back for the next batch, unless another lane has begun meanwhile.
    pub(super) fn give_back(
        &mut self,
        decoded: Decoded,
    ) -> (LaneId, Epoch, Result<PlainBatch, DecodeError>) {
        let Decoded {
            decoder,
            lane,
            epoch,
            result,
        } = decoded;
        if self
            .decoder
            .as_ref()
            .is_none_or(|(current, _)| *current == lane)
        {
            self.decoder = Some((lane, decoder));
        }
        (lane, epoch, result)
    }

    /// The lane is gone, with all that was decoded of it.
    pub(super) fn forget_lane(&mut self) {
        self.decoder = None;
        self.done.clear();
    }
}
