//! Errors of a peer whose bytes are legal.

use super::CloseReason;
use crate::id::{BatchSeq, Epoch, FleetName, LaneId, RegionId, SourceSeq};

/// Legal bytes at the wrong time: the peer, or a fault of its memory, broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// Something else came before `Hello`.
    #[error("first frame is {0}, not Hello")]
    FirstFrameNotHello(&'static str),
    /// `Hello` came again.
    #[error("second Hello")]
    SecondHello,
    /// A lane was opened under a number already used in this session.
    #[error("lane {0} opened twice")]
    LaneReused(LaneId),
    /// A frame or batch names a lane that was never opened.
    #[error("lane {0} was never opened")]
    LaneUnknown(LaneId),
    /// More lanes than the session allows.
    #[error("more than {0} lanes")]
    TooManyLanes(u32),
    /// A frame that only the other end of the lane may send.
    #[error("{frame} on lane {lane} from the wrong end")]
    WrongEnd {
        /// The lane.
        lane: LaneId,
        /// The kind of frame.
        frame: &'static str,
    },
    /// A frame that does not fit the state of its lane.
    #[error("{frame} on lane {lane} at the wrong time")]
    WrongTime {
        /// The lane.
        lane: LaneId,
        /// The kind of frame.
        frame: &'static str,
    },
    /// Credit was taken back.
    #[error("credit of lane {0} shrank")]
    CreditShrank(LaneId),
    /// More wire bytes than credit allows.
    #[error("lane {0} exceeded its credit")]
    CreditExceeded(LaneId),
    /// An ack went back, or its counters did.
    #[error("ack of lane {0} went back")]
    AckWentBack(LaneId),
    /// An ack covers what was never sent.
    #[error("ack of lane {lane} through {through} covers what was not sent")]
    AckNotSent {
        /// The lane.
        lane: LaneId,
        /// The ack's `through`.
        through: SourceSeq,
    },
    /// A batch number lies beyond any batch that credit allows.
    #[error("batch {seq} of lane {lane} is too far ahead")]
    BatchSeqWrong {
        /// The lane.
        lane: LaneId,
        /// The batch.
        seq: BatchSeq,
    },
    /// A batch does not follow the one before it.
    #[error("batch of lane {lane} follows {follows}, expected {expected}")]
    BatchDoesNotFollow {
        /// The lane.
        lane: LaneId,
        /// What the batch says it follows.
        follows: SourceSeq,
        /// Where the lane stands.
        expected: SourceSeq,
    },
    /// A batch of an epoch other than the lane's.
    #[error("batch of another epoch on lane {0}")]
    WrongEpoch(LaneId),
    /// An epoch so high that no source counted to it: taken over, it would leave none to count on with.
    #[error("epoch {epoch} on lane {lane} was never counted to")]
    EpochTooHigh {
        /// The lane.
        lane: LaneId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The outcomes of an ack do not add up to the records it covers.
    #[error("outcomes of lane {0} do not add up to the records acknowledged")]
    OutcomesUnbalanced(LaneId),
    /// An answer to a ping that was not sent.
    #[error("unexpected Pong")]
    UnexpectedPong,
}

impl PeerMisbehaved {
    /// How to end the session.
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::LaneUnknown(_) => CloseReason::LaneUnknown,
            Self::CreditExceeded(_) => CloseReason::CreditExceeded,
            _ => CloseReason::Misbehaved,
        }
    }
}

/// Two peers that cannot work together though neither misbehaves: a person must change one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIncompatible {
    /// No protocol version in common.
    #[error("peer speaks versions {peer_min} to {peer_max}, we speak {own_min} to {own_max}")]
    Version {
        /// Our oldest.
        own_min: u16,
        /// Our newest.
        own_max: u16,
        /// The peer's oldest.
        peer_min: u16,
        /// The peer's newest.
        peer_max: u16,
    },
    /// Another fleet.
    #[error("peer is of fleet {peer}, we are of {own}")]
    Fleet {
        /// Ours.
        own: FleetName,
        /// The peer's.
        peer: FleetName,
    },
    /// The peer says it is one region, its certificate says another.
    #[error("peer says it is region {claimed}, its certificate says {certified}")]
    RegionNotCertified {
        /// What `Hello` says.
        claimed: RegionId,
        /// What the certificate says.
        certified: RegionId,
    },
    /// The peer is another region than the link leads to.
    #[error("peer is region {found}, this link leads to {expected}")]
    RegionUnexpected {
        /// The peer's.
        found: RegionId,
        /// The configured one.
        expected: RegionId,
    },
    /// The peer claims our own region: a link that leads back, or a copied configuration.
    #[error("peer is of our own region {0}")]
    OwnRegion(RegionId),
}

impl PeerIncompatible {
    /// How to end the session.
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Self::Version { .. } => CloseReason::VersionUnsupported,
            Self::Fleet { .. } => CloseReason::UnknownFleet,
            Self::RegionNotCertified { .. }
            | Self::RegionUnexpected { .. }
            | Self::OwnRegion(_) => CloseReason::WrongRegion,
        }
    }
}
