//! Sockets: one that listens for all peers of a region, and one for each peer that it dials.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_proto::error::CloseReason;
use causeway_proto::id::RegionId;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::{Session, close};
use super::rate::Pace;
use super::socket::{ShapedSocket, beginning};
use super::tls::{Identity, IdentityError, TlsError, region_of};
use super::transport::{PathHints, bind, send_window, transport};

/// Handshakes that may be under way before further callers wait.
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a dial did not bring a session.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("{0}: no address: {1}")]
    Resolve(String, String),
    /// No socket.
    #[error("UDP socket: {0}")]
    Socket(#[from] std::io::Error),
    /// Our own TLS settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// quinn refuses the settings.
    #[error("connect: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The peer does not answer, or refuses us.
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The control stream could not be opened.
    #[error("the peer closed the connection at once")]
    Closed,
}

/// Connections refused, by reason. Small and bounded: the reasons are ours, not the peers'.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Refusals {
    /// Counts one refusal.
    pub fn count(&self, reason: &'static str) {
        if let Ok(mut counts) = self.0.lock() {
            *counts.entry(reason).or_default() += 1;
        }
    }

    /// All reasons so far.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .lock()
            .map(|counts| counts.clone())
            .unwrap_or_default()
    }
}

/// Dials one peer.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Option<(bool, Endpoint)>,
    identity: Identity,
    peer: RegionId,
    address: String,
    hints: PathHints,
}

impl Dialer {
    /// A dialler for `peer`, reached at `address` (host:port, resolved at each attempt).
    pub fn new(identity: Identity, peer: RegionId, address: String, hints: PathHints) -> Self {
        Self {
            endpoint: None,
            identity,
            peer,
            address,
            hints,
        }
    }

    /// One attempt, limited to a few round trips so that a healed link is soon tried again.
    pub async fn dial(&mut self) -> Result<Session, DialError> {
        let limit = self.hints.rtt.map_or(Duration::from_millis(1500), |rtt| {
            (rtt * 4).clamp(Duration::from_millis(1000), Duration::from_secs(8))
        });
        match timeout(limit, self.attempt()).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout(limit)),
        }
    }

    async fn attempt(&mut self) -> Result<Session, DialError> {
        let address = self.resolve().await?;
        let endpoint = self.endpoint(address)?;
        let mut config = ClientConfig::new(Arc::new(self.identity.client(&self.peer)?));
        let pace = Pace::new(Some(self.hints.rate.clone()), address);
        config.transport_config(transport(&self.hints, &pace));
        let connecting = beginning(&pace, || endpoint.connect_with(config, address, "causeway"))?;
        let connection = connecting.await?;
        let rate = self.hints.rate.clone();
        Session::start(connection, self.peer.clone(), true, rate, pace)
            .await
            .map_err(|_| DialError::Closed)
    }

    async fn resolve(&self) -> Result<SocketAddr, DialError> {
        let error = |why: String| DialError::Resolve(self.address.clone(), why);
        let mut found = tokio::net::lookup_host(&self.address)
            .await
            .map_err(|why| error(why.to_string()))?;
        found
            .next()
            .ok_or_else(|| error("the name resolves to nothing".into()))
    }

    fn endpoint(&mut self, peer: SocketAddr) -> Result<Endpoint, DialError> {
        if let Some((ipv6, endpoint)) = &self.endpoint
            && *ipv6 == peer.is_ipv6()
        {
            return Ok(endpoint.clone());
        }
        let any: SocketAddr = if peer.is_ipv6() {
            ([0u16; 8], 0).into()
        } else {
            ([0u8; 4], 0).into()
        };
        let pace = Pace::new(Some(self.hints.rate.clone()), peer);
        let rate = self.hints.rate.get().unwrap_or(0);
        let socket = ShapedSocket::new(bind(any, rate)?, &self.hints.shaping, pace)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            None,
            Arc::new(socket),
            Arc::new(TokioRuntime),
        )?;
        self.endpoint = Some((peer.is_ipv6(), endpoint.clone()));
        Ok(endpoint)
    }
}

/// Listens for the peers that dial this region.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    identity: Identity,
    peers: BTreeMap<RegionId, (PathHints, mpsc::Sender<Session>)>,
    refusals: Refusals,
}

