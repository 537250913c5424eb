//! When the demo was disturbed, and how long it took to recover.
//!
//! A disturbance (the backlog, the cut, the kill) lasts until the far sides hold everything that was published
//! before it ended. Live records from outside such times show what the lag is on a usual day.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Times of disturbance in nanoseconds since 1970, which is how the servers date their records.
pub(crate) type Disturbed = Vec<Range<i128>>;

/// Follows one disturbance after the other.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    disturbed: Disturbed,
    /// Since when it is disturbed.
    since_ns: Option<i128>,
    /// What must arrive before it has recovered; known once the disturbance itself is over.
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    what: &'static str,
    over_at: Instant,
    records: Vec<u64>,
}

impl Recovery {
    /// Something begins to disturb.
    pub(crate) fn begin(&mut self) {
        self.since_ns.get_or_insert_with(now_ns);
        self.awaited = None;
    }

    /// The disturbance is over; so many records of each route must now arrive.
    pub(crate) fn over(&mut self, what: &'static str, records: Vec<u64>) {
        self.awaited = Some(Awaited {
            what,
            over_at: Instant::now(),
            records,
        });
    }

    /// Whether [`arrived`](Self::arrived) wants to be asked.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// So many records of each route have arrived: tells when that is the recovery.
    pub(crate) fn arrived(&mut self, records: &[u64]) -> Option<String> {
        let is_recovered = |it: &mut Awaited| {
            it.records
                .iter()
                .zip(records)
                .all(|(want, have)| have >= want)
        };
        let awaited = self.awaited.take_if(is_recovered)?;
        self.disturbed
            .extend(self.since_ns.take().map(|since| since..now_ns()));
        let seconds = awaited.over_at.elapsed().as_secs_f64();
        Some(format!(
            "recovered from {} after {seconds:.1} s",
            awaited.what
        ))
    }

    /// All times of disturbance; one that never recovered has no end.
    pub(crate) fn into_disturbed(mut self) -> Disturbed {
        self.disturbed
            .extend(self.since_ns.map(|since| since..i128::MAX));
        self.disturbed
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbance_lasts_until_what_was_published_before_its_end_has_arrived() {
        let mut recovery = Recovery::default();
        recovery.begin();
        assert_eq!(recovery.arrived(&[100, 100]), None);
        recovery.over("the cut", vec![10, 20]);
        assert_eq!(recovery.arrived(&[10, 19]), None);
        assert!(recovery.arrived(&[10, 20]).unwrap().contains("the cut"));
        assert_eq!(recovery.arrived(&[10, 20]), None);
        assert_eq!(recovery.into_disturbed().len(), 1);
    }

    #[test]
    fn a_second_disturbance_before_the_recovery_makes_one_long_one() {
        let mut recovery = Recovery::default();
        recovery.begin();
        recovery.over("the cut", vec![10]);
        let since = recovery.since_ns;
        recovery.begin();
        assert_eq!(recovery.arrived(&[10]), None);
        recovery.over("the kill", vec![20]);
        recovery.arrived(&[20]).unwrap();
        let disturbed = recovery.into_disturbed();
        assert_eq!((disturbed.len(), Some(disturbed[0].start)), (1, since));
    }
}
