//! Target streams: who writes them, and what routes that share one must agree on.

use causeway_proto::id::RegionId;

use super::routes::{feeds, overlap};
use crate::error::Place;
use crate::plan::Writers;
use crate::read::Report;
use crate::section::{Drafts, RouteDraft};

/// Who writes each leg's target, by route and leg: what the file says, else what the fleet shows.
pub(super) fn writers(routes: &[RouteDraft]) -> Vec<Vec<Writers>> {
    let of_leg = |index: usize, to: &RegionId| match &routes[index].writers {
        Some(writers) => writers.value,
        None if other_writer(routes, index, to).is_some() => Writers::Shared,
        None => Writers::Route,
    };
    let of_route = |(index, route): (usize, &RouteDraft)| {
        route.to.iter().map(|to| of_leg(index, &to.value)).collect()
    };
    routes.iter().enumerate().map(of_route).collect()
}

pub(super) fn check(drafts: &Drafts, report: &Report) {
    for (index, route) in drafts.routes.iter().enumerate() {
        check_writers(&drafts.routes, index, report);
        check_dedupe(&drafts.routes, index, report);
        for other in &drafts.routes[..index] {
            check_shared_target(route, other, report);
        }
    }
}

/// A route of the fleet that shows that others write the target too: one with the same target, or
/// one that carries records from the target back to where they come from, which would be idle were
/// there nothing but those.
fn other_writer<'a>(
    routes: &'a [RouteDraft],
    index: usize,
    to: &RegionId,
) -> Option<&'a RouteDraft> {
    let route = &routes[index];
    let target = &route.target()?.value;
    let others = || {
        routes
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != index)
            .map(|(_, other)| other)
    };
    let writes_it = |other: &&RouteDraft| {
        other.target().is_some_and(|theirs| theirs.value == *target)
            && other.to.iter().any(|theirs| theirs.value == *to)
    };
    let brings_back = |other: &&RouteDraft| {
        let from = other.from.as_ref().is_some_and(|from| from.value == *to);
        let stream = other
            .stream
            .as_ref()
            .is_some_and(|stream| stream.value == *target);
        from && stream && feeds(other, route)
    };
    others()
        .find(writes_it)
        .or_else(|| others().find(brings_back))
}

fn target_place(route: &RouteDraft) -> Place {
    route.target.as_ref().map_or_else(
        || route.place.child("target"),
        |target| target.place.clone(),
    )
}

fn check_writers(routes: &[RouteDraft], index: usize, report: &Report) {
    let route = &routes[index];
    let Some(writers) = route.writers.as_ref().filter(|w| w.value == Writers::Route) else {
        return;
    };
    let other = route
        .to
        .iter()
        .find_map(|to| Some((to, other_writer(routes, index, to)?)));
    let Some((to, other)) = other else { return };
    let shares_target = other.to.iter().any(|theirs| theirs.value == to.value);
    if shares_target {
        let wanted = format!(
            "\"shared\", since another route writes the same stream in {}",
            to.value
        );
        report.conflict(&writers.place, "\"route\"", wanted, &target_place(other));
    } else {
        let text = format!(
            "\"route\" promises that nobody else writes the stream in {}, yet another route brings \
             records back from it: where applications publish there, say \"shared\"",
            to.value
        );
        report.warn(&writers.place, text, Some(&other.place));
    }
}

/// Without ids only a sole writer can tell what is there.
fn check_dedupe(routes: &[RouteDraft], index: usize, report: &Report) {
    let route = &routes[index];
    let Some(dedupe) = route.dedupe_ids.as_ref().filter(|dedupe| !dedupe.value) else {
        return;
    };
    let wanted = "true, or a target stream that this route alone writes";
    match &route.writers {
        Some(writers) if writers.value == Writers::Shared => {
            report.conflict(&dedupe.place, "false", wanted, &writers.place);
        }
        Some(_) => {}
        None => {
            if let Some(other) = route
                .to
                .iter()
                .find_map(|to| other_writer(routes, index, to))
            {
                report.conflict(&dedupe.place, "false", wanted, &target_place(other));
            }
        }
    }
}

fn check_shared_target(route: &RouteDraft, other: &RouteDraft, report: &Report) {
    let meet = route
        .to
        .iter()
        .any(|to| other.to.iter().any(|theirs| theirs.value == to.value));
    let (Some(target), Some(theirs)) = (route.target(), other.target()) else {
        return;
    };
    let (Some(create), Some(other_create)) = (&route.create, &other.create) else {
        return;
    };
    if !meet {
        return;
    }
    if target.value == theirs.value {
        if create.value != other_create.value {
            let found = format!("other settings for the same new stream {}", target.value);
            let wanted = "the same settings in both routes";
            report.conflict(&create.place, found, wanted, &other_create.place);
        }
    } else if route.is_filtered()
        && other.is_filtered()
        && let Some((ours, theirs)) = overlap(route, other)
    {
        let text = format!(
            "\"{}\" overlaps \"{}\", and both routes create a stream for them in one region: \
             the server refuses the second if they really share subjects",
            ours.value, theirs.value
        );
        report.warn(&ours.place, text, Some(&theirs.place));
    }
}