impl Listener {
    /// Binds the socket. `peers` are the regions that may dial, and where their sessions go.
    pub fn bind(
        address: SocketAddr,
        identity: Identity,
        peers: BTreeMap<RegionId, (PathHints, mpsc::Sender<Session>)>,
        refusals: Refusals,
    ) -> Result<Self, DialError> {
        let config = server_config(&identity, &PathHints::default(), &Pace::new(None, address))?;
        let rates = peers.values().filter_map(|(hints, _)| hints.rate.get());
        let rate = rates.sum();
        // All peers' hints name the same shaping.
        let hints = peers.values().next().map(|(hints, _)| hints.clone());
        let shaping = hints.unwrap_or_default().shaping;
        let socket = ShapedSocket::new(bind(address, rate)?, &shaping, Pace::new(None, address))?;
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            Some(config),
            Arc::new(socket),
            Arc::new(TokioRuntime),
        )?;
        Ok(Self {
            endpoint,
            identity,
            peers,
            refusals,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Accepts until the process ends. A bad caller costs no more than its own handshake.
    pub async fn run(self) {
        let shared = Arc::new(self);
        while let Some(incoming) = shared.endpoint.accept().await {
            if shared.endpoint.open_connections() > HANDSHAKES_MAX {
                shared.refusals.count("too_many");
                incoming.ignore();
                continue;
            }
            let listener = Arc::clone(&shared);
            tokio::spawn(async move { listener.welcome(incoming).await });
        }
    }

    async fn welcome(&self, incoming: Incoming) {
        let from = incoming.remote_address();
        // Who calls is known only after the handshake; the rate of its link is set then.
        let pace = Pace::new(None, from);
        let Ok(config) = server_config(&self.identity, &PathHints::default(), &pace) else {
            return;
        };
        let Ok(connecting) = beginning(&pace, || incoming.accept_with(Arc::new(config))) else {
            return;
        };
        let connection = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(why)) => {
                self.refusals.count("handshake");
                tracing::warn!(%from, %why, "caller refused in the TLS handshake");
                return;
            }
            Err(_) => return self.refusals.count("handshake_timeout"),
        };
        match self.identify(&connection) {
            Ok(peer) => {
                let (hints, sessions) = &self.peers[&peer];
                let rate = hints.rate.clone();
                pace.belongs_to(rate.clone());
                connection.set_send_window(send_window(hints));
                if let Ok(session) = Session::start(connection, peer, false, rate, pace).await {
                    let _ = sessions.send(session).await;
                }
            }
            Err(why) => {
                self.refusals.count(refusal_name(&why));
                tracing::warn!(%from, %why, "caller refused");
                close(&connection, CloseReason::WrongRegion);
            }
        }
    }

    fn identify(&self, connection: &Connection) -> Result<RegionId, IdentityError> {
        let identity = connection.peer_identity().ok_or(IdentityError::NoRegion)?;
        let chain = identity
            .downcast::<Vec<CertificateDer<'static>>>()
            .map_err(|_| IdentityError::Malformed)?;
        let leaf = chain.first().ok_or(IdentityError::NoRegion)?;
        let found = region_of(leaf, self.identity.fleet())?;
        if self.peers.contains_key(&found) {
            return Ok(found);
        }
        let known: Vec<_> = self.peers.keys().map(RegionId::as_str).collect();
        Err(IdentityError::WrongRegion {
            found,
            expected: known.join(" or "),
        })
    }
}

fn refusal_name(why: &IdentityError) -> &'static str {
    match why {
        IdentityError::Malformed => "certificate_malformed",
        IdentityError::NoRegion => "certificate_without_region",
        IdentityError::SeveralRegions => "certificate_of_several_regions",
        IdentityError::WrongFleet { .. } => "wrong_fleet",
        IdentityError::WrongRegion { .. } => "wrong_region",
    }
}

fn server_config(
    identity: &Identity,
    hints: &PathHints,
    pace: &Arc<Pace>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::with_crypto(Arc::new(identity.server()?));
    config.transport_config(transport(hints, pace));
    config
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(4 << 20);
    Ok(config)
}
