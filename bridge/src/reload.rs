//! Reading the fleet file again: what is asked, what is answered, and what is remembered of it.
//!
//! A reload that finds any error changes nothing. One that finds none takes over what a running sidecar
//! can (rates, modes, priorities, renewed certificates), touches no connection for it, and names what waits
//! for a restart.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Reloads that may wait for one under way; more would read the same file.
const QUEUE_LEN: usize = 4;

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// The file is sound and says something else than what runs; what can be taken over was.
    Applied,
    /// The file is sound and says what runs.
    Unchanged,
    /// The file has errors, and nothing was changed.
    Refused,
}

/// What one reload did. Keys are named as in the errors of `causeway check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// How it ended.
    pub outcome: ReloadOutcome,
    /// Keys whose new values hold from now on.
    pub changed: BTreeSet<String>,
    /// Keys whose new values hold after the next start only.
    pub needs_restart: BTreeSet<String>,
    /// Everything that is wrong with the file.
    pub errors: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// What is remembered of all reloads. Part of `/status`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReloadStatus {
    /// Sound files that said something else.
    pub applied: u64,
    /// Sound files that said the same.
    pub unchanged: u64,
    /// Files with errors.
    pub refused: u64,
    /// When the last one ended, in seconds since the Unix epoch.
    pub last_at: Option<f64>,
    /// What the last one did.
    pub last: Option<ReloadReport>,
    /// Keys of the last sound file that wait for a restart.
    pub needs_restart: BTreeSet<String>,
}

impl ReloadStatus {
    /// Whether the file, as last read, has no error.
    pub fn is_ok(&self) -> bool {
        let last = self.last.as_ref();
        last.is_none_or(|report| report.outcome != ReloadOutcome::Refused)
    }

    /// Remembers one more.
    pub(crate) fn add(&mut self, report: ReloadReport, now: f64) {
        match report.outcome {
            ReloadOutcome::Applied => self.applied += 1,
            ReloadOutcome::Unchanged => self.unchanged += 1,
            ReloadOutcome::Refused => self.refused += 1,
        }
        if report.outcome != ReloadOutcome::Refused {
            self.needs_restart.clone_from(&report.needs_restart);
        }
        self.last_at = Some(now);
        self.last = Some(report);
    }
}

/// Where the answer to a request goes.
pub(crate) type ReloadAsked = oneshot::Sender<ReloadReport>;

/// The way to the task that reloads.
#[derive(Debug, Clone)]
pub struct ReloadControl(mpsc::Sender<ReloadAsked>);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Others wait already, and will read the file as it is now.
    #[error("earlier reloads are still under way")]
    Busy,
    /// The process is ending.
    #[error("the sidecar is ending")]
    Ending,
}

impl ReloadControl {
    /// A way, and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<ReloadAsked>) {
        let (asking, asked) = mpsc::channel(QUEUE_LEN);
        (Self(asking), asked)
    }

    /// Asks for a reload, and waits for what it did.
    pub async fn ask(&self) -> Result<ReloadReport, ReloadError> {
        use mpsc::error::TrySendError;
        let (answer, wait) = oneshot::channel();
        match self.0.try_send(answer) {
            Ok(()) => wait.await.map_err(|_| ReloadError::Ending),
            Err(TrySendError::Full(_)) => Err(ReloadError::Busy),
            Err(TrySendError::Closed(_)) => Err(ReloadError::Ending),
        }
    }
}
