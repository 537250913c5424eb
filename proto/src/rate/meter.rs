//! What a link has sent in a month, and what its cap says to that.
//!
//! ```text
//!            warn_bytes            bytes
//!   Below ──────────────► Warned ────────► Reached
//!     ▲                     │                 │
//!     └──── a month began ──┴─────────────────┘     a cap that was raised goes back as well
//! ```
//! The count and the time of the last look are durable. A look at a later month than the last one begins
//! anew; so neither a restart nor another reset day forgets what was sent since the month began.

use std::time::Duration;

use crate::checkpoint::{CorruptValue, begin, open, seal};

const MAGIC: &[u8; 4] = b"CWMU";
const VERSION: u8 = 1;
const BODY_LEN: usize = 16;

/// What is remembered of a month. Durable as
/// `"CWMU" u8 version  u64 bytes  u64 looked_at (seconds since the Unix epoch)  u32 crc`, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Sent since the month began, IP and UDP headers included.
    pub bytes: u64,
    /// When that was last looked at, in whole seconds since the Unix epoch.
    pub looked_at: Duration,
}

impl Usage {
    /// The durable form.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = begin(MAGIC, VERSION);
        value.extend(self.bytes.to_be_bytes());
        value.extend(self.looked_at.as_secs().to_be_bytes());
        seal(value)
    }

    /// Reads the durable form.
    pub fn decode(value: &[u8]) -> Result<Self, CorruptValue> {
        let body = match open(value, MAGIC)? {
            (VERSION, body) => body,
            (version, _) => return Err(CorruptValue::Version(version)),
        };
        let Some((bytes, looked_at)) = body
            .split_first_chunk::<8>()
            .and_then(|(bytes, rest)| Some((bytes, <&[u8; 8]>::try_from(rest).ok()?)))
            .filter(|_| body.len() == BODY_LEN)
        else {
            return Err(CorruptValue::Length(value.len()));
        };
        Ok(Self {
            bytes: u64::from_be_bytes(*bytes),
            looked_at: Duration::from_secs(u64::from_be_bytes(*looked_at)),
        })
    }
}

/// How much may be sent in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Bytes of a month.
    pub bytes: u64,
    /// Bytes from which an operator is warned; at most `bytes`.
    pub warn_bytes: u64,
}

/// How a month's count stands to its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CapState {
    /// Nothing to say.
    Below,
    /// An operator should know.
    Warned,
    /// All is used.
    Reached,
}

/// The beginning of 2026. A machine without a battery for its clock begins in 1970 and learns the date later; an earlier
/// time says nothing of the month.
const CLOCK_IS_SET: Duration = Duration::from_secs(20_454 * 86_400);

/// Counts a link's bytes by the month. Times are since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    usage: Usage,
}

impl Meter {
    /// Goes on from what was remembered.
    pub fn new(usage: Usage) -> Self {
        Self { usage }
    }

    /// What is to be remembered.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// So many bytes left since the last look. `month_began`: when the month of `now` did. Bytes between the
    /// last look and the beginning of a month count for the new one: there is a second of them at most.
    pub fn handle_sent(&mut self, now: Duration, month_began: Duration, bytes: u64) {
        if now < CLOCK_IS_SET {
            self.usage.bytes = self.usage.bytes.saturating_add(bytes);
            return;
        }
        if month_began > self.usage.looked_at {
            self.usage.bytes = 0;
        }
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
        // A clock that was set back counts on in the month that it shows.
        self.usage.looked_at = Duration::from_secs(now.as_secs());
    }

