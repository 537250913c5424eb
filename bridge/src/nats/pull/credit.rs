//! How many bytes may be under way, and which pulls ask for them. Decides only; no I/O.
//!
//! Every pull asks for far more records than it will get and is bounded by `max_bytes` alone, so
//! that the server ends it with a status that says how many bytes it left unused. That makes the
//! account exact without knowing which pull a record came by: the server serves open pulls in turn.
//!
//! ```text
//! allowed - delivered = available + outstanding      (outstanding: asked for, not delivered)
//! ```
//! `available` goes below zero by at most one record: when nothing is under way and the next
//! record is larger than what may be asked for, it is pulled alone, without a limit on bytes.

use std::time::Duration;

use tokio::time::Instant;

/// Pulls open at the same time, at most. The server allows 512.
const PULLS_MAX: usize = 8;

/// A pull is worth asking for from this part of the largest credit ever held. Small ones are left
/// until the caller returns more, or a slow caller would cause a pull for every record.
const PART_MIN: i64 = 4;

/// How long after its expiry the server's status for a pull may be missing.
const EXPIRY_SLACK: Duration = Duration::from_secs(2);

/// One pull to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    /// None: one record, however large.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) expires: Duration,
}

#[derive(Debug)]
struct Open {
    id: u64,
    /// 0 for a pull of one record without a limit.
    bytes: i64,
    expires_at: Instant,
}

/// The account of one reader.
#[derive(Debug)]
pub(crate) struct Credit {
    available: i64,
    /// Largest credit ever held: the caller's window.
    window: i64,
    open: Vec<Open>,
    /// Delivered by pulls that are still open.
    delivered: i64,
    /// The next record is larger than this.
    refused: i64,
    next_id: u64,
    expires: Duration,
    pull_bytes_max: i64,
}

impl Credit {
    pub(crate) fn new(expires: Duration) -> Self {
        Self {
            available: 0,
            window: 0,
            open: Vec::new(),
            delivered: 0,
            refused: 0,
            next_id: 1,
            expires,
            pull_bytes_max: i64::from(i32::MAX),
        }
    }

