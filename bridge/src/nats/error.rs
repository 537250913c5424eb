//! What can go wrong with the connection, by who is to act, and what can go wrong with one request.

use std::fmt;

/// Who or what is to blame for a failed or lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectErrorKind {
    /// The server refuses us, or our credentials cannot be read: a person must act.
    Auth,
    /// TLS failed: a wrong certificate, name or CA, or one side demands TLS and the other has none.
    /// A person must act.
    Tls,
    /// The network, or a server that closed the connection: passes by itself.
    Io,
    /// No answer within the time allowed, or no sign of life: passes by itself.
    Timeout,
    /// The peer does not speak NATS as we know it.
    Protocol,
    /// No server is configured.
    NoServers,
}

impl ConnectErrorKind {
    /// Whether waiting alone will not help.
    pub fn needs_person(self) -> bool {
        matches!(
            self,
            Self::Auth | Self::Tls | Self::Protocol | Self::NoServers
        )
    }

    /// A short fixed word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Tls => "tls",
            Self::Io => "io",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::NoServers => "no_servers",
        }
    }
}

/// Why there is no connection, or why the last one ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server}: {text}")]
pub struct ConnectError {
    /// Who is to act.
    pub kind: ConnectErrorKind,
    /// `host:port` of the server, or a word where no server is concerned.
    pub server: String,
    /// What happened, in the server's or the system's own words.
    pub text: String,
}

impl ConnectError {
    pub(crate) fn new(
        kind: ConnectErrorKind,
        server: impl fmt::Display,
        text: impl fmt::Display,
    ) -> Self {
        Self {
            kind,
            server: server.to_string(),
            text: text.to_string(),
        }
    }
}

/// Bytes that are not the NATS protocol. Ends the connection, never the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a control line is longer than {0} bytes")]
    LineTooLong(usize),
    #[error("a message of {size} bytes is larger than the limit of {max}")]
    MessageTooLarge { size: usize, max: usize },
    #[error("unknown operation")]
    UnknownOperation,
    #[error("malformed message line")]
    MalformedMessageLine,
    #[error("a message does not end with CR LF where its size says")]
    MissingMessageEnd,
    #[error("a control line does not end with CR LF")]
    MissingLineEnd,
    #[error("INFO is not valid JSON")]
    MalformedInfo,
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no connection at the moment. Try again once there is.
    #[error("not connected")]
    NotConnected,
    /// The connection was lost while waiting: whether the request was carried out is unknown.
    #[error("the connection was lost before the reply came")]
    Disconnected,
    /// No reply in time: whether the request was carried out is unknown.
    #[error("no reply in time")]
    Timeout,
    /// Nobody serves the subject (status 503): JetStream is off, or has no leader at the moment.
    #[error("no responders")]
    NoResponders,
    /// The server does not let us use the subject: a person must act.
    #[error("permission denied: {0}")]
    Denied(String),
    /// The subject is empty or holds white space or control characters: a bug in the caller.
    #[error("invalid subject")]
    InvalidSubject,
    /// The client was shut down.
    #[error("the client is shut down")]
    Closed,
}
