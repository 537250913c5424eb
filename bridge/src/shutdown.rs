//! How the process ends.
//!
//! ```text
//!            first SIGTERM or SIGINT             all drained            exit 0
//!  Running ───────────────────────────► Draining ───────────► (app::run returns)
//!                                          │ grace period over
//!                                          ▼
//!                                        Ending ──────────────► exit 1, saying what was left
//!  a second signal, at any time ────────► exit 128 + signal, at once
//! ```
//! Draining loses nothing and neither does ending at once: what was not acknowledged is read again.
//! The grace period is only the difference between a clean log and work done twice.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

/// Time for draining, where nobody says otherwise. Kubernetes kills after 30 s by default.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(20);
/// A process that is told to end and does not is ended after so long: a driver is stuck.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// How far the process is with ending. It only ever goes on, never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It works.
    Running,
    /// It finishes what is under way and takes nothing new.
    Draining,
    /// The grace period is over: whatever is left is left.
    Ending,
}

/// Asks the process to end.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger(watch::Sender<Phase>);

/// Tells a task when to end. Clones are cheap, on any thread and runtime.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A trigger and what it triggers.
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Moves on to `phase`; an earlier phase than the current one changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }
}

impl Shutdown {
    /// How far the process is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the process drains, or is beyond that. Cancel safe.
    pub async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the grace period is over. Cancel safe.
    pub async fn ending(&mut self) {
        self.reached(Phase::Ending).await;
    }

    /// Waits until the process has come to `phase`. Cancel safe.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|current| *current >= phase).await.is_err() {
            // Nobody is left who could ask: then nobody does.
            std::future::pending::<()>().await;
        }
    }
}

/// Listens to the operating system on a thread of its own, which no busy driver can hold up.
pub fn on_signals(grace: Duration) -> std::io::Result<Shutdown> {
    let (trigger, shutdown) = shutdown();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(follow(signals, trigger, grace)))?;
    Ok(shutdown)
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            terminate,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

async fn follow(mut signals: Signals, trigger: ShutdownTrigger, grace: Duration) {
    let first = signals.next().await;
    tracing::info!(
        signal = first.as_raw_value(),
        ?grace,
        "draining; a second signal ends at once"
    );
    trigger.advance(Phase::Draining);
    tokio::select! {
        () = sleep(grace) => trigger.advance(Phase::Ending),
        second = signals.next() => exit_by(second),
    }
    tracing::warn!(
        ?grace,
        "not drained within the grace period; what is unfinished is read again"
    );
    tokio::select! {
        () = sleep(ENDING_MAX) => std::process::exit(1),
        second = signals.next() => exit_by(second),
    }
}

fn exit_by(signal: SignalKind) {
    tracing::warn!(
        signal = signal.as_raw_value(),
        "second signal: ending at once"
    );
    std::process::exit(128 + signal.as_raw_value());
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn phases_only_go_on() {
        let (trigger, mut told) = shutdown();
        assert_eq!(told.phase(), Phase::Running);
        trigger.advance(Phase::Ending);
        told.draining().await;
        told.ending().await;
        trigger.advance(Phase::Draining);
        assert_eq!(told.phase(), Phase::Ending);
    }

    #[test]
    fn nothing_ends_when_nobody_asks() {
        let (trigger, mut told) = shutdown();
        drop(trigger);
        assert_eq!(told.draining().now_or_never(), None);
    }
}
