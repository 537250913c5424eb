//! The socket from which one peer is dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::id::RegionId;
use quinn::{ClientConfig, ConnectError, Connecting, Endpoint, TokioRuntime};
use tokio::time::timeout;

use super::addresses::Addresses;
use super::connection::Session;
use super::rate::Pace;
use super::socket::{ShapedSocket, beginning};
use super::tls::{Identity, TlsError};
use super::transport::{PathHints, bind, endpoint, transport};

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
    Connect(#[from] ConnectError),
    /// The peer does not answer, or refuses us.
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    /// No answer at all in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer began to answer, and no more came.
    #[error("the handshake did not end within {0:?} of the peer's first answer")]
    Stalled(Duration),
    /// The control stream could not be opened.
    #[error("the peer closed the connection at once")]
    Closed,
}

/// Silence after which an attempt is given up, where nothing is known of the round trip.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(1_500);
/// The same in round trips: time for a second first packet, after three, and its answer, which takes the peer a moment.
const PATIENCE_ROUND_TRIPS: u32 = 4;
const ANSWERING: Duration = Duration::from_millis(100);
const PATIENCE_MIN: Duration = Duration::from_millis(500);
const PATIENCE_MAX: Duration = Duration::from_secs(8);
/// One attempt of so many waits longer, by that factor: the path may be another than the one that was measured.
const PATIENT_EVERY: u32 = 8;
const PATIENT_FACTOR: u32 = 4;
/// From the peer's first answer to the end of the handshake: four losses in a row of a packet of it.
const HANDSHAKE_ROUND_TRIPS: u32 = 45;
const HANDSHAKE_TIMEOUT_MIN: Duration = Duration::from_secs(4);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A name is looked up for so long at most, where no address of it is known.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Dials one peer.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Option<(bool, Endpoint)>,
    identity: Identity,
    peer: RegionId,
    address: String,
    hints: PathHints,
    addresses: Addresses,
}

impl Dialer {
    /// A dialler for `peer`, reached at `address` (host:port, looked up at each attempt; every address found has its turn).
    pub fn new(identity: Identity, peer: RegionId, address: String, hints: PathHints) -> Self {
        Self {
            endpoint: None,
            identity,
            peer,
            address,
            hints,
            addresses: Addresses::default(),
        }
    }

    /// What the last session measured, for the patience and the timers of the attempts to come; `None` forgets it.
    pub fn expect_round_trip(&mut self, measured: Option<Duration>) {
        self.hints.measured_rtt = measured;
    }

    /// One attempt, at one address; where nobody is there, or not the peer, the next one is at another. Silence ends it soon,
    /// so that a healed link is soon tried again; a peer that has begun to answer has time to finish, lost packets included.
    pub async fn dial(&mut self) -> Result<Session, DialError> {
        let patience = patience(self.hints.first_rtt(), self.addresses.rounds());
        let address = self.address(patience).await?;
        let outcome = self.attempt(address, patience).await;
        match outcome {
            Ok(_) | Err(DialError::Closed) => self.addresses.handle_worked(address),
            Err(_) => self.addresses.handle_failed(address),
        }
        outcome
    }

    async fn attempt(
        &mut self,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<Session, DialError> {
        let begun = timeout(patience, self.begin(address)).await;
        let (connecting, pace) = begun.map_err(|_| DialError::Timeout(patience))??;
        let limit = self.hints.first_rtt().map_or(HANDSHAKE_TIMEOUT, |rtt| {
            (rtt * HANDSHAKE_ROUND_TRIPS).clamp(HANDSHAKE_TIMEOUT_MIN, HANDSHAKE_TIMEOUT)
        });
        let connection = timeout(limit, connecting)
            .await
            .map_err(|_| DialError::Stalled(limit))??;
        let rate = self.hints.rate.clone();
        Session::start(connection, self.peer.clone(), true, rate, pace)
            .await
            .map_err(|_| DialError::Closed)
    }

    /// Until the peer has answered for the first time.
    async fn begin(&mut self, address: SocketAddr) -> Result<(Connecting, Arc<Pace>), DialError> {
        let endpoint = self.endpoint(address)?;
        let mut config = ClientConfig::new(Arc::new(self.identity.client(&self.peer)?));
        let pace = Pace::new(Some(self.hints.rate.clone()), address);
        config.transport_config(transport(&self.hints, &pace));
        let connecting = beginning(&pace, || endpoint.connect_with(config, address, "causeway"));
        if matches!(connecting, Err(ConnectError::EndpointStopping)) {
            self.endpoint = None; // its socket failed; the next attempt makes another
        }
        let mut connecting = connecting?;
        connecting.handshake_data().await?;
        Ok((connecting, pace))
    }

    /// Where the peer may be. A cut that takes the resolver with it does not keep us from where it was.
    async fn address(&mut self, patience: Duration) -> Result<SocketAddr, DialError> {
        let known = self.addresses.next();
        let limit = known.map_or(RESOLVE_TIMEOUT, |_| patience);
        let looked_up = match timeout(limit, self.resolve()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.unresolved(format!("no answer within {limit:?}"))),
        };
        if let (Err(why), Some(known)) = (&looked_up, known) {
            tracing::debug!(%why, %known, "dialling where the peer was");
            return Ok(known);
        }
        looked_up?;
        let next = self.addresses.next();
        next.ok_or_else(|| self.unresolved("the name resolves to nothing".into()))
    }

