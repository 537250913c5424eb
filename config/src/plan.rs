//! The plan: a fleet file after every check, typed. No text in it needs parsing any more, and what
//! it names exists: a route's regions are regions of the fleet, with a link between them.

mod route;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_proto::id::{FleetName, RegionId, RouteName, StreamName};
use causeway_proto::residency::ResidencyPolicy;
use causeway_proto::subject::{SubjectFilter, SubjectSet};

pub use self::route::{
    CreatePlan, ExactlyOnce, Fence, PersistMode, Priority, RoutePlan, Start, Storage, Writers,
};
use crate::address::{HostPort, NatsUrl};
use crate::schedule::{MonthlyCap, Schedule};
use crate::secret::SecretPath;
use crate::unit::Rate;

/// A whole fleet.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) fleet: FleetName,
    pub(crate) regions: Vec<RegionPlan>,
    pub(crate) links: Vec<LinkPlan>,
    pub(crate) routes: Vec<RoutePlan>,
    pub(crate) residency: ResidencyPolicy,
}

/// One region: its NATS, and the sidecar beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionPlan {
    /// Its name.
    pub id: RegionId,
    /// How its NATS is reached.
    pub nats: NatsPlan,
    /// Where the sidecar listens for links (UDP). Always there where a link dials this region.
    pub listen: Option<SocketAddr>,
    /// Where the sidecar serves metrics, health and control (TCP). Port 0 takes any free one.
    pub admin: SocketAddr,
    /// Directory for the sidecar's checkpoints.
    pub state: PathBuf,
    /// What all links of the sidecar together may send on the wire; none: the sum of what each may.
    pub rate: Option<Rate>,
    /// When it is another one.
    pub schedule: Schedule,
    /// Who the sidecar is towards its peers.
    pub tls: PeerTls,
}

/// How a region's NATS is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsPlan {
    /// At least one server.
    pub urls: Vec<NatsUrl>,
    /// Credentials file (JWT and nkey seed). Never together with a user in `urls`.
    pub creds: Option<SecretPath>,
    /// JetStream domain, where streams are not in the connection's own.
    pub domain: Option<String>,
    /// TLS settings; their presence alone demands TLS, as a `tls://` URL does.
    pub tls: Option<NatsTls>,
}

impl NatsPlan {
    /// Whether a connection without TLS must be refused.
    pub fn requires_tls(&self) -> bool {
        self.tls.is_some() || self.urls.iter().any(|url| url.tls)
    }
}

/// TLS towards NATS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Certificate and key to present.
    pub identity: Option<(PathBuf, SecretPath)>,
    /// TLS before the server's INFO line (`handshake_first` in the server's configuration).
    pub first: bool,
}

/// Who a sidecar is towards its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTls {
    /// Certificate chain, PEM. Its URI SAN names fleet and region.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: SecretPath,
    /// The fleet's authority, PEM.
    pub ca: PathBuf,
}

/// A link between two regions. Records flow both ways on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPlan {
    /// The region whose sidecar is dialled.
    pub listener: RegionId,
    /// The region whose sidecar dials, and whose dials go first where both do.
    pub dialer: RegionId,
    /// Where the dialler reaches the listener.
    pub dial: HostPort,
    /// Where the listener reaches the dialler, where it dials too: either side then brings the link up.
    pub dial_back: Option<HostPort>,
    /// Wire rate each way that must never be exceeded; none means: find out by probing.
    pub rate: Option<Rate>,
    /// When it is another one.
    pub schedule: Schedule,
    /// How much either end may send in a month; none: any amount.
    pub monthly_cap: Option<MonthlyCap>,
    /// How the link treats its path.
    pub mode: LinkMode,
    /// Whether live records are sent more than once where packets are lost.
    pub copies: bool,
    /// Round trip time that windows are first sized by.
    pub rtt: Option<Duration>,
    /// Largest UDP payload that the path carries; none means: find out by probing.
    pub mtu: Option<u16>,
}

impl LinkPlan {
    /// The region at the other end.
    pub fn peer_of(&self, region: &RegionId) -> Option<&RegionId> {
        match region {
            region if *region == self.listener => Some(&self.dialer),
            region if *region == self.dialer => Some(&self.listener),
            _ => None,
        }
    }

