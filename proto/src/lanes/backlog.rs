//! How much a connection may hold that is not yet on the wire.
//!
//! quinn does not say how much it holds unsent. What it does say, exactly, is when a stream has been
//! acknowledged whole; so bytes are counted out when they are written and in again when their batch is
//! acknowledged, and the limit is what the path itself holds plus a little that waits ([`UNSENT`]).
//! Counting what was sent instead would drift without bound: headers, acknowledgements and
//! retransmissions are in the connection's counters too, and nothing ever sets them right again.
//!
//! A batch that lost a packet is acknowledged a round trip late, although all but one of its packets
//! are gone from the path. Loss so makes the count too high, by a share that can be worked out from
//! the loss and the packets of a batch, and that is added to the limit.
//!
//! A batch of which a part is unwritten will never be acknowledged, although most of what was written of it may
//! have arrived: one that is larger than the limit would stop there, and with it all who are not live. So what
//! a batch has beyond a sixth of the limit is counted in earlier: when more was sent than the path can hold, the
//! rest of it has arrived. A large batch then goes on as fast as the link takes it, and everybody else has his turn
//! beside it. Here the connection's counter does serve: its errors end when no batch is large, and while large ones
//! follow each other they let in six at most, because a sixth of the limit stays counted for each.
//!
//! A begun batch can always be finished: everything written is sent some day, batches written to their ends are then
//! acknowledged, and the others, one a class at most, keep half of the limit between them.

use std::time::Duration;

use super::schedule::Room;
use super::{CHUNK, CHUNK_LEN_MAX, CHUNK_LEN_MIN, LIVE_BURST, LIVE_SHARE_PERCENT, UNSENT};
use crate::frame::LaneClass;

/// The path as the connection sees it now.
#[derive(Debug, Clone, Copy)]
pub struct PathView {
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Bytes that the congestion controller allows in flight.
    pub window: u64,
    /// Declared rate of the wire in bytes a second, where there is one.
    pub rate: Option<u64>,
    /// Bytes sent since the connection began, everything included.
    pub sent: u64,
    /// Packets sent and lost since the connection began.
    pub packets_sent: u64,
    /// See `packets_sent`.
    pub packets_lost: u64,
    /// Bytes of a full packet.
    pub mtu: u64,
}

/// How long chunks and bursts may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of a chunk at most.
    pub chunk_len_max: usize,
    /// Bytes that live lanes may be ahead of their share.
    pub live_burst_max: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            chunk_len_max: CHUNK_LEN_MAX,
            live_burst_max: 16 * CHUNK_LEN_MAX as u64,
        }
    }
}

/// A batch that is written to its end. To be given back when it is delivered.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is never given back stays counted for ever"]
pub struct Written {
    class: LaneClass,
    len: u64,
    /// Bytes that may be counted in before that.
    beyond: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    /// Bytes written whose batch is not yet acknowledged.
    outstanding: u64,
    /// Of those, bytes of live batches.
    live: u64,
    /// Of all outstanding, bytes counted in already. At most what large batches have beyond what is kept.
    arrived: u64,
    /// Bytes written of the batch that each class has begun.
    begun: [u64; LaneClass::ALL.len()],
    /// What batches that are written to their ends have beyond what stays counted.
    beyond: u64,
    /// Bytes that were sent and are still counted, or more. Kept up while a batch is large.
    on_path: u64,
    sent_total: u64,
    limit: u64,
    /// The limit without what waits unsent: more than this is never sent and still to be counted in.
    held: u64,
    pace: Pace,
    /// Moving averages: lost packets in a million, and bytes of a batch.
    loss_ppm: u64,
    batch_len: u64,
    sent_seen: u64,
    lost_seen: u64,
}

/// Packets after which a measured share of lost ones means something.
const LOSS_SAMPLE_MIN: u64 = 256;
/// What the path may hold beyond rate times round trip: the round trip is a smoothed one.
const PATH_MARGIN_PERCENT: u64 = 10;
/// Never more than this waits for the wire, however fast it is; it bounds memory.
const UNSENT_MAX: u64 = 2 << 20;
/// Of every packet, at least this is not of a batch: QUIC's head and tag.
const HEAD_LEN: u64 = 26;
/// A path that nothing is known of yet.
const LIMIT_FIRST: u64 = 64 * 1024;
/// Of a batch, this part of the limit stays counted until it is acknowledged. What the classes have begun must leave
/// some of the limit; and it bounds what errors of the connection's counter let in where large batches follow each
/// other without end.
const KEPT_PARTS: u64 = 6;
const _: () = assert!(KEPT_PARTS > LaneClass::ALL.len() as u64, "some is left");

impl Default for Backlog {
    fn default() -> Self {
        Self::new()
    }
}

impl Backlog {
    /// Nothing is written, and nothing known of the path.
    pub fn new() -> Self {
        Self {
            outstanding: 0,
            live: 0,
            arrived: 0,
            begun: [0; LaneClass::ALL.len()],
            beyond: 0,
            on_path: 0,
            sent_total: 0,
            limit: LIMIT_FIRST,
            held: LIMIT_FIRST,
            pace: Pace::default(),
            loss_ppm: 0,
            batch_len: 0,
            sent_seen: 0,
            lost_seen: 0,
        }
    }

    /// A chunk of the batch that a class has begun was written.
    pub fn handle_written(&mut self, class: LaneClass, len: usize) {
        self.outstanding += len as u64;
        if class == LaneClass::Live {
            self.live += len as u64;
        }
        self.begun[usize::from(class.code())] += len as u64;
    }

    /// That was its last chunk.
    pub fn handle_finished(&mut self, class: LaneClass) -> Written {
        let len = std::mem::take(&mut self.begun[usize::from(class.code())]);
        let beyond = self.beyond_kept(len);
        self.beyond += beyond;
        Written { class, len, beyond }
    }

