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
mod tests;
