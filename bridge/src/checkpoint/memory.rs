//! A store that forgets with the process: for tests, and the model of the trait.

use std::collections::BTreeMap;

use super::{CheckpointKey, CheckpointStore, StoreError};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore(BTreeMap<CheckpointKey, Vec<u8>>);

impl CheckpointStore for MemoryStore {
    fn get(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn put(&mut self, key: &CheckpointKey, value: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key.clone(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &CheckpointKey) -> Result<(), StoreError> {
        self.0.remove(key);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
