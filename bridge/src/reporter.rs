//! What a driver tells of its route: counters kept by the driver, copied out twice a second.

mod inbound;
mod outbound;

use causeway_config::plan::RoutePlan;
use causeway_proto::id::{Epoch, RouteName, SourceSeq};
use causeway_proto::residency::ResidencyPolicy;
use tokio::sync::watch;

pub use self::inbound::InboundView;
pub use self::outbound::OutboundView;
use crate::clock::now_unix_seconds;
use crate::session::Direction;
use crate::status::{Board, RouteDirection, RouteState, RouteStatus};

/// See the module.
#[derive(Debug)]
pub struct RouteReporter {
    name: RouteName,
    status: RouteStatus,
    board: watch::Sender<RouteStatus>,
    /// Denials by class number; the last counts those for want of a class.
    denied: Vec<u64>,
    classes: Vec<String>,
    source: SourceNews,
    /// Epoch of what is read.
    epoch: Option<Epoch>,
    /// What the receiver had settled when it was last looked at.
    applied: Option<(Epoch, SourceSeq)>,
    /// The watermark at which the log was told of a stall that is not over.
    stalled_at: Option<Option<u64>>,
}

/// What was last heard of the source stream.
#[derive(Debug, Default)]
struct SourceNews {
    /// Why it cannot be read, while it cannot.
    unreachable: Option<String>,
    /// When it was last heard.
    heard: Option<f64>,
    /// Records of the route behind those read, where the server said so.
    behind: Option<u64>,
}

impl RouteReporter {
    /// A reporter of one leg, shown on the board from now on.
    pub fn new(
        route: &RoutePlan,
        direction: Direction,
        policy: &ResidencyPolicy,
        board: &Board,
    ) -> Self {
        let (direction, peer) = match direction {
            Direction::Out => (RouteDirection::Out, &route.to),
            Direction::In => (RouteDirection::In, &route.from),
        };
        let (stream, target) = (route.stream.clone(), route.target.clone());
        let status = RouteStatus::new(route.name.clone(), direction, peer.clone(), stream, target);
        let classes: Vec<_> = policy
            .classes()
            .iter()
            .map(|class| class.name.to_string())
            .collect();
        Self {
            name: route.name.clone(),
            board: board.register_route(status.clone()),
            status,
            denied: vec![0; classes.len() + 1],
            classes,
            source: SourceNews::default(),
            epoch: None,
            applied: None,
            stalled_at: None,
        }
    }

    /// The route.
    pub fn name(&self) -> &RouteName {
        &self.name
    }

    /// The watermark was handed to the checkpoint store.
    pub fn checkpointed(&mut self) {
        self.status.checkpointed = Some(now_unix_seconds());
    }

    fn publish(&mut self) {
        self.tell_stall();
        self.board.send_replace(self.status.clone());
    }

    /// One WARN a stall, and one INFO when records move again: a target that is tried again and again stalls
    /// again and again.
    fn tell_stall(&mut self) {
        let watermark = self.status.watermark;
        match (self.status.state, self.stalled_at) {
            (RouteState::Stalled, None) => {
                let why = self.status.reason.as_deref().unwrap_or_default();
                tracing::warn!(route = %self.name, peer = %self.status.peer, why, "route stalled");
                self.stalled_at = Some(watermark);
            }
            (state, Some(before)) if state != RouteState::Stalled && watermark > before => {
                tracing::info!(route = %self.name, peer = %self.status.peer, "route goes on");
                self.stalled_at = None;
            }
            _ => {}
        }
    }
}

fn words(reason: &str, detail: &str) -> String {
    match detail {
        "" => reason.to_owned(),
        detail => format!("{reason}: {detail}"),
    }
}

#[cfg(test)]
mod tests;
