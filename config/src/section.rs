//! The sections of a fleet file, each read into a draft: typed values with their places, and holes
//! where a fault was reported. `check` looks at drafts across sections and makes the plan of them.

mod class;
mod link;
mod rate;
mod region;
mod route;
mod schedule;

use causeway_proto::id::{FleetName, RegionId};

pub(crate) use class::{ClassDraft, RegionsDraft};
pub(crate) use link::LinkDraft;
pub(crate) use region::RegionDraft;
pub(crate) use route::RouteDraft;

use crate::read::{Placed, Table, Value};

/// A fleet file, read but not checked across sections.
pub(crate) struct Drafts {
    pub(crate) fleet: Option<Placed<FleetName>>,
    pub(crate) regions: Vec<RegionDraft>,
    pub(crate) links: Vec<LinkDraft>,
    pub(crate) routes: Vec<RouteDraft>,
    pub(crate) classes: Vec<ClassDraft>,
}

impl Drafts {
    pub(crate) fn read(root: &Table<'_>) -> Self {
        let fleet = root.required("fleet").and_then(|value| value.table());
        let regions = root.required("region").and_then(|value| value.table());
        Self {
            fleet: fleet.and_then(|fleet| fleet.required("name")?.parse(FleetName::new)),
            regions: regions.map_or(Vec::new(), |regions| {
                regions
                    .named()
                    .into_iter()
                    .filter_map(region::read)
                    .collect()
            }),
            links: tables(root, "link").iter().map(link::read).collect(),
            routes: tables(root, "route").iter().map(route::read).collect(),
            classes: tables(root, "class").iter().map(class::read).collect(),
        }
    }
}

/// The tables of a `[[name]]`.
fn tables<'a>(root: &Table<'a>, name: &str) -> Vec<Table<'a>> {
    let elements = root.optional(name).and_then(|value| value.list("a table"));
    elements
        .unwrap_or_default()
        .iter()
        .filter_map(Value::table)
        .collect()
}

/// A list of names of regions. Empty where it is no list, and a fault where it has no element.
fn read_regions(value: &Value<'_>) -> Vec<Placed<RegionId>> {
    let Some(elements) = value.list("the name of a [region.NAME]") else {
        return Vec::new();
    };
    if elements.is_empty() {
        value.fail::<()>();
    }
    elements
        .iter()
        .filter_map(|element| element.parse(RegionId::new))
        .collect()
}
