//! The store on disk: sled, fsynced on flush.
//!
//! A store that cannot be read is set aside and begun anew: the streams themselves tell what was in
//! it. sled panics on some damage of its files, so every call into it stands behind a guard. After an error of the disk
//! it takes nothing more, even when there is room again, until it is opened anew. It is
//! given the least of memory, for a few hundred values of fifty bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{CheckpointKey, CheckpointStore, StoreError};

/// How long another holder of the store is waited for, and how often it is looked.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

const NAME: &str = "checkpoints";
const CACHE_LEN: u64 = 1 << 20;

/// See the module.
pub struct SledStore {
    path: PathBuf,
    /// None after an error, until it is opened anew.
    db: Option<sled::Db>,
    set_aside: Option<PathBuf>,
}

impl SledStore {
    /// Opens or creates the store under the directory `state`. What cannot be read is renamed to
    /// `checkpoints.damaged-TIME` and reported.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(state).map_err(|why| io(state, why))?;
        let path = state.join(NAME);
        match open_unlocked(&path) {
            Ok(db) => Ok(Self {
                path,
                db: Some(db),
                set_aside: None,
            }),
            Err(Fault::Locked(why)) => Err(StoreError::Locked(state.to_owned(), why)),
            Err(Fault::Unreachable(why)) => Err(io(&path, why)),
            Err(Fault::Damaged(why)) => Self::begin_anew(path, &why),
        }
    }

    /// Where the damaged store lies that this one replaces, if it does.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    fn begin_anew(path: PathBuf, why: &str) -> Result<Self, StoreError> {
        let aside = free_name(&path);
        std::fs::rename(&path, &aside).map_err(|why| io(&path, why))?;
        tracing::warn!(
            why,
            aside = %aside.display(),
            "checkpoint store is damaged: set aside, and rebuilt from the streams"
        );
        match open_unlocked(&path) {
            Ok(db) => Ok(Self {
                path,
                db: Some(db),
                set_aside: Some(aside),
            }),
            Err(fault) => Err(io(&path, fault.why())),
        }
    }

    /// A change. What sled had taken and not flushed goes with an error: the writer puts it again.
    fn change<T>(
        &mut self,
        call: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<(), StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => self.open_anew()?,
        };
        match guarded(&self.path, || call(&db)) {
            Ok(_) => self.db = Some(db),
            Err(why) => {
                // It flushes when it goes, on the disk that has just failed.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
                return Err(why);
            }
        }
        Ok(())
    }

    fn open_anew(&mut self) -> Result<sled::Db, StoreError> {
        let state = self.path.parent().unwrap_or_else(|| Path::new("."));
        let opened = Self::open(state)?;
        self.set_aside = opened.set_aside.or_else(|| self.set_aside.take());
        opened.db.ok_or_else(|| io(&self.path, GAVE_UP))
    }
}

fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|why| io(path, why)),
        Err(_) => Err(io(path, GAVE_UP)),
    }
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl CheckpointStore for SledStore {
    fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(db) = &self.db else {
            return Err(io(&self.path, "it is to be opened anew after an error"));
        };
        let value = guarded(&self.path, || db.get(key.as_bytes()))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError> {
        self.change(|db| db.insert(key.as_bytes(), value))
    }

    fn remove(&mut self, key: &CheckpointKey) -> Result<(), StoreError> {
        self.change(|db| db.remove(key.as_bytes()))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.change(|db| db.flush())
    }
}

const GAVE_UP: &str = "sled gave up on its files";

enum Fault {
    /// Somebody else has it open.
    Locked(String),
    /// The directory cannot be used; what lies in it may be sound.
    Unreachable(String),
    /// Its content makes no sense.
    Damaged(String),
}

impl Fault {
    fn why(self) -> String {
        match self {
            Self::Locked(why) | Self::Unreachable(why) | Self::Damaged(why) => why,
        }
    }
}

/// Opens the store as soon as it is free: a sidecar that is being replaced lets go a moment later,
/// and sled's own threads do so after the handle was dropped.
fn open_unlocked(path: &Path) -> Result<sled::Db, Fault> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match open_guarded(path) {
            // There is no event to wait for: the lock is the kernel's.
            Err(Fault::Locked(_)) if Instant::now() < deadline => {
                std::thread::park_timeout(LOCK_INTERVAL);
            }
            result => return result,
        }
    }
}

