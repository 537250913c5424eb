//! How many packets a sleeper waits for.
//!
//! Waking a thread, and a receiver, costs more than sending a packet. So where packets follow each other closely
//! they leave together, as many as the bucket lets pass at once. But a bucket that waits until it is full overflows
//! when its sleeper is late, and that much of the rate is lost. What a wait leaves free for lateness is lost to
//! nothing, so some packets fewer is always right. The rest is a loan: a link may lose [`LOAN`] of its rate, and from
//! then on nothing. What passes unused while nothing waits pays it back: where there is always enough of that, the
//! rate is not what limits the link. (That a queue is empty for a moment is no such sign: who fills it is a moment
//! late, too.)

use std::time::Duration;

use super::bytes_in;
use crate::rate::bucket::Bucket;

/// How late a sleeper usually is at most, with what it then takes to send.
const LATE: Duration = Duration::from_micros(75);
/// Packets are waited for together only where they pass in this time; else each leaves as soon as it may.
const GATHER: Duration = Duration::from_micros(250);
/// What lateness may cost, in time at the link's rate, before each packet is waited for alone.
const LOAN: Duration = Duration::from_millis(20);

/// What sleeping for several packets has cost a link, as far as it has not been paid back.
#[derive(Debug, Default)]
pub(super) struct Gather {
    is_waiting: bool,
    /// Bytes of the rate.
    lost: u64,
}

impl Gather {
    /// Somebody is about to sleep until that bucket lets packets pass: of how many bytes at most?
    pub(super) fn wait(&mut self, bucket: &Bucket) -> u64 {
        self.is_waiting = true;
        let (Some(rate), burst) = (bucket.rate(), bucket.burst()) else {
            return 0;
        };
        if bytes_in(rate, GATHER) < burst {
            return 0;
        }
        if self.lost < bytes_in(rate, LOAN) {
            burst
        } else {
            burst - bytes_in(rate, LATE)
        }
    }

    /// A packet passes these buckets. What has run over in the one that limits it is lost.
    pub(super) fn pass(&mut self, now: Duration, buckets: [&Bucket; 3]) {
        let over = buckets.into_iter().filter_map(|it| it.overflow(now)).min();
        let over = over.unwrap_or(0);
        if std::mem::take(&mut self.is_waiting) {
            self.lost += over;
        } else {
            self.lost = self.lost.saturating_sub(over);
        }
    }
}