    /// How the count stands to a cap.
    pub fn state(&self, cap: Cap) -> CapState {
        match self.usage.bytes {
            bytes if bytes >= cap.bytes => CapState::Reached,
            bytes if bytes >= cap.warn_bytes => CapState::Warned,
            _ => CapState::Below,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;
    const CAP: Cap = Cap {
        bytes: 1000,
        warn_bytes: 800,
    };

    fn days(days: u64) -> Duration {
        CLOCK_IS_SET + Duration::from_secs(days * DAY)
    }

    #[test]
    fn a_month_goes_from_below_to_reached_and_the_next_one_begins_anew() {
        let mut meter = Meter::new(Usage::default());
        for (day, bytes, state) in [
            (31, 799, CapState::Below),
            (32, 1, CapState::Warned),
            (40, 199, CapState::Warned),
            (41, 1, CapState::Reached),
            (61, 0, CapState::Reached),
        ] {
            meter.handle_sent(days(day), days(31), bytes);
            assert_eq!(meter.state(CAP), state, "day {day}");
        }
        let raised = Cap {
            bytes: 1250,
            warn_bytes: 1001,
        };
        assert_eq!(meter.state(raised), CapState::Below);
        meter.handle_sent(days(62), days(62), 5);
        assert_eq!(
            (meter.usage().bytes, meter.state(CAP)),
            (5, CapState::Below)
        );
    }

    #[test]
    fn another_reset_day_forgets_nothing_of_the_month() {
        let mut meter = Meter::new(Usage::default());
        meter.handle_sent(days(52), days(31), 900);
        // From now on months begin on day 46: the last look was behind that.
        meter.handle_sent(days(53), days(46), 50);
        assert_eq!(meter.usage().bytes, 950);
        meter.handle_sent(days(77), days(76), 1);
        assert_eq!(meter.usage().bytes, 1);
    }

    #[test]
    fn a_clock_that_was_wrong_stops_no_month() {
        let mut meter = Meter::new(Usage::default());
        meter.handle_sent(days(40), days(31), 700);
        meter.handle_sent(days(4000), days(3990), 10);
        meter.handle_sent(days(41), days(31), 10);
        assert_eq!(meter.usage().bytes, 20);
        meter.handle_sent(days(62), days(62), 1);
        assert_eq!(meter.usage().bytes, 1);
    }

    #[test]
    fn a_clock_that_is_not_set_yet_begins_no_month() {
        let mut meter = Meter::new(Usage::default());
        meter.handle_sent(days(40), days(31), 900);
        meter.handle_sent(Duration::from_secs(5), Duration::ZERO, 20);
        meter.handle_sent(days(41), days(31), 1);
        assert_eq!(meter.usage().bytes, 921);
    }

    #[test]
    fn what_is_remembered_has_its_bytes() {
        let usage = Usage {
            bytes: 0x0102,
            looked_at: Duration::from_secs(3),
        };
        let value = usage.encode();
        let body = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(
            (&value[..5], &value[5..21], value.len()),
            (&b"CWMU\x01"[..], &body[..], 25)
        );
        assert_eq!(Usage::decode(&value), Ok(usage));
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            assert!(Usage::decode(&damaged).is_err(), "byte {at}");
            assert!(Usage::decode(&value[..at]).is_err());
        }
    }

    proptest! {
        /// However it is looked at and whenever the process restarts, a month's count is its bytes.
        #[test]
        fn every_byte_counts_in_one_month(
            sent in prop::collection::vec((1_u64..DAY, 0_u64..1000, any::<bool>()), 1..200),
        ) {
            let month = |second: u64| second / (30 * DAY);
            // 2026-01-07, from where on 30 days are a month.
            let (mut meter, mut second) = (Meter::new(Usage::default()), 682 * 30 * DAY);
            let mut months = std::collections::BTreeMap::<u64, u64>::new();
            for (step, bytes, restarts) in sent {
                second += step;
                if restarts {
                    meter = Meter::new(Usage::decode(&meter.usage().encode()).unwrap());
                }
                *months.entry(month(second)).or_default() += bytes;
                let began = Duration::from_secs(month(second) * 30 * DAY);
                meter.handle_sent(Duration::from_secs(second), began, bytes);
                prop_assert_eq!(meter.usage().bytes, months[&month(second)]);
            }
        }
    }
}
