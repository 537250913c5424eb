//! The thread between the drivers and the store.
//!
//! Values of one key replace one another while they wait, and are made durable together: one fsync a
//! [`FLUSH_INTERVAL`] however many routes there are. [`CheckpointWriter::sync`] does not wait for that.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::{CheckpointKey, CheckpointStore, StoreError};

/// At most this much later a value is durable. A crash costs so much of reading again.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Changes that may wait for the writer; each route sends a few a second.
const QUEUE_LEN: usize = 1024;

enum Command {
    Put(CheckpointKey, Vec<u8>),
    Remove(CheckpointKey),
    Sync(oneshot::Sender<bool>),
}

/// Changes that wait for the next flush; `None` removes.
type Pending = BTreeMap<CheckpointKey, Option<Vec<u8>>>;

/// Puts values from any thread; a thread of its own writes and flushes.
#[derive(Debug, Clone)]
pub struct CheckpointWriter {
    commands: mpsc::Sender<Command>,
    failing: watch::Receiver<bool>,
}

impl CheckpointWriter {
    /// Starts the writing thread. It ends when the last writer is dropped, with a last flush.
    pub fn start(store: Box<dyn CheckpointStore>) -> Self {
        let (commands, receiver) = mpsc::channel(QUEUE_LEN);
        let (told_failing, failing) = watch::channel(false);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || run(store, receiver, told_failing))
            .expect("a thread can be started at the start of the process");
        Self { commands, failing }
    }

    /// Replaces a value; durable a moment later.
    pub async fn put(&self, key: CheckpointKey, value: Vec<u8>) {
        self.send(Command::Put(key, value)).await;
    }

    /// Forgets a value; for good a moment later.
    pub async fn remove(&self, key: CheckpointKey) {
        self.send(Command::Remove(key)).await;
    }

    /// Waits until everything before is durable. `false` when the disk failed.
    pub async fn sync(&self) -> bool {
        let (done, wait) = oneshot::channel();
        self.send(Command::Sync(done)).await;
        wait.await.unwrap_or(false)
    }

    /// Whether the disk takes nothing at the moment.
    pub fn failing(&self) -> watch::Receiver<bool> {
        self.failing.clone()
    }

    async fn send(&self, command: Command) {
        // The other end goes away only with its thread, and then `sync` says so.
        let _ = self.commands.send(command).await;
    }
}

fn run(
    store: Box<dyn CheckpointStore>,
    commands: mpsc::Receiver<Command>,
    failing: watch::Sender<bool>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime with a timer needs nothing that could be missing");
    let writer = Writer {
        store,
        pending: Pending::new(),
        flush_at: Instant::now(),
        failing,
    };
    runtime.block_on(writer.run(commands));
}

struct Writer {
    store: Box<dyn CheckpointStore>,
    pending: Pending,
    /// Not before this: the disk gets its rest between two flushes.
    flush_at: Instant,
    failing: watch::Sender<bool>,
}

