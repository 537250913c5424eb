//! How much CPU a lane spends on bytes: much where the link is scarce, little where it is not.
//!
//! A lane that catches up waits for something at every moment: for records, for its encoder, or for the
//! link. Waiting for the link means that more compression is more records a second; waiting for the
//! encoder, that less is. [`EffortControl`] sums these waits, goes a step up or down, and remembers what was too
//! much. Up it goes soon, since a catch-up may be short; down only after a second, which a busy moment is not.

use std::time::Duration;

/// Steps of effort: the level of zstd, over batches that are shaped first where that makes them smaller
/// (`codec::form`).
///
/// Figures: JSON events of 300 to 600 bytes in batches of 256 KiB, one core of 2025.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Effort {
    /// zstd 1: about 500 MB/s. Small batches are not shaped.
    #[default]
    Light,
    /// zstd 3: about 400 MB/s, from 2 % more to 7 % fewer bytes than `Light`.
    Medium,
    /// zstd 6: about 200 MB/s, a few per cent fewer again.
    High,
    /// zstd 9: about 120 MB/s.
    Highest,
}

impl Effort {
    const STEPS: [Self; 4] = [Self::Light, Self::Medium, Self::High, Self::Highest];

    /// The level of zstd.
    pub fn level(self) -> i32 {
        match self {
            Self::Light => 1,
            Self::Medium => 3,
            Self::High => 6,
            Self::Highest => 9,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Highest => "highest",
        }
    }

    /// How many times the CPU of the step below it takes, about; JSON of short numbers, up to 1.9 times at `Medium`.
    fn growth(self) -> f64 {
        match self {
            Self::Light => 1.0,
            Self::Medium | Self::Highest => 1.5,
            Self::High => 3.5,
        }
    }

    /// The step above.
    fn above(self) -> Option<Self> {
        Self::STEPS.into_iter().find(|step| *step > self)
    }

    fn below(self) -> Option<Self> {
        Self::STEPS.into_iter().rev().find(|step| *step < self)
    }
}

impl std::fmt::Display for Effort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no effort: light, medium, high or highest")]
pub struct UnknownEffort;

impl std::str::FromStr for Effort {
    type Err = UnknownEffort;

    fn from_str(name: &str) -> Result<Self, UnknownEffort> {
        let step = Self::STEPS.into_iter().find(|step| step.name() == name);
        step.ok_or(UnknownEffort)
    }
}

/// What a lane waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// For records: nothing is left to send.
    Records,
    /// For its encoder, with the link free.
    Encoder,
    /// For the link or the target's credit, with a batch ready.
    Link,
}

/// How long a lane is watched before a step up.
const WATCH_UP: Duration = Duration::from_millis(300);
/// How long a lane is watched before a step down.
const WATCH: Duration = Duration::from_secs(1);
/// Share of the time that a lane must wait for the link to go up.
const LINK_SHARE: f64 = 0.6;
/// Share of a core that an encoder may take after a step up.
const CORE_SHARE: f64 = 0.8;
/// Share of the time in which the lane may wait for its encoder before a step up.
const ENCODER_SHARE: f64 = 0.2;
/// The same until a step down. The link has some batches more to send meanwhile: with a fifth of the
/// time it was seen 98 % used, and what wavers around the bound must not be given up by chance.
const ENCODER_SHARE_MAX: f64 = 0.3;
/// How long a step that was too much is not tried again, and the longest after many times.
const AVOID_MIN: Duration = Duration::from_secs(30);
const AVOID_MAX: Duration = Duration::from_secs(600);

/// Chooses the effort of one lane. Without I/O: `now` is any clock that only goes forward.
#[derive(Debug, Clone)]
pub struct EffortControl {
    effort: Effort,
    max: Effort,
    waits: Waits,
    since: Duration,
    watch_began: Duration,
    for_link: Duration,
    for_encoder: Duration,
    encoding: Duration,
    /// The step that was too much, until when, and for how long the next time.
    avoided: Option<(Effort, Duration)>,
    avoid_for: Duration,
}

impl EffortControl {
    /// Begins at least effort, to go no higher than `max`.
    pub fn new(max: Effort, now: Duration) -> Self {
        Self {
            effort: Effort::Light,
            max,
            waits: Waits::Records,
            since: now,
            watch_began: now,
            for_link: Duration::ZERO,
            for_encoder: Duration::ZERO,
            encoding: Duration::ZERO,
            avoided: None,
            avoid_for: AVOID_MIN,
        }
    }

    /// The effort for the next batch.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// A batch was encoded in so much time.
    pub fn handle_encoded(&mut self, took: Duration) {
        self.encoding += took;
    }

    /// From now on the lane waits for this.
    pub fn handle_waits(&mut self, now: Duration, waits: Waits) {
        let waited = now.saturating_sub(self.since);
        match self.waits {
            Waits::Records => {}
            Waits::Encoder => self.for_encoder += waited,
            Waits::Link => self.for_link += waited,
        }
        (self.waits, self.since) = (waits, now);
        let watched = now.saturating_sub(self.watch_began);
        if watched >= WATCH_UP && self.is_spared(watched) {
            self.go_up(now);
        } else if watched >= WATCH {
            self.ease(now, watched);
        } else {
            return;
        }
        self.watch_began = now;
        (self.for_link, self.for_encoder) = (Duration::ZERO, Duration::ZERO);
        self.encoding = Duration::ZERO;
    }

