//! The socket from which one peer is dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::id::RegionId;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime};
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
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The control stream could not be opened.
    #[error("the peer closed the connection at once")]
    Closed,
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
