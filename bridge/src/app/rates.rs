//! The rates of a region's links, as the plan has them: the links read them at every packet, and a
//! reload writes them.

use causeway_config::plan::{LinkMode, LinkPlan, Plan};
use causeway_config::unit::Rate;
use causeway_proto::id::RegionId;
use causeway_proto::rate::Mode;

use crate::link::DeclaredRate;

/// See the module.
#[derive(Debug)]
pub(super) struct Rates {
    here: RegionId,
    /// Of all links together.
    region: DeclaredRate,
    links: Vec<(RegionId, DeclaredRate)>,
}

impl Rates {
    /// The rates of the links that end in `here`.
    pub(super) fn new(plan: &Plan, here: &RegionId) -> Self {
        let links = plan.links_of(here);
        let links = links.filter_map(|(_, link)| link.peer_of(here));
        let rates = Self {
            here: here.clone(),
            region: DeclaredRate::default(),
            links: links
                .map(|peer| (peer.clone(), DeclaredRate::default()))
                .collect(),
        };
        rates.follow(plan);
        rates
    }

    /// What all links together may send.
    pub(super) fn region(&self) -> DeclaredRate {
        self.region.clone()
    }

    /// What the link to `peer` may send.
    pub(super) fn link(&self, peer: &RegionId) -> DeclaredRate {
        let found = self.links.iter().find(|(other, _)| other == peer);
        found.map_or_else(DeclaredRate::default, |(_, rate)| rate.clone())
    }

    /// Takes over what the plan says. Connections go on.
    pub(super) fn follow(&self, plan: &Plan) {
        let bits = |rate: Option<Rate>| rate.map(Rate::bits_per_second);
        let own = plan.region(&self.here);
        self.region.set(bits(own.and_then(|own| own.rate)));
        for (peer, rate) in &self.links {
            if let Some(link) = plan.link_between(&self.here, peer) {
                rate.set(bits(link.rate));
                rate.set_mode(mode(link));
            }
        }
    }
}

fn mode(link: &LinkPlan) -> Mode {
    match link.mode {
        LinkMode::Declared => Mode::Declared,
        LinkMode::Adaptive => Mode::Adaptive,
        LinkMode::Scavenger => Mode::Scavenger,
    }
}
