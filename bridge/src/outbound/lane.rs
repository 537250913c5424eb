//! The route's lane: opened, resumed, closed, and what the target says on it.

use causeway_proto::error::PeerMisbehaved;
use causeway_proto::frame::{CloseLane, Frame, LaneCloseReason, StallReason, clip_detail};
use causeway_proto::id::Position;
use tokio::time::Instant;

use super::{Outbound, RETRY, UNKNOWN_RETRY};
use crate::session::RouteEvent;

impl Outbound {
    pub(super) async fn handle_route(&mut self, event: RouteEvent) -> Result<(), PeerMisbehaved> {
        match event {
            RouteEvent::Up(port) => {
                self.port = Some(port);
                self.retry_at = None; // it was about the peer of before
                self.refused = None;
                self.open_lane().await;
            }
            RouteEvent::Down => {
                self.port = None;
                self.close_lane();
            }
            RouteEvent::Frame(frame) => return self.handle_frame(frame).await,
            RouteEvent::Batch(..) => {} // the session refuses batches on lanes of ours
        }
        Ok(())
    }

    async fn handle_frame(&mut self, frame: Frame) -> Result<(), PeerMisbehaved> {
        let lane = match &frame {
            Frame::Resume(resume) => resume.lane,
            Frame::Credit(credit) => credit.lane,
            Frame::Ack(ack) => ack.lane,
            Frame::Rejected(rejected) => rejected.lane,
            Frame::Stall(stall) => stall.lane,
            Frame::CloseLane(close) => close.lane,
            _ => return Ok(()),
        };
        if self.sender.lane() != Some(lane) {
            return Ok(()); // of a lane closed meanwhile
        }
        match frame {
            Frame::Resume(resume) => {
                let after = resume.after.unwrap_or_default();
                self.resume = Some(resume);
                self.stall = None;
                self.find(after);
            }
            Frame::Credit(credit) => self.sender.handle_credit(&credit)?,
            Frame::Ack(ack) => {
                self.sender.handle_ack(&ack)?;
                self.refused = None;
                self.reporter.progressed();
            }
            Frame::Rejected(rejected) => self.sender.handle_rejected(rejected)?,
            Frame::Stall(stall) => {
                self.stall = Some(stall).filter(|stall| stall.reason != StallReason::None);
            }
            Frame::CloseLane(close) => self.handle_close(&close),
            _ => {}
        }
        Ok(())
    }

    fn handle_close(&mut self, close: &CloseLane) {
        let (route, reason, detail) = (self.reporter.name(), close.reason, &close.detail);
        if reason == LaneCloseReason::Shutdown {
            tracing::info!(%route, detail, "the target's driver has ended");
        } else if self.refused != Some(reason) {
            tracing::warn!(%route, %reason, detail, "target closed the lane; trying on");
            self.refused = Some(reason);
        } else {
            tracing::debug!(%route, %reason, detail, "target closed the lane again");
        }
        self.close_lane();
        let wait = match reason {
            LaneCloseReason::RouteUnknown => UNKNOWN_RETRY,
            _ => RETRY,
        };
        self.retry_at = Some(Instant::now() + wait);
    }

    /// Asks the target where to resume, once it is known where a new route begins.
    pub(super) async fn open_lane(&mut self) {
        if self.port.is_none()
            || self.memory.now.paused
            || self.draining
            || self.sender.lane().is_some()
        {
            return;
        }
        if self.memory.now.first.is_none() {
            return self.find(Position::default()); // what `start` comes to
        }
        let Some(port) = &self.port else {
            return;
        };
        let open = self.sender.open(port.new_lane());
        self.say(Frame::Open(open)).await;
    }

    /// Sends a frame, if a session stands.
    pub(super) async fn say(&mut self, frame: Frame) {
        if let Some(port) = &self.port
            && port.send(frame).await.is_err()
        {
            self.port = None; // `Down` follows
        }
    }

    fn close_lane(&mut self) {
        self.sender.close();
        self.source.stop();
        self.block = None;
        self.resume = None;
        // What was asked for this lane is of no more use.
        if let Some(finding) = self.finding.take() {
            finding.abort();
        }
        self.pipeline.clear();
    }

    pub(super) async fn refuse(&mut self, fault: PeerMisbehaved) {
        tracing::warn!(route = %self.reporter.name(), %fault, "peer misbehaved on a lane");
        self.end_lane(LaneCloseReason::Misbehaved, &fault.to_string())
            .await;
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// The source may have gone back: the lane ends, and where the next one begins is judged from what
    /// the target has.
    pub(super) async fn rewind(&mut self, why: &str) {
        tracing::warn!(route = %self.reporter.name(), why, "the source stream went back; it is read again from behind the target's last record");
        self.end_lane(LaneCloseReason::Rewind, why).await;
        self.retry_at = Some(Instant::now() + RETRY);
    }

    pub(super) async fn end_lane(&mut self, reason: LaneCloseReason, detail: &str) {
        if let Some(lane) = self.sender.lane() {
            let close = CloseLane {
                lane,
                reason,
                detail: clip_detail(detail),
            };
            self.say(Frame::CloseLane(close)).await;
        }
        self.close_lane();
    }
}
