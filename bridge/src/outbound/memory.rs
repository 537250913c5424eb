//! What a route remembers of its source, written to the store when it has changed.

use causeway_proto::checkpoint::SourceCheckpoint;

use crate::checkpoint::{CheckpointKey, CheckpointWriter};

/// Owns the checkpoint of a route's leg.
pub(super) struct Memory {
    /// What is to be remembered.
    pub(super) now: SourceCheckpoint,
    saved: SourceCheckpoint,
    key: CheckpointKey,
    store: CheckpointWriter,
}

impl Memory {
    pub(super) fn new(
        saved: SourceCheckpoint,
        key: CheckpointKey,
        store: CheckpointWriter,
    ) -> Self {
        Self {
            now: saved,
            saved,
            key,
            store,
        }
    }

    /// Hands what has changed to the store. `true`: something had.
    pub(super) async fn save(&mut self) -> bool {
        if self.now == self.saved {
            return false;
        }
        self.saved = self.now;
        self.store.put(self.key.clone(), self.now.encode()).await;
        true
    }

    /// Waits until all that was handed over is durable. `false`: it cannot be made so.
    pub(super) async fn sync(&self) -> bool {
        self.store.sync().await
    }
}
