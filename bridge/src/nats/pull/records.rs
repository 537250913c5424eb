//! Records of a block, with their places, in the order of the stream.

use causeway_proto::id::{SourceSeq, StoredAt};
use causeway_proto::record::RecordView;

use super::super::block::Block;

/// Place and time of one record in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Index of its message.
    pub(crate) index: u32,
    pub(crate) seq: SourceSeq,
    pub(crate) stored_at: StoredAt,
}

/// Records that follow each other without loss: what lies between their sequences is no record
/// for these filters. Keeps a read buffer alive; copy out and drop.
#[derive(Debug)]
pub struct RecordBlock {
    pub(crate) block: Block,
    pub(crate) places: Vec<Place>,
    pub(crate) follows: SourceSeq,
    pub(crate) pending: u64,
    pub(crate) credit: u64,
}

impl RecordBlock {
    /// The records. `relayed` is false: that is for the route to judge.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordView<'_>> {
        self.places.iter().map(|place| {
            let message = self.block.message(place.index as usize);
            RecordView {
                seq: place.seq,
                stored_at: place.stored_at,
                relayed: false,
                subject: message.subject,
                headers: message.headers,
                payload: message.payload,
            }
        })
    }

    /// How many; never 0.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Always false: an empty block is never made.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Everything up to here came before this block, or never will.
    pub fn follows(&self) -> SourceSeq {
        self.follows
    }

    /// Sequence of the last record.
    pub fn through(&self) -> SourceSeq {
        self.places.last().map_or(self.follows, |place| place.seq)
    }

    /// Records that matched the filters and were not delivered yet when the last one was.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// What these records cost of the reader's credit: give it back to
    /// [`PullReader::allow`](super::PullReader::allow), to the byte, when done with them.
    pub fn credit(&self) -> u64 {
        self.credit
    }
}
