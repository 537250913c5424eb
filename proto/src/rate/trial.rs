//! One look at the path: what became of the packets sent in one stretch of time.

use std::time::Duration;

/// A trial lasts until so many packets of it arrived, or eight times as long as was meant.
const PACKETS_MIN: u64 = 8;
/// See [`Finding::is_overrun`].
const OVERRUN_PACKETS: u64 = 64;

/// A stretch of sending at one rate, judged when a packet sent after it was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// It begins with the first packet that leaves.
    waits: bool,
    from: Duration,
    until: Duration,
    first_ack: Option<(Duration, u64)>,
    last_ack: Duration,
    acked: u64,
    packets: u64,
    idle: u64,
    lost: u64,
    lost_bytes: u64,
    low: Duration,
    low_early: Duration,
    low_late: Duration,
    low_last: Duration,
}

/// What arrived since a time, gaps between trials included: jitter that stretches one trial to twice its length is
/// little of several round trips.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    since: Duration,
    bytes: u64,
}

impl Arrived {
    /// Counts from now on.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            since: now,
            bytes: 0,
        }
    }

    /// So many bytes arrived, headers included.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Bits a second until now.
    pub(super) fn rate(self, now: Duration) -> u64 {
        let time = now.saturating_sub(self.since).as_nanos();
        (u128::from(self.bytes) * 8_000_000_000 / time.max(1)) as u64
    }
}

/// What a trial found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    /// Bits a second that arrived, headers included.
    pub(super) delivered: u64,
    /// Bits a second that arrived since the trial before was judged, or since the first of several that were looked
    /// at together.
    pub(super) arrived: u64,
    /// Bits a second that were sent.
    pub(super) sent: u64,
    /// Lost packets in a million.
    pub(super) loss: u64,
    /// Time in which it arrived.
    pub(super) took: Duration,
    /// Packets sent.
    pub(super) packets: u64,
    /// Lowest round trip.
    pub(super) low: Duration,
    /// Lowest round trip in its first half.
    pub(super) low_early: Duration,
    /// Lowest round trip in its second half: what is left of a queue that was being drained.
    pub(super) low_late: Duration,
    /// Lowest round trip that the last acknowledgement told.
    pub(super) low_last: Duration,
    /// The path was not tried: there was too little to send.
    pub(super) is_idle: bool,
    /// There was always more to send.
    pub(super) is_busy: bool,
}

impl Finding {
    /// Less arrived than was sent at (nearly) the full `rate`, of so many packets that neither one late
    /// acknowledgement nor jitter looks like it.
    pub(super) fn is_overrun(&self, rate: u64) -> bool {
        self.packets >= OVERRUN_PACKETS
            && self.sent > rate / 4 * 3
            && self.delivered * 8 < self.sent * 7
    }

    /// Half of `rate` or more was sent, and enough of it to tell something by.
    pub(super) fn is_used(&self, rate: u64) -> bool {
        self.packets >= OVERRUN_PACKETS && self.sent > rate / 2
    }

    /// Clearly less arrived than was sent.
    pub(super) fn is_behind(&self) -> bool {
        self.packets >= OVERRUN_PACKETS && self.delivered * 5 < self.sent * 4
    }
}

impl Trial {
    /// A trial of what is sent from now on, for so long.
    pub(super) fn new(now: Duration, length: Duration) -> Self {
        Self {
            waits: false,
            from: now,
            until: now + length,
            first_ack: None,
            last_ack: now,
            acked: 0,
            packets: 0,
            idle: 0,
            lost: 0,
            lost_bytes: 0,
            low: Duration::MAX,
            low_early: Duration::MAX,
            low_late: Duration::MAX,
            low_last: Duration::MAX,
        }
    }

    /// A trial of what is sent for so long from the first packet on that leaves from now on.
    pub(super) fn of_next(now: Duration, length: Duration) -> Self {
        Self {
            waits: true,
            ..Self::new(now, length)
        }
    }

    /// A packet was acknowledged; `bytes` with headers. True: the trial is over.
    pub(super) fn acked(
        &mut self,
        now: Duration,
        sent: Duration,
        bytes: u64,
        app_limited: bool,
    ) -> bool {
        if sent < self.from {
            return false;
        }
        if self.waits && self.packets == 0 && sent >= self.until {
            self.until = sent + (self.until - self.from);
            self.from = sent;
        }
        if sent >= self.until {
            if self.packets >= PACKETS_MIN || sent >= self.from + (self.until - self.from) * 8 {
                return true;
            }
            self.until = sent + Duration::from_nanos(1);
        }
        let raw = now.saturating_sub(sent);
        self.low = self.low.min(raw);
        let is_late = sent >= self.from + (self.until - self.from) / 2;
        let half = if is_late {
            &mut self.low_late
        } else {
            &mut self.low_early
        };
        *half = raw.min(*half);
        let is_another = self.last_ack != now;
        self.low_last = if is_another {
            raw
        } else {
            raw.min(self.low_last)
        };
        self.acked += bytes;
        self.packets += 1;
        self.idle += u64::from(app_limited);
        self.last_ack = now;
        match &mut self.first_ack {
            // Everything that the first acknowledgement brought arrived before the time that it opens.
            Some((at, with)) if *at == now => *with += bytes,
            Some(_) => {}
            None => self.first_ack = Some((now, bytes)),
        }
        false
    }

    /// Whether all of it was sent by now.
    pub(super) fn has_left(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// Packets of the trial were lost.
    pub(super) fn lost(&mut self, sent: Duration, packets: u64, bytes: u64) {
        if sent >= self.from && sent < self.until {
            self.lost += packets;
            self.lost_bytes += bytes;
        }
    }

    /// What it found, while so many bits a second arrived in all. Nothing, if hardly anything was sent.
    pub(super) fn finding(&self, arrived: u64) -> Option<Finding> {
        let (first, with) = self.first_ack?;
        let sent = self.packets + self.lost;
        let half = |low| if low == Duration::MAX { self.low } else { low };
        let time = self.last_ack.saturating_sub(first).as_nanos();
        // The same bytes took at least as long to arrive as to be sent; acknowledgements that came all at once say nothing.
        let length = (self.until - self.from).as_nanos();
        let delivered = if time * 2 >= length {
            u128::from(self.acked - with) * 8_000_000_000 / time.max(1)
        } else {
            u128::from(self.acked) * 8_000_000_000 / length.max(1)
        };
        Some(Finding {
            delivered: delivered as u64,
            arrived,
            sent: (u128::from(self.acked + self.lost_bytes) * 8_000_000_000 / length.max(1)) as u64,
            loss: self.lost * 1_000_000 / sent.max(1),
            took: self.last_ack.saturating_sub(first),
            packets: sent,
            low: self.low,
            low_early: half(self.low_early),
            low_late: half(self.low_late),
            low_last: self.low_last,
            is_busy: self.idle == 0,
            is_idle: self.idle * 2 > self.packets,
        })
    }
}
