//! What a change of the file means to a sidecar that runs: told by key, and taken over where it can be.

use std::path::Path;

use causeway_config::change::{Changes, changes, take_over};
use causeway_config::unit::Rate;
use causeway_config::{LinkMode, Plan, Priority};
use causeway_proto::id::RegionId;

const FLEET: &str = r#"
[fleet]
name = "shop"
[region.us]
nats = { url = "nats://app:old-secret@127.0.0.1" }
listen = "0.0.0.0:7443"
admin = "127.0.0.1:9464"
state = "state/us"
rate = "300 Mbit/s"
tls = { cert = "us.pem", key = "us.key", ca = "ca.pem" }
[region.eu]
nats = { url = "nats://127.0.0.1:4222" }
admin = "127.0.0.1:9465"
state = "state/eu"
tls = { cert = "eu.pem", key = "eu.key", ca = "ca.pem" }
[region.asia]
nats = { url = "nats://127.0.0.1:4333" }
admin = "127.0.0.1:9466"
state = "state/asia"
tls = { cert = "asia.pem", key = "asia.key", ca = "ca.pem" }
[[link]]
regions = ["us", "eu"]
dial = "us.example.com:7443"
rate = "50 Mbit/s"
[[link]]
regions = ["us", "asia"]
dial = "us.example.com:7443"
rate = "20 Mbit/s"
[[class]]
name = "all"
subjects = ["orders.>"]
regions = "any"
[[route]]
name = "orders"
from = "us"
to = ["eu", "asia"]
stream = "ORDERS"
priority = "normal"
"#;

fn plan(text: &str) -> Plan {
    causeway_config::parse(text, Path::new("/etc/causeway"))
        .unwrap_or_else(|errors| panic!("{errors}"))
        .plan
}

/// What the sidecar of `here` is told when each `old` has become its `new`.
fn told(here: &str, edits: &[(&str, &str)]) -> Changes {
    let mut text = FLEET.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    let here = RegionId::new(here).expect("a valid name");
    changes(&plan(FLEET), &plan(&text), &here)
}

fn keys<const N: usize>(keys: [&str; N]) -> std::collections::BTreeSet<String> {
    keys.map(str::to_owned).into()
}

#[test]
fn what_did_not_change_is_not_told() {
    for here in ["us", "eu", "asia"] {
        assert!(told(here, &[("[region.us]", "# no matter\n[region.us]")]).is_empty());
    }
}

#[test]
fn rates_modes_and_priorities_can_be_taken_over() {
    let edits = [
        ("\"300 Mbit/s\"", "\"200 Mbit/s\""),
        (
            "\"50 Mbit/s\"",
            "\"5 Mbit/s\"\nmode = \"scavenger\"\ncopies = false",
        ),
        ("\"normal\"", "\"live\""),
    ];
    let us = told("us", &edits);
    let wanted = [
        "link[0].copies",
        "link[0].mode",
        "link[0].rate",
        "region.us.rate",
        "route.orders.priority",
    ];
    assert_eq!(us.live, keys(wanted));
    assert_eq!(us.restart, keys([]));
    // A link has two ends; the rest is of the region where the route begins.
    assert_eq!(
        told("eu", &edits).live,
        keys(["link[0].copies", "link[0].mode", "link[0].rate"])
    );
    assert!(told("asia", &edits).is_empty());
}

#[test]
fn everything_else_waits_for_a_restart_where_it_matters() {
    let edits = [
        ("name = \"shop\"", "name = \"shops\""),
        ("old-secret", "new-secret"),
        ("[\"orders.>\"]\nregions", "[\"orders.*\"]\nregions"),
        (
            "stream = \"ORDERS\"",
            "stream = \"ORDERS\"\nsubjects = [\"orders.new\"]\ndedupe_ids = false",
        ),
        ("\"50 Mbit/s\"", "\"50 Mbit/s\"\nrtt = \"80ms\""),
    ];
    let common = ["class", "fleet.name", "route.orders.subjects"];
    let us = told("us", &edits);
    assert_eq!(us.live, keys([]));
    let mut wanted = keys(common);
    wanted.extend(keys(["link[0].rtt", "region.us.nats"]));
    assert_eq!(us.restart, wanted);
    let mut wanted = keys(common);
    wanted.extend(keys(["route.orders.dedupe_ids"]));
    assert_eq!(told("asia", &edits).restart, wanted);
    assert!(!format!("{us:?}").contains("secret"));
}

#[test]
fn what_comes_and_goes_is_named() {
    let more = "[[route]]\nname = \"more\"\nfrom = \"us\"\nto = [\"eu\"]\nstream = \"MORE\"\n[[route]]\nname = \"orders\"";
    let edits = [
        ("[[route]]\nname = \"orders\"", more),
        ("[\"eu\", \"asia\"]", "[\"eu\"]"),
    ];
    assert_eq!(
        told("us", &edits).restart,
        keys(["route.more", "route.orders.to"])
    );
    assert_eq!(told("eu", &edits).restart, keys(["route.more"]));
    assert_eq!(told("asia", &edits).restart, keys(["route.orders.to"]));
    let turned = [
        ("[\"us\", \"eu\"]", "[\"us\", \"eu\"]"),
        (
            "[\"us\", \"asia\"]\ndial",
            "[\"us\", \"asia\"]\nmtu = 1400\ndial",
        ),
    ];
    assert_eq!(told("us", &turned).restart, keys(["link[1].mtu"]));
}

#[test]
fn what_was_taken_over_is_not_told_again_and_what_was_not_is() {
    let us = RegionId::new("us").expect("a valid name");
    let text = FLEET
        .replace(
            "\"50 Mbit/s\"",
            "\"5 Mbit/s\"\nmode = \"adaptive\"\nmtu = 1400",
        )
        .replace("\"300 Mbit/s\"", "\"30 Mbit/s\"")
        .replace("\"normal\"", "\"bulk\"");
    let (old, new) = (plan(FLEET), plan(&text));
    let runs = take_over(&old, &new, &us);
    assert_eq!(
        runs.links()[0].rate,
        Some(Rate::from_bits_per_second(5_000_000))
    );
    assert_eq!(
        (runs.links()[0].mode, runs.links()[0].mtu),
        (LinkMode::Adaptive, None)
    );
    assert_eq!(runs.routes()[0].priority, Some(Priority::Bulk));
    let left = changes(&runs, &new, &us);
    assert_eq!((left.live, left.restart), (keys([]), keys(["link[0].mtu"])));
}

#[test]
fn a_route_that_begins_elsewhere_now_is_told_where_it_began() {
    let edits = [
        (
            "127.0.0.1:9466\"",
            "127.0.0.1:9466\"\nlisten = \"0.0.0.0:7443\"",
        ),
        (
            "[[class]]",
            "[[link]]\nregions = [\"asia\", \"eu\"]\ndial = \"asia.example.com:7443\"\n[[class]]",
        ),
        (
            "from = \"us\"\nto = [\"eu\", \"asia\"]",
            "from = \"asia\"\nto = [\"eu\"]",
        ),
        ("\"normal\"", "\"bulk\""),
    ];
    let told = told("us", &edits).restart;
    assert_eq!(told, keys(["route.orders.from", "route.orders.to"]));
    let text = edits
        .iter()
        .fold(FLEET.to_owned(), |text, (old, new)| text.replace(old, new));
    let us = RegionId::new("us").expect("a valid name");
    let runs = take_over(&plan(FLEET), &plan(&text), &us);
    let priorities: Vec<_> = runs.routes().iter().map(|leg| leg.priority).collect();
    assert_eq!(priorities, [Some(Priority::Normal); 2]);
}