    /// What that region does on the link.
    pub fn role_of(&self, region: &RegionId) -> Option<LinkRole> {
        match region {
            region if ![&self.listener, &self.dialer].contains(&region) => None,
            _ if self.dial_back.is_some() => Some(LinkRole::Both),
            region if *region == self.listener => Some(LinkRole::Listens),
            _ => Some(LinkRole::Dials),
        }
    }

    /// Where that region dials the other, if it does.
    pub fn dialled_from(&self, region: &RegionId) -> Option<&HostPort> {
        match region {
            region if *region == self.listener => self.dial_back.as_ref(),
            region if *region == self.dialer => Some(&self.dial),
            _ => None,
        }
    }
}

/// How a link treats its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMode {
    /// The rate is the path's: it begins there, and comes back to it.
    Declared,
    /// It finds its rate; a declared one is the ceiling.
    Adaptive,
    /// It takes what others leave.
    Scavenger,
}

/// What a region does on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRole {
    /// Waits to be dialled.
    Listens,
    /// Dials, and dials again.
    Dials,
    /// Dials and is dialled; one connection stands.
    Both,
}

impl Plan {
    /// The fleet's name.
    pub fn fleet(&self) -> &FleetName {
        &self.fleet
    }

    /// All regions, in the order of the file.
    pub fn regions(&self) -> &[RegionPlan] {
        &self.regions
    }

    /// The region of that name.
    pub fn region(&self, id: &RegionId) -> Option<&RegionPlan> {
        self.regions.iter().find(|region| region.id == *id)
    }

    /// All links, in the order of the file.
    pub fn links(&self) -> &[LinkPlan] {
        &self.links
    }

    /// The link between two regions, whoever dials.
    pub fn link_between(&self, a: &RegionId, b: &RegionId) -> Option<&LinkPlan> {
        self.links.iter().find(|link| link.peer_of(a) == Some(b))
    }

    /// The links that end in a region, and what it does on each.
    pub fn links_of(&self, region: &RegionId) -> impl Iterator<Item = (LinkRole, &LinkPlan)> {
        self.links
            .iter()
            .filter_map(|link| Some((link.role_of(region)?, link)))
    }

    /// All legs of all routes, in the order of the file.
    pub fn routes(&self) -> &[RoutePlan] {
        &self.routes
    }

    /// Legs whose source stream is in the region.
    pub fn leaving(&self, region: &RegionId) -> impl Iterator<Item = &RoutePlan> {
        self.routes
            .iter()
            .filter(move |route| route.from == *region)
    }

    /// Legs whose target stream is in the region.
    pub fn arriving(&self, region: &RegionId) -> impl Iterator<Item = &RoutePlan> {
        self.routes.iter().filter(move |route| route.to == *region)
    }

    /// The leg of a route that arrives in a region.
    pub fn leg(&self, name: &RouteName, to: &RegionId) -> Option<&RoutePlan> {
        self.arriving(to).find(|route| route.name == *name)
    }

    /// All subjects that routes bring to a stream of a region, by the fewest of their filters.
    pub fn subjects_arriving(&self, region: &RegionId, stream: &StreamName) -> SubjectSet {
        let legs = self.arriving(region).filter(|leg| leg.target == *stream);
        let filters: Vec<SubjectFilter> = legs
            .flat_map(|leg| leg.subjects.filters())
            .cloned()
            .collect();
        SubjectSet::new(filters).minimal()
    }

    /// The subjects that a stream of a region is created with: what routes bring to it, and what others read from it
    /// by filter, as applications there publish that. A filter that crosses another one stays out, for a server refuses
    /// such a stream.
    pub fn subjects_created(&self, region: &RegionId, stream: &StreamName) -> SubjectSet {
        let arriving = self.subjects_arriving(region, stream);
        let mut filters = arriving.filters().to_vec();
        let legs = self.leaving(region).filter(|leg| leg.stream == *stream);
        for filter in legs.flat_map(|leg| leg.subjects.filters()) {
            let crosses = |other: &SubjectFilter| {
                filter.overlaps(other) && !filter.is_subset_of(other) && !other.is_subset_of(filter)
            };
            if !filter.is_all() && !filters.iter().any(crosses) {
                filters.push(filter.clone());
            }
        }
        SubjectSet::new(filters).minimal()
    }

    /// The residency rules.
    pub fn residency(&self) -> &ResidencyPolicy {
        &self.residency
    }
}
