//! Dials a peer whenever, and for as long as, it is wished.

use std::time::Duration;

use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::link::{DialError, Dialer, Session as Connection};

/// First and longest wait between attempts, before jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// So long after a session was lost, silence is answered by the next attempt at once: it has taken its time already, and a
/// link that heals shall not wait. Later a peer is more likely gone, and every attempt is some kilobytes on a metered path.
const FRESH: Duration = Duration::from_secs(300);

/// A session that lived so long was one. What ends sooner counts as a failed attempt: two processes with one region's
/// identity, which take the peer's session from each other, would else do so as fast as the first wait allows, for ever.
const STEADY: Duration = Duration::from_secs(10);

/// A session that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stood {
    /// As it was measured last.
    pub(super) round_trip: Duration,
    /// From its start to its end.
    pub(super) lived: Duration,
}

/// What is wished. The number tells one wish from the next, however fast they follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Wish {
    number: u64,
    wanted: bool,
    /// A session has stood since the last one.
    stood: Option<Stood>,
}

/// What became of an attempt.
pub(super) enum Outcome {
    Made(Box<Connection>),
    /// Why not. It is tried again without being asked.
    Failed(String),
}

/// The task that dials.
pub(super) struct Dialling {
    wish: watch::Sender<Wish>,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Dialling {
    /// Starts the task, which ends with this handle.
    pub(super) fn start(dialer: Dialer) -> Self {
        let (wish, wishes) = watch::channel(Wish::default());
        let (tell, outcomes) = mpsc::channel(1);
        tokio::spawn(dial(dialer, wishes, tell));
        Self { wish, outcomes }
    }

    /// Dials until a connection is made. Before every attempt but the first there is a short wait, unless a link that
    /// stood a moment ago is silent.
    pub(super) fn wish(&self, stood: Option<Stood>) {
        self.wish.send_modify(|wish| {
            *wish = Wish {
                number: wish.number + 1,
                wanted: true,
                stood,
            };
        });
    }

    /// Gives up; what was made meanwhile still comes out.
    pub(super) fn stop(&self) {
        self.wish.send_modify(|wish| wish.wanted = false);
    }

    /// The next outcome.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcomes.recv().await {
            Some(outcome) => outcome,
            None => std::future::pending().await, // the task ends after its handle
        }
    }
}

async fn dial(mut dialer: Dialer, mut wishes: watch::Receiver<Wish>, tell: mpsc::Sender<Outcome>) {
    let mut pause = Pause::new();
    let mut done = 0;
    loop {
        let next = wishes.wait_for(|wish| wish.wanted && wish.number != done);
        let Ok(wish) = next.await.map(|wish| *wish) else {
            return;
        };
        if let Some(stood) = wish.stood {
            pause.handle_session(stood, Instant::now());
        }
        let attempts = async {
            loop {
                let wait = pause.next_wait(&mut rand::rng());
                if let Some(wait) = wait {
                    tokio::time::sleep(wait).await;
                }
                dialer.expect_round_trip(pause.round_trip(Instant::now()));
                let outcome = match dialer.dial().await {
                    Ok(connection) => Outcome::Made(Box::new(connection)),
                    Err(why) => {
                        pause.note(&why, Instant::now());
                        Outcome::Failed(why.to_string())
                    }
                };
                let made = matches!(outcome, Outcome::Made(_));
                if tell.send(outcome).await.is_err() || made {
                    return;
                }
            }
        };
        let mut changes = wishes.clone();
        tokio::select! {
            () = attempts => done = wish.number,
            // The attempt under way is dropped, and with it its connection.
            gone = changes.wait_for(|now| *now != wish) => if gone.is_err() { return },
        }
    }
}

/// How long to wait before the next attempt, and what is known of the path. Before the very first there is no wait.
struct Pause {
    backoff: Backoff,
    waits: bool,
    /// Until when a session lost is one of a moment ago, and its round trip.
    fresh: Option<(Instant, Duration)>,
}

impl Pause {
    fn new() -> Self {
        Self {
            backoff: Backoff::try_new(BACKOFF_MIN, BACKOFF_MAX)
                .expect("the constants are in order, none zero"),
            waits: false,
            fresh: None,
        }
    }

    fn handle_session(&mut self, stood: Stood, now: Instant) {
        if stood.lived >= STEADY {
            self.backoff.reset();
        }
        self.fresh = Some((now + FRESH, stood.round_trip));
    }

    fn next_wait(&mut self, random: &mut impl Rng) -> Option<Duration> {
        let is_due = std::mem::replace(&mut self.waits, true);
        is_due.then(|| self.backoff.next_wait(random))
    }

    fn round_trip(&self, now: Instant) -> Option<Duration> {
        self.fresh
            .and_then(|(until, round_trip)| (now < until).then_some(round_trip))
    }

    fn note(&mut self, why: &DialError, now: Instant) {
        let is_silence = matches!(why, DialError::Timeout(_) | DialError::Stalled(_));
        self.waits = !(is_silence && self.round_trip(now).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stood(lived: Duration) -> Stood {
        let round_trip = Duration::from_millis(80);
        Stood { round_trip, lived }
    }

    #[test]
    fn a_link_that_was_cut_is_tried_without_a_pause_a_peer_that_refuses_is_not() {
        let (now, silence) = (Instant::now(), DialError::Timeout(Duration::from_secs(1)));
        let mut pause = Pause::new();
        let is_due = |pause: &mut Pause| pause.next_wait(&mut rand::rng()).is_some();
        assert!(!is_due(&mut pause), "the first attempt");
        pause.note(&silence, now);
        assert!(is_due(&mut pause), "no session has stood");
        pause.handle_session(stood(STEADY), now);
        pause.note(&silence, now);
        assert!(!is_due(&mut pause));
        pause.note(&DialError::Closed, now);
        assert!(is_due(&mut pause));
        pause.note(&silence, now + FRESH);
        assert!(is_due(&mut pause), "too long ago");
        assert!(is_due(&mut pause), "a connection was made and lost");
    }

    #[test]
    fn sessions_that_end_at_once_are_followed_by_longer_and_longer_waits() {
        let (now, mut pause) = (Instant::now(), Pause::new());
        let mut made_and_lost = |lived| {
            let wait = pause.next_wait(&mut rand::rng());
            pause.handle_session(stood(lived), now);
            wait
        };
        assert_eq!(made_and_lost(Duration::ZERO), None);
        for _ in 0..5 {
            made_and_lost(STEADY / 2);
        }
        assert!(made_and_lost(STEADY).is_some_and(|wait| wait >= BACKOFF_MAX / 2));
        let again = made_and_lost(Duration::ZERO);
        assert!(again.is_some_and(|wait| wait <= BACKOFF_MIN), "{again:?}");
    }
}
