//! Why a session ends, as a stable number.

use std::fmt;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a session ends. The code travels in `Goodbye` and as the QUIC application error code,
        /// and is the label of a metric: a code is never given a second meaning.
        ///
        /// Codes from 1 are an orderly end, from 16 a refused identity, from 32 wrong bytes, from 48
        /// wrong behaviour, from 64 our own fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseReason { $($(#[$doc])* $name,)* }

        impl CloseReason {
            /// Every reason, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            pub fn code(self) -> u32 {
                match self { $(Self::$name => $code,)* }
            }

            /// The reason of a code, if this release knows it.
            pub fn from_code(code: u32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

close_reasons! {
    /// All routes are closed and nothing is left to send.
    Done = 0, "done";
    /// The bridge shuts down; it may come back.
    Shutdown = 1, "shutting down";
    /// Another connection of the same link took over.
    Superseded = 2, "superseded by another connection";
    /// Nothing came from the peer for longer than the liveness timer.
    PeerSilent = 3, "peer silent";
    /// The region named is not the one certified or not the one expected.
    WrongRegion = 16, "wrong region";
    /// The peer belongs to another fleet.
    UnknownFleet = 17, "unknown fleet";
    /// The certificate is not acceptable.
    Untrusted = 18, "untrusted";
    /// No protocol version in common.
    VersionUnsupported = 19, "no protocol version in common";
    /// A frame claims to be longer than any frame may be.
    FrameTooLong = 32, "frame too long";
    /// A frame's bytes are wrong.
    FrameMalformed = 33, "frame malformed";
    /// A batch's bytes are wrong.
    BatchMalformed = 34, "batch malformed";
    /// A batch is not what was read at the source.
    BadChecksum = 35, "bad checksum";
    /// More was sent than credit allowed.
    CreditExceeded = 48, "credit exceeded";
    /// A frame or batch names a lane that was never opened.
    LaneUnknown = 49, "lane unknown";
    /// Any other breach of the protocol.
    Misbehaved = 50, "peer misbehaved";
    /// A fault of our own.
    Internal = 64, "internal error";
}

impl CloseReason {
    /// Whether the peer sent what no peer of ours sends.
    pub fn is_fault(self) -> bool {
        (32..64).contains(&self.code())
    }

    /// The label under which a refusal is counted.
    pub fn label(self) -> &'static str {
        match self {
            Self::WrongRegion => "wrong_region",
            Self::UnknownFleet => "unknown_fleet",
            Self::Untrusted => "untrusted",
            Self::VersionUnsupported => "version_unsupported",
            Self::FrameTooLong => "frame_too_long",
            Self::FrameMalformed => "frame_malformed",
            Self::BatchMalformed => "batch_malformed",
            Self::BadChecksum => "bad_checksum",
            Self::CreditExceeded => "credit_exceeded",
            Self::LaneUnknown => "lane_unknown",
            Self::Misbehaved => "misbehaved",
            other => other.text(),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_names_its_reason() {
        for &reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_code(reason.code()), Some(reason));
        }
        assert!(CloseReason::ALL.is_sorted_by_key(|reason| reason.code()));
        assert_eq!(CloseReason::from_code(4), None);
    }
}