    /// Whether the link is what is scarce, and the CPU of the step above could be spent.
    fn is_spared(&self, watched: Duration) -> bool {
        let growth = self.effort.above().map_or(1.0, Effort::growth);
        share(self.for_encoder, watched) <= ENCODER_SHARE
            && share(self.for_link, watched) >= LINK_SHARE
            && share(self.encoding, watched) * growth <= CORE_SHARE
    }

    /// Goes down where too much CPU is spent.
    fn ease(&mut self, now: Duration, watched: Duration) {
        if share(self.for_encoder, watched) > ENCODER_SHARE_MAX {
            self.go_down(now, true);
        } else if share(self.for_link, watched) < LINK_SHARE / 4.0
            && share(self.encoding, watched) > ENCODER_SHARE
        {
            self.go_down(now, false); // the bytes saved are not missing
        }
    }

    fn go_up(&mut self, now: Duration) {
        let Some(above) = self.effort.above().filter(|above| *above <= self.max) else {
            return;
        };
        if !self
            .avoided
            .is_some_and(|(step, until)| above >= step && now < until)
        {
            self.effort = above;
        }
    }

    fn go_down(&mut self, now: Duration, was_too_much: bool) {
        let Some(below) = self.effort.below() else {
            return;
        };
        if was_too_much {
            self.avoided = Some((self.effort, now + self.avoid_for));
            self.avoid_for = (self.avoid_for * 2).min(AVOID_MAX);
        }
        self.effort = below;
    }
}

fn share(of: Duration, watched: Duration) -> f64 {
    of.as_secs_f64() / watched.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane for so many seconds of virtual time: in each tenth it encodes for `encoding` and then waits.
    fn live(control: &mut EffortControl, from: u64, seconds: u64, encoding: f64, then: Waits) {
        for tenth in 0..seconds * 10 {
            let now = Duration::from_millis(from * 1000 + tenth * 100);
            control.handle_waits(now, Waits::Encoder);
            let took = Duration::from_millis(100).mul_f64(encoding);
            control.handle_encoded(took);
            control.handle_waits(now + took, then);
        }
    }

    #[test]
    fn a_scarce_link_raises_the_effort_step_by_step() {
        let mut control = EffortControl::new(Effort::Highest, Duration::ZERO);
        control.handle_waits(Duration::from_millis(100), Waits::Link);
        control.handle_waits(Duration::from_millis(290), Waits::Link);
        assert_eq!(control.effort(), Effort::Light, "not at once");
        control.handle_waits(Duration::from_millis(500), Waits::Link);
        assert_eq!(control.effort(), Effort::Medium);
        live(&mut control, 1, 2, 0.1, Waits::Link);
        assert_eq!(
            control.effort(),
            Effort::Highest,
            "in a short catch-up, too"
        );
    }

    #[test]
    fn no_higher_than_allowed() {
        let mut control = EffortControl::new(Effort::Light, Duration::ZERO);
        live(&mut control, 0, 10, 0.01, Waits::Link);
        assert_eq!(control.effort(), Effort::Light);
    }

    #[test]
    fn an_encoder_that_keeps_the_link_waiting_eases_off_and_remembers() {
        let mut control = EffortControl::new(Effort::Medium, Duration::ZERO);
        live(&mut control, 0, 2, 0.1, Waits::Link);
        assert_eq!(control.effort(), Effort::Medium);
        live(&mut control, 2, 3, 0.9, Waits::Link);
        live(&mut control, 5, 20, 0.1, Waits::Link);
        assert_eq!(control.effort(), Effort::Light, "not tried again so soon");
        live(&mut control, 70, 3, 0.1, Waits::Link);
        assert!(control.effort() >= Effort::Medium, "but later");
    }

    #[test]
    fn a_step_that_would_take_a_core_is_not_tried() {
        let mut control = EffortControl::new(Effort::Highest, Duration::ZERO);
        control.effort = Effort::Medium;
        control.handle_waits(Duration::ZERO, Waits::Link);
        for second in 1..20 {
            control.handle_encoded(Duration::from_millis(500));
            control.handle_waits(Duration::from_secs(second), Waits::Link);
        }
        assert_eq!(control.effort(), Effort::Medium);
    }

    #[test]
    fn effort_that_saves_what_nobody_misses_is_given_back() {
        let mut control = EffortControl::new(Effort::Highest, Duration::ZERO);
        live(&mut control, 0, 5, 0.05, Waits::Link);
        assert_eq!(control.effort(), Effort::Highest);
        for second in 6..12 {
            control.handle_encoded(Duration::from_millis(300));
            control.handle_waits(Duration::from_secs(second), Waits::Records);
        }
        assert_eq!(control.effort(), Effort::Light);
        // A quiet lane keeps what it has: it costs nothing.
        live(&mut control, 12, 5, 0.05, Waits::Link);
        live(&mut control, 17, 5, 0.01, Waits::Records);
        assert_eq!(control.effort(), Effort::Highest);
    }
}
