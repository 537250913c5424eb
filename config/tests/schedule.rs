//! Rates by the hour and months by the bill, in the time of any zone.

use std::path::Path;

use causeway_config::schedule::{CapAction, Days, Decision, MonthlyCap, Schedule, Window};
use causeway_config::unit::{ByteSize, Rate};
use causeway_config::{LinkMode, LinkPlan};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

const FLEET: &str = r#"
[fleet]
name = "shop"
[region.us]
nats = { url = "nats://127.0.0.1" }
listen = "0.0.0.0:7443"
admin = "127.0.0.1:9464"
state = "state/us"
timezone = "America/New_York"
schedule = [{ from = "00:00", to = "24:00", rate = "1 Gbit/s" }]
tls = { cert = "us.pem", key = "us.key", ca = "ca.pem" }
[region.eu]
nats = { url = "nats://127.0.0.1:4222" }
admin = "127.0.0.1:9465"
state = "state/eu"
tls = { cert = "eu.pem", key = "eu.key", ca = "ca.pem" }
[[link]]
regions = ["us", "eu"]
dial = "us.example.com:7443"
LINK
[[class]]
name = "all"
subjects = [">"]
regions = "any"
[[route]]
name = "r"
from = "us"
to = ["eu"]
stream = "R"
"#;

const NIGHTS: &str = r#"
rate = "20 Mbit/s"
timezone = "Europe/Berlin"
schedule = [
    { days = ["sat", "sun"], from = "00:00", to = "24:00", rate = "100 Mbit/s" },
    { days = ["sun-thu"], from = "22:00", to = "06:00", rate = "80 Mbit/s" },
    { from = "12:00", to = "13:00", rate = "5 Mbit/s" },
]
monthly_cap = { bytes = "2 TB", then = "1 Mbit/s", reset_day = 15 }
"#;

fn link(lines: &str) -> (LinkPlan, Vec<String>) {
    let loaded = causeway_config::parse(&FLEET.replace("LINK", lines), Path::new(""));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    (loaded.plan.links()[0].clone(), warnings)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// The window that holds and when that ends, in Berlin.
fn says(schedule: &Schedule, now: &str) -> (Option<usize>, String) {
    let Decision { window, until } = schedule.decide(at(now));
    let berlin = TimeZone::get("Europe/Berlin").expect("the database has it");
    let until = until.map_or_else(
        || "never".to_owned(),
        |until| {
            until
                .to_zoned(berlin)
                .strftime("%a %d %H:%M %:z")
                .to_string()
        },
    );
    (window, until)
}

#[test]
fn the_first_window_that_covers_the_moment_holds() {
    let (link, warnings) = link(NIGHTS);
    assert_eq!((link.mode, warnings), (LinkMode::Declared, Vec::new()));
    for (now, window, until) in [
        ("2026-11-16T09:00:00Z", None, "Mon 16 12:00 +01:00"),
        ("2026-11-16T11:59:59Z", Some(2), "Mon 16 13:00 +01:00"),
        ("2026-11-16T21:00:00Z", Some(1), "Tue 17 06:00 +01:00"),
        ("2026-11-20T23:00:00Z", Some(0), "Sun 22 00:00 +01:00"),
        // Sunday's day ends at midnight, in the night that began on Sunday.
        ("2026-11-22T21:30:00Z", Some(0), "Mon 23 00:00 +01:00"),
        ("2026-11-22T23:30:00Z", Some(1), "Mon 23 06:00 +01:00"),
    ] {
        let (found, _) = says(&link.schedule, now);
        assert_eq!(found, window, "{now}");
        if window != Some(0) {
            assert_eq!(says(&link.schedule, now).1, until, "{now}");
        }
    }
    assert_eq!(
        link.schedule.windows()[1].rate,
        Rate::from_bits_per_second(80_000_000)
    );
    let late = "schedule = [{ from = \"24:00\", to = \"06:00\", rate = \"1 Mbit/s\" }]";
    let says_late = says(&self::link(late).0.schedule, "2026-11-16T09:00:00Z");
    assert_eq!(says_late, (None, "Tue 17 01:00 +01:00".to_owned()));
    assert_eq!(
        says(&Schedule::default(), "2026-11-16T09:00:00Z"),
        (None, "never".to_owned())
    );
}

#[test]
fn clocks_that_jump_take_the_windows_with_them() {
    let window = |from, to| {
        let lines = format!(
            "timezone = \"Europe/Berlin\"\nschedule = [{{ from = {from:?}, to = {to:?}, rate = \"1 Mbit/s\" }}]"
        );
        link(&lines).0
    };
    // On 29 March 2026 there is no 02:30 in Berlin; the window begins at 03:00.
    let spring = window("02:30", "04:00");
    assert_eq!(spring.mode, LinkMode::Adaptive);
    assert_eq!(
        says(&spring.schedule, "2026-03-29T00:50:00Z"),
        (None, "Sun 29 03:00 +02:00".into())
    );
    assert_eq!(
        says(&spring.schedule, "2026-03-29T01:00:00Z"),
        (Some(0), "Sun 29 04:00 +02:00".into())
    );
    // On 25 October 2026 there are two 02:30: it begins, is over when clocks go back, and begins again.
    let autumn = window("02:30", "04:00");
    let says = |now| says(&autumn.schedule, now);
    assert_eq!(
        says("2026-10-25T00:10:00Z"),
        (None, "Sun 25 02:30 +02:00".into())
    );
    assert_eq!(
        says("2026-10-25T00:40:00Z"),
        (Some(0), "Sun 25 02:00 +01:00".into())
    );
    assert_eq!(
        says("2026-10-25T01:10:00Z"),
        (None, "Sun 25 02:30 +01:00".into())
    );
    assert_eq!(
        says("2026-10-25T01:40:00Z"),
        (Some(0), "Sun 25 04:00 +01:00".into())
    );
}

#[test]
fn a_window_that_never_holds_is_told() {
    let window = |days: &str, from: &str, to: &str| {
        format!("{{ days = [{days:?}], from = {from:?}, to = {to:?}, rate = \"1 Mbit/s\" }}")
    };
    let lines = format!(
        "schedule = [{},\n{},\n{},\n{}]",
        window("mon-fri", "08:00", "24:00"),
        window("tue-sat", "00:00", "08:00"),
        window("mon-wed", "22:00", "07:00"),
        window("thu-fri", "22:00", "09:00"),
    );
    let (_, warnings) = link(&lines);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("link[0].schedule[2]: it never holds"),
        "{warnings:?}"
    );
    let (_, warnings) = link("timezone = \"Asia/Tokyo\"");
    assert!(
        warnings[0].contains("link[0].timezone: nothing here goes by the clock"),
        "{warnings:?}"
    );
}

