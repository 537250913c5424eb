//! Residency: which regions a record may be in, by the classes that its subject belongs to.
//!
//! A class names subjects and the regions where they may be. A record in no class leaves nowhere
//! (default deny); in several, the intersection of their regions holds. Both ends of a link ask:
//! the source never sends, the target never accepts what is denied.
//!
//! `judge` is on the data path: one walk over a tree of all filters, then a few words of set
//! arithmetic; no allocation, no cache. The same tree lets [`ResidencyPolicy::passage`] prove from
//! the rules alone what can, may and cannot reach a region.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::id::{ClassName, RegionId};
use crate::subject::{IndexSet, SubjectFilter, SubjectIndex, TooManySets};

/// Where the subjects of a class may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regions {
    /// In every region, also in those that join the fleet later.
    Any,
    /// In these alone.
    Only(BTreeSet<RegionId>),
}

impl Regions {
    /// Whether a record of the class may be in the region.
    pub fn admit(&self, region: &RegionId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(regions) => regions.contains(region),
        }
    }
}

/// A residency class: some subjects, and where they may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidencyClass {
    /// Its name, for people and counters.
    pub name: ClassName,
    /// Subjects that belong to it.
    pub subjects: Vec<SubjectFilter>,
    /// Where they may be.
    pub regions: Regions,
}

/// Why a record may not go to a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenyReason {
    /// Its subject belongs to no class, so it leaves nowhere.
    NoClass,
    /// The class of that number does not name the region. Of several, the first in the fleet file.
    Class(usize),
}

/// May the record go there?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Forward,
    /// No, and why.
    Deny(DenyReason),
}

/// All classes of a fleet, compiled.
#[derive(Debug, Clone)]
pub struct ResidencyPolicy {
    classes: Vec<ResidencyClass>,
    index: SubjectIndex,
    /// Per region that any class names: the classes that keep records out of it. Sorted by region.
    denied: Vec<(RegionId, IndexSet)>,
    /// The same for a region that no class names.
    denied_elsewhere: IndexSet,
    digest: u64,
}

impl ResidencyPolicy {
    /// Compiles the classes; they keep their order and are numbered by it.
    pub fn new(classes: Vec<ResidencyClass>) -> Result<Self, TooManySets> {
        let index = SubjectIndex::new(classes.iter().map(|class| &class.subjects))?;
        let named: BTreeSet<&RegionId> = classes
            .iter()
            .filter_map(|class| match &class.regions {
                Regions::Any => None,
                Regions::Only(regions) => Some(regions),
            })
            .flatten()
            .collect();
        let denying = |admits: &dyn Fn(&Regions) -> bool| {
            let mut set = IndexSet::EMPTY;
            let keep_out = classes
                .iter()
                .enumerate()
                .filter(|(_, class)| !admits(&class.regions));
            keep_out.for_each(|(at, _)| set.insert(at));
            set
        };
        let denied = named
            .into_iter()
            .map(|region| (region.clone(), denying(&|regions| regions.admit(region))))
            .collect();
        let denied_elsewhere = denying(&|regions| *regions == Regions::Any);
        let digest = xxh3_64(canonical_text(&classes).as_bytes());
        Ok(Self {
            classes,
            index,
            denied,
            denied_elsewhere,
            digest,
        })
    }

    /// The classes, in the order of their numbers.
    pub fn classes(&self) -> &[ResidencyClass] {
        &self.classes
    }

    /// A number that two ends compare in the handshake: equal where their rules are. The order of
    /// classes, filters and regions in the file does not change it; names of classes do, since
    /// both ends count by them.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// May a record with this subject be in the region `to`?
    pub fn judge(&self, subject: &[u8], to: &RegionId) -> Verdict {
        self.verdict(&self.index.matching(subject), to)
    }

    /// Judges a record on the subject under which it was first stored and on the one it has now.
    /// Both must admit it, so that a change of subject on the way never widens where a record may
    /// go.
    pub fn judge_both(&self, original: &[u8], current: &[u8], to: &RegionId) -> Verdict {
        match self.judge(current, to) {
            Verdict::Forward if original != current => self.judge(original, to),
            verdict => verdict,
        }
    }

    /// What of a filter's subjects may be in the region `to`.
    pub fn passage(&self, filter: &SubjectFilter, to: &RegionId) -> Passage {
        let combinations = self.index.combinations(filter);
        let mut passage = Passage {
            admitted: None,
            admitting: IndexSet::EMPTY,
            denied: Vec::new(),
            complete: combinations.complete,
        };
        for combination in combinations.found {
            match self.verdict(&combination.sets, to) {
                Verdict::Forward => {
                    passage.admitting = passage.admitting.or(&combination.sets);
                    passage.admitted.get_or_insert(combination.example);
                }
                Verdict::Deny(reason) => {
                    if !passage.denied.iter().any(|denial| denial.reason == reason) {
                        passage.denied.push(Denial {
                            reason,
                            example: combination.example,
                        });
                    }
                }
            }
        }
        passage
    }

    fn verdict(&self, classes: &IndexSet, to: &RegionId) -> Verdict {
        if classes.is_empty() {
            return Verdict::Deny(DenyReason::NoClass);
        }
        let denied = match self.denied.binary_search_by(|(region, _)| region.cmp(to)) {
            Ok(place) => &self.denied[place].1,
            Err(_) => &self.denied_elsewhere,
        };
        match classes.and(denied).first() {
            Some(class) => Verdict::Deny(DenyReason::Class(class)),
            None => Verdict::Forward,
        }
    }
}

/// One reason why some subjects of a filter are kept out, and one of these subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The reason.
    pub reason: DenyReason,
    /// A subject of the filter that is denied for it.
    pub example: String,
}

/// How much of a filter may reach a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No subject of it.
    Never,
    /// Some subjects, or the analysis was cut short.
    Depends,
    /// Every subject.
    Always,
}

/// What of a filter's subjects may reach a region, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// A subject that may be there.
    pub admitted: Option<String>,
    /// All classes that subjects which may be there belong to.
    pub admitting: IndexSet,
    /// Each reason once, with a subject.
    pub denied: Vec<Denial>,
    /// False where the filters are too entangled for a full answer.
    pub complete: bool,
}

impl Passage {
    /// The answer in a word.
    pub fn reach(&self) -> Reach {
        match (&self.admitted, self.denied.is_empty(), self.complete) {
            (None, _, true) => Reach::Never,
            (Some(_), true, true) => Reach::Always,
            _ => Reach::Depends,
        }
    }
}

/// One line a class: `name` TAB `regions` TAB `filters`, everything sorted. Names, regions and
/// filters hold neither white space nor commas that could make two different rules one text: names
/// by their type, and filters are set apart by a space.
fn canonical_text(classes: &[ResidencyClass]) -> String {
    let line = |class: &ResidencyClass| {
        let regions = match &class.regions {
            Regions::Any => "any".to_owned(),
            Regions::Only(regions) => {
                let names: Vec<&str> = regions.iter().map(RegionId::as_str).collect();
                format!("only {}", names.join(" "))
            }
        };
        let filters: BTreeSet<&str> = class.subjects.iter().map(SubjectFilter::as_str).collect();
        let filters: Vec<&str> = filters.into_iter().collect();
        format!("{}\t{regions}\t{}\n", class.name, filters.join(" "))
    };
    let mut lines: Vec<String> = classes.iter().map(line).collect();
    lines.sort_unstable();
    lines.concat()
}

#[cfg(test)]
mod tests {
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
        let holds =
            |class: &ResidencyClass| class.subjects.iter().any(|f| model_matches(f, subject));
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
}
