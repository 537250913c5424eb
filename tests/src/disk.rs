//! A disk in memory that forgets, on a crash, what was not flushed.
//!
//! Real disks may also keep some of what was not flushed, in any order, so a crash keeps a part that
//! its caller draws: nothing between "all" and "none" may surprise a sidecar. One value is kept or lost
//! as a whole, which the store on disk promises too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use causeway::checkpoint::{CheckpointKey, CheckpointStore, StoreError};
use rand::Rng;

/// Values by key; `None` is a removal that was not flushed.
type Changes = BTreeMap<CheckpointKey, Option<Vec<u8>>>;

#[derive(Debug, Default)]
struct Platter {
    durable: BTreeMap<CheckpointKey, Vec<u8>>,
    unflushed: Changes,
    is_full: bool,
}

/// A disk that outlives the sidecars which use it. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<Platter>>);

impl SimDisk {
    /// A disk with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails: of what was not flushed, `random` decides what is kept.
    pub fn crash(&self, random: &mut impl Rng) {
        self.with(|platter| {
            for (key, value) in std::mem::take(&mut platter.unflushed) {
                if random.random_bool(0.5) {
                    apply(&mut platter.durable, key, value);
                }
            }
        });
    }

    /// The power fails, and takes all that was not flushed.
    pub fn crash_hard(&self) {
        self.with(|platter| platter.unflushed.clear());
    }

    /// Somebody deletes the state directory.
    pub fn wipe(&self) {
        self.with(|platter| *platter = Platter::default());
    }

    /// From now on the disk takes nothing, or takes it again.
    pub fn set_full(&self, is_full: bool) {
        self.with(|platter| platter.is_full = is_full);
    }

    /// What a crash cannot take away.
    pub fn durable(&self, key: &CheckpointKey) -> Option<Vec<u8>> {
        self.with(|platter| platter.durable.get(key).cloned())
    }

    fn with<T>(&self, look: impl FnOnce(&mut Platter) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, key: &CheckpointKey, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.with(|platter| {
            if platter.is_full {
                return Err(full());
            }
            platter.unflushed.insert(key.clone(), value);
            Ok(())
        })
    }
}

impl CheckpointStore for SimDisk {
    fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.with(|platter| match platter.unflushed.get(key) {
            Some(value) => value.clone(),
            None => platter.durable.get(key).cloned(),
        }))
    }

    fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError> {
        self.change(key, Some(value.to_vec()))
    }

    fn remove(&mut self, key: &CheckpointKey) -> Result<(), StoreError> {
        self.change(key, None)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.with(|platter| {
            if platter.is_full {
                return Err(full());
            }
            for (key, value) in std::mem::take(&mut platter.unflushed) {
                apply(&mut platter.durable, key, value);
            }
            Ok(())
        })
    }
}

fn apply(
    durable: &mut BTreeMap<CheckpointKey, Vec<u8>>,
    key: CheckpointKey,
    value: Option<Vec<u8>>,
) {
    match value {
        Some(value) => durable.insert(key, value),
        None => durable.remove(&key),
    };
}

fn full() -> StoreError {
    StoreError::Io("simulated disk".into(), "no space left".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway::session::Direction;
    use causeway_proto::id::{RegionId, RouteName};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn key(route: &str) -> CheckpointKey {
        let peer = RegionId::new("us").unwrap();
        CheckpointKey::new(Direction::Out, &RouteName::new(route).unwrap(), &peer)
    }

    #[test]
    fn a_crash_takes_what_was_not_flushed_and_nothing_else() {
        let disk = SimDisk::new();
        let mut store = disk.clone();
        store.put(&key("a"), b"1").unwrap();
        store.put(&key("b"), b"1").unwrap();
        store.flush().unwrap();
        store.put(&key("a"), b"2").unwrap();
        store.remove(&key("b")).unwrap();
        assert_eq!(store.get(&key("a")).unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(store.get(&key("b")).unwrap(), None);
        disk.crash_hard();
        for route in ["a", "b"] {
            assert_eq!(store.get(&key(route)).unwrap().as_deref(), Some(&b"1"[..]));
        }
    }

    #[test]
    fn a_crash_may_keep_a_part() {
        let outcomes = (0..64).map(|seed| {
            let mut store = SimDisk::new();
            store.put(&key("a"), b"1").unwrap();
            store.put(&key("b"), b"1").unwrap();
            store.crash(&mut StdRng::seed_from_u64(seed));
            (
                store.durable(&key("a")).is_some(),
                store.durable(&key("b")).is_some(),
            )
        });
        let outcomes: std::collections::BTreeSet<_> = outcomes.collect();
        assert_eq!(outcomes.len(), 4, "every part is kept by some seed");
    }

    #[test]
    fn a_full_disk_says_so_and_forgets_nothing() {
        let mut disk = SimDisk::new();
        disk.put(&key("a"), b"1").unwrap();
        disk.set_full(true);
        assert!(disk.put(&key("a"), b"2").is_err() && disk.flush().is_err());
        disk.set_full(false);
        disk.flush().unwrap();
        assert_eq!(disk.durable(&key("a")).as_deref(), Some(&b"1"[..]));
        disk.wipe();
        assert_eq!(disk.get(&key("a")).unwrap(), None);
    }
}
