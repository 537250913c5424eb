//! What differs between two readings of a fleet file, seen from one region: what its sidecar can take
//! over while it runs, and what waits for a restart.
//!
//! Only the region's own part counts: its section, its links, the legs that leave or arrive, and what
//! all of the fleet share (name and classes). Keys are named as in errors, so that whoever changed the
//! file finds them: a link goes by its number in the new file, a removed one by that in the old.

use std::collections::BTreeSet;

use causeway_proto::id::RegionId;

use crate::plan::{LinkPlan, Plan, RegionPlan, RoutePlan};

/// What differs, by key. A key is in one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Can be taken over by a sidecar that runs.
    pub live: BTreeSet<String>,
    /// Holds after the next start only.
    pub restart: BTreeSet<String>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }

    fn live(&mut self, differs: bool, section: &str, key: &str) {
        if differs {
            self.live.insert(format!("{section}.{key}"));
        }
    }

    fn restart(&mut self, differs: bool, section: &str, key: &str) {
        if differs {
            self.restart.insert(format!("{section}.{key}"));
        }
    }
}

/// What differs for the sidecar of `here`. `new` must have that region.
pub fn changes(old: &Plan, new: &Plan, here: &RegionId) -> Changes {
    let mut changes = Changes::default();
    changes.restart(old.fleet != new.fleet, "fleet", "name");
    if old.residency.digest() != new.residency.digest() {
        changes.restart.insert("class".into());
    }
    if let (Some(old), Some(new)) = (old.region(here), new.region(here)) {
        compare_regions(old, new, &mut changes);
    }
    compare_links(old, new, here, &mut changes);
    compare_routes(old, new, here, &mut changes);
    changes
}

/// The fleet as it runs in `here` once what can be taken over was: `old`, and of `new` what is live.
pub fn take_over(old: &Plan, new: &Plan, here: &RegionId) -> Plan {
    let mut plan = old.clone();
    let is_here = |region: &&mut RegionPlan| region.id == *here;
    if let (Some(region), Some(from)) = (plan.regions.iter_mut().find(is_here), new.region(here)) {
        region.rate = from.rate;
        region.schedule.clone_from(&from.schedule);
    }
    for link in &mut plan.links {
        if link.role_of(here).is_some()
            && let Some(from) = new.link_between(&link.listener, &link.dialer)
        {
            link.rate = from.rate;
            link.schedule.clone_from(&from.schedule);
            link.monthly_cap.clone_from(&from.monthly_cap);
            link.mode = from.mode;
            link.copies = from.copies;
        }
    }
    for route in &mut plan.routes {
        if route.from == *here
            && let Some(from) = new.leg(&route.name, &route.to)
            && from.from == *here
        {
            route.priority = from.priority;
        }
    }
    plan
}

fn compare_regions(old: &RegionPlan, new: &RegionPlan, changes: &mut Changes) {
    let RegionPlan {
        id,
        nats,
        listen,
        admin,
        state,
        rate,
        schedule,
        tls,
    } = new;
    let section = format!("region.{id}");
    changes.live(old.rate != *rate, &section, "rate");
    changes.live(old.schedule != *schedule, &section, "schedule");
    changes.restart(old.nats != *nats, &section, "nats");
    changes.restart(old.listen != *listen, &section, "listen");
    changes.restart(old.admin != *admin, &section, "admin");
    changes.restart(old.state != *state, &section, "state");
    changes.restart(old.tls != *tls, &section, "tls");
}

fn compare_links(old: &Plan, new: &Plan, here: &RegionId, changes: &mut Changes) {
    for (number, link) in new.links.iter().enumerate() {
        if link.role_of(here).is_none() {
            continue;
        }
        let section = format!("link[{number}]");
        match old.link_between(&link.listener, &link.dialer) {
            Some(old) => compare_link(old, link, &section, changes),
            None => drop(changes.restart.insert(section)),
        }
    }
    for (number, link) in old.links.iter().enumerate() {
        if link.role_of(here).is_some() && new.link_between(&link.listener, &link.dialer).is_none()
        {
            changes.restart.insert(format!("link[{number}]"));
        }
    }
}

fn compare_link(old: &LinkPlan, new: &LinkPlan, section: &str, changes: &mut Changes) {
    let LinkPlan {
        listener,
        dialer: _, // the other of the two
        dial,
        dial_back,
        rate,
        schedule,
        monthly_cap,
        mode,
        copies,
        rtt,
        mtu,
    } = new;
    changes.live(old.rate != *rate, section, "rate");
    changes.live(old.schedule != *schedule, section, "schedule");
    changes.live(old.monthly_cap != *monthly_cap, section, "monthly_cap");
    changes.live(old.mode != *mode, section, "mode");
    changes.live(old.copies != *copies, section, "copies");
    changes.restart(old.listener != *listener, section, "regions");
    changes.restart(old.dial != *dial, section, "dial");
    changes.restart(old.dial_back != *dial_back, section, "dial_back");
    changes.restart(old.rtt != *rtt, section, "rtt");
    changes.restart(old.mtu != *mtu, section, "mtu");
}

fn compare_routes(old: &Plan, new: &Plan, here: &RegionId, changes: &mut Changes) {
    let is_here = |leg: &&RoutePlan| leg.from == *here || leg.to == *here;
    for leg in new.routes.iter().filter(is_here) {
        let section = format!("route.{}", leg.name);
        match old.leg(&leg.name, &leg.to) {
            Some(old) => compare_leg(old, leg, here, &section, changes),
            None if old.routes.iter().any(|other| other.name == leg.name) => {
                changes.restart(true, &section, "to");
            }
            None => drop(changes.restart.insert(section)),
        }
    }
    for leg in old.routes.iter().filter(is_here) {
        let section = format!("route.{}", leg.name);
        if let Some(now) = new.leg(&leg.name, &leg.to) {
            // One that is still here was compared above.
            changes.restart(!is_here(&now), &section, "from");
            continue;
        }
        match new.routes.iter().any(|other| other.name == leg.name) {
            true => changes.restart(true, &section, "to"),
            false => drop(changes.restart.insert(section)),
        }
    }
}

fn compare_leg(
    old: &RoutePlan,
    new: &RoutePlan,
    here: &RegionId,
    section: &str,
    changes: &mut Changes,
) {
    let RoutePlan {
        name: _,
        from,
        to: _, // both are what the leg was found by
        stream,
        subjects,
        target,
        start: _, // means nothing to a route that has begun
        priority,
        dedupe_ids,
        exactly_once,
        writers,
        fence,
        create,
    } = new;
    let leaves = *from == *here;
    changes.live(leaves && old.priority != *priority, section, "priority");
    changes.restart(old.from != *from, section, "from");
    changes.restart(old.stream != *stream, section, "stream");
    changes.restart(old.subjects != *subjects, section, "subjects");
    changes.restart(old.target != *target, section, "target");
    let arrives = !leaves;
    let mut target_side = |differs: bool, key: &str| {
        changes.restart(arrives && differs, section, key);
    };
    target_side(old.dedupe_ids != *dedupe_ids, "dedupe_ids");
    target_side(old.exactly_once != *exactly_once, "exactly_once");
    target_side(old.writers != *writers, "writers");
    target_side(old.fence != *fence, "fence");
    target_side(old.create != *create, "create");
}
