//! Checks across sections, and the plan that comes of a file that passes them.
//!
//! A section with a fault of its own still takes part, as far as it could be read, so that one run
//! names everything. Only where syntax errors may have hidden sections are these checks left out:
//! half of what they would say were false.

mod created;
mod links;
mod residency;
mod routes;
mod targets;

pub use self::created::{SubjectRefusal, subject_refusal};

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use causeway_proto::id::RegionId;
use causeway_proto::residency::ResidencyPolicy;
use causeway_proto::subject::SubjectSet;

use crate::error::Place;
use crate::keys::nearest;
use crate::plan::{Plan, RoutePlan, Writers};
use crate::read::{Placed, Report};
use crate::section::{ClassDraft, Drafts, LinkDraft, RegionDraft, RegionsDraft, RouteDraft};

/// Checks everything, and makes the plan where no fault was reported.
pub(crate) fn into_plan(drafts: Drafts, report: &Report) -> Option<Plan> {
    if report.is_partial() {
        return None;
    }
    check_names(&drafts, report);
    check_regions_are_known(&drafts, report);
    links::check(&drafts, report);
    routes::check(&drafts, report);
    targets::check(&drafts, report);
    created::warn(&drafts, report);
    if report.has_errors() {
        return None;
    }
    let (plan, places) = assemble(drafts, report)?;
    residency::warn(&places, &plan, report);
    Some(plan)
}

/// A leg of the plan, and where its parts stand in the file.
struct LegPlaces {
    to: Place,
    subjects: Vec<Place>,
}

fn assemble(drafts: Drafts, report: &Report) -> Option<(Plan, Vec<LegPlaces>)> {
    let writers = targets::writers(&drafts.routes);
    let root = report.root();
    let classes: Option<Vec<_>> = drafts
        .classes
        .into_iter()
        .map(ClassDraft::into_class)
        .collect();
    let residency = match ResidencyPolicy::new(classes?) {
        Ok(residency) => residency,
        Err(why) => {
            report.fault(&root.child("class"), why.to_string(), "fewer classes");
            return None;
        }
    };
    let regions: Option<Vec<_>> = drafts
        .regions
        .into_iter()
        .map(RegionDraft::into_plan)
        .collect();
    let links: Option<Vec<_>> = drafts.links.into_iter().map(LinkDraft::into_plan).collect();
    let mut routes = Vec::new();
    let mut places = Vec::new();
    for (index, route) in drafts.routes.iter().enumerate() {
        for (leg, to) in route.to.iter().enumerate() {
            routes.push(leg_plan(route, &to.value, writers[index][leg])?);
            places.push(LegPlaces {
                to: to.place.clone(),
                subjects: route
                    .subjects
                    .iter()
                    .map(|filter| filter.place.clone())
                    .collect(),
            });
        }
    }
    let fleet = drafts.fleet?.value;
    Some((
        Plan {
            fleet,
            regions: regions?,
            links: links?,
            routes,
            residency,
        },
        places,
    ))
}

fn leg_plan(route: &RouteDraft, to: &RegionId, writers: Writers) -> Option<RoutePlan> {
    Some(RoutePlan {
        name: route.name.as_ref()?.value.clone(),
        from: route.from.as_ref()?.value.clone(),
        to: to.clone(),
        stream: route.stream.as_ref()?.value.clone(),
        subjects: SubjectSet::new(route.subjects.iter().map(|f| f.value.clone()).collect()),
        target: route.target()?.value.clone(),
        start: route.start,
        priority: route.priority,
        dedupe_ids: route.dedupe_ids.as_ref().is_none_or(|dedupe| dedupe.value),
        exactly_once: route.exactly_once,
        writers,
        fence: route.fence,
        create: route.create.as_ref().map(|create| create.value.clone()),
    })
}

/// Names of routes and classes are unique. (Those of regions are keys: TOML itself sees to them.)
fn check_names(drafts: &Drafts, report: &Report) {
    report_twins(
        drafts.routes.iter().filter_map(|route| route.name.as_ref()),
        report,
    );
    report_twins(
        drafts
            .classes
            .iter()
            .filter_map(|class| class.name.as_ref()),
        report,
    );
}

/// Reports each value that stood there before.
fn report_twins<'a, T: Eq + Hash + Display + 'a>(
    values: impl Iterator<Item = &'a Placed<T>>,
    report: &Report,
) {
    let mut seen: HashMap<&T, &Placed<T>> = HashMap::new();
    for value in values {
        match seen.get(&value.value) {
            Some(first) => {
                let found = format!("\"{}\" again", value.value);
                report.conflict(&value.place, found, "each but once", &first.place);
            }
            None => {
                seen.insert(&value.value, value);
            }
        }
    }
}

fn check_regions_are_known(drafts: &Drafts, report: &Report) {
    let ids: Vec<&str> = drafts
        .regions
        .iter()
        .map(|region| region.id.as_str())
        .collect();
    let in_links = drafts
        .links
        .iter()
        .filter_map(|link| link.regions.as_ref())
        .flatten();
    let in_routes = drafts
        .routes
        .iter()
        .flat_map(|route| route.from.iter().chain(&route.to));
    let in_classes = drafts
        .classes
        .iter()
        .filter_map(|class| match class.regions.as_ref()? {
            RegionsDraft::Any => None,
            RegionsDraft::Only(regions) => Some(regions),
        });
    for region in in_links.chain(in_routes).chain(in_classes.flatten()) {
        if ids.contains(&region.as_str()) {
            continue;
        }
        let meant = nearest(region.as_str(), ids.iter().copied())
            .map_or(String::new(), |meant| format!("; did you mean {meant:?}?"));
        let wanted = match ids.is_empty() {
            true => "a [region.NAME] of that name".to_owned(),
            false => format!("one of the regions {}{meant}", ids.join(", ")),
        };
        report.fault(&region.place, format!("\"{}\"", region.value), wanted);
    }
}
