//! What a person asks for, what a person sees, and what is kept aside for one.

use causeway_proto::frame::{Frame, LaneCloseReason, Rejected};
use causeway_proto::id::{Position, SourceSeq};
use tokio::time::Instant;

use super::{Outbound, RETRY};
use crate::command::RouteCommand;
use crate::reporter::OutboundView;

impl Outbound {
    pub(super) fn keep_aside(&mut self, rejected: Rejected) {
        let route = self.reporter.name().clone();
        let finder = self.source.finder();
        self.keeping = Some(tokio::task::spawn_local(async move {
            let position = rejected.at.seq;
            loop {
                match finder.keep_aside(&route, &rejected).await {
                    Ok(()) => return (position, true),
                    Err(why) => {
                        tracing::warn!(%route, %why, %position, "rejected record not yet kept aside");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }));
    }

    pub(super) async fn handle_kept_aside(&mut self, position: SourceSeq, kept: bool) {
        if !kept {
            self.retry_at = Some(Instant::now() + RETRY);
            return;
        }
        if let Some(rejected) = self.sender.handle_kept_aside(position) {
            self.say(Frame::Rejected(rejected)).await;
        }
    }

    pub(super) async fn handle_command(&mut self, command: RouteCommand) -> Result<String, String> {
        match command {
            RouteCommand::Pause => {
                self.memory.now.paused = true;
                self.end_lane(LaneCloseReason::RoutePaused, "paused by an operator")
                    .await;
            }
            RouteCommand::Resume => self.memory.now.paused = false,
            RouteCommand::Prioritise(class) => self.freshness.fix(class),
            RouteCommand::Seek(to) => {
                let finder = self.source.finder();
                let found = finder.find(Position::default(), Some(to)).await?;
                let first = found.first.unwrap_or_default();
                self.end_lane(LaneCloseReason::Rewind, "an operator seeks")
                    .await;
                self.memory.now.epoch = self.memory.now.epoch.next();
                self.memory.now.first = Some(first);
                self.memory.now.sought = true;
                self.memory.now.watermark = Position {
                    seq: first,
                    ..Position::default()
                };
                self.sender
                    .raise_epoch(self.memory.now.epoch, self.memory.now.watermark);
            }
        }
        self.save().await;
        if !self.memory.sync().await {
            return Err("done, but the state directory cannot be written".into());
        }
        let paused = if self.memory.now.paused {
            "paused"
        } else {
            "running"
        };
        let (epoch, watermark) = (self.memory.now.epoch, self.memory.now.watermark.seq);
        Ok(format!("{paused}, epoch {epoch}, watermark {watermark}"))
    }

    pub(super) async fn report(&mut self) {
        if self.sender.is_reading() {
            self.memory.now.watermark = self.sender.watermark();
        }
        self.save().await;
        self.pipeline.rest(Instant::now());
        self.reporter.outbound(&OutboundView {
            sender: &self.sender,
            source_heard: self.source.heard(),
            has_session: self.port.is_some(),
            paused: self.memory.now.paused,
            stall: self.stall.as_ref(),
            effort: self.pipeline.effort(),
        });
    }

    async fn save(&mut self) {
        if self.memory.save().await {
            self.reporter.checkpointed();
        }
    }
}
