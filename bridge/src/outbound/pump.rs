//! All that can be done now, after each thing that happened.

use causeway_proto::frame::LaneCloseReason;
use causeway_proto::lanes::batch_len_max;
use tokio::time::Instant;

use super::pipeline::Encoded;
use super::{Outbound, RETRY};
use crate::session::Port;

impl Outbound {
    /// Does all that can be done now.
    pub(super) async fn pump(&mut self) {
        let rate = self.port.as_ref().and_then(Port::rate);
        let len = batch_len_max(rate, self.pipeline.ratio());
        self.sender.set_batch_len_max(len);
        loop {
            self.send_ready();
            if self.sender.is_reading() {
                self.take_block().await;
            }
            if !self.seal().await {
                break;
            }
        }
        self.pipeline.note_waits(self.sender.is_full());
        if self.keeping.is_none()
            && self.retry_at.is_none()
            && let Some(rejected) = self.sender.poll_aside()
        {
            self.keep_aside(rejected);
        }
        let idle = self.finding.is_none() && self.retry_at.is_none() && !self.draining;
        if idle && self.port.is_some() && self.sender.lane().is_none() {
            self.open_lane().await;
        } else if idle && self.resume.is_some() {
            let after = self
                .resume
                .as_ref()
                .and_then(|resume| resume.after)
                .unwrap_or_default();
            self.find(after);
        }
    }

    /// Seals and encodes the open batch if the lane is idle, or if the batch is full and the next
    /// place in the pipeline is free. `true`: something changed at once.
    async fn seal(&mut self) -> bool {
        if !self.pipeline.can_encode() || !(self.pipeline.is_idle() || self.sender.is_full()) {
            return false;
        }
        let Some((seq, batch)) = self.sender.seal() else {
            return false;
        };
        let lane = self.sender.lane().unwrap_or_default();
        self.reporter
            .batch_sealed(batch.record_count, batch.body.len());
        let epoch = self.sender.epoch();
        match self.pipeline.encode(lane, seq, epoch, batch) {
            Some(encoded) => {
                self.handle_encoded(encoded).await;
                true
            }
            None => false,
        }
    }

    pub(super) async fn handle_encoded(&mut self, encoded: Encoded) {
        if let Err(fault) = self.pipeline.give_back(encoded, self.sender.lane()) {
            tracing::error!(route = %self.reporter.name(), %fault, "a batch cannot be encoded");
            self.end_lane(LaneCloseReason::Rewind, &fault.to_string())
                .await;
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    fn send_ready(&mut self) {
        let Some(port) = &self.port else { return };
        let ready = self.pipeline.take_ready(|len| self.sender.may_send(len));
        if let Some((lane, batch)) = ready {
            self.sender.handle_sent(batch.body.len());
            self.reporter.batch_sent(batch.wire_len);
            let class = self.freshness.class();
            self.pipeline.send(port.clone(), lane, class, batch);
        }
    }
}
