//! When the target is looked at although nothing went wrong: it may have gone back (restored, or made anew) or away
//! while its server's connection stood.

use std::time::Duration;

use super::{Action, Phase, RETRY_MIN, Receiver, Retained, Step};

/// After so long without a run the target is looked at before the next. Runs that follow each other show by themselves
/// that it went back.
const FRESH: Duration = Duration::from_secs(1);

/// How old what is known of the target is.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// Until when the last look or run says what the target is.
    until: Option<Duration>,
    /// When it is looked at for the sake of looking.
    next_look: Option<Duration>,
    /// It is being looked at for one of these reasons alone.
    pub(super) looking: bool,
}

impl Freshness {
    /// The target was heard of, and rests for so long at most.
    pub(super) fn heard(&mut self, now: Duration, rest_max: Duration) {
        self.until = Some(now + FRESH);
        self.next_look = Some(now + rest_max);
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.until.or(self.next_look)
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        self.until = self.until.filter(|until| *until > now);
        self.next_look = self.next_look.filter(|at| *at > now);
    }
}

impl Receiver {
    /// Whether to look now: a record waits for a target that was not heard of for a while, or nothing did for long.
    pub(super) fn must_look(&self) -> bool {
        let waits = |retained: &Retained| retained.done < retained.batch.record_count;
        let is_stale = self.fresh.until.is_none() && self.retained.iter().any(waits);
        is_stale || self.fresh.next_look.is_none()
    }

    pub(super) fn look(&mut self) -> Option<Action> {
        self.fresh.looking = true;
        self.retry = RETRY_MIN; // it answered since the last trouble
        self.phase = Phase::Down {
            asked: true,
            retry_at: None,
        };
        Some(Action::Describe)
    }

    /// What cannot be known is looked at again for each lane that the source opens.
    pub(super) fn look_again(&mut self) {
        if let Phase::Reconciling {
            step: Step::Unknowable,
            ..
        } = self.phase
        {
            self.handle_connected();
        }
    }
}
