//! Routes, each on its own and with others that read the same stream.

use causeway_proto::id::{RegionId, StreamName};
use causeway_proto::subject::SubjectFilter;

use super::links;
use crate::read::{Placed, Report};
use crate::section::{Drafts, RouteDraft};

type Filter<'a> = &'a Placed<SubjectFilter>;

pub(super) fn check(drafts: &Drafts, report: &Report) {
    for (index, route) in drafts.routes.iter().enumerate() {
        check_subjects(route, report);
        check_targets(route, drafts, report);
        for other in &drafts.routes[..index] {
            check_no_record_twice(route, other, report);
            warn_circle(route, other, report);
        }
        for first in &drafts.routes {
            warn_two_ways(first, route, drafts, report);
        }
    }
}

/// JetStream refuses a consumer whose filters overlap.
fn check_subjects(route: &RouteDraft, report: &Report) {
    for (index, filter) in route.subjects.iter().enumerate() {
        let earlier = route.subjects[..index]
            .iter()
            .find(|earlier| earlier.overlaps(filter));
        if let Some(earlier) = earlier {
            let found = format!("\"{}\", which overlaps \"{}\"", filter.value, earlier.value);
            report.conflict(
                &filter.place,
                found,
                "filters that do not overlap",
                &earlier.place,
            );
        }
    }
}

fn check_targets(route: &RouteDraft, drafts: &Drafts, report: &Report) {
    super::report_twins(route.to.iter(), report);
    let Some(from) = &route.from else { return };
    let is_known = |id: &RegionId| drafts.regions.iter().any(|region| region.id == *id);
    for to in &route.to {
        if to.value == from.value {
            let found = format!("\"{}\"", to.value);
            report.conflict(&to.place, found, "another region than from", &from.place);
        } else if is_known(to)
            && is_known(from)
            && !drafts.links.iter().any(|link| links::joins(link, from, to))
        {
            let found = format!(
                "\"{}\", which no link joins with \"{}\"",
                to.value, from.value
            );
            let wanted = format!(
                "a [[link]] with regions = [\"{}\", \"{}\"]",
                from.value, to.value
            );
            report.conflict(&to.place, found, wanted, &from.place);
        }
    }
}

/// Two routes from one stream to one region must not carry the same record: it would be there
/// twice.
fn check_no_record_twice(route: &RouteDraft, other: &RouteDraft, report: &Report) {
    if !reads_the_same(route, other) {
        return;
    }
    let meets = |to: &&Placed<RegionId>| other.to.iter().any(|theirs| theirs.value == to.value);
    if let (Some(to), Some((ours, theirs))) = (route.to.iter().find(meets), overlap(route, other)) {
        let found = format!("\"{}\", which overlaps \"{}\"", ours.value, theirs.value);
        let wanted = format!("each record once from this stream to {}", to.value);
        report.conflict(&ours.place, found, wanted, &theirs.place);
    }
}

fn reads_the_same(a: &RouteDraft, b: &RouteDraft) -> bool {
    let source = |route: &'_ RouteDraft| -> Option<(RegionId, StreamName)> {
        Some((
            route.from.as_ref()?.value.clone(),
            route.stream.as_ref()?.value.clone(),
        ))
    };
    source(a).is_some_and(|ours| Some(ours) == source(b))
}

/// Two routes that feed one another: legal, since a record never returns to a region it passed.
fn warn_circle(route: &RouteDraft, other: &RouteDraft, report: &Report) {
    if feeds(route, other) && feeds(other, route) && overlap(route, other).is_some() {
        let text = "each of the two reads what the other writes: only their hops keep records \
                    from going in a circle, so an application must not copy the Causeway header";
        report.warn(&route.place, text, Some(&other.place));
    }
}

/// What `first` brings travels on by `second` to where another route brings it directly: hops keep a record from coming back, not
/// from coming by two ways, and beyond the duplicate window the target cannot tell.
fn warn_two_ways(first: &RouteDraft, second: &RouteDraft, drafts: &Drafts, report: &Report) {
    let (Some(origin), Some(target)) = (&first.from, second.target()) else {
        return;
    };
    if !feeds(first, second) || overlap(first, second).is_none() {
        return;
    }
    let ends = |to: &&Placed<RegionId>| to.value != origin.value;
    for end in second.to.iter().filter(ends) {
        let is_direct = |route: &&RouteDraft| {
            reads_the_same(first, route)
                && route.to.iter().any(|to| to.value == end.value)
                && route.target().is_some_and(|it| it.value == target.value)
                && overlap(first, route).is_some()
                && overlap(second, route).is_some()
        };
        if let Some(direct) = drafts.routes.iter().find(is_direct) {
            let text = format!(
                "what {} publishes comes to {} in {} by two ways, this one and a direct one, and is stored twice where they \
                 are further apart than the target's duplicate window: let each route carry only what its own region publishes",
                origin.value, target.value, end.value
            );
            report.warn(&second.place, &text, Some(&direct.place));
        }
    }
}

/// Whether `reader` reads the stream that `writer` writes.
pub(super) fn feeds(writer: &RouteDraft, reader: &RouteDraft) -> bool {
    let (Some(from), Some(stream), Some(target)) = (&reader.from, &reader.stream, writer.target())
    else {
        return false;
    };
    stream.value == target.value && writer.to.iter().any(|to| to.value == from.value)
}

/// The first pair of filters, one of each route, that overlap.
pub(super) fn overlap<'a>(
    a: &'a RouteDraft,
    b: &'a RouteDraft,
) -> Option<(Filter<'a>, Filter<'a>)> {
    a.subjects.iter().find_map(|ours| {
        let theirs = b.subjects.iter().find(|theirs| ours.overlaps(theirs))?;
        Some((ours, theirs))
    })
}
