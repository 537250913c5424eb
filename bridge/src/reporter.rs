//! What a driver tells of its route: counters kept by the driver, copied out twice a second.

use causeway_proto::codec::BatchHead;
use causeway_proto::frame::Stall;
use causeway_proto::id::{Epoch, RouteName, SourceSeq};
use causeway_proto::receiver::Receiver;
use causeway_proto::residency::DenyReason;
use causeway_proto::sender::Sender;

/// A source driver as status sees it.
pub struct OutboundView<'a> {
    /// The state machine.
    pub sender: &'a Sender,
    /// Whether a session stands.
    pub has_session: bool,
    /// Whether an operator paused the route.
    pub paused: bool,
    /// What the target says.
    pub stall: Option<&'a Stall>,
}

/// A target driver as status sees it.
pub struct InboundView<'a> {
    /// The state machine.
    pub receiver: &'a Receiver,
    /// Whether a session stands.
    pub has_session: bool,
    /// Whether the target's server is connected.
    pub connected: bool,
}

/// See the module.
pub struct RouteReporter {
    name: RouteName,
}
impl RouteReporter {
    pub fn new(
        route: &causeway_config::plan::RoutePlan,
        _direction: crate::session::Direction,
    ) -> Self {
        Self {
            name: route.name.clone(),
        }
    }
    pub fn name(&self) -> &RouteName {
        &self.name
    }
    pub fn inbound(&mut self, _view: &InboundView<'_>) {}
    pub fn outbound(&mut self, _view: &OutboundView<'_>) {}
    pub fn lane_opened(&mut self, _epoch: Epoch) {}
    pub fn batch_arrived(&mut self, _head: &BatchHead, _body_len: usize) {}
    pub fn lane_refused(&mut self) {}
    pub fn checkpointed(&mut self) {}
    pub fn progressed(&mut self) {}
    pub fn source_unreachable(&mut self, _why: String) {}
    pub fn source_found(&mut self, _last: SourceSeq) {}
    pub fn resumed(&mut self, _after: SourceSeq, _epoch: Epoch) {}
    pub fn forged(&mut self) {}
    pub fn denied(&mut self, _reason: DenyReason) {}
    pub fn batch_sealed(&mut self, _records: u32, _plain_len: usize) {}
    pub fn batch_sent(&mut self, _wire_len: usize) {}
}
