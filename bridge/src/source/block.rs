//! Records as one read brought them.

use causeway_proto::id::{SourceSeq, StoredAt};
use causeway_proto::record::RecordView;

use super::judge::{Judge, Origin};
use super::pulls::Delivery;
use crate::nats;

/// Records that came in one read.
#[derive(Debug)]
pub struct Block {
    pub(super) block: nats::Block,
    /// Which messages of the read are records, and where each stands in the stream.
    pub(super) deliveries: Vec<(usize, Delivery)>,
}

impl Block {
    /// Records in it.
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Bytes that they took on the connection.
    pub fn wire_bytes(&self) -> usize {
        self.block.wire_bytes()
    }

    /// Sequence of the last one.
    pub fn last_seq(&self) -> SourceSeq {
        self.deliveries
            .last()
            .map_or(SourceSeq(0), |(_, delivery)| delivery.seq)
    }

    /// Records of the route that the stream held behind the last one.
    pub fn behind(&self) -> u64 {
        self.deliveries
            .last()
            .map_or(0, |(_, delivery)| delivery.behind)
    }

    /// A record, and what its provenance says.
    pub fn record(&self, index: usize, judge: &mut Judge) -> (RecordView<'_>, Origin) {
        let (message, delivery) = &self.deliveries[index];
        let message = self.block.message(*message);
        let origin = judge.judge(message.headers, message.subject, message.payload);
        let record = RecordView {
            seq: delivery.seq,
            stored_at: StoredAt(delivery.stored_at_ns),
            relayed: origin.relayed,
            subject: message.subject,
            headers: message.headers,
            payload: message.payload,
        };
        (record, origin)
    }
}
