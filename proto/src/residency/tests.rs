//! Verdict, passage and digest against a model that asks every filter of every class in turn.

use proptest::prelude::*;

use super::*;
use crate::subject::tests::{any_filter, every_subject, filter, model_matches};

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn class(name: &str, subjects: &[&str], regions: &[&str]) -> ResidencyClass {
    ResidencyClass {
        name: ClassName::new(name).unwrap(),
        subjects: subjects.iter().map(|text| filter(text)).collect(),
        regions: match regions {
            ["any"] => Regions::Any,
            names => Regions::Only(names.iter().map(|name| region(name)).collect()),
        },
    }
}

fn example_policy() -> ResidencyPolicy {
    ResidencyPolicy::new(vec![
        class("general", &["orders.>", "metrics.*"], &["any"]),
        class("gdpr", &["orders.*.pii", "eu.>"], &["eu"]),
    ])
    .unwrap()
}

fn any_regions() -> impl Strategy<Value = Regions> {
    prop_oneof![
        Just(Regions::Any),
        proptest::collection::btree_set(prop_oneof![Just("eu"), Just("us")], 0..3)
            .prop_map(|names| Regions::Only(names.into_iter().map(region).collect())),
    ]
}

fn any_classes() -> impl Strategy<Value = Vec<ResidencyClass>> {
    let one = (proptest::collection::vec(any_filter(), 1..4), any_regions());
    proptest::collection::vec(one, 0..5).prop_map(|classes| {
        let named = classes.into_iter().enumerate();
        named
            .map(|(at, (subjects, regions))| ResidencyClass {
                name: ClassName::new(&format!("class-{at}")).unwrap(),
                subjects,
                regions,
            })
            .collect()
    })
}

fn model_verdict(classes: &[ResidencyClass], subject: &str, to: &RegionId) -> Verdict {
    let holds = |class: &ResidencyClass| class.subjects.iter().any(|f| model_matches(f, subject));
    let held: Vec<usize> = (0..classes.len())
        .filter(|&at| holds(&classes[at]))
        .collect();
    if held.is_empty() {
        return Verdict::Deny(DenyReason::NoClass);
    }
    match held.into_iter().find(|&at| !classes[at].regions.admit(to)) {
        Some(at) => Verdict::Deny(DenyReason::Class(at)),
        None => Verdict::Forward,
    }
}

proptest! {
    #[test]
    fn judges_as_the_model_does(classes in any_classes()) {
        let policy = ResidencyPolicy::new(classes.clone()).unwrap();
        for to in ["eu", "us", "asia"].map(region) {
            for subject in every_subject() {
                let expected = model_verdict(&classes, &subject, &to);
                prop_assert_eq!(policy.judge(subject.as_bytes(), &to), expected, "{}", subject);
            }
        }
    }

    #[test]
    fn passage_is_what_all_subjects_say(classes in any_classes(), f in any_filter()) {
        let policy = ResidencyPolicy::new(classes.clone()).unwrap();
        let subjects: Vec<String> =
            every_subject().into_iter().filter(|subject| model_matches(&f, subject)).collect();
        for to in ["eu", "us", "asia"].map(region) {
            let passage = policy.passage(&f, &to);
            let forwarded = subjects
                .iter()
                .filter(|s| model_verdict(&classes, s, &to) == Verdict::Forward)
                .count();
            let reach = match forwarded {
                0 => Reach::Never,
                all if all == subjects.len() => Reach::Always,
                _ => Reach::Depends,
            };
            prop_assert_eq!(passage.reach(), reach);
            if let Some(example) = &passage.admitted {
                prop_assert_eq!(policy.judge(example.as_bytes(), &to), Verdict::Forward);
            }
            for denial in &passage.denied {
                let verdict = policy.judge(denial.example.as_bytes(), &to);
                prop_assert_eq!(verdict, Verdict::Deny(denial.reason));
            }
        }
    }

    #[test]
    fn digest_ignores_the_order_in_the_file(classes in any_classes()) {
        let policy = ResidencyPolicy::new(classes.clone()).unwrap();
        let mut turned = classes;
        turned.reverse();
        turned.iter_mut().for_each(|class| class.subjects.reverse());
        prop_assert_eq!(policy.digest(), ResidencyPolicy::new(turned).unwrap().digest());
    }
}

#[test]
fn default_is_deny_and_classes_intersect() {
    let policy = example_policy();
    let judge = |subject: &str, to: &str| policy.judge(subject.as_bytes(), &region(to));
    assert_eq!(judge("orders.new", "us"), Verdict::Forward);
    assert_eq!(
        judge("orders.7.pii", "us"),
        Verdict::Deny(DenyReason::Class(1))
    );
    assert_eq!(judge("orders.7.pii", "eu"), Verdict::Forward);
    assert_eq!(
        judge("payroll.run", "eu"),
        Verdict::Deny(DenyReason::NoClass)
    );
    assert_eq!(judge("orders", "eu"), Verdict::Deny(DenyReason::NoClass));
}

#[test]
fn original_and_current_subject_must_both_admit() {
    let policy = example_policy();
    let us = region("us");
    let denied = Verdict::Deny(DenyReason::Class(1));
    assert_eq!(policy.judge_both(b"eu.consent", b"orders.new", &us), denied);
    assert_eq!(policy.judge_both(b"orders.new", b"eu.consent", &us), denied);
    assert_eq!(
        policy.judge_both(b"orders.new", b"orders.old", &us),
        Verdict::Forward
    );
}

#[test]
fn passage_names_the_class_that_decides() {
    let passage = example_policy().passage(&filter("orders.>"), &region("us"));
    assert_eq!(passage.reach(), Reach::Depends);
    assert_eq!(passage.admitted.as_deref(), Some("orders.x"));
    let denial = Denial {
        reason: DenyReason::Class(1),
        example: "orders.x.pii".into(),
    };
    assert_eq!(passage.denied, [denial]);
    assert_eq!(passage.admitting.iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn digest_is_pinned_and_sees_every_part() {
    let base = example_policy();
    assert_eq!(
        base.digest(),
        7_564_725_528_820_178_563,
        "older peers would see a skew"
    );
    let changed = |edit: &dyn Fn(&mut Vec<ResidencyClass>)| {
        let mut classes = base.classes().to_vec();
        edit(&mut classes);
        ResidencyPolicy::new(classes).unwrap().digest()
    };
    assert_ne!(
        base.digest(),
        changed(&|c| c[0].regions = Regions::Only(BTreeSet::new()))
    );
    assert_ne!(base.digest(), changed(&|c| c[0].subjects.push(filter("x"))));
    assert_ne!(
        base.digest(),
        changed(&|c| c[1].name = ClassName::new("other").unwrap())
    );
    assert_ne!(base.digest(), changed(&|c| c.truncate(1)));
}