    /// The peer has all of a batch, or its stream is gone.
    pub fn handle_delivered(&mut self, batch: Written) {
        let before = self.counted();
        self.outstanding = self.outstanding.saturating_sub(batch.len);
        if batch.class == LaneClass::Live {
            self.live = self.live.saturating_sub(batch.len);
        }
        self.beyond = self.beyond.saturating_sub(batch.beyond);
        // Whose bytes were counted in is not known; what is too much here is found again when the path is looked at.
        self.arrived = self.arrived.saturating_sub(batch.beyond);
        let counted_in = before.saturating_sub(self.counted());
        self.on_path = self.on_path.saturating_sub(counted_in);
        self.batch_len = (self.batch_len * 7 + batch.len) / 8;
    }

    /// The path was looked at.
    pub fn handle_path(&mut self, view: &PathView) {
        self.note_loss(view);
        let round_trip = view.rtt.max(Duration::from_micros(100));
        let path = match view.rate {
            Some(rate) => {
                let held = times(rate, round_trip);
                view.window.min(held + held * PATH_MARGIN_PERCENT / 100)
            }
            None => view.window,
        };
        let rate = view
            .rate
            .unwrap_or_else(|| per_second(view.window, round_trip));
        let late = path * self.late_ppm(view.mtu) / 1_000_000;
        let unsent = times(rate, UNSENT).min(UNSENT_MAX);
        // A batch counts whole until its last packet is acknowledged: two are under way at any time.
        self.held = path + late + 2 * self.batch_len + 2 * view.mtu;
        self.limit = self.held + unsent;
        self.note_sent(view.sent.saturating_sub(view.packets_sent * HEAD_LEN));
        self.pace = Pace {
            chunk_len_max: (times(rate, CHUNK) as usize).clamp(CHUNK_LEN_MIN, CHUNK_LEN_MAX),
            live_burst_max: times(rate, LIVE_BURST).max(2 * CHUNK_LEN_MIN as u64),
        };
    }

    /// Counts in what must have arrived of large batches.
    fn note_sent(&mut self, total: u64) {
        let sent = total.saturating_sub(self.sent_total);
        self.sent_total = total;
        let begun: u64 = self.begun.iter().map(|len| self.beyond_kept(*len)).sum();
        let beyond = self.beyond + begun;
        // The limit may have grown, and with it what is kept: that was sent and is counted again.
        let again = self.arrived.saturating_sub(beyond);
        self.arrived -= again;
        self.on_path += again;
        // Never less than what is true: then a batch that was sent as far as it was written can go on.
        self.on_path = if beyond > 0 {
            (self.on_path + sent).min(self.counted())
        } else {
            self.counted()
        };
        let more = self.on_path.saturating_sub(self.held);
        let counted_in = more.min(beyond - self.arrived);
        self.arrived += counted_in;
        self.on_path -= counted_in;
    }

    fn note_loss(&mut self, view: &PathView) {
        let sent = view.packets_sent.saturating_sub(self.sent_seen);
        if sent < LOSS_SAMPLE_MIN {
            return;
        }
        let lost = view.packets_lost.saturating_sub(self.lost_seen).min(sent);
        let ppm = lost * 1_000_000 / sent;
        self.loss_ppm = (self.loss_ppm * 7 + ppm) / 8;
        self.sent_seen = view.packets_sent;
        self.lost_seen = view.packets_lost;
    }

    /// Of the bytes on the path, how many more are counted because their batch waits for a packet to
    /// be sent again: the share of batches that lost one, once for the first repair and once more for
    /// those that lost the repair or were noticed late.
    fn late_ppm(&self, mtu: u64) -> u64 {
        let packets = self.batch_len / mtu.max(1) + 1;
        let hit = 1.0 - (1.0 - self.loss_ppm as f64 / 1e6).powi(packets.min(10_000) as i32);
        ((hit * 1.25 + hit * hit) * 1e6) as u64
    }

    /// What may be written now.
    pub fn room(&self) -> Room {
        let counted = self.counted();
        // Live bytes go before what waits unsent, so they need not wait for it; their share of the
        // limit bounds them. It is theirs also where others hold more than a limit that has become less.
        let reserve = self.reserve();
        let live = (self.limit + reserve).saturating_sub(counted);
        Room {
            any: self.limit.saturating_sub(counted),
            live: live.max(reserve.saturating_sub(self.live)),
        }
    }

    fn reserve(&self) -> u64 {
        self.limit * LIVE_SHARE_PERCENT / 100
    }

    /// Bytes that count against the limit.
    fn counted(&self) -> u64 {
        self.outstanding.saturating_sub(self.arrived)
    }

    /// What a batch of that length has beyond what stays counted until it is acknowledged.
    fn beyond_kept(&self, len: u64) -> u64 {
        len.saturating_sub(self.limit / KEPT_PARTS)
    }

    /// How long chunks and bursts may be.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Most bytes that are written and not acknowledged, until the path is looked at again: what the connection
    /// must take without making anybody wait. That includes what is only believed to have arrived.
    pub fn outstanding_max(&self) -> u64 {
        let counted = self.limit.max(self.counted()) + self.reserve();
        counted + 2 * CHUNK_LEN_MAX as u64 + self.arrived
    }
}

fn times(bytes_per_second: u64, duration: Duration) -> u64 {
    (u128::from(bytes_per_second) * duration.as_micros() / 1_000_000) as u64
}

fn per_second(bytes: u64, duration: Duration) -> u64 {
    (u128::from(bytes) * 1_000_000 / duration.as_micros().max(1)) as u64
}

#[cfg(test)]
mod tests;
