//! `[[link]]`

use std::time::Duration;

use causeway_proto::id::RegionId;

use super::read_regions;
use super::schedule::{self, Calendar};
use crate::address::HostPort;
use crate::error::Place;
use crate::plan::{LinkMode, LinkPlan};
use crate::read::{Placed, Table};
use crate::unit::{Rate, parse_duration};

/// A path to Mars is another protocol.
const RTT_MAX: Duration = Duration::from_secs(10);
/// What QUIC demands of every path, and what UDP can hold.
const MTU_RANGE: std::ops::RangeInclusive<u64> = 1200..=65527;

pub(crate) struct LinkDraft {
    pub(crate) place: Place,
    /// Listener and dialler.
    pub(crate) regions: Option<[Placed<RegionId>; 2]>,
    pub(crate) dial: Option<Placed<HostPort>>,
    pub(crate) dial_back: Option<Placed<HostPort>>,
    rate: Option<Rate>,
    calendar: Calendar,
    mode: LinkMode,
    copies: bool,
    rtt: Option<Duration>,
    mtu: Option<u16>,
}

impl LinkDraft {
    /// Complete, where no fault was reported.
    pub(crate) fn into_plan(self) -> Option<LinkPlan> {
        let [listener, dialer] = self.regions?;
        Some(LinkPlan {
            listener: listener.value,
            dialer: dialer.value,
            dial: self.dial?.value,
            dial_back: self.dial_back.map(|dial| dial.value),
            rate: self.rate,
            schedule: self.calendar.schedule,
            monthly_cap: self.calendar.cap,
            mode: self.mode,
            copies: self.copies,
            rtt: self.rtt,
            mtu: self.mtu,
        })
    }
}

pub(super) fn read(table: &Table<'_>) -> LinkDraft {
    let rate = super::rate::read(table);
    let modes = [
        ("declared", LinkMode::Declared),
        ("adaptive", LinkMode::Adaptive),
        ("scavenger", LinkMode::Scavenger),
    ];
    let mode = table.optional("mode").and_then(|value| value.word(&modes));
    if let Some(mode) = &mode
        && mode.value == LinkMode::Declared
        && table.optional("rate").is_none()
        && let Some(value) = table.optional("mode")
    {
        value.fail_because::<()>("there is no rate");
    }
    let unsaid = if rate.is_some() {
        LinkMode::Declared
    } else {
        LinkMode::Adaptive
    };
    let copies = table.optional("copies").and_then(|value| value.boolean());
    let rtt = table.optional("rtt").and_then(|value| {
        let rtt = value.parse(parse_duration)?.value;
        if rtt <= RTT_MAX {
            Some(rtt)
        } else {
            value.fail()
        }
    });
    let mtu = table
        .optional("mtu")
        .and_then(|value| value.integer(MTU_RANGE));
    LinkDraft {
        place: table.place.clone(),
        regions: read_pair(table),
        dial: table
            .required("dial")
            .and_then(|value| value.parse(str::parse::<HostPort>)),
        dial_back: table
            .optional("dial_back")
            .and_then(|value| value.parse(str::parse::<HostPort>)),
        rate,
        calendar: schedule::read_with_cap(table),
        mode: mode.map_or(unsaid, |mode| mode.value),
        copies: copies.is_none_or(|copies| copies.value),
        rtt,
        mtu: mtu.and_then(|mtu| u16::try_from(mtu.value).ok()),
    }
}

fn read_pair(table: &Table<'_>) -> Option<[Placed<RegionId>; 2]> {
    let value = table.required("regions")?;
    let regions = match value.raw().as_array().map(|elements| elements.len()) {
        Some(2) | None => read_regions(&value),
        Some(count) => return value.fail_because(format_args!("there are {count}")),
    };
    let pair: [Placed<RegionId>; 2] = regions.try_into().ok()?;
    if pair[0].value == pair[1].value {
        return value.fail_because("a region needs no link to itself");
    }
    Some(pair)
}
