//! `rate`, of a link and of a region.

use crate::read::{Table, Value};
use crate::unit::Rate;

/// Below this a batch of one record takes many seconds; no WAN that carries IP is slower.
const RATE_MIN: Rate = Rate::from_bits_per_second(16_000);
/// Above this the figure is a slip.
const RATE_MAX: Rate = Rate::from_bits_per_second(1_000_000_000_000);

/// The table's `rate`, if it has one.
pub(super) fn read(table: &Table<'_>) -> Option<Rate> {
    parse(&table.optional("rate")?)
}

/// A rate in the bounds of what a line can carry.
pub(super) fn parse(value: &Value<'_>) -> Option<Rate> {
    let rate = value.parse(str::parse::<Rate>)?.value;
    if (RATE_MIN..=RATE_MAX).contains(&rate) {
        Some(rate)
    } else {
        value.fail()
    }
}