    /// What the consumer allows for one pull.
    pub(crate) fn limit(&mut self, expires_max: Option<Duration>, bytes_max: Option<u64>) {
        self.expires = expires_max.map_or(self.expires, |max| self.expires.min(max));
        let bytes_max = bytes_max
            .and_then(|max| i64::try_from(max).ok())
            .filter(|max| *max > 0);
        self.pull_bytes_max = bytes_max.unwrap_or(i64::from(i32::MAX));
    }

    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.open.iter().any(|pull| pull.id == id)
    }

    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Bytes asked for and not delivered.
    pub(crate) fn outstanding(&self) -> i64 {
        self.open.iter().map(|pull| pull.bytes).sum::<i64>() - self.delivered
    }

    /// When the first open pull must have ended.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open
            .iter()
            .map(|pull| pull.expires_at + EXPIRY_SLACK)
            .min()
    }

    pub(crate) fn allow(&mut self, bytes: u64) {
        self.available = self
            .available
            .saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.window = self
            .window
            .max(self.available.saturating_add(self.outstanding()));
    }

    /// A record came. `size` counts as the server does: subject, ack subject, headers, payload.
    pub(crate) fn delivered(&mut self, size: usize) {
        let size = size as i64;
        self.refused = 0;
        match self.open.iter().position(|pull| pull.bytes == 0) {
            // It was pulled alone; the server says nothing more about such a pull.
            Some(alone) => {
                self.open.remove(alone);
                self.available -= size;
            }
            None => self.delivered += size,
        }
        self.settle();
    }

    /// A pull ended with `unused` bytes; `refused` if the next record did not fit into them.
    pub(crate) fn ended(&mut self, id: u64, unused: u64, refused: bool) {
        let Some(at) = self.open.iter().position(|pull| pull.id == id) else {
            return;
        };
        let pull = self.open.remove(at);
        let unused = i64::try_from(unused).unwrap_or(0).min(pull.bytes);
        self.delivered -= pull.bytes - unused;
        self.available += unused;
        if refused {
            self.refused = self.refused.max(unused);
        }
        self.settle();
    }

    /// The server says nothing when a pull's bytes are used to the last one: where all that was
    /// asked for came, no pull is open. Without open pulls nothing is under way, and what little
    /// the account may be off is forgotten.
    fn settle(&mut self) {
        if self.outstanding() == 0 {
            self.open.retain(|pull| pull.bytes == 0);
            self.delivered = 0;
        } else if self.open.is_empty() {
            self.available -= std::mem::take(&mut self.delivered);
        }
    }

    /// Forgets pulls that must have ended without a word.
    pub(crate) fn expire(&mut self, now: Instant) {
        let expired = |pull: &&Open| pull.expires_at + EXPIRY_SLACK <= now;
        while let Some(id) = self.open.iter().find(expired).map(|pull| pull.id) {
            self.ended(id, 0, false);
        }
    }

    /// The consumer is gone, and every pull with it.
    pub(crate) fn reset(&mut self) {
        self.available += self.outstanding();
        self.open.clear();
        self.delivered = 0;
        self.refused = 0;
    }

    /// The next pull to ask for now, if any.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Ask> {
        let is_worth_it = self.available > 0 && self.available >= self.window / PART_MIN;
        let awaits_large = self.open.iter().any(|pull| pull.bytes == 0);
        if self.open.len() >= PULLS_MAX || !is_worth_it || awaits_large {
            return None;
        }
        let available = self.available.min(self.pull_bytes_max);
        let is_alone = self.open.is_empty();
        let bytes = match (is_alone, available > self.refused) {
            // Two from the start, so that one is open while the other is renewed.
            (true, true) if self.refused == 0 => (available / 2).max(1),
            (_, true) => available,
            // Nothing is under way, and the next record is larger than what is left.
            (true, false) => 0,
            // It may still fit into a pull that is open; asking again would only be refused again.
            (false, false) => return None,
        };
        self.available -= bytes;
        let id = self.next_id;
        self.next_id += 1;
        let expires = self.expires_apart(now);
        self.open.push(Open {
            id,
            bytes,
            expires_at: now + expires,
        });
        let max_bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        Some(Ask {
            id,
            max_bytes,
            expires,
        })
    }

    /// Keeps the ends of open pulls apart, so that they do not all have to be renewed at once.
    fn expires_apart(&self, now: Instant) -> Duration {
        let end = now + self.expires;
        let near = |pull: &Open| end.saturating_duration_since(pull.expires_at) < self.expires / 4;
        if self.open.iter().any(near) {
            self.expires / 2
        } else {
            self.expires
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPIRES: Duration = Duration::from_secs(30);

    fn credit(allowed: u64) -> Credit {
        let mut credit = Credit::new(EXPIRES);
        credit.allow(allowed);
        credit
    }

    fn asks(credit: &mut Credit, now: Instant) -> Vec<Option<u64>> {
        std::iter::from_fn(|| credit.ask(now))
            .map(|ask| ask.max_bytes)
            .collect()
    }

    #[test]
    fn two_pulls_share_the_window_and_end_apart() {
        let mut credit = credit(1000);
        let now = Instant::now();
        let (first, second) = (credit.ask(now).unwrap(), credit.ask(now).unwrap());
        assert_eq!((first.max_bytes, second.max_bytes), (Some(500), Some(500)));
        assert_eq!((first.expires, second.expires), (EXPIRES, EXPIRES / 2));
        assert_eq!(credit.ask(now), None);
        credit.delivered(400);
        assert_eq!(credit.outstanding(), 600);
        credit.allow(200);
        assert_eq!(credit.ask(now), None, "too little to be worth a pull");
        credit.allow(200);
        assert_eq!(credit.ask(now).unwrap().max_bytes, Some(400));
    }

    #[test]
    fn what_a_pull_left_unused_is_asked_for_again() {
        let mut credit = credit(1000);
        let now = Instant::now();
        assert_eq!(asks(&mut credit, now), [Some(500), Some(500)]);
        credit.ended(1, 500, false);
        assert_eq!((credit.outstanding(), credit.available), (500, 500));
        credit.delivered(450);
        credit.ended(2, 50, true);
        assert_eq!((credit.outstanding(), credit.available), (0, 550));
    }

    #[test]
    fn a_record_larger_than_the_window_is_pulled_alone() {
        let mut credit = credit(1000);
        let now = Instant::now();
        assert_eq!(asks(&mut credit, now), [Some(500), Some(500)]);
        credit.ended(1, 500, true);
        credit.ended(2, 500, true);
        assert_eq!(
            asks(&mut credit, now),
            [Some(1000)],
            "more than was refused"
        );
        credit.ended(3, 1000, true);
        assert_eq!(asks(&mut credit, now), [None]);
        credit.delivered(5000);
        assert_eq!((credit.available, credit.has_open()), (-4000, false));
        assert_eq!(credit.ask(now), None);
        credit.allow(5000);
        assert_eq!(asks(&mut credit, now), [Some(500), Some(500)]);
    }

    #[test]
    fn a_pull_that_ended_without_a_word_is_forgotten() {
        let mut credit = credit(1000);
        let now = Instant::now();
        asks(&mut credit, now);
        credit.delivered(1000);
        assert_eq!(credit.outstanding(), 0);
        credit.allow(1000);
        credit.expire(now + EXPIRES + EXPIRY_SLACK);
        assert_eq!((credit.has_open(), credit.available), (false, 1000));
    }

    proptest! {
        /// A server that serves pulls in turn, and a caller that returns what it took: the credit
        /// is never exceeded by more than one record, and everything is delivered.
        #[test]
        fn every_record_arrives_within_the_credit(
            window in 1..5000_u64,
            sizes in proptest::collection::vec(1..3000_usize, 1..200),
            hold in 1..6_usize,
        ) {
            let now = Instant::now();
            let mut credit = credit(window);
            let mut open: std::collections::VecDeque<(u64, Option<u64>)> = Default::default();
            let mut held: Vec<usize> = Vec::new();
            let mut waiting = sizes.iter().copied().peekable();
            let (mut idle, mut refusals) = (0, 0);
            while let Some(size) = waiting.peek().copied() {
                open.extend(std::iter::from_fn(|| credit.ask(now)).map(|it| (it.id, it.max_bytes)));
                match open.pop_front() {
                    None => {
                        idle += 1;
                        prop_assert!(idle < 2, "stuck although everything was returned");
                        held.drain(..).for_each(|size| credit.allow(size as u64));
                        continue;
                    }
                    Some((id, Some(left))) if size as u64 > left => {
                        credit.ended(id, left, true);
                        refusals += 1;
                        prop_assert!(refusals <= 2 * PULLS_MAX, "asks in circles");
                        continue;
                    }
                    Some((id, Some(left))) => {
                        if left > size as u64 {
                            open.push_back((id, Some(left - size as u64)));
                        }
                    }
                    Some((_, None)) => prop_assert!(open.is_empty(), "pulled alone"),
                }
                (idle, refusals) = (0, 0);
                credit.delivered(size);
                held.push(size);
                waiting.next();
                let in_hand: usize = held.iter().sum();
                prop_assert!(in_hand as u64 <= window + size as u64);
                // Pulls used to the last byte end without a word.
                if open.is_empty() {
                    credit.expire(now + EXPIRES + EXPIRY_SLACK);
                }
                if held.len() >= hold {
                    held.drain(..).for_each(|size| credit.allow(size as u64));
                }
            }
        }
    }
}
