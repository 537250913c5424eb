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
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
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
        "eu.events.gdpr.consent",
    ] {
        assert_eq!(judge(subject), gdpr, "{subject}");
    }
    assert_eq!(judge("eu.events.signup"), Verdict::Forward);
    assert_eq!(judge("payroll.run"), Verdict::Deny(DenyReason::NoClass));
    let report = report::describe(&plan);
    let row = report
        .lines()
        .find(|line| line.starts_with("eu-events"))
        .unwrap();
    assert!(row.contains("depends"), "{row}");
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
