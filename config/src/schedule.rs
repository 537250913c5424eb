//! What depends on the calendar: rates by the hour, and the month that a cap counts. Pure functions of a
//! moment; who asks brings the clock.
//!
//! Windows are written in civil time of a zone, as people read clocks. Where a clock jumps, the answer
//! jumps with it: an hour that is skipped is skipped, one that is repeated holds twice.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};

use crate::unit::{ByteSize, Rate};

/// Windows of a schedule at most; a person wrote them.
pub const WINDOWS_MAX: usize = 64;
const MINUTES_A_DAY: u16 = 24 * 60;
/// Days that are looked ahead for the next change. A week has every window once; a jump of the clock may
/// hide one.
const DAYS_AHEAD: i64 = 9;

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);
    const NONE: Self = Self(0);

    fn has(self, day: u8) -> bool {
        self.0 & (1 << day) != 0
    }

    /// The days of both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn none() -> Self {
        Self::NONE
    }
}

/// Why a text is no day and no time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// No day of the week.
    #[error("days are mon, tue, wed, thu, fri, sat, sun")]
    Day,
    /// Not `HH:MM`.
    #[error("hours and minutes as in 08:00")]
    Form,
    /// No such time.
    #[error("a day has 24 hours of 60 minutes")]
    Range,
}

impl FromStr for Days {
    type Err = InvalidTime;

    /// A day such as `mon`, or a run of days such as `mon-fri` or `sat-mon`.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let day = |name: &str| NAMES.iter().position(|known| *known == name);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (day(first), day(last)) else {
            return Err(InvalidTime::Day);
        };
        let count = (last + 7 - first) % 7 + 1;
        let run = (0..count).map(|step| Self(1 << ((first + step) % 7)));
        Ok(run.fold(Self::NONE, Self::with))
    }
}

/// Minutes since midnight, 0 to 1440.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl FromStr for TimeOfDay {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let digits = |text: &str| match text.as_bytes() {
            [a @ b'0'..=b'9', b @ b'0'..=b'9'] => {
                Ok(u16::from(a - b'0') * 10 + u16::from(b - b'0'))
            }
            _ => Err(InvalidTime::Form),
        };
        let (hours, minutes) = text.split_once(':').ok_or(InvalidTime::Form)?;
        let (hours, minutes) = (digits(hours)?, digits(minutes)?);
        match hours * 60 + minutes {
            time if minutes < 60 && time <= MINUTES_A_DAY => Ok(Self(time)),
            _ => Err(InvalidTime::Range),
        }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Some hours of some days, and the rate that holds in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The days on which it begins.
    pub days: Days,
    /// Its first minute.
    pub from: TimeOfDay,
    /// The minute behind its last. At or before `from`: it is one of the next day.
    pub to: TimeOfDay,
    /// What holds in it.
    pub rate: Rate,
}

impl Window {
    fn covers(&self, day: u8, minute: u16) -> bool {
        let Self { days, from, to, .. } = self;
        let yesterday = (day + 6) % 7;
        if from < to {
            days.has(day) && (from.0..to.0).contains(&minute)
        } else {
            (days.has(day) && minute >= from.0) || (days.has(yesterday) && minute < to.0)
        }
    }
}

/// Rates by the hour. An empty one says nothing at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    zone: TimeZone,
    windows: Vec<Window>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self::new(TimeZone::UTC, Vec::new())
    }
}

