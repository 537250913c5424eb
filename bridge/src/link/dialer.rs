//! The socket from which one peer is dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::id::RegionId;
use quinn::{ClientConfig, Connecting, Endpoint, EndpointConfig, TokioRuntime};
use tokio::time::timeout;

use super::connection::Session;
use super::rate::Pace;
use super::socket::{ShapedSocket, beginning};
use super::tls::{Identity, TlsError};
use super::transport::{PathHints, bind, transport};

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
/// The same in round trips: time for a second first packet, after three, and its answer.
const PATIENCE_ROUND_TRIPS: u32 = 4;
const PATIENCE_MIN: Duration = Duration::from_millis(500);
const PATIENCE_MAX: Duration = Duration::from_secs(8);
/// One attempt of so many waits longer, by that factor: the path may be another than the one that was measured.
const PATIENT_EVERY: u32 = 8;
const PATIENT_FACTOR: u32 = 4;
/// From the peer's first answer to the end of the handshake, lost packets included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Dials one peer.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Option<(bool, Endpoint)>,
    identity: Identity,
    peer: RegionId,
    address: String,
    hints: PathHints,
    /// Attempts in a row that nobody answered.
    silences: u32,
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
            silences: 0,
        }
    }

    /// What the last session measured, for the patience and the timers of the attempts to come; `None` forgets it.
    pub fn expect_round_trip(&mut self, measured: Option<Duration>) {
        self.hints.measured_rtt = measured;
    }

    /// One attempt. Silence ends it soon, so that a healed link is soon tried again; a peer that has begun to answer has
    /// time to finish, because a new attempt would be no faster.
    pub async fn dial(&mut self) -> Result<Session, DialError> {
        let patience = patience(self.hints.first_rtt(), self.silences);
        let Ok(begun) = timeout(patience, self.begin()).await else {
            self.silences = self.silences.wrapping_add(1);
            return Err(DialError::Timeout(patience));
        };
        self.silences = 0;
        let (connecting, pace) = begun?;
        let connection = timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_| DialError::Stalled(HANDSHAKE_TIMEOUT))??;
        let rate = self.hints.rate.clone();
        Session::start(connection, self.peer.clone(), true, rate, pace)
            .await
            .map_err(|_| DialError::Closed)
    }

    /// Until the peer has answered for the first time.
    async fn begin(&mut self) -> Result<(Connecting, Arc<Pace>), DialError> {
        let address = self.resolve().await?;
        let endpoint = self.endpoint(address)?;
        let mut config = ClientConfig::new(Arc::new(self.identity.client(&self.peer)?));
        let pace = Pace::new(Some(self.hints.rate.clone()), address);
        config.transport_config(transport(&self.hints, &pace));
        let mut connecting =
            beginning(&pace, || endpoint.connect_with(config, address, "causeway"))?;
        connecting.handshake_data().await?;
        Ok((connecting, pace))
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

fn patience(rtt: Option<Duration>, silences: u32) -> Duration {
    let patience = rtt.map_or(PATIENCE_UNKNOWN, |rtt| {
        (rtt * PATIENCE_ROUND_TRIPS).clamp(PATIENCE_MIN, PATIENCE_MAX)
    });
    if silences % PATIENT_EVERY == PATIENT_EVERY - 1 {
        (patience * PATIENT_FACTOR).min(PATIENCE_MAX)
    } else {
        patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_eighth_attempt_is_for_a_path_that_became_longer() {
        let all: Vec<_> = (0..9)
            .map(|silences| patience(Some(Duration::from_millis(25)), silences).as_millis())
            .collect();
        assert_eq!(all, [500, 500, 500, 500, 500, 500, 500, 2_000, 500]);
        let far = Some(Duration::from_secs(3));
        assert_eq!(
            [6, 7].map(|silences| patience(far, silences)),
            [PATIENCE_MAX; 2]
        );
    }
}
