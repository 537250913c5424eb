//! A simulated disk: what was not flushed is lost when the process or the machine goes.

use std::collections::BTreeMap;

use rand::Rng;

/// Values under keys. Later values of a key replace earlier ones; flushing is in order.
#[derive(Debug, Default)]
pub struct SimStore {
    durable: BTreeMap<String, Vec<u8>>,
    pending: Vec<(String, Vec<u8>)>,
}

impl SimStore {
    /// Writes a value, not yet durably.
    pub fn put(&mut self, key: &str, value: Vec<u8>) {
        self.pending.push((key.to_owned(), value));
    }

    /// All that was written before is durable.
    pub fn flush(&mut self) {
        self.durable.extend(self.pending.drain(..));
    }

    /// The process dies. How much of what was pending reached the disk is a matter of luck.
    pub fn crash(&mut self, rng: &mut impl Rng) {
        let survive = rng.random_range(0..=self.pending.len());
        self.durable.extend(self.pending.drain(..survive));
        self.pending.clear();
    }

    /// Reads what a new process would find.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.durable.get(key).map(Vec::as_slice)
    }

    /// Somebody deletes the state directory (while no process runs).
    pub fn wipe(&mut self) {
        self.durable.clear();
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn only_what_was_flushed_survives_for_certain() {
        let mut store = SimStore::default();
        store.put("a", vec![1]);
        store.flush();
        store.put("a", vec![2]);
        store.put("a", vec![3]);
        let mut rng = StdRng::seed_from_u64(1);
        store.crash(&mut rng);
        assert!(matches!(store.get("a"), Some([1] | [2] | [3])));
        store.wipe();
        assert_eq!(store.get("a"), None);
    }
}
