//! Whose chunk is next: strict priority for a share of live bytes, weighted fair queueing for the rest.
//!
//! Fairness is counted in virtual time: each class has a clock that its bytes advance, slower the
//! larger its weight, and the class that is furthest behind goes next. A class that comes back from
//! idle starts at the present, so that it neither claims what it lent nor pays for it. Lanes within a
//! class do the same with equal weights, batch by batch: a batch is of use when it is whole, so one that is
//! begun is finished before the next of its class.

use std::collections::{BTreeMap, BTreeSet};

use super::{LIVE_SHARE_PERCENT, Pace, WEIGHT_BULK, WEIGHT_LIVE, WEIGHT_NORMAL};
use crate::frame::LaneClass;
use crate::id::LaneId;

const CLASSES: usize = LaneClass::ALL.len();
/// Classes by their code, which is their place in every table here.
const WEIGHTS: [u64; CLASSES] = [WEIGHT_LIVE, WEIGHT_NORMAL, WEIGHT_BULK];
const LIVE: usize = LaneClass::Live.code() as usize;
/// Virtual time that a byte of weight 1 takes. A multiple of every weight, so nothing is lost in
/// division.
const TICKS: u64 = WEIGHT_LIVE * WEIGHT_NORMAL * WEIGHT_BULK;

/// A piece of a lane's batch that goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Whose.
    pub lane: LaneId,
    /// How many bytes.
    pub len: usize,
    /// Whether the batch ends with it.
    pub last: bool,
}

/// Bytes that may be handed to the connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// By any lane.
    pub any: u64,
    /// By live lanes, while their share lasts. Never less than `any`.
    pub live: u64,
}

#[derive(Debug)]
struct Offer {
    class: usize,
    /// When the lane is due, in virtual time of its class.
    due: u64,
    taken: u64,
    left: usize,
}

/// The lanes of one class that have something on offer.
#[derive(Debug, Default)]
struct Class {
    /// By the time that they are due.
    lanes: BTreeSet<(u64, LaneId)>,
    /// The lane whose batch is begun; also in `lanes`.
    begun: Option<(u64, LaneId)>,
    /// Virtual time among the lanes of the class.
    now: u64,
    /// When the class is due, in virtual time among the classes.
    due: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Schedule {
    classes: [Class; CLASSES],
    offers: BTreeMap<LaneId, Offer>,
    /// When each lane's last batch ended in virtual time of its class, while that is not yet past.
    ends: BTreeMap<LaneId, (usize, u64)>,
    /// Virtual time among the classes.
    now: u64,
    /// Live bytes that went first and are not yet made up for by bytes that went by weight.
    live_ahead: u64,
    pace: Pace,
}

impl Schedule {
    /// A schedule that nothing is offered to.
    pub fn new() -> Self {
        Self::default()
    }

    /// A lane has a batch of `len` bytes to send, one at a time. Its class may be another than that
    /// of its batch before.
    pub fn offer(&mut self, lane: LaneId, class: LaneClass, len: usize) {
        debug_assert!(len > 0, "a batch has a head at least");
        debug_assert!(!self.offers.contains_key(&lane), "one batch a lane");
        let index = usize::from(class.code());
        let class = &mut self.classes[index];
        if class.lanes.is_empty() {
            class.due = class.due.max(self.now);
        }
        let due = match self.ends.remove(&lane) {
            Some((of, end)) if of == index => end.max(class.now),
            _ => class.now,
        };
        class.lanes.insert((due, lane));
        let offer = Offer {
            class: index,
            due,
            taken: 0,
            left: len,
        };
        self.offers.insert(lane, offer);
    }

    /// Forgets what is left of a lane's batch.
    pub fn withdraw(&mut self, lane: LaneId) {
        self.ends.remove(&lane);
        if let Some(offer) = self.offers.remove(&lane) {
            let class = &mut self.classes[offer.class];
            class.lanes.remove(&(offer.due, lane));
            class.begun = class.begun.filter(|(_, begun)| *begun != lane);
        }
    }

    /// The link's rate has changed, and with it how long a chunk and a burst may be.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The next chunk, if there is room for one. A chunk may exceed the room that is left by less
    /// than its own length.
    pub fn poll_chunk(&mut self, room: Room) -> Option<Chunk> {
        let strict = self.live_ahead < self.pace.live_burst_max;
        if strict && room.live > 0 && !self.classes[LIVE].lanes.is_empty() {
            let contended = self.classes.iter().filter(|c| !c.lanes.is_empty()).count() > 1;
            let chunk = self.take_from(LIVE)?;
            if contended {
                self.live_ahead += chunk.len as u64;
            }
            return Some(chunk);
        }
        if room.any == 0 {
            return None;
        }
        let next = (0..CLASSES)
            .filter(|index| !self.classes[*index].lanes.is_empty())
            .min_by_key(|index| self.classes[*index].due)?;
        self.now = self.classes[next].due;
        let chunk = self.take_from(next)?;
        let len = chunk.len as u64;
        self.classes[next].due += len * TICKS / WEIGHTS[next];
        let earned = len * LIVE_SHARE_PERCENT / (100 - LIVE_SHARE_PERCENT);
        self.live_ahead = self.live_ahead.saturating_sub(earned);
        Some(chunk)
    }

    fn take_from(&mut self, index: usize) -> Option<Chunk> {
        let class = &mut self.classes[index];
        let next = class.begun.or_else(|| class.lanes.first().copied())?;
        let (due, lane) = next;
        let offer = self.offers.get_mut(&lane)?;
        if class.begun.is_none() {
            class.now = due;
        }
        let len = offer.left.min(self.pace.chunk_len_max);
        offer.left -= len;
        offer.taken += len as u64;
        let last = offer.left == 0;
        class.begun = Some(next).filter(|_| !last);
        if last {
            let end = due + offer.taken;
            class.lanes.remove(&next);
            self.offers.remove(&lane);
            self.note_end(lane, index, end);
        }
        Some(Chunk { lane, len, last })
    }

    /// Remembers how far a lane has gone, for as long as others are behind it: one that offers batch
    /// after batch has no more turns than one that offers a large batch.
    fn note_end(&mut self, lane: LaneId, index: usize, end: u64) {
        let now = self.classes.each_ref().map(|class| class.now);
        self.ends.retain(|_, (of, end)| *end > now[*of]);
        self.ends.insert(lane, (index, end));
    }

    /// Whether any lane has something on offer.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// Bytes on offer.
    pub fn offered(&self) -> u64 {
        self.offers.values().map(|offer| offer.left as u64).sum()
    }
}

#[cfg(test)]
mod tests;