#[test]
fn a_month_is_that_of_the_bill() {
    let cap = link(NIGHTS).0.monthly_cap.expect("the link has one");
    assert_eq!(
        (cap.bytes, cap.warn_at, cap.reset_day),
        (ByteSize(2_000_000_000_000), 80, 15)
    );
    assert_eq!(
        cap.then,
        CapAction::Rate(Rate::from_bits_per_second(1_000_000))
    );
    assert_eq!(cap.warn_bytes(), 1_600_000_000_000);
    // Midnight in Berlin.
    let (november, december) = (at("2026-11-14T23:00:00Z"), at("2026-12-14T23:00:00Z"));
    for now in [
        "2026-11-14T23:00:00Z",
        "2026-11-30T12:00:00Z",
        "2026-12-14T22:59:59Z",
    ] {
        assert_eq!(
            (cap.began(at(now)), cap.ends(at(now))),
            (november, december),
            "{now}"
        );
    }
    assert_eq!(cap.ends(at("2026-11-14T22:59:59Z")), november);
    let (plain, _) = link("monthly_cap = { bytes = \"1 GB\" }");
    let plain = plain.monthly_cap.expect("the link has one");
    assert_eq!(
        (plain.then, plain.reset_day, plain.zone),
        (CapAction::Stall, 1, TimeZone::UTC)
    );
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    let names = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
    ];
    prop::sample::select(names.to_vec()).prop_map(|name| TimeZone::get(name).expect("it exists"))
}

fn any_now() -> impl Strategy<Value = Timestamp> {
    // 2020 to 2037
    (1_577_836_800_i64..2_114_380_800)
        .prop_map(|second| Timestamp::from_second(second).expect("in range"))
}

fn any_window() -> impl Strategy<Value = Window> {
    let days = prop::sample::select(vec![
        "mon", "mon-fri", "sat-sun", "sun-mon", "wed", "mon-sun",
    ]);
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    (days, 0_u16..1440, 1_u16..1440, 1_u64..5).prop_map(move |(days, from, len, rate)| Window {
        days: days.parse::<Days>().expect("days"),
        from: time(from).parse().expect("a time"),
        to: time((from + len) % 1440).parse().expect("a time"),
        rate: Rate::from_bits_per_second(rate * 1_000_000),
    })
}

proptest! {
    /// Nothing changes before the moment that is said, and then something does.
    #[test]
    fn what_is_said_holds_until_then(
        zone in any_zone(),
        windows in prop::collection::vec(any_window(), 0..5),
        now in any_now(),
        looks in prop::collection::vec(0.0..1.0_f64, 20),
    ) {
        let schedule = Schedule::new(zone, windows);
        let Decision { window, until } = schedule.decide(now);
        prop_assert_eq!(window, schedule.window_at(now));
        let end = until.unwrap_or_else(|| now + (24 * 8).hours());
        prop_assert!(end > now);
        let span = (end.as_second() - now.as_second()) as f64;
        for look in looks {
            let moment = Timestamp::from_second(now.as_second() + (span * look) as i64).expect("in range");
            prop_assert_eq!(schedule.window_at(moment), window, "{}", moment);
        }
        if let Some(until) = until {
            prop_assert_ne!(schedule.window_at(until), window);
            prop_assert_eq!(schedule.window_at(until - 1.second()), window);
        }
    }

    #[test]
    fn a_moment_lies_in_its_month(zone in any_zone(), now in any_now(), reset_day in 1_u8..=28) {
        let bytes = ByteSize(1);
        let cap = MonthlyCap { bytes, warn_at: 80, then: CapAction::Stall, reset_day, zone };
        let (began, ends) = (cap.began(now), cap.ends(now));
        prop_assert!(began <= now && now < ends);
        let days = (ends.as_second() - began.as_second()) / 86_400;
        prop_assert!((27..=31).contains(&days), "{} days", days);
        prop_assert_eq!(cap.began(ends), ends);
        prop_assert_eq!(cap.ends(began), ends);
    }
}
