//! Counting every record and every position once, so that the books balance (I8).
//!
//! A tally travels with its batch and is added to the route's totals when the batch is acknowledged.
//! What is withdrawn by a rewind was never added, so re-reading counts nothing twice.

use std::ops::AddAssign;

/// What became of records and positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records read from the source stream.
    pub read: u64,
    /// Records that policy admitted and that went into a batch.
    pub admitted: u64,
    /// Records that residency denied, at either end.
    pub denied: u64,
    /// Records not sent because they have already been in the target region (I5).
    pub returned: u64,
    /// Records that the target has stored.
    pub stored: u64,
    /// Records that the target had already.
    pub duplicate: u64,
    /// Records that the target refused for what they are, kept aside in the source's region.
    pub rejected: u64,
    /// Records whose time to live ended on the way.
    pub expired: u64,
    /// Source positions covered.
    pub span: u64,
    /// Positions that held no record for this route: other subjects, or records deleted since.
    pub filtered: u64,
    /// Positions whose records had left the source stream before they could be read.
    pub lost_to_retention: u64,
    /// Bytes of subject, headers and payload admitted.
    pub payload_bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.admitted += other.admitted;
        self.denied += other.denied;
        self.returned += other.returned;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.span += other.span;
        self.filtered += other.filtered;
        self.lost_to_retention += other.lost_to_retention;
        self.payload_bytes += other.payload_bytes;
    }
}

impl Tally {
    /// Whether every record read has exactly one outcome and every position is explained.
    /// Holds for acknowledged totals at any moment; what is pending is outside of them.
    pub fn balances(&self) -> bool {
        let settled = self.stored + self.duplicate + self.rejected + self.expired;
        self.read == settled + self.denied + self.returned
            && self.span == self.read + self.filtered + self.lost_to_retention
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_balance_only_when_each_record_ended_once() {
        let mut tally = Tally {
            read: 5,
            stored: 3,
            denied: 1,
            returned: 1,
            ..Tally::default()
        };
        tally.span = 9;
        tally.filtered = 4;
        assert!(tally.balances());
        tally.stored += 1;
        assert!(!tally.balances());
    }
}
