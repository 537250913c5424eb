//! Links: one a pair, and the region that is dialled listens.

use causeway_proto::id::RegionId;

use crate::error::Place;
use crate::read::{Placed, Report};
use crate::section::{Drafts, LinkDraft, RegionDraft};

pub(super) fn check(drafts: &Drafts, report: &Report) {
    for (index, link) in drafts.links.iter().enumerate() {
        check_pair_is_new(link, &drafts.links[..index], report);
        check_listeners(link, &drafts.regions, report);
    }
    warn_idle(drafts, report);
    warn_same_host(drafts, report);
}

/// Whether the link connects the two.
pub(super) fn joins(link: &LinkDraft, a: &RegionId, b: &RegionId) -> bool {
    link.regions.as_ref().is_some_and(|[listener, dialer]| {
        (&listener.value, &dialer.value) == (a, b) || (&listener.value, &dialer.value) == (b, a)
    })
}

fn check_pair_is_new(link: &LinkDraft, earlier: &[LinkDraft], report: &Report) {
    let Some([listener, dialer]) = &link.regions else {
        return;
    };
    if let Some(other) = earlier.iter().find(|other| joins(other, listener, dialer)) {
        let found = format!(
            "a second link between {} and {}",
            listener.value, dialer.value
        );
        let wanted = "one link a pair: records flow both ways on it";
        report.conflict(
            &link.place.child("regions"),
            found,
            wanted,
            &other.place.child("regions"),
        );
    }
}

/// Whoever is dialled listens, and at an address of its own.
fn check_listeners(link: &LinkDraft, regions: &[RegionDraft], report: &Report) {
    let Some([first, second]) = &link.regions else {
        return;
    };
    let listens = |id: &RegionId, why: &str, place: &Place| {
        let region = regions.iter().find(|region| region.id == *id);
        if let Some(region) = region
            && region.listen.is_none()
            && !region.has_listen
        {
            let wanted = format!("an IP address and UDP port to listen on, since {why}");
            report.conflict(&region.place.child("listen"), "nothing", wanted, place);
        }
    };
    let why = "the first region of a link is dialled";
    listens(&first.value, why, &first.place);
    let Some(back) = &link.dial_back else { return };
    let why = format!("{} dials it back", first.value);
    listens(&second.value, &why, &back.place);
    if let Some(dial) = link.dial.as_ref().filter(|dial| dial.value == back.value) {
        let found = format!("\"{}\" again", back.value);
        let wanted = format!("where {} is reached", second.value);
        report.conflict(&back.place, found, wanted, &dial.place);
    }
}

fn warn_idle(drafts: &Drafts, report: &Report) {
    for region in &drafts.regions {
        let links = drafts
            .links
            .iter()
            .filter_map(|link| link.regions.as_ref())
            .flatten();
        if drafts.regions.len() > 1 && !links.into_iter().any(|id| id.value == region.id) {
            report.warn(
                &region.place,
                "no link ends here, so nothing comes or goes",
                None,
            );
        }
    }
    for link in &drafts.links {
        let Some([a, b]) = &link.regions else {
            continue;
        };
        let uses = drafts.routes.iter().any(|route| {
            let from = route.from.as_ref().map(|from| &from.value);
            let ends = |x: &RegionId, y: &RegionId| {
                from == Some(x) && route.to.iter().any(|to| to.value == *y)
            };
            ends(a, b) || ends(b, a)
        });
        if !uses {
            report.warn(
                &link.place,
                format!("no route uses it, from {} or from {}", a.value, b.value),
                None,
            );
        }
    }
}

/// A link that dials a loopback address proves that its two regions share a machine; then they must
/// not share a state directory or an address.
fn warn_same_host(drafts: &Drafts, report: &Report) {
    let find = |id: &RegionId| drafts.regions.iter().find(|region| region.id == *id);
    for link in &drafts.links {
        let Some([a, b]) = &link.regions else {
            continue;
        };
        let (Some(a), Some(b)) = (find(a), find(b)) else {
            continue;
        };
        let mut dials = link.dial.iter().chain(&link.dial_back);
        if !dials.any(|dial| dial.is_loopback()) {
            continue;
        }
        warn_same(&a.state, &b.state, "state directory", a, report);
        warn_same(&a.listen, &b.listen, "listen address", a, report);
        if a.admin.as_ref().is_some_and(|admin| admin.port() != 0) {
            warn_same(&a.admin, &b.admin, "admin address", a, report);
        }
    }
}

fn warn_same<T: PartialEq>(
    a: &Option<Placed<T>>,
    b: &Option<Placed<T>>,
    what: &str,
    region: &RegionDraft,
    report: &Report,
) {
    if let (Some(a), Some(b)) = (a, b)
        && a.value == b.value
    {
        let text = format!("{} uses the same {what} on the same machine", region.id);
        report.warn(&b.place, text, Some(&a.place));
    }
}
