//! `[[class]]`

use causeway_proto::id::{ClassName, RegionId};
use causeway_proto::residency::{Regions, ResidencyClass};
use causeway_proto::subject::SubjectFilter;

use super::{read_regions, route::read_filters};
use crate::read::{Placed, Table};

pub(crate) struct ClassDraft {
    pub(crate) name: Option<Placed<ClassName>>,
    subjects: Vec<Placed<SubjectFilter>>,
    pub(crate) regions: Option<RegionsDraft>,
}

pub(crate) enum RegionsDraft {
    Any,
    Only(Vec<Placed<RegionId>>),
}

impl ClassDraft {
    /// Complete, where no fault was reported.
    pub(crate) fn into_class(self) -> Option<ResidencyClass> {
        Some(ResidencyClass {
            name: self.name?.value,
            subjects: self
                .subjects
                .into_iter()
                .map(|filter| filter.value)
                .collect(),
            regions: match self.regions? {
                RegionsDraft::Any => Regions::Any,
                RegionsDraft::Only(regions) => {
                    Regions::Only(regions.into_iter().map(|region| region.value).collect())
                }
            },
        })
    }
}

pub(super) fn read(table: &Table<'_>) -> ClassDraft {
    let name = table
        .required("name")
        .and_then(|value| value.parse(ClassName::new));
    let regions = table
        .required("regions")
        .and_then(|value| match value.raw().as_str() {
            Some("any") => Some(RegionsDraft::Any),
            Some(_) => value.fail(),
            None => Some(RegionsDraft::Only(read_regions(&value))),
        });
    ClassDraft {
        name,
        subjects: table
            .required("subjects")
            .map_or(Vec::new(), |value| read_filters(&value)),
        regions,
    }
}
