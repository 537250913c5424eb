//! Lanes: whose bytes go next on a link.
//!
//! Each lane has one batch on offer at most. Batches are handed to the connection chunk by chunk, and
//! no earlier than needed ([`backlog`]), so that who goes next is decided late: a fresh record passes
//! whatever a backlog has on offer. [`schedule`] decides whose chunk is next; [`freshness`] decides
//! what class a route's next batch has.
//!
//! | class | goes |
//! |---|---|
//! | live | first, up to [`LIVE_SHARE_PERCENT`] of the bytes while others wait; beyond that by weight |
//! | normal | by weight |
//! | bulk | by weight, the smallest |
//!
//! Weights share what strict priority leaves, by bytes: [`WEIGHT_LIVE`] : [`WEIGHT_NORMAL`] :
//! [`WEIGHT_BULK`]. Within a class, lanes go by turns, batch by batch, equal in bytes. A class with nothing on offer
//! lends its share to the others, and claims nothing back later.

use std::time::Duration;

use crate::frame::LaneClass;

pub mod backlog;
pub mod freshness;
pub mod schedule;

pub use self::backlog::{Backlog, Pace, PathView, Written};
pub use self::freshness::Freshness;
pub use self::schedule::{Chunk, Room, Schedule};

/// Of the bytes that leave while other classes wait, how many live lanes get before anybody else.
/// Enough for the fresh records of any link that is not overloaded with them; little enough that a
/// flood of them does not stop a backlog.
pub const LIVE_SHARE_PERCENT: u64 = 30;

/// What live lanes may send in one go before their share is counted, in time at the link's rate: a
/// burst after quiet.
pub const LIVE_BURST: Duration = Duration::from_millis(200);

/// Weights of the classes in what strict priority leaves. Against one other busy class a backlog
/// keeps a quarter, against two a seventh: it is never starved.
pub const WEIGHT_LIVE: u64 = 3;
/// See [`WEIGHT_LIVE`].
pub const WEIGHT_NORMAL: u64 = 3;
/// See [`WEIGHT_LIVE`].
pub const WEIGHT_BULK: u64 = 1;

/// What may wait in the connection for the wire, in time at the link's rate: enough that the link
/// never runs dry while the next chunk is fetched, and what a late decision is late by.
pub const UNSENT: Duration = Duration::from_millis(25);

/// Bounds of a chunk. It is on the wire for [`CHUNK`] at most, but no shorter than a packet.
pub const CHUNK_LEN_MAX: usize = 16 * 1024;
/// See [`CHUNK_LEN_MAX`].
pub const CHUNK_LEN_MIN: usize = 1200;
/// See [`CHUNK_LEN_MAX`].
pub const CHUNK: Duration = Duration::from_millis(5);

/// The link takes a batch in this time, even where nothing compresses: the later it is decided who goes next, the
/// better.
const BATCH: Duration = Duration::from_millis(50);
/// Plain bytes of a batch where the link does not bound it.
pub const BATCH_LEN_MAX: usize = 256 * 1024;
/// Where [`BATCH`] is very little: below the first, heads cost more than they carry; below the second,
/// compression suffers, so up to a second of the link is taken for it.
const BATCH_LEN_MIN: usize = 4 * 1024;
const BATCH_LEN_SMALL: usize = 16 * 1024;

/// Plain bytes after which a batch is full, on a link of so many bits a second whose lane compresses so many
/// times. Without a rate, [`BATCH_LEN_MAX`].
pub fn batch_len_max(rate: Option<u64>, ratio: u64) -> usize {
    let Some(rate) = rate else {
        return BATCH_LEN_MAX;
    };
    let bytes = |time: u128| {
        let bits = u128::from(rate) * time / 1_000;
        let bytes = bits.saturating_mul(u128::from(ratio)) / 8;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    };
    let least = bytes(1000).clamp(BATCH_LEN_MIN, BATCH_LEN_SMALL);
    bytes(BATCH.as_millis()).clamp(least, BATCH_LEN_MAX)
}

/// Priority of the stream of a batch: live apart, and otherwise the older batch before the newer, so that batches finish
/// one after the other. `number` counts the batches of a connection and may wrap.
///
/// Normal and bulk are not told apart here: the schedule has decided what each of them may write, and what is written
/// would wait behind the other class for as long as that has anything to send.
pub fn stream_priority(class: LaneClass, number: u32) -> i32 {
    let class = match class {
        LaneClass::Live => 1,
        LaneClass::Normal | LaneClass::Bulk => 0,
    };
    (class << CLASS_BITS) + ((1 << CLASS_BITS) - 1 - (number % (1 << CLASS_BITS)) as i32)
}

/// Room for the batches of a class in its priorities.
const CLASS_BITS: u32 = 28;

const _: () = assert!(LIVE_SHARE_PERCENT < 100, "others get something");
const _: () = assert!(
    CHUNK.as_millis() < UNSENT.as_millis() && CHUNK.as_millis() < LIVE_BURST.as_millis(),
    "a chunk is a part of what waits and of a burst"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_batch_goes_first_but_never_before_a_live_one() {
        let [live, normal, bulk] = [LaneClass::Live, LaneClass::Normal, LaneClass::Bulk];
        assert!(stream_priority(bulk, 1) > stream_priority(bulk, 2));
        assert!(stream_priority(bulk, 1) > stream_priority(normal, 2));
        for number in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(stream_priority(live, u32::MAX) > stream_priority(normal, number));
            assert!(stream_priority(live, u32::MAX) > stream_priority(bulk, number));
            assert!(stream_priority(bulk, number) >= 0);
            assert!(stream_priority(live, number) < i32::MAX);
        }
    }

    #[test]
    fn a_batch_takes_the_link_a_twentieth_of_a_second_between_its_bounds() {
        assert_eq!(batch_len_max(None, 1), 256 * 1024);
        assert_eq!(batch_len_max(Some(100_000_000), 1), 256 * 1024);
        assert_eq!(batch_len_max(Some(10_000_000), 1), 62_500);
        assert_eq!(batch_len_max(Some(10_000_000), 4), 250_000);
        assert_eq!(batch_len_max(Some(1_000_000), 1), 16 * 1024);
        assert_eq!(batch_len_max(Some(50_000), 1), 6_250);
        assert_eq!(batch_len_max(Some(16_000), 1), 4 * 1024);
        assert_eq!(batch_len_max(Some(u64::MAX), u64::MAX), 256 * 1024);
    }
}
