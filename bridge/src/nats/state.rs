//! What is known about the connection: its state, the server's own words, and the fence between
//! one connection and the next.

use super::error::ConnectError;
use super::handshake::Info;

/// The connection, as [`Client::watch`](super::Client::watch) shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is none; attempts go on for ever.
    Connecting {
        /// Why the last connection ended or the last attempt failed.
        reason: Option<ConnectError>,
        /// Attempts since the last good connection.
        attempts: u32,
    },
    /// Messages flow.
    Connected {
        /// Rises by one with each connection; the first is 1.
        generation: u64,
        /// What became of the connection before this one.
        predecessor: Predecessor,
        /// The server.
        info: ServerInfo,
    },
    /// The client was shut down.
    Closed,
}

impl State {
    /// Whether the connection of this number stands.
    pub fn is_connected_as(&self, number: u64) -> bool {
        matches!(self, Self::Connected { generation, .. } if *generation == number)
    }
}

/// Whether the connection before this one can still have an effect. See the module's section
/// "The fence".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Predecessor {
    /// There was none.
    None,
    /// Its end was seen: end of file or reset came from the peer. Its server reads no more of it.
    Drained,
    /// We gave up waiting for its end: bytes sent on it may still reach the server.
    Unproven,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Id, unique to one run of the server.
    pub server_id: String,
    /// Name.
    pub server_name: String,
    /// Version, such as `2.15.1`.
    pub version: String,
    /// Its cluster's name.
    pub cluster: Option<String>,
    /// Its JetStream domain.
    pub domain: Option<String>,
    /// Whether this very server has JetStream.
    pub jetstream: bool,
    /// Largest publish, headers included.
    pub max_payload: usize,
    /// Our connection's id, as the server's logs and monitoring show it.
    pub client_id: u64,
    /// `host:port` that we reached it at.
    pub address: String,
}

impl ServerInfo {
    pub(crate) fn new(info: &Info, address: String) -> Self {
        Self {
            server_id: info.server_id.clone(),
            server_name: info.server_name.clone(),
            version: info.version.clone(),
            cluster: info.cluster.clone(),
            domain: info.domain.clone(),
            jetstream: info.jetstream,
            max_payload: info.max_payload,
            client_id: info.client_id,
            address,
        }
    }

    /// Whether the server is of this version or later. A version that cannot be read counts as old.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.version.split(['.', '-']).map(str::parse::<u32>);
        match (parts.next(), parts.next()) {
            (Some(Ok(own_major)), Some(Ok(own_minor))) => (own_major, own_minor) >= (major, minor),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let info = |version: &str| {
            let info = Info {
                version: version.to_owned(),
                ..Info::default()
            };
            ServerInfo::new(&info, String::new())
        };
        assert!(info("2.15.1").is_at_least(2, 9));
        assert!(info("2.15.0-dev").is_at_least(2, 15));
        assert!(!info("2.10.26").is_at_least(2, 14));
        assert!(!info("").is_at_least(2, 0));
    }
}