/// What a schedule says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The window that holds, by its number.
    pub window: Option<usize>,
    /// When another one, or none, does; none: not within a week.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// The first window that covers a moment holds.
    pub fn new(zone: TimeZone, windows: Vec<Window>) -> Self {
        Self { zone, windows }
    }

    /// The windows, in the order of the file.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// What holds at a moment, and until when.
    pub fn decide(&self, now: Timestamp) -> Decision {
        let window = self.window_at(now);
        let mut edges = self.edges(now);
        edges.sort_unstable();
        let until = edges
            .into_iter()
            .find(|edge| *edge > now && self.window_at(*edge) != window);
        Decision { window, until }
    }

    /// The window at a moment.
    pub fn window_at(&self, now: Timestamp) -> Option<usize> {
        let civil = now.to_zoned(self.zone.clone());
        let minute =
            u16::from(civil.hour().unsigned_abs()) * 60 + u16::from(civil.minute().unsigned_abs());
        self.window_in(day_of(civil.weekday()), minute)
    }

    fn window_in(&self, day: u8, minute: u16) -> Option<usize> {
        self.windows
            .iter()
            .position(|window| window.covers(day, minute))
    }

    /// Every moment of the next days at which anything could change: beginnings and ends of windows, both
    /// of them where the clock shows the time twice, and the jumps of the clock themselves.
    fn edges(&self, now: Timestamp) -> Vec<Timestamp> {
        if self.windows.is_empty() {
            return Vec::new();
        }
        let today = now.to_zoned(self.zone.clone()).date();
        let Ok(last) = now.checked_add((24 * DAYS_AHEAD).hours()) else {
            return Vec::new(); // the end of time
        };
        let jumps = self.zone.following(now).map(|jump| jump.timestamp());
        let mut edges: Vec<_> = jumps.take_while(|jump| *jump <= last).collect();
        let mut minutes: Vec<u16> = self
            .windows
            .iter()
            .flat_map(|window| [window.from.0, window.to.0].map(|minute| minute % MINUTES_A_DAY))
            .collect();
        minutes.sort_unstable();
        minutes.dedup();
        for ahead in 0..DAYS_AHEAD {
            let Ok(date) = today.checked_add(ahead.days()) else {
                break;
            };
            for minute in &minutes {
                edges.extend(self.moments(date, *minute));
            }
        }
        edges
    }

    /// When the clock shows that time: once, twice, or not at all.
    fn moments(&self, date: Date, minute: u16) -> impl Iterator<Item = Timestamp> {
        let [hour, minute] = [minute / 60, minute % 60].map(|part| part as i8); // below 60
        let time = date.at(hour, minute, 0, 0);
        let offsets = match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
            AmbiguousOffset::Gap { .. } => [None, None],
            AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
        };
        let at = move |offset: jiff::tz::Offset| offset.to_timestamp(time).ok();
        offsets.into_iter().flatten().filter_map(at)
    }

    /// Windows that never hold, because those before them cover all their time.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = usize> {
        let week = || (0..7).flat_map(|day| (0..MINUTES_A_DAY).map(move |minute| (day, minute)));
        (0..self.windows.len()).filter(move |number| {
            !week().any(|(day, minute)| self.window_in(day, minute) == Some(*number))
        })
    }
}

fn day_of(weekday: Weekday) -> u8 {
    weekday.to_monday_zero_offset().unsigned_abs()
}

/// How much a sidecar may send on a link in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthlyCap {
    /// Bytes on the wire, IP and UDP headers included.
    pub bytes: ByteSize,
    /// Per cent of them from which an operator is warned; 1 to 100.
    pub warn_at: u8,
    /// What happens when all are used.
    pub then: CapAction,
    /// The day of the month with which the count begins anew; 1 to 28.
    pub reset_day: u8,
    /// Whose midnight that is.
    pub zone: TimeZone,
}

/// What happens at a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapAction {
    /// Records wait in their source stream until the next month.
    Stall,
    /// No more than this rate until the next month.
    Rate(Rate),
}

impl MonthlyCap {
    /// Bytes from which an operator is warned.
    pub fn warn_bytes(&self) -> u64 {
        let bytes = u128::from(self.bytes.0) * u128::from(self.warn_at) / 100;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// When the month of that moment began.
    pub fn began(&self, now: Timestamp) -> Timestamp {
        let today = now.to_zoned(self.zone.clone()).date();
        let this = self.reset_in(today);
        match this.filter(|this| *this <= now) {
            Some(this) => this,
            None => today
                .first_of_month()
                .checked_sub(1.day())
                .ok()
                .and_then(|before| self.reset_in(before))
                .unwrap_or(Timestamp::MIN),
        }
    }

    /// When the month after it begins.
    pub fn ends(&self, now: Timestamp) -> Timestamp {
        let today = now.to_zoned(self.zone.clone()).date();
        let this = self.reset_in(today);
        match this.filter(|this| *this > now) {
            Some(this) => this,
            None => today
                .last_of_month()
                .checked_add(1.day())
                .ok()
                .and_then(|after| self.reset_in(after))
                .unwrap_or(Timestamp::MAX),
        }
    }

    /// The beginning of the reset day in the month of a date.
    fn reset_in(&self, date: Date) -> Option<Timestamp> {
        let day = date
            .first_of_month()
            .checked_add((i64::from(self.reset_day) - 1).days());
        let begins: Option<Zoned> = day.ok()?.to_zoned(self.zone.clone()).ok();
        begins.map(|begins| begins.timestamp())
    }
}
