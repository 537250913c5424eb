//! The store on disk: sled, fsynced on flush.
//!
//! A store that cannot be read is set aside and begun anew: the streams themselves tell what was in
//! it. sled may panic on files that were damaged, so it is opened and read behind a guard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{CheckpointKey, CheckpointStore, StoreError};

/// A few hundred short values: sled's smallest cache is more than enough.
const CACHE_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct SledStore {
    path: PathBuf,
    db: sled::Db,
}

impl SledStore {
    /// Opens or creates the store under `state`. What cannot be read is renamed to
    /// `checkpoints.damaged-N` and reported.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let io = |why: &dyn std::fmt::Display| StoreError::Io(state.to_owned(), why.to_string());
        std::fs::create_dir_all(state).map_err(|why| io(&why))?;
        let path = state.join("checkpoints");
        match open_guarded(&path) {
            Ok(db) => Ok(Self { path, db }),
            Err(Fault::Locked(why)) => Err(StoreError::Locked(state.to_owned(), why)),
            Err(Fault::Unreadable(why)) => {
                let aside = free_name(state);
                std::fs::rename(&path, &aside).map_err(|why| io(&why))?;
                tracing::warn!(
                    why,
                    aside = %aside.display(),
                    "checkpoint store unreadable; set aside, it is rebuilt from the streams"
                );
                match open_guarded(&path) {
                    Ok(db) => Ok(Self { path, db }),
                    Err(Fault::Locked(why) | Fault::Unreadable(why)) => Err(io(&why)),
                }
            }
        }
    }

    fn error(&self, why: &sled::Error) -> StoreError {
        StoreError::Io(self.path.clone(), why.to_string())
    }
}

enum Fault {
    Locked(String),
    Unreadable(String),
}

fn open_guarded(path: &Path) -> Result<sled::Db, Fault> {
    let open = || {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()?;
        for entry in db.iter() {
            entry?;
        }
        Ok(db)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(why))) if why.to_string().contains("lock") => {
            Err(Fault::Locked(why.to_string()))
        }
        Ok(Err(why)) => Err(Fault::Unreadable(why.to_string())),
        Err(_) => Err(Fault::Unreadable("sled gave up on its files".into())),
    }
}

fn free_name(state: &Path) -> PathBuf {
    (1..)
        .map(|number| state.join(format!("checkpoints.damaged-{number}")))
        .find(|path| !path.exists())
        .expect("there are more numbers than files")
}

impl CheckpointStore for SledStore {
    fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self
            .db
            .get(key.as_bytes())
            .map_err(|why| self.error(&why))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError> {
        self.db
            .insert(key.as_bytes(), value)
            .map(|_| ())
            .map_err(|why| self.error(&why))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.db.flush().map(|_| ()).map_err(|why| self.error(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Direction;
    use causeway_proto::id::{RegionId, RouteName};

    fn key() -> CheckpointKey {
        let route = RouteName::new("orders").unwrap();
        CheckpointKey::new(Direction::In, &route, &RegionId::new("us").unwrap())
    }

    #[test]
    fn values_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.put(&key(), b"one").unwrap();
        store.flush().unwrap();
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.get(&key()).unwrap().as_deref(), Some(&b"one"[..]));
    }

    #[test]
    fn a_second_process_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _first = SledStore::open(dir.path()).unwrap();
        let second = SledStore::open(dir.path());
        assert!(matches!(second, Err(StoreError::Locked(..))), "{second:?}");
    }

    #[test]
    fn a_damaged_store_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.put(&key(), b"one").unwrap();
        store.flush().unwrap();
        drop(store);
        let conf = dir.path().join("checkpoints").join("conf");
        std::fs::write(&conf, b"garbage").unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.get(&key()).unwrap(), None);
        assert!(dir.path().join("checkpoints.damaged-1").exists());
    }
}
