//! Records as one read brought them.

use causeway_proto::id::{SourceSeq, StoredAt};
use causeway_proto::record::RecordView;

use super::delivery::Delivery;
use super::judge::{Judge, Origin};
use crate::nats;

/// Records that came in one read.
#[derive(Debug)]
pub struct Block {
    pub(super) block: nats::Block,
    /// Which messages of the read are records, and where each stands in the stream.
    deliveries: Vec<(usize, Delivery)>,
    /// Where the records jump over positions up to here, those had left the stream; 0 where that was no
    /// question.
    lost_through: SourceSeq,
}

impl Block {
    pub(super) fn new(block: nats::Block, deliveries: Vec<(usize, Delivery)>) -> Self {
        Self {
            block,
            deliveries,
            lost_through: SourceSeq(0),
        }
    }

    /// Positions up to `lost` have left the stream. `true`: the block, read behind `after`, jumps over
    /// some of them.
    pub(super) fn note_lost(&mut self, after: SourceSeq, lost: SourceSeq) -> bool {
        self.lost_through = lost;
        let mut before = after;
        self.deliveries.iter().any(|(_, delivery)| {
            let jumps = delivery.seq.0 > before.0 + 1 && lost > before;
            before = delivery.seq;
            jumps
        })
    }

    /// The position before a record up to which nothing could be read any more, if there is one.
    pub fn lost_before(&self, index: usize) -> Option<SourceSeq> {
        let (_, delivery) = &self.deliveries[index];
        let before = SourceSeq(delivery.seq.0.saturating_sub(1));
        (self.lost_through > SourceSeq(0)).then(|| self.lost_through.min(before))
    }

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use super::*;

    fn block(seqs: &[u64]) -> Block {
        let delivery = |seq: &u64| Delivery {
            seq: SourceSeq(*seq),
            number: 1,
            stored_at_ns: 1,
            behind: 0,
        };
        let message = nats::Block::scanned(b"MSG orders.new 1 0\r\n\r\n").unwrap();
        Block::new(message, seqs.iter().map(|seq| (0, delivery(seq))).collect())
    }

    fn lost_before(block: &Block) -> Vec<Option<u64>> {
        let lost = (0..block.len()).map(|index| block.lost_before(index));
        lost.map(|lost| lost.map(|seq| seq.0)).collect()
    }

    #[test]
    fn jumps_over_what_has_left_the_stream_are_told_from_others() {
        let mut some = block(&[5, 6, 20, 30]);
        assert_eq!(lost_before(&some), [None; 4]);
        assert!(some.note_lost(SourceSeq(4), SourceSeq(15)), "7..=15");
        assert_eq!(lost_before(&some), [Some(4), Some(5), Some(15), Some(15)]);
        assert!(block(&[7]).note_lost(SourceSeq(4), SourceSeq(9)), "5, 6");
        assert!(!block(&[5, 6]).note_lost(SourceSeq(4), SourceSeq(9)));
        assert!(!block(&[9]).note_lost(SourceSeq(4), SourceSeq(4)));
    }
}
