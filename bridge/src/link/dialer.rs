//! The socket from which one peer is dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::id::RegionId;
use quinn::{ClientConfig, ConnectError, Connecting, Endpoint, TokioRuntime};
use tokio::time::{sleep, timeout};

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
/// One attempt of so many waits longer, by that factor: the path may be another than the one that was measured. Others go on
/// beside it: its own first packets come ever more rarely, so that a link which heals would wait for its end.
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
        let patience = patience(self.hints.first_rtt());
        let address = self.address(patience).await?;
        let outcome = self.attempt(address, patience).await;
        if let Err(DialError::Connect(ConnectError::EndpointStopping)) = &outcome {
            self.endpoint = None; // its socket failed; the next attempt makes another
        }
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
        let endpoint = self.endpoint(address)?;
        let (connecting, pace) = if is_patient(self.addresses.rounds()) {
            self.begin_patiently(&endpoint, address, patience).await?
        } else {
            self.begin(&endpoint, address, patience).await?
        };
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
    async fn begin(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<(Connecting, Arc<Pace>), DialError> {
        let mut config = ClientConfig::new(Arc::new(self.identity.client(&self.peer)?));
        let pace = Pace::new(Some(self.hints.rate.clone()), address);
        config.transport_config(transport(&self.hints, &pace));
        let mut connecting =
            beginning(&pace, || endpoint.connect_with(config, address, "causeway"))?;
        match timeout(patience, connecting.handshake_data()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(DialError::Timeout(patience)),
        };
        Ok((connecting, pace))
    }

    /// The same, where the peer may also take longer than that to answer.
    async fn begin_patiently(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<(Connecting, Arc<Pace>), DialError> {
        let longer = (patience * PATIENT_FACTOR).min(PATIENCE_MAX);
        let others = async {
            sleep(patience).await; // until then it is one like any other
            loop {
                match self.begin(endpoint, address, patience).await {
                    Err(DialError::Timeout(_)) => {}
                    outcome => return outcome,
                }
            }
        };
        tokio::select! {
            outcome = self.begin(endpoint, address, longer) => outcome,
            outcome = others => outcome,
        }
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

/// Silence after which an attempt is given up.
fn patience(rtt: Option<Duration>) -> Duration {
    rtt.map_or(PATIENCE_UNKNOWN, |rtt| {
        (rtt * PATIENCE_ROUND_TRIPS + ANSWERING).clamp(PATIENCE_MIN, PATIENCE_MAX)
    })
}

/// `failures`: rounds through the name's addresses that came to nothing, so that each address has its patient attempt.
fn is_patient(failures: u32) -> bool {
    failures % PATIENT_EVERY == PATIENT_EVERY - 1
}

#[cfg(test)]
mod tests;
