//! Watches the running demo from outside and keeps the screen up to date.
//!
//! Record counts come from the NATS servers and the wire's bytes from the relay, so they are true whatever a
//! sidecar says of itself; states, lag in seconds and records in flight are the sidecars' own word (`/status`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::fleet::{DIALLER, LISTENER, LOSS_PPM, ONE_WAY, RoutePlan, WAN_RATE_BPS};
use super::load::LoadProgress;
use super::relay::RelayCounters;
use super::screen::{RouteView, Screen, Snapshot};
use super::status::{SidecarStatus, status};

const DRAW_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(3);
/// Rates are over so many drawings: about a second.
const RATE_SAMPLES: usize = 6;

/// What the script tells the monitor.
#[derive(Debug)]
pub(crate) enum Told {
    /// Something has happened; it stays on the screen.
    Event(String),
    /// What is going on until told otherwise.
    Doing(String),
}

/// One route, as far as it can be watched.
#[derive(Debug)]
pub(crate) struct WatchedRoute {
    pub plan: RoutePlan,
    pub progress: watch::Receiver<LoadProgress>,
    /// A connection to the target region.
    pub target: jetstream::Context,
}

/// Keeps the screen up to date until the script is done.
pub(crate) struct Monitor {
    pub screen: Screen,
    pub told: mpsc::Receiver<Told>,
    pub began: Instant,
    pub seconds: u64,
    pub dialler_admin: SocketAddr,
    pub listener_admin: SocketAddr,
    pub routes: [WatchedRoute; 2],
    pub relay: watch::Receiver<RelayCounters>,
}

/// What the monitor remembers from one drawing to the next.
#[derive(Default)]
struct Memory {
    doing: String,
    replicated: [u64; 2],
    samples: VecDeque<(Instant, [u64; 2], u64)>,
    said_at: Option<Instant>,
}

impl Monitor {
    /// Runs until the script drops its end; gives the screen back.
    pub(crate) async fn run(mut self) -> Screen {
        let mut memory = Memory::default();
        let mut ticks = interval(DRAW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                told = self.told.recv() => Some(told),
                _ = ticks.tick() => None,
            };
            match told {
                Some(Some(Told::Event(event))) => {
                    let at = self.began.elapsed().as_secs_f64();
                    self.screen.say(&format!("{at:>6.1} s  {event}"));
                }
                Some(Some(Told::Doing(doing))) => memory.doing = doing,
                Some(None) => {
                    self.screen.clear();
                    return self.screen;
                }
                None => self.show(&mut memory).await,
            }
        }
    }

    async fn show(&mut self, memory: &mut Memory) {
        let snapshot = self.snapshot(memory).await;
        if self.screen.is_terminal() {
            self.screen.draw(&snapshot.panel());
        } else if memory.said_at.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            memory.said_at = Some(Instant::now());
            self.screen.say(&snapshot.summary());
        }
    }

    async fn snapshot(&self, memory: &mut Memory) -> Snapshot {
        let (dialler, listener, first, second) = tokio::join!(
            status(self.dialler_admin),
            status(self.listener_admin),
            stored(&self.routes[0]),
            stored(&self.routes[1]),
        );
        for (known, now) in memory.replicated.iter_mut().zip([first, second]) {
            *known = now.unwrap_or(*known);
        }
        let wire_bytes = self.relay.borrow().wire_bytes();
        let [first_rate, second_rate, wire_rate] = rates(memory, wire_bytes);
        let end = |region: &str| {
            if region == DIALLER {
                &dialler
            } else {
                &listener
            }
        };
        let view = |index: usize, rate: f64| {
            let route = &self.routes[index];
            let (source, target) = (end(route.plan.from), end(route.plan.to));
            view(
                route,
                memory.replicated[index],
                rate,
                source.as_ref(),
                target.as_ref(),
            )
        };
        Snapshot {
            elapsed: self.began.elapsed(),
            seconds: self.seconds,
            doing: memory.doing.clone(),
            wan: wan_text(),
            link: link_text(dialler.as_ref(), listener.as_ref()),
            routes: vec![view(0, first_rate), view(1, second_rate)],
            wire_bytes,
            wire_bits_per_second: wire_rate * 8.0,
            payload_bytes: self.payload_bytes(memory),
        }
    }

    /// An estimate from the mean size of what was published; the verdict counts exactly.
    fn payload_bytes(&self, memory: &Memory) -> u64 {
        let carried = |(route, replicated): (&WatchedRoute, &u64)| {
            let progress = *route.progress.borrow();
            progress.may_travel_bytes * replicated / progress.may_travel.max(1)
        };
        self.routes
            .iter()
            .zip(&memory.replicated)
            .map(carried)
            .sum()
    }
}

