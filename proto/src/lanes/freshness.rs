//! What class a route's next batch has: fresh records, or a backlog.
//!
//! A route that nobody gave a priority is live while it is current, and bulk while it catches up. It
//! falls back when its source is ahead by more than a batch takes, and is current again only when all
//! that its source holds has been read: the two bounds lie apart, so that a route at the edge does
//! not flip with every batch.

use crate::frame::LaneClass;

/// See the module.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// What the operator said, if anything.
    fixed: Option<LaneClass>,
    catching_up: bool,
    /// Plain bytes of the records read lately, on average.
    record_len: u64,
}

impl Freshness {
    /// A route whose lane has just opened: it may have any backlog. `fixed`: the class that an
    /// operator gave it, which it keeps.
    pub fn new(fixed: Option<LaneClass>) -> Self {
        Self {
            fixed,
            catching_up: true,
            record_len: 512,
        }
    }

    /// The operator gives the route another class, or none.
    pub fn fix(&mut self, fixed: Option<LaneClass>) {
        self.fixed = fixed;
    }

    /// The lane opened anew.
    pub fn restart(&mut self) {
        self.catching_up = true;
    }

    /// The source was read. `records` and `len`: what came in this read; `behind`: records that the
    /// source holds behind it; `batch_len_max`: plain bytes of a full batch.
    pub fn handle_read(&mut self, records: u64, len: u64, behind: u64, batch_len_max: usize) {
        if let Some(mean) = len.checked_div(records) {
            self.record_len = (self.record_len * 7 + mean) / 8;
        }
        let behind_len = behind.saturating_mul(self.record_len.max(1));
        if behind == 0 {
            self.catching_up = false;
        } else if behind_len > 2 * batch_len_max as u64 {
            self.catching_up = true;
        }
    }

    /// The source holds nothing more.
    pub fn handle_nothing_more(&mut self) {
        self.catching_up = false;
    }

    /// The class of the batch that is sealed now.
    pub fn class(&self) -> LaneClass {
        match self.fixed {
            Some(class) => class,
            None if self.catching_up => LaneClass::Bulk,
            None => LaneClass::Live,
        }
    }

    /// Whether the source is ahead.
    pub fn is_catching_up(&self) -> bool {
        self.catching_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 1000;

    #[test]
    fn a_route_is_bulk_until_it_has_read_all_and_live_until_it_is_two_batches_behind() {
        let mut route = Freshness::new(None);
        assert_eq!(route.class(), LaneClass::Bulk);
        route.handle_read(10, 5120, 1, BATCH);
        assert_eq!(route.class(), LaneClass::Bulk, "one record is left");
        route.handle_read(1, 512, 0, BATCH);
        assert_eq!(route.class(), LaneClass::Live);
        route.handle_read(1, 512, 3, BATCH);
        assert_eq!(
            route.class(),
            LaneClass::Live,
            "3 records of 512 are less than two batches"
        );
        route.handle_read(1, 512, 4, BATCH);
        assert_eq!(route.class(), LaneClass::Bulk);
        route.handle_nothing_more();
        assert_eq!(route.class(), LaneClass::Live);
        route.restart();
        assert_eq!(route.class(), LaneClass::Bulk);
    }

    #[test]
    fn a_priority_is_kept() {
        let mut route = Freshness::new(Some(LaneClass::Normal));
        route.handle_read(1, 512, 1_000_000, BATCH);
        assert!(route.is_catching_up());
        assert_eq!(route.class(), LaneClass::Normal);
        route.fix(None);
        assert_eq!(route.class(), LaneClass::Bulk);
        route.fix(Some(LaneClass::Live));
        assert_eq!(route.class(), LaneClass::Live);
    }
}