impl Writer {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let command = tokio::select! {
                command = commands.recv() => Some(command),
                () = sleep_until(self.flush_at), if !self.pending.is_empty() => None,
            };
            match command {
                Some(Some(Command::Put(key, value))) => {
                    self.pending.insert(key, Some(value));
                }
                Some(Some(Command::Remove(key))) => {
                    self.pending.insert(key, None);
                }
                Some(Some(Command::Sync(done))) => {
                    let saved = self.save();
                    let _ = done.send(saved); // nobody may wait for it any more
                }
                Some(None) => {
                    self.save();
                    return;
                }
                None => {
                    self.save();
                }
            }
        }
    }

    /// Keeps what could not be written, for the next time. Says so once when the disk begins to fail:
    /// a person must act, and nothing is lost meanwhile.
    fn save(&mut self) -> bool {
        let result = self.write();
        self.flush_at = Instant::now() + FLUSH_INTERVAL;
        let failed = result.is_err();
        let changed = self
            .failing
            .send_if_modified(|was| std::mem::replace(was, failed) != failed);
        match result {
            Ok(()) if changed => tracing::info!("checkpoints can be written again"),
            Err(why) if changed => tracing::error!(
                %why, "checkpoints cannot be written; after a restart more is read again"
            ),
            _ => {}
        }
        !failed
    }

    fn write(&mut self) -> Result<(), StoreError> {
        for (key, value) in &self.pending {
            match value {
                Some(value) => self.store.put(key, value)?,
                None => self.store.remove(key)?,
            }
        }
        self.store.flush()?;
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;
    use crate::checkpoint::MemoryStore;
    use crate::session::Direction;
    use causeway_proto::id::{RegionId, RouteName, StreamName};

    /// What happened to a store, in order.
    #[derive(Clone, Default)]
    struct Log {
        lines: Arc<Mutex<Vec<String>>>,
        added: Arc<Notify>,
    }

    struct Watched {
        store: MemoryStore,
        log: Log,
        broken: Arc<Mutex<bool>>,
    }

    impl Log {
        fn add(&self, line: String) {
            self.lines.lock().unwrap().push(line);
            self.added.notify_one();
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.lines.lock().unwrap())
        }
    }

    impl CheckpointStore for Watched {
        fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError> {
            self.store.get(key)
        }

        fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError> {
            self.log.add(format!("put {key} {}", value[0]));
            self.store.put(key, value)
        }

        fn remove(&mut self, key: &CheckpointKey) -> Result<(), StoreError> {
            self.log.add(format!("remove {key}"));
            self.store.remove(key)
        }

        fn flush(&mut self) -> Result<(), StoreError> {
            if *self.broken.lock().unwrap() {
                self.log.add("failed flush".into());
                return Err(StoreError::Io("disk".into(), "full".into()));
            }
            self.log.add("flush".into());
            Ok(())
        }
    }

    fn key(route: &str) -> CheckpointKey {
        let peer = RegionId::new("us").unwrap();
        let (route, stream) = (
            RouteName::new(route).unwrap(),
            StreamName::new("S").unwrap(),
        );
        CheckpointKey::new(Direction::Out, &route, &peer, &stream)
    }

    fn watched() -> (CheckpointWriter, Log, Arc<Mutex<bool>>) {
        let (log, broken) = (Log::default(), Arc::new(Mutex::new(false)));
        let store = Watched {
            store: MemoryStore::default(),
            log: log.clone(),
            broken: broken.clone(),
        };
        (CheckpointWriter::start(Box::new(store)), log, broken)
    }

    #[tokio::test]
    async fn only_the_last_value_of_a_key_is_written_and_sync_waits_for_it() {
        let (writer, log, _) = watched();
        assert!(writer.sync().await);
        log.take();
        for value in 0..100 {
            writer.put(key("a"), vec![value]).await;
        }
        writer.put(key("b"), vec![7]).await;
        writer.remove(key("c")).await;
        assert!(writer.sync().await);
        let lines = log.take();
        assert_eq!(lines.last().map(String::as_str), Some("flush"));
        let has = |line: &str| lines.iter().any(|other| other == line);
        assert!(has("put source/a/us/S 99"), "{lines:?}");
        assert!(
            has("put source/b/us/S 7") && has("remove source/c/us/S"),
            "{lines:?}"
        );
        let puts = lines
            .iter()
            .filter(|line| line.starts_with("put source/a/us/S"))
            .count();
        assert!(puts < 10, "a hundred values in a moment, {puts} writes");
    }

    #[tokio::test]
    async fn values_are_flushed_without_being_asked() {
        let (writer, log, _) = watched();
        writer.put(key("a"), vec![1]).await;
        while !log.lines.lock().unwrap().iter().any(|line| line == "flush") {
            let added = timeout(Duration::from_secs(20), log.added.notified()).await;
            added.expect("it is never flushed");
        }
        assert_eq!(log.take(), ["put source/a/us/S 1", "flush"]);
    }

    #[tokio::test]
    async fn a_failing_disk_is_told_and_what_it_missed_is_kept() {
        let (writer, log, broken) = watched();
        *broken.lock().unwrap() = true;
        writer.put(key("a"), vec![1]).await;
        assert!(!writer.sync().await);
        assert!(*writer.failing().borrow());
        *broken.lock().unwrap() = false;
        assert!(writer.sync().await);
        assert!(!*writer.failing().borrow());
        // It tries by itself too, so how often is not said.
        let lines = log.take();
        let flush = lines.iter().position(|line| line == "flush").unwrap();
        assert!(
            lines[..=flush]
                .ends_with(&["failed flush", "put source/a/us/S 1", "flush"].map(Into::into)),
            "{lines:?}"
        );
    }
}