/// The records that the target stream holds; nothing while it does not exist or the server is silent.
async fn stored(route: &WatchedRoute) -> Option<u64> {
    let stream = route.target.get_stream(route.plan.target).await.ok()?;
    Some(stream.cached_info().state.messages)
}

/// Records a second of both routes and wire bytes a second, over the last second or so.
fn rates(memory: &mut Memory, wire_bytes: u64) -> [f64; 3] {
    let now = Instant::now();
    memory
        .samples
        .push_back((now, memory.replicated, wire_bytes));
    if memory.samples.len() > RATE_SAMPLES {
        memory.samples.pop_front();
    }
    let Some((then, replicated, wire)) = memory.samples.front() else {
        return [0.0; 3];
    };
    let seconds = (now - *then).as_secs_f64().max(0.001);
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
    [
        rate(memory.replicated[0], replicated[0]),
        rate(memory.replicated[1], replicated[1]),
        rate(wire_bytes, *wire),
    ]
}

fn view(
    route: &WatchedRoute,
    replicated: u64,
    records_per_second: f64,
    source: Option<&SidecarStatus>,
    target: Option<&SidecarStatus>,
) -> RouteView {
    let name = route.plan.name;
    let out = source.and_then(|it| it.route(name, true));
    let arriving = target.and_then(|it| it.route(name, false));
    let state = match (out, arriving) {
        (Some(out), _) => with_reason(&out.state, out.reason.as_deref()),
        (None, _) if source.is_none() => "no answer".to_owned(),
        (None, _) => "unknown".to_owned(),
    };
    RouteView {
        name,
        may_travel: route.progress.borrow().may_travel,
        replicated,
        records_per_second,
        lag_seconds: out.and_then(|it| it.lag_seconds),
        in_flight_records: out.and_then(|it| it.in_flight_records),
        denied: out.and_then(|it| it.denied),
        state: match arriving {
            Some(it) if it.state != state && it.reason.is_some() => {
                format!(
                    "{state}; target: {}",
                    with_reason(&it.state, it.reason.as_deref())
                )
            }
            Some(_) | None => state,
        },
    }
}

fn link_text(dialler: Option<&SidecarStatus>, listener: Option<&SidecarStatus>) -> String {
    let side = |region: &str, status: Option<&SidecarStatus>| match status {
        None => format!("{region}: the sidecar does not answer"),
        Some(status) => match status.links.first() {
            None => format!("{region}: unknown"),
            Some(link) => {
                let rtt = link
                    .rtt_ms
                    .map(|it| format!(", {it:.0} ms"))
                    .unwrap_or_default();
                format!(
                    "{region}: {}{rtt}",
                    with_reason(&link.state, link.reason.as_deref())
                )
            }
        },
    };
    format!("{}, {}", side(DIALLER, dialler), side(LISTENER, listener))
}

fn with_reason(state: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{state} ({reason})"),
        None => state.to_owned(),
    }
}

fn wan_text() -> String {
    format!(
        "{} ms round trip, {} % loss, {} Mbit/s",
        2 * ONE_WAY.as_millis(),
        LOSS_PPM / 10_000,
        WAN_RATE_BPS / 1_000_000
    )
}
