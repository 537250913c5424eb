//! How many records batches hold, as a histogram that costs a driver one addition a batch.

/// Upper ends of the buckets; a last one takes the rest.
pub const BOUNDS: [u64; 8] = [1, 4, 16, 64, 256, 1024, 4096, 16384];

/// Records a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSizes {
    buckets: [Bucket; BOUNDS.len() + 1],
}

/// Batches of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Batches.
    pub batches: u64,
    /// Their records.
    pub records: u64,
}

impl BatchSizes {
    /// One more batch.
    pub fn add(&mut self, records: u64) {
        let bucket = &mut self.buckets[BOUNDS.partition_point(|bound| *bound < records)];
        bucket.batches += 1;
        bucket.records += records;
    }

    /// The buckets that hold any.
    pub fn filled(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.batches > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_bucket() {
        let mut sizes = BatchSizes::default();
        for records in [0, 1, 2, 4, 5, 16384, 16385] {
            sizes.add(records);
        }
        let filled: Vec<_> = sizes.filled().map(|b| (b.batches, b.records)).collect();
        assert_eq!(filled, [(2, 1), (2, 6), (1, 5), (1, 16384), (1, 16385)]);
    }
}
