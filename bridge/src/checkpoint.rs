//! Where durable values are kept, and the writer that keeps them off the data's path.
//!
//! | store | for |
//! |---|---|
//! | [`SledStore`] | a sidecar's state directory, fsynced |
//! | [`MemoryStore`] | tests, and the model of the trait |
//! | `SimStore` of `causeway-tests` | simulation: forgets what was not flushed |
//!
//! A checkpoint may always be older than reality, never ahead of it. So nothing that waits for a disk
//! is on a record's way: drivers hand values to a [`CheckpointWriter`], whose thread writes the latest
//! of each key a few times a second. Losing all of it costs time (the streams tell it again), never a
//! record.

mod memory;
mod sled;
mod writer;

use std::fmt;
use std::path::PathBuf;

use causeway_proto::id::{RegionId, RouteName, StreamName};

pub use self::memory::MemoryStore;
pub use self::sled::SledStore;
pub use self::writer::CheckpointWriter;
use crate::session::Direction;

/// Which value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointKey(String);

impl CheckpointKey {
    /// The value of a route's leg towards or from `peer`, for as long as it reads that stream: of another one's sequences it
    /// says nothing.
    pub fn new(
        direction: Direction,
        route: &RouteName,
        peer: &RegionId,
        stream: &StreamName,
    ) -> Self {
        let side = match direction {
            Direction::Out => "source",
            Direction::In => "target",
        };
        // Names hold no slash, so that two keys never meet.
        Self(format!("{side}/{route}/{peer}/{stream}"))
    }

    /// What was sent to `peer` in a month.
    pub fn usage(peer: &RegionId) -> Self {
        Self(format!("usage/{peer}"))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The store failed. Reading stops; what is known in memory stays right.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{0}: another sidecar uses this state directory ({1})")]
    Locked(PathBuf, String),
    /// The disk failed.
    #[error("{0}: {1}")]
    Io(PathBuf, String),
}

/// A place for durable values. What was put or removed may be forgotten by a crash until `flush`
/// returns. Calls may block: they belong on a thread of their own.
pub trait CheckpointStore: Send {
    /// The value, if there is one.
    fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces the value.
    fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError>;
    /// Forgets the value, if there is one.
    fn remove(&mut self, key: &CheckpointKey) -> Result<(), StoreError>;
    /// Makes everything before durable.
    fn flush(&mut self) -> Result<(), StoreError>;
}
