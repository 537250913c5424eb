//! Why the target takes nothing: told to the source once, and tried again later and later.

use super::*;

impl Receiver {
    pub(super) fn stall(&mut self, stalled: Stalled) {
        if let Some(lane) = &self.lane
            && let Some(frame) = tell_stall(lane.id, &stalled, &mut self.told_stall)
        {
            self.out.push_back(Action::Send(frame));
        }
        self.stalled = Some(stalled);
    }

    pub(super) fn clear_stall(&mut self) {
        self.stalled = None;
        if self
            .told_stall
            .take()
            .is_some_and(|told| told != StallReason::None)
            && let Some(lane) = &self.lane
        {
            let stall = Stall {
                lane: lane.id,
                reason: StallReason::None,
                detail: String::new(),
            };
            self.out.push_back(Action::Send(Frame::Stall(stall)));
        }
    }

    pub(super) fn next_retry(&mut self) -> Duration {
        let wait = self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        wait
    }
}

pub(super) fn tell_stall(
    lane: LaneId,
    stalled: &Stalled,
    told: &mut Option<StallReason>,
) -> Option<Frame> {
    if *told == Some(stalled.reason) {
        return None;
    }
    *told = Some(stalled.reason);
    Some(Frame::Stall(Stall {
        lane,
        reason: stalled.reason,
        detail: stalled.detail.clone(),
    }))
}
