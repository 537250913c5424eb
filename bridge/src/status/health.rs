//! Whether a sidecar is healthy and ready, and what is missing.
//!
//! *Unhealthy* means that going on is no use and a restart may help: a task of ours died, the socket that
//! listens failed, or the books do not balance. A link that is down, a target that is full, a server that is gone are states, not
//! ill health: a restart would mend none of them. *Not ready* means that this sidecar has not yet done
//! what it is for since it started, or cannot reach its own region's NATS.

use super::{Inner, RouteEntry};

pub(super) struct Assessment {
    pub(super) unhealthy: Vec<String>,
    pub(super) not_ready: Vec<String>,
}

pub(super) fn assess(inner: &Inner) -> Assessment {
    let mut unhealthy = Vec::new();
    let mut not_ready = Vec::new();
    if inner.draining {
        not_ready.push("the process is draining".to_owned());
    }
    for connection in &inner.connections {
        let status = connection.borrow();
        if !inner.draining && connection.has_changed().is_err() {
            unhealthy.push(format!(
                "the task of NATS connection {} has died",
                status.name
            ));
        }
        if !status.up {
            let why = status.reason.as_deref().unwrap_or("not yet connected");
            not_ready.push(format!("NATS connection {} is down: {why}", status.name));
        }
    }
    for link in &inner.links {
        if !inner.draining && link.status.has_changed().is_err() {
            unhealthy.push(format!(
                "the task of the link to {} has died",
                link.status.borrow().peer
            ));
        }
    }
    let listener = inner.listener.as_ref();
    if !inner.draining && listener.is_some_and(|listener| listener.has_changed().is_err()) {
        unhealthy.push("the socket that listens for peers has failed: none can dial in".to_owned());
    }
    for route in &inner.routes {
        assess_route(route, inner.draining, &mut unhealthy, &mut not_ready);
    }
    Assessment {
        unhealthy,
        not_ready,
    }
}

fn assess_route(
    route: &RouteEntry,
    draining: bool,
    unhealthy: &mut Vec<String>,
    not_ready: &mut Vec<String>,
) {
    let status = route.status.borrow();
    let name = format!(
        "route {} {} {}",
        status.name,
        preposition(&status),
        status.peer
    );
    if !draining && route.has_ended() {
        unhealthy.push(format!("the driver of {name} has died"));
    }
    if !status.outcomes.balance() {
        unhealthy.push(format!("{name}: records read do not equal their outcomes"));
    }
    if !status.positions.balance() {
        unhealthy.push(format!("{name}: source positions are not all explained"));
    }
    if !route.was_resumed && !status.state.is_running() {
        let state = status.state.as_str();
        let why = status
            .reason
            .as_deref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        not_ready.push(format!("{name} has not been resumed yet: {state}{why}"));
    }
}

fn preposition(status: &super::RouteStatus) -> &'static str {
    match status.direction {
        super::RouteDirection::Out => "to",
        super::RouteDirection::In => "from",
    }
}
