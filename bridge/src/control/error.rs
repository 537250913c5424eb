//! Why a question has no answer.

use causeway_proto::blame::{Blame, blame};
use causeway_proto::frame::StallReason;
use causeway_proto::run::Stalled;

/// Why there was no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No answer: no connection, no leader, no JetStream.
    #[error("no answer to {subject}: {why}")]
    Unreachable {
        /// What was asked.
        subject: String,
        /// Why.
        why: String,
    },
    /// The server's refusal.
    #[error("{description} ({code})")]
    Api {
        /// Its `err_code`.
        code: u32,
        /// Its words.
        description: String,
    },
    /// The answer lacks what it should hold.
    #[error("answer to {0} is not understood")]
    Malformed(String),
}

impl ControlError {
    /// Whether the thing asked for does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Api {
                code: 10059 | 10037 | 10014,
                ..
            }
        )
    }

    /// Whether it exists and none of the servers that hold it is there.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Api { code: 10119, .. })
    }

    /// The state that a route is in because of this.
    pub fn stalled(&self) -> Stalled {
        let reason = match self {
            Self::Api { code: 10059, .. } => StallReason::TargetMissing,
            Self::Api { code, description } => match blame(*code, description) {
                Blame::Target(reason) => reason,
                Blame::Record | Blame::Knowledge => StallReason::TargetUnfit,
            },
            _ => StallReason::TargetUnreachable,
        };
        Stalled {
            reason,
            detail: self.to_string(),
        }
    }
}