    async fn resolve(&mut self) -> Result<(), DialError> {
        let found = tokio::net::lookup_host(&self.address).await;
        let mut found = found
            .map_err(|why| self.unresolved(why.to_string()))?
            .peekable();
        if found.peek().is_some() {
            self.addresses.handle_found(found);
        }
        Ok(())
    }

    fn unresolved(&self, why: String) -> DialError {
        DialError::Resolve(self.address.clone(), why)
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
            endpoint(self.hints.mtu),
            None,
            Arc::new(socket),
            Arc::new(TokioRuntime),
        )?;
        self.endpoint = Some((peer.is_ipv6(), endpoint.clone()));
        Ok(endpoint)
    }
}

/// `failures`: rounds through the name's addresses that came to nothing, so that each address has its patient attempt.
fn patience(rtt: Option<Duration>, failures: u32) -> Duration {
    let patience = rtt.map_or(PATIENCE_UNKNOWN, |rtt| {
        (rtt * PATIENCE_ROUND_TRIPS + ANSWERING).clamp(PATIENCE_MIN, PATIENCE_MAX)
    });
    if failures % PATIENT_EVERY == PATIENT_EVERY - 1 {
        (patience * PATIENT_FACTOR).min(PATIENCE_MAX)
    } else {
        patience
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::UdpSocket;

    use causeway_proto::id::FleetName;
    use tokio::sync::mpsc;

    use super::*;
    use crate::certs::generate;
    use crate::link::{Listener, Refusals, TlsFiles};

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn identity(name: &str, pki: &std::path::Path) -> Identity {
        let files = TlsFiles {
            cert: pki.join(format!("{name}.pem")),
            key: pki.join(format!("{name}.key")),
            ca: pki.join("ca.pem"),
        };
        Identity::load(&FleetName::new("acme").unwrap(), &region(name), &files).unwrap()
    }

    /// As where a name has an AAAA record, too, and its host listens on 0.0.0.0.
    #[tokio::test]
    async fn a_peer_is_found_at_the_second_address_of_its_name() {
        let pki = tempfile::tempdir().unwrap();
        let fleet = FleetName::new("acme").unwrap();
        generate(&fleet, &[region("us"), region("eu")], pki.path()).unwrap();
        let (sender, _sessions) = mpsc::channel(4);
        let peers = BTreeMap::from([(region("eu"), (PathHints::default(), sender))]);
        let us = identity("us", pki.path());
        let any = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(any, us, peers, Refusals::default()).unwrap();
        let listens = listener.local_addr().unwrap();
        tokio::spawn(listener.run());
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();

        // The name itself leads nowhere, so that what it led to counts.
        let (eu, name) = (identity("eu", pki.path()), "us.invalid:4433".into());
        let mut dialer = Dialer::new(eu, region("us"), name, PathHints::default());
        let found = [silent.local_addr().unwrap(), listens];
        dialer.addresses.handle_found(found.into_iter());
        assert!(matches!(dialer.dial().await, Err(DialError::Timeout(_))));
        assert_eq!(dialer.addresses.next(), Some(listens));
        let until_answered = async { while dialer.dial().await.is_err() {} };
        timeout(Duration::from_secs(60), until_answered)
            .await
            .unwrap();
        assert_eq!(dialer.addresses.next(), Some(listens));
    }

    #[test]
    fn every_eighth_attempt_is_for_a_path_that_became_longer() {
        let all: Vec<_> = (0..9)
            .map(|failures| patience(Some(Duration::from_millis(25)), failures).as_millis())
            .collect();
        assert_eq!(all, [500, 500, 500, 500, 500, 500, 500, 2_000, 500]);
        let far = Some(Duration::from_secs(3));
        assert_eq!(
            [6, 7].map(|failures| patience(far, failures)),
            [PATIENCE_MAX; 2]
        );
    }
}
