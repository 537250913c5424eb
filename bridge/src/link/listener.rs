//! The socket that listens for all peers of a region.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_proto::error::CloseReason;
use causeway_proto::id::RegionId;
use quinn::{
    Connection, ConnectionError, Endpoint, Incoming, ServerConfig, TokioRuntime, TransportErrorCode,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::certificate::{IdentityError, region_of};
use super::connection::{Session, close};
use super::dialer::DialError;
use super::rate::Pace;
use super::socket::{ShapedSocket, beginning};
use super::tls::{Identity, TlsError};
use super::transport::{PathHints, bind, endpoint, send_window, transport};

/// Handshakes that may be under way; callers beyond it are not answered. Connections that stand are not counted: each is
/// of a region whose certificate was checked, and a link keeps one.
const HANDSHAKES_MAX: usize = 256;
/// With so many under way a caller is asked to show that it hears us at its address before anything is kept of it: packets
/// from forged addresses then hold these places at most, and all others are for callers that are there.
const HANDSHAKES_UNPROVEN: usize = 32;
/// From a caller's first packet to the end of its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Listens for the peers that dial this region.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    identity: Identity,
    peers: BTreeMap<RegionId, (PathHints, mpsc::Sender<Session>)>,
    refusals: Refusals,
    /// A permit for each handshake.
    handshakes: Arc<Semaphore>,
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
            endpoint(peers.values().filter_map(|(hints, _)| hints.mtu).max()),
            Some(config),
            Arc::new(socket),
            Arc::new(TokioRuntime),
        )?;
        Ok(Self {
            endpoint,
            identity,
            peers,
            refusals,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Accepts until the process ends, or the socket fails. A bad caller costs no more than its own handshake.
    pub async fn run(self) {
        let shared = Arc::new(self);
        while let Some(incoming) = shared.endpoint.accept().await {
            if let Some((incoming, permit)) = shared.admit(incoming) {
                let listener = Arc::clone(&shared);
                tokio::spawn(async move { listener.welcome(incoming, permit).await });
            }
        }
    }

    /// Whether a handshake with that caller begins now.
    fn admit(&self, incoming: Incoming) -> Option<(Incoming, OwnedSemaphorePermit)> {
        let under_way = HANDSHAKES_MAX - self.handshakes.available_permits();
        if under_way >= HANDSHAKES_UNPROVEN && !incoming.remote_address_validated() {
            // It calls again at once with what this answer gives it; only then is it counted, if it is refused.
            let asked = incoming.retry();
            debug_assert!(asked.is_ok(), "an address not proven may be asked");
            return None;
        }
        if let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() {
            return Some((incoming, permit));
        }
        self.refusals.count("too_many");
        incoming.ignore();
        None
    }

    async fn welcome(&self, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let from = incoming.remote_address();
        // Who calls is known only after the handshake; the rate of its link is set then.
        let pace = Pace::new(None, from);
        let shaken = self.shake_hands(incoming, &pace).await;
        drop(permit); // what follows is with somebody who has a certificate of ours
        let Some(connection) = shaken else {
            return;
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

    /// QUIC's handshake, in which both certificates are checked. Counts the refusal where it fails.
    async fn shake_hands(&self, incoming: Incoming, pace: &Arc<Pace>) -> Option<Connection> {
        let from = incoming.remote_address();
        let hints = PathHints {
            mtu: self.common_mtu(),
            ..PathHints::default()
        };
        let config = server_config(&self.identity, &hints, pace).ok()?;
        let connecting = beginning(pace, || incoming.accept_with(Arc::new(config))).ok()?;
        match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => return Some(connection),
            Ok(Err(why)) if has_given_up(&why) => {
                // It tries again at once: on a path that is dead one way that is no news.
                tracing::debug!(%from, "the caller did not wait for the end of the handshake");
                self.refusals.count("handshake_given_up");
            }
            Ok(Err(why)) => {
                self.refusals.count("handshake");
                tracing::warn!(%from, %why, "caller refused in the TLS handshake");
            }
            Err(_) => self.refusals.count("handshake_timeout"),
        }
        None
    }

    /// What every peer's path carries, where it is known of all.
    fn common_mtu(&self) -> Option<u16> {
        let all: Option<Vec<_>> = self.peers.values().map(|(hints, _)| hints.mtu).collect();
        all?.into_iter().min()
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

/// Whether the caller dropped its attempt, which QUIC says in a handshake without a reason (RFC 9000, 10.2.3); a
/// certificate that it does not accept comes as a TLS alert.
fn has_given_up(why: &ConnectionError) -> bool {
    matches!(why, ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::APPLICATION_ERROR)
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
