//! The examples are what people start from: each is sound, without a warning but those named here,
//! and does what its comments promise.

use std::path::{Path, PathBuf};

use causeway_config::{LinkRole, Loaded, Writers, report};
use causeway_proto::id::RegionId;
use causeway_proto::residency::{DenyReason, Verdict};
use causeway_proto::subject::SubjectFilter;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn load(name: &str) -> Loaded {
    causeway_config::load(&directory().join(name)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).expect("a valid name")
}

#[test]
fn all_are_sound_and_without_warning() {
    let mut count = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let loaded = load(name);
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        // Which the two with a way back say by themselves.
        let is_wanted =
            |text: &String| text.contains("each of the two reads what the other writes");
        let (wanted, warnings): (Vec<_>, Vec<_>) = warnings.partition(is_wanted);
        let has_way_back = ["eu-residency.toml", "hot-spare.toml"].contains(&name);
        assert_eq!(wanted.len(), if has_way_back { 2 } else { 0 }, "{name}");
        assert!(warnings.is_empty(), "{}", warnings.join("\n"));
        assert!(
            report::describe(&loaded.plan).contains("always"),
            "{name}: nothing flows"
        );
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn paths_start_from_the_file() {
    let loaded = load("two-regions.toml");
    let us = loaded.plan.region(&region("us")).unwrap();
    assert_eq!(us.tls.cert, directory().join("certs/us.pem"));
    assert_eq!(us.state, directory().join("state/us"));
}

#[test]
fn personal_data_stays_in_the_eu() {
    let plan = load("eu-residency.toml").plan;
    let judge = |subject: &str| plan.residency().judge(subject.as_bytes(), &region("us"));
    let gdpr = Verdict::Deny(DenyReason::Class(1));
    for subject in [
        "eu.pii.address",
        "gdpr.erasure",
        "eu.audit.login",
        "eu.events.signup",
        "eu.events.gdpr.consent",
    ] {
        assert_eq!(judge(subject), gdpr, "{subject}");
    }
    assert_eq!(judge("events.signup"), Verdict::Forward);
    assert_eq!(judge("payroll.run"), Verdict::Deny(DenyReason::NoClass));
    // Nor does any route as much as read them.
    let eu = region("eu");
    let read: Vec<_> = plan.leaving(&eu).map(|leg| leg.stream.as_str()).collect();
    assert_eq!(read, ["events-us", "audit-us"]);
}

/// What is published at a standby finds its way back, and both ends know that they are not alone in their stream.
#[test]
fn a_standby_has_a_way_back() {
    for (name, standby) in [("eu-residency.toml", "eu"), ("hot-spare.toml", "ovh")] {
        let plan = load(name).plan;
        let standby = region(standby);
        assert!(plan.leaving(&standby).count() > 0, "{name}");
        for back in plan.leaving(&standby) {
            let forth = plan
                .arriving(&standby)
                .find(|leg| leg.from == back.to && leg.target == back.stream)
                .unwrap_or_else(|| panic!("{name}: {} brings back what nobody brought", back.name));
            assert_eq!(forth.subjects, back.subjects, "{name}: {}", back.name);
            assert_eq!(
                (forth.writers, back.writers),
                (Writers::Shared, Writers::Shared)
            );
        }
    }
}

/// Every territory's events go where they name, and to nowhere else; and where Causeway creates the stream, local
/// applications find their own subjects in it.
#[test]
fn what_crosses_a_border_goes_to_the_territory_that_it_names() {
    let plan = load("territories.toml").plan;
    let territories = ["dk", "no", "se"];
    for (from, to) in territories
        .iter()
        .flat_map(|from| territories.map(|to| (*from, to)))
    {
        let subject = format!("cross.{from}.{to}.order");
        let carries = |leg: &&causeway_config::plan::RoutePlan| {
            leg.to.as_str() == to && leg.subjects.matches(subject.as_bytes())
        };
        let legs = plan.leaving(&region(from)).filter(carries).count();
        assert_eq!(legs, usize::from(from != to), "{subject}");
        for third in territories
            .iter()
            .filter(|third| ![from, to].contains(third))
        {
            let verdict = plan.residency().judge(subject.as_bytes(), &region(third));
            assert!(verdict != Verdict::Forward, "{subject} to {third}");
        }
    }
    for here in territories {
        let stream = causeway_proto::id::StreamName::new("GLOBAL_EVENTS").unwrap();
        let created = plan.subjects_created(&region(here), &stream);
        let own = format!("global.{here}.x");
        assert!(created.matches(own.as_bytes()), "{here}");
    }
}

#[test]
fn a_route_to_three_regions_has_three_legs() {
    let plan = load("chat-four-regions.toml").plan;
    let hub = region("us-east");
    assert_eq!(
        plan.leaving(&hub)
            .filter(|leg| leg.name.as_str() == "fanout")
            .count(),
        3
    );
    assert_eq!(plan.links_of(&hub).count(), 3);
}

#[test]
fn behind_firewalls_both_dial() {
    let plan = load("behind-firewalls.toml").plan;
    let (office, plant) = (region("office"), region("plant"));
    let link = plan.link_between(&office, &plant).unwrap();
    for (here, there) in [(&office, "plant"), (&plant, "office")] {
        assert_eq!(plan.links_of(here).next().unwrap().0, LinkRole::Both);
        let address = link.dialled_from(here).unwrap().to_string();
        assert_eq!(address, format!("causeway.{there}.example:7443"));
    }
    let report = report::describe(&plan);
    assert!(
        report.contains("plant    office  causeway.plant.example:7443"),
        "{report}"
    );
}

#[test]
fn the_spare_knows_that_two_routes_write_one_stream() {
    let plan = load("hot-spare.toml").plan;
    let spare = region("ovh");
    assert!(
        plan.arriving(&spare)
            .all(|leg| leg.writers == Writers::Shared)
    );
    let target = plan.arriving(&spare).next().unwrap().target.clone();
    let subjects = plan.subjects_arriving(&spare, &target);
    let texts: Vec<&str> = subjects
        .filters()
        .iter()
        .map(SubjectFilter::as_str)
        .collect();
    assert_eq!(texts, ["events.a.>", "events.b.>"]);
}
