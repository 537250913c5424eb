//! Two hosts and the link between them.

use anyhow::Result;
use causeway::wan::Profile;

use super::emulator::Emulator;
use super::host::Host;
use super::netns;

/// The hosts' ends of the link. No other network reaches them, so no other network minds.
pub(crate) const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

/// The network that both are in.
pub(crate) const NETWORK: &str = "10.77.0.0/24";

/// Two regions of one host each.
#[derive(Debug)]
pub(crate) struct World {
    // Dropped first: it holds the devices in the hosts' namespaces.
    pub emulator: Emulator,
    /// The first host: the source's region.
    pub us: Host,
    /// The second host: the target's region.
    pub eu: Host,
}

impl World {
    /// Makes both hosts and joins them.
    pub(crate) fn create(profile: Profile, seed: u64) -> Result<Self> {
        netns::remove_stale()?;
        let (us, eu) = (Host::create("us")?, Host::create("eu")?);
        let ends = [us.namespace(), eu.namespace()];
        let emulator = Emulator::start(ends, ADDRESSES, profile, seed)?;
        Ok(Self { emulator, us, eu })
    }
}
