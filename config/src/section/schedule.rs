//! `timezone`, `schedule` and `monthly_cap`.

use jiff::tz::TimeZone;

use super::rate;
use crate::read::{Table, Value};
use crate::schedule::{CapAction, Days, MonthlyCap, Schedule, TimeOfDay, WINDOWS_MAX, Window};
use crate::unit::ByteSize;

/// Every month has them.
const RESET_DAYS: std::ops::RangeInclusive<u64> = 1..=28;

/// What a link or a region says of the calendar.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    pub(crate) schedule: Schedule,
    pub(crate) cap: Option<MonthlyCap>,
}

/// Of a region, which has no cap.
pub(super) fn read(table: &Table<'_>) -> Calendar {
    read_with(table, None)
}

/// Of a link.
pub(super) fn read_with_cap(table: &Table<'_>) -> Calendar {
    read_with(table, table.optional("monthly_cap"))
}

fn read_with(table: &Table<'_>, cap: Option<Value<'_>>) -> Calendar {
    let named = table.optional("timezone");
    let zone = match &named {
        Some(value) => value
            .parse(|name| TimeZone::get(name).map_err(|_| "there is none of that name"))
            .map(|zone| zone.value),
        None => Some(TimeZone::UTC),
    };
    let schedule = table.optional("schedule");
    if let Some(named) = &named
        && schedule.is_none()
        && cap.is_none()
    {
        let text = "nothing here goes by the clock";
        table.report().warn(&named.place, text, None);
    }
    // A zone that cannot be read is a fault already; what else goes by it is still read, for its faults.
    let zone = zone.unwrap_or(TimeZone::UTC);
    Calendar {
        schedule: schedule.map_or_else(Schedule::default, |value| read_schedule(&value, &zone)),
        cap: cap.and_then(|value| read_cap(&value, &zone)),
    }
}

fn read_schedule(value: &Value<'_>, zone: &TimeZone) -> Schedule {
    let elements = value.list("a table of days, from, to and rate");
    let elements = elements.unwrap_or_default();
    if elements.len() > WINDOWS_MAX {
        value.fail_because::<()>(format_args!("at most {WINDOWS_MAX}"));
        return Schedule::default();
    }
    let windows: Vec<_> = elements.iter().map(read_window).collect();
    let Some(windows) = windows.into_iter().collect::<Option<Vec<_>>>() else {
        return Schedule::default();
    };
    let schedule = Schedule::new(zone.clone(), windows);
    for number in schedule.hidden() {
        if let Some(table) = elements.get(number).and_then(Value::table) {
            let text =
                "it never holds: windows before it cover all its time, and the first one counts";
            table.report().warn(&table.place, text, None);
        }
    }
    schedule
}

fn read_window(value: &Value<'_>) -> Option<Window> {
    let table = value.table()?;
    let days = match table.optional("days") {
        Some(value) => read_days(&value),
        None => Some(Days::ALL),
    };
    let time = |name| {
        let value = table.required(name)?;
        value.parse(str::parse::<TimeOfDay>)
    };
    let (from, to) = (time("from"), time("to"));
    let rate = table.required("rate").and_then(|value| rate::parse(&value));
    let (from, to) = (from?, to?);
    if from.value == to.value {
        let found = format!("\"{}\", when it begins", to.value);
        let wanted = "another time (\"00:00\" to \"24:00\" is the whole day)";
        table
            .report()
            .conflict(&to.place, found, wanted, &from.place);
        return None;
    }
    Some(Window {
        days: days?,
        from: from.value,
        to: to.value,
        rate: rate?,
    })
}

fn read_days(value: &Value<'_>) -> Option<Days> {
    let elements = value.list("a day such as \"mon\", or days such as \"mon-fri\"")?;
    if elements.is_empty() {
        return value.fail();
    }
    let days: Vec<_> = elements
        .iter()
        .map(|element| element.parse(str::parse::<Days>))
        .collect();
    days.into_iter()
        .try_fold(Days::none(), |all, days| Some(all.with(days?.value)))
}

fn read_cap(value: &Value<'_>, zone: &TimeZone) -> Option<MonthlyCap> {
    let table = value.table()?;
    let bytes = table
        .required("bytes")
        .and_then(|value| value.parse(str::parse::<ByteSize>));
    let number = |name, range, default: u8| match table.optional(name) {
        Some(value) => {
            let number = value.integer(range)?.value;
            u8::try_from(number).ok()
        }
        None => Some(default),
    };
    let (warn_at, reset_day) = (
        number("warn_at", 1..=100, 80),
        number("reset_day", RESET_DAYS, 1),
    );
    let then = match table.optional("then") {
        None => Some(CapAction::Stall),
        Some(value) if value.raw().as_str() == Some("stall") => Some(CapAction::Stall),
        Some(value) => rate::parse(&value).map(CapAction::Rate),
    };
    Some(MonthlyCap {
        bytes: bytes?.value,
        warn_at: warn_at?,
        then: then?,
        reset_day: reset_day?,
        zone: zone.clone(),
    })
}
