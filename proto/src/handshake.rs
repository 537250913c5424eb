//! The first exchange of a session: both sides send `Hello`, and each judges the other's.
//!
//! Pure functions: who the certificate speaks for and whom the link leads to are arguments. The checks
//! are the same on both sides and read the same two frames, so both come to the same version.

use crate::error::{PeerIncompatible, PeerMisbehaved};
use crate::frame::{Frame, Hello};
use crate::id::RegionId;
use crate::version::ProtoVersion;

/// What two peers agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The version that both speak from now on.
    pub version: ProtoVersion,
    /// Whether the residency rules of the two differ. What both allow flows; a strict route stops.
    pub residency_skew: bool,
}

/// The first frame of a session, which must be `Hello`.
pub fn first_frame(frame: Frame) -> Result<Hello, PeerMisbehaved> {
    match frame {
        Frame::Hello(hello) => Ok(hello),
        other => Err(PeerMisbehaved::FirstFrameNotHello(other.name())),
    }
}

/// Any later frame of a session, which must not be `Hello`.
pub fn later_frame(frame: Frame) -> Result<Frame, PeerMisbehaved> {
    match frame {
        Frame::Hello(_) => Err(PeerMisbehaved::SecondHello),
        other => Ok(other),
    }
}

/// Judges the peer's `Hello`. `certified` is the region in its certificate, `expected` the region at
/// the other end of the link.
///
/// Identity is judged before the version, so that a stranger learns nothing of what we speak.
pub fn check_hello(
    own: &Hello,
    peer: &Hello,
    certified: &RegionId,
    expected: &RegionId,
) -> Result<Agreed, PeerIncompatible> {
    if peer.fleet != own.fleet {
        let (own, peer) = (own.fleet.clone(), peer.fleet.clone());
        return Err(PeerIncompatible::Fleet { own, peer });
    }
    if peer.region != *certified {
        let (claimed, certified) = (peer.region.clone(), certified.clone());
        return Err(PeerIncompatible::RegionNotCertified { claimed, certified });
    }
    if peer.region == own.region {
        return Err(PeerIncompatible::OwnRegion(peer.region.clone()));
    }
    if peer.region != *expected {
        let (found, expected) = (peer.region.clone(), expected.clone());
        return Err(PeerIncompatible::RegionUnexpected { found, expected });
    }
    let min = own.version_min.max(peer.version_min);
    let max = own.version_max.min(peer.version_max);
    let version = ProtoVersion::negotiate(min, max).ok_or(PeerIncompatible::Version {
        own_min: own.version_min,
        own_max: own.version_max,
        peer_min: peer.version_min,
        peer_max: peer.version_max,
    })?;
    Ok(Agreed {
        version,
        residency_skew: peer.residency_digest != own.residency_digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CloseReason;
    use crate::frame::Ping;
    use crate::id::FleetName;

    fn hello(region: &str) -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            fleet: FleetName::new("acme").unwrap(),
            region: RegionId::new(region).unwrap(),
            incarnation: 7,
            residency_digest: 42,
        }
    }

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    /// The verdict of region `eu`, whose link leads to `us`, on a peer certified as `certified`.
    fn judge(peer: &Hello, certified: &str) -> Result<Agreed, PeerIncompatible> {
        check_hello(&hello("eu"), peer, &region(certified), &region("us"))
    }

    fn refusal(peer: &Hello, certified: &str) -> CloseReason {
        judge(peer, certified).unwrap_err().close_reason()
    }

    #[test]
    fn the_expected_peer_is_accepted() {
        let agreed = Agreed {
            version: ProtoVersion::V1,
            residency_skew: false,
        };
        assert_eq!(judge(&hello("us"), "us"), Ok(agreed));
    }

    #[test]
    fn differing_residency_rules_are_shown_not_refused() {
        let peer = Hello {
            residency_digest: 43,
            ..hello("us")
        };
        assert!(judge(&peer, "us").unwrap().residency_skew);
    }

    #[test]
    fn a_region_other_than_certified_or_expected_is_refused() {
        assert_eq!(refusal(&hello("us"), "ap"), CloseReason::WrongRegion);
        assert_eq!(refusal(&hello("ap"), "ap"), CloseReason::WrongRegion);
        assert_eq!(refusal(&hello("eu"), "eu"), CloseReason::WrongRegion);
    }

    #[test]
    fn another_fleet_is_refused() {
        let peer = Hello {
            fleet: FleetName::new("other").unwrap(),
            ..hello("us")
        };
        assert_eq!(refusal(&peer, "us"), CloseReason::UnknownFleet);
    }

    #[test]
    fn a_version_we_do_not_speak_is_refused() {
        let peer = Hello {
            version_min: 2,
            version_max: 9,
            ..hello("us")
        };
        assert_eq!(refusal(&peer, "us"), CloseReason::VersionUnsupported);
        let newer = Hello {
            version_min: 1,
            version_max: 9,
            ..hello("us")
        };
        assert_eq!(judge(&newer, "us").unwrap().version, ProtoVersion::V1);
    }

    #[test]
    fn hello_comes_first_and_once() {
        let ping = Frame::Ping(Ping { nonce: 1 });
        let early = PeerMisbehaved::FirstFrameNotHello("Ping");
        assert_eq!(first_frame(ping.clone()), Err(early));
        assert_eq!(later_frame(ping.clone()), Ok(ping));
        let again = Frame::Hello(hello("us"));
        assert_eq!(first_frame(again.clone()), Ok(hello("us")));
        assert_eq!(later_frame(again), Err(PeerMisbehaved::SecondHello));
    }
}