/// Opens the store and reads all of it, so that damage is found now or never.
fn open_guarded(path: &Path) -> Result<sled::Db, Fault> {
    let open = || {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_LEN)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let db = config.open()?;
        for entry in db.iter() {
            entry?;
        }
        Ok(db)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(why))) => Err(io_fault(&why)),
        Ok(Err(why)) => Err(Fault::Damaged(why.to_string())),
        Err(_) => Err(Fault::Damaged(GAVE_UP.into())),
    }
}

/// sled has one error for a lock, a disk and a file cut short, and only its words tell them apart.
fn io_fault(why: &std::io::Error) -> Fault {
    use std::io::ErrorKind;
    let text = why.to_string();
    if text.contains("could not acquire lock") {
        return Fault::Locked(text);
    }
    match why.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::Other => {
            Fault::Damaged(text)
        }
        _ => Fault::Unreachable(text),
    }
}

fn io(path: &Path, why: impl ToString) -> StoreError {
    StoreError::Io(path.to_owned(), why.to_string())
}

fn free_name(path: &Path) -> PathBuf {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let base = path.with_file_name(format!("{NAME}.damaged-{time}"));
    let more = (2..).map(|number| path.with_file_name(format!("{NAME}.damaged-{time}-{number}")));
    std::iter::once(base)
        .chain(more)
        .find(|path| !path.exists())
        .expect("there are more numbers than files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Direction;
    use causeway_proto::id::{RegionId, RouteName, StreamName};

    fn key() -> CheckpointKey {
        let route = RouteName::new("orders").unwrap();
        let (peer, stream) = (RegionId::new("us"), StreamName::new("ORDERS"));
        CheckpointKey::new(Direction::In, &route, &peer.unwrap(), &stream.unwrap())
    }

    /// A closed store that holds a value.
    fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.put(&key(), b"one").unwrap();
        store.flush().unwrap();
        dir
    }

    #[test]
    fn values_survive_reopening() {
        let dir = written();
        let mut store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.get(&key()).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(store.set_aside(), None);
        store.remove(&key()).unwrap();
        store.flush().unwrap();
        drop(store);
        assert_eq!(
            SledStore::open(dir.path()).unwrap().get(&key()).unwrap(),
            None
        );
    }

    #[test]
    fn a_second_opener_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _first = SledStore::open(dir.path()).unwrap();
        let second = SledStore::open(dir.path()).unwrap_err();
        assert!(matches!(second, StoreError::Locked(..)), "{second}");
        assert!(
            second
                .to_string()
                .contains("another sidecar uses this state directory")
        );
    }

    /// Whatever happens to the files: the store opens, holds the value or nothing, and works.
    #[test]
    fn damaged_files_never_stop_a_sidecar_nor_lie() {
        let sound = written();
        let files: Vec<_> = std::fs::read_dir(sound.path().join(NAME))
            .unwrap()
            .collect();
        let mut set_aside = 0;
        for file in files {
            let file = file.unwrap();
            if !file.file_type().unwrap().is_file() {
                continue;
            }
            let content = std::fs::read(file.path()).unwrap();
            for damage in damages(&content) {
                let dir = written();
                let path = dir.path().join(NAME).join(file.file_name());
                std::fs::write(&path, &damage).unwrap();
                let mut store = SledStore::open(dir.path()).unwrap();
                let value = store.get(&key()).unwrap();
                assert!(
                    value.is_none() || value.as_deref() == Some(b"one"),
                    "{value:?}"
                );
                set_aside += usize::from(store.set_aside().is_some_and(Path::exists));
                store.put(&key(), b"two").unwrap();
                store.flush().unwrap();
                drop(store);
                let store = SledStore::open(dir.path()).unwrap();
                assert_eq!(store.get(&key()).unwrap().as_deref(), Some(&b"two"[..]));
            }
        }
        assert!(set_aside > 0, "no damage was noticed at all");
    }

    fn damages(content: &[u8]) -> Vec<Vec<u8>> {
        let mut damages = vec![Vec::new(), content[..content.len() / 2].to_vec()];
        damages.push(content[..content.len().saturating_sub(1)].to_vec());
        damages.push(b"garbage".to_vec());
        damages.push(vec![0xff; content.len()]);
        for part in 0..8 {
            let mut damaged = content.to_vec();
            if let Some(byte) = damaged.get_mut(part * content.len() / 8 + part) {
                *byte ^= 0x55;
                damages.push(damaged);
            }
        }
        damages
    }
}
