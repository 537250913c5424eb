//! A record: one JetStream message on its way, as a borrowed view over bytes that somebody else owns.

use crate::id::{SourceSeq, StoredAt};

/// One stored JetStream message, as read from a source stream or out of a decoded batch.
///
/// The header block is carried byte for byte, because order, case, repetition and even malformation
/// belong to the publisher. It is empty where the message has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Position in the source stream.
    pub seq: SourceSeq,
    /// When the source stream stored it. With region, stream and `seq` this is the record's name.
    pub stored_at: StoredAt,
    /// Whether the source vouches for the provenance header in `headers`: the record came to the
    /// source stream by a route, so origin and hops are read from that header rather than begun anew.
    pub relayed: bool,
    /// Subject as stored.
    pub subject: &'a [u8],
    /// Raw header block, `NATS/1.0\r\n` to the closing empty line, or empty.
    pub headers: &'a [u8],
    /// Payload as stored.
    pub payload: &'a [u8],
}

impl RecordView<'_> {
    /// Bytes of subject, headers and payload: what "payload bytes" means in metrics and bounds.
    pub fn size(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }
}
