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
//! A batch of which a part is unwritten will never be acknowledged. So when nothing else is on its way, what
//! is begun may be finished, however small the path: otherwise all would wait for each other for ever.

use std::time::Duration;

use super::schedule::Room;
use super::{CHUNK, CHUNK_LEN_MAX, CHUNK_LEN_MIN, LIVE_BURST, LIVE_SHARE_PERCENT, UNSENT};

/// The path as the connection sees it now.
#[derive(Debug, Clone, Copy)]
pub struct PathView {
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Bytes that the congestion controller allows in flight.
    pub window: u64,
    /// Declared rate of the wire in bytes a second, where there is one.
    pub rate: Option<u64>,
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

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    /// Bytes written whose batch is not yet acknowledged.
    outstanding: u64,
    /// Of those, bytes of batches that are written to their ends.
    whole: u64,
    limit: u64,
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
/// A path that nothing is known of yet.
const LIMIT_FIRST: u64 = 64 * 1024;

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
            whole: 0,
            limit: LIMIT_FIRST,
            pace: Pace::default(),
            loss_ppm: 0,
            batch_len: 0,
            sent_seen: 0,
            lost_seen: 0,
        }
    }

    /// A chunk was written.
    pub fn handle_written(&mut self, len: usize) {
        self.outstanding += len as u64;
    }

    /// The last chunk of a batch was written.
    pub fn handle_finished(&mut self, batch_len: u64) {
        self.whole += batch_len;
    }

    /// The peer has all of a batch, or its stream is gone.
    pub fn handle_delivered(&mut self, batch_len: u64) {
        self.outstanding = self.outstanding.saturating_sub(batch_len);
        self.whole = self.whole.saturating_sub(batch_len);
        self.batch_len = (self.batch_len * 7 + batch_len) / 8;
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
        self.limit = path + late + unsent + 2 * self.batch_len + 2 * view.mtu;
        self.pace = Pace {
            chunk_len_max: (times(rate, CHUNK) as usize).clamp(CHUNK_LEN_MIN, CHUNK_LEN_MAX),
            live_burst_max: times(rate, LIVE_BURST).max(2 * CHUNK_LEN_MIN as u64),
        };
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
        let least = u64::from(self.whole == 0);
        let any = self.limit.saturating_sub(self.outstanding).max(least);
        // Live bytes go before what waits unsent, so they need not wait for it; their share of the
        // limit bounds them.
        let reserve = self.limit * LIVE_SHARE_PERCENT / 100;
        Room {
            any,
            live: (self.limit + reserve).saturating_sub(self.outstanding),
        }
    }

    /// How long chunks and bursts may be.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Most bytes that are ever written and not acknowledged: what the connection must take without
    /// making anybody wait.
    pub fn outstanding_max(&self) -> u64 {
        self.limit + self.limit * LIVE_SHARE_PERCENT / 100 + 2 * CHUNK_LEN_MAX as u64
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
