//! Where durable values are kept, and the writer that keeps them off the data's path.

mod memory;
mod sled;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use causeway_proto::id::{RegionId, RouteName};
use tokio::sync::{mpsc, oneshot};

pub use self::memory::MemoryStore;
pub use self::sled::SledStore;
use crate::session::Direction;

/// Values are written at once but made durable together, at most this much later.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Puts that may wait for the writer; each route sends a few a second.
const QUEUE: usize = 1024;

/// Which value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointKey(String);

impl CheckpointKey {
    /// The value of a route's leg towards or from `peer`.
    pub fn new(direction: Direction, route: &RouteName, peer: &RegionId) -> Self {
        let side = match direction {
            Direction::Out => "source",
            Direction::In => "target",
        };
        Self(format!("{side}/{route}/{peer}"))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The store failed. Reading stops; what is known in memory stays right.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{0}: another sidecar uses this state directory, or it cannot be locked: {1}")]
    Locked(PathBuf, String),
    /// The disk failed.
    #[error("{0}: {1}")]
    Io(PathBuf, String),
}

/// A place for durable values. Puts are lost on a crash until `flush` returns.
pub trait CheckpointStore: Send {
    /// The value, if there is one.
    fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces the value.
    fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError>;
    /// Makes all puts durable.
    fn flush(&mut self) -> Result<(), StoreError>;
}

enum Command {
    Put(CheckpointKey, Vec<u8>),
    Sync(oneshot::Sender<bool>),
}

/// Puts values from any thread; a thread of its own writes and flushes.
#[derive(Debug, Clone)]
pub struct CheckpointWriter(mpsc::Sender<Command>);

impl CheckpointWriter {
    /// Starts the writing thread. It ends when the last writer is dropped, with a last flush.
    pub fn start(store: Box<dyn CheckpointStore>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || write(store, receiver))
            .expect("a thread can be started at the start of the process");
        Self(sender)
    }

    /// Replaces a value; durable a moment later.
    pub async fn put(&self, key: CheckpointKey, value: Vec<u8>) {
        // The receiver only goes away with the process.
        let _ = self.0.send(Command::Put(key, value)).await;
    }

    /// Waits until everything put before is durable. `false` when the disk failed.
    pub async fn sync(&self) -> bool {
        let (done, wait) = oneshot::channel();
        let _ = self.0.send(Command::Sync(done)).await;
        wait.await.unwrap_or(false)
    }
}

fn write(mut store: Box<dyn CheckpointStore>, mut commands: mpsc::Receiver<Command>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime with a timer needs nothing that could be missing");
    runtime.block_on(async {
        let mut pending = BTreeMap::new();
        let mut flush = tokio::time::interval(FLUSH_INTERVAL);
        let mut failed = false;
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = flush.tick(), if !pending.is_empty() => {
                    failed = !report(save(&mut *store, &mut pending), failed);
                    continue;
                }
            };
            match command {
                Some(Command::Put(key, value)) => {
                    pending.insert(key, value);
                }
                Some(Command::Sync(done)) => {
                    let saved = report(save(&mut *store, &mut pending), failed);
                    failed = !saved;
                    let _ = done.send(saved);
                }
                None => {
                    report(save(&mut *store, &mut pending), failed);
                    return;
                }
            }
        }
    });
}

fn save(
    store: &mut dyn CheckpointStore,
    pending: &mut BTreeMap<CheckpointKey, Vec<u8>>,
) -> Result<(), StoreError> {
    for (key, value) in pending.iter() {
        store.put(key, value)?;
    }
    store.flush()?;
    pending.clear();
    Ok(())
}

/// Says so once when the disk begins to fail: a person must act, and nothing is lost meanwhile.
fn report(result: Result<(), StoreError>, failed_before: bool) -> bool {
    if let Err(why) = &result
        && !failed_before
    {
        tracing::error!(%why, "checkpoints cannot be written; after a restart more is sent again");
    }
    result.is_ok()
}
