//! Why sessions end.

use causeway_proto::error::{CloseReason, DecodeError, PeerMisbehaved};

use super::HELLO_TIMEOUT;

/// Why a session ended by our doing.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// The connection is gone.
    #[error("connection lost")]
    Lost,
    /// The peer said goodbye.
    #[error("peer said goodbye: {0}")]
    Goodbye(CloseReason),
    /// No `Hello`.
    #[error("no Hello within {HELLO_TIMEOUT:?}")]
    NoHello,
    /// A frame's bytes are wrong.
    #[error("malformed frame: {0}")]
    Frame(#[from] DecodeError),
    /// A batch's bytes are wrong.
    #[error("malformed batch: {0}")]
    Batch(DecodeError),
    /// Wrong sequence.
    #[error("peer misbehaved: {0}")]
    Misbehaved(#[from] PeerMisbehaved),
    /// No overlap.
    #[error(transparent)]
    Incompatible(#[from] causeway_proto::error::PeerIncompatible),
    /// We end it: the process stops, or a newer connection takes over.
    #[error("ended here")]
    Stopped,
    /// A driver did not keep up with its queue.
    #[error("the driver of a route does not take its events")]
    DriverStuck,
}

impl SessionEnd {
    /// Whether the peer did something wrong.
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Lost | Self::Goodbye(_) | Self::Stopped | Self::DriverStuck
        )
    }

    /// A short name, for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Goodbye(_) => "goodbye",
            Self::NoHello => "no_hello",
            Self::Frame(_) => "frame_malformed",
            Self::Batch(_) => "batch_malformed",
            Self::Misbehaved(_) => "misbehaved",
            Self::Incompatible(fault) => fault.close_reason().label(),
            Self::Stopped => "stopped",
            Self::DriverStuck => "driver_stuck",
        }
    }

    /// What the peer is told.
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Self::Lost | Self::Goodbye(_) | Self::Stopped => CloseReason::Done,
            Self::NoHello => CloseReason::PeerSilent,
            Self::Frame(fault) => fault.in_frame(),
            Self::Batch(fault) => fault.in_batch(),
            Self::Misbehaved(fault) => fault.close_reason(),
            Self::Incompatible(fault) => fault.close_reason(),
            Self::DriverStuck => CloseReason::Internal,
        }
    }
}
