//! What a connection needs to know, as plain values.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::proof::prove;
use super::transport::client_config;

/// Settings of a [`Client`](super::Client). `Options::new` gives the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Servers to try, in this order, and those that they make known.
    pub servers: Vec<ServerAddr>,
    /// How we prove who we are. A user in a server's URL goes before this.
    pub auth: Auth,
    /// TLS towards the servers.
    pub tls: TlsOptions,
    /// Name of the connection, as `nats server report connections` shows it.
    pub name: String,
    /// First token of every inbox. Accounts may allow another one than the default `_INBOX`.
    pub inbox_prefix: String,
    /// Ignore the other servers of the cluster that a server makes known.
    pub ignore_discovered: bool,
    /// Bound on TCP connect, TLS and login together. Default 5 s.
    pub connect_timeout: Duration,
    /// How often the server is asked for a sign of life. Default 5 s: after two silent rounds the
    /// connection counts as dead, so a black hole is seen in 10 to 15 s.
    pub ping_interval: Duration,
    /// How long we wait for the peer to finish an old connection before the next one is announced
    /// as [`Predecessor::Unproven`](super::Predecessor). Default 10 s.
    pub drain_max: Duration,
    /// Bytes received and not yet taken by their subscriptions, above which the connection stops
    /// reading. Default 64 MiB. JetStream pulls bound this far lower; the limit guards against a
    /// server that ignores `max_bytes`.
    pub unread_bytes_max: usize,
    /// Bytes given to writers and not yet taken by the socket. Default 1 MiB: some 10 ms of a
    /// fast local connection. A single larger chunk passes alone.
    pub unsent_bytes_max: usize,
}

impl Options {
    /// Defaults for these servers, without credentials.
    pub fn new(servers: Vec<ServerAddr>) -> Self {
        Self {
            servers,
            auth: Auth::None,
            tls: TlsOptions::default(),
            name: "causeway".to_owned(),
            inbox_prefix: "_INBOX".to_owned(),
            ignore_discovered: false,
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            drain_max: Duration::from_secs(10),
            unread_bytes_max: 64 * 1024 * 1024,
            unsent_bytes_max: 1024 * 1024,
        }
    }

    /// What cannot be used of the files that a connection reads when it is made, in words for a person.
    pub fn unusable_files(&self) -> Vec<String> {
        let auth = prove(&self.auth, "").err();
        let reads_files = self.tls.is_required();
        let tls = reads_files
            .then(|| client_config(&self.tls))
            .and_then(Result::err);
        auth.into_iter()
            .chain(tls.map(|why| why.to_string()))
            .collect()
    }
}

/// How we prove who we are.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all, or by client certificate only.
    #[default]
    None,
    /// User and password.
    Password {
        /// User.
        user: String,
        /// Password.
        password: String,
    },
    /// A token.
    Token(String),
    /// An nkey seed (`SU...`): the server knows the public key.
    NkeySeed(String),
    /// A `.creds` file (user JWT and seed). Read anew for each connection, so that it can be
    /// renewed in place.
    CredsFile(PathBuf),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Token(_) => f.write_str("Token"),
            Self::NkeySeed(_) => f.write_str("NkeySeed"),
            Self::CredsFile(path) => write!(f, "CredsFile({})", path.display()),
        }
    }
}

/// TLS towards the servers. Setting any field demands TLS of every server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Refuse a server that offers no TLS.
    pub required: bool,
    /// Begin TLS before the server says anything (the server's `handshake_first`).
    pub handshake_first: bool,
    /// PEM files of the CAs to trust instead of the system's.
    pub ca_files: Vec<PathBuf>,
    /// PEM files of our certificate chain and its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

impl TlsOptions {
    /// Whether a server without TLS is refused.
    pub fn is_required(&self) -> bool {
        self.required
            || self.handshake_first
            || !self.ca_files.is_empty()
            || self.client_cert.is_some()
    }
}

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddr {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The scheme was `tls`.
    pub tls: bool,
    /// Credentials in the URL.
    pub auth: Auth,
    /// Name that the server's certificate must bear, where it is not `host`: a server made known
    /// by its IP address answers for the name by which its cluster was reached.
    pub tls_name: Option<String>,
}

/// Why a text is no server URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServerAddr {
    /// Neither `nats` nor `tls`.
    #[error("scheme {0:?} is not supported; use nats:// or tls://")]
    Scheme(String),
    /// No host.
    #[error("has no host")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("port {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// A `%` without two hexadecimal digits, or not UTF-8.
    #[error("user or password is badly percent-encoded")]
    PercentEncoding,
}

/// The port of NATS, where a URL names none.
pub const DEFAULT_PORT: u16 = 4222;

impl ServerAddr {
    /// Reads `[nats|tls://][user:password@|token@]host[:port]`. Without a port: 4222.
    pub fn parse(text: &str) -> Result<Self, InvalidServerAddr> {
        let text = text.trim();
        let (tls, rest) = match text.split_once("://") {
            None | Some(("nats", _)) => (false, text.strip_prefix("nats://").unwrap_or(text)),
            Some(("tls", rest)) => (true, rest),
            Some((scheme, _)) => return Err(InvalidServerAddr::Scheme(scheme.to_owned())),
        };
        let rest = rest.split(['/', '?']).next().unwrap_or_default();
        let (user_info, address) = match rest.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, rest),
        };
        let (host, port) = split_host_port(address)?;
        let auth = match user_info.map(|info| info.split_once(':').ok_or(info)) {
            None => Auth::None,
            Some(Ok((user, password))) => Auth::Password {
                user: percent_decode(user)?,
                password: percent_decode(password)?,
            },
            Some(Err(token)) => Auth::Token(percent_decode(token)?),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            auth,
            tls_name: None,
        })
    }

    pub(crate) fn same_address(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl fmt::Display for ServerAddr {
    /// `host:port`; never the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn split_host_port(address: &str) -> Result<(&str, u16), InvalidServerAddr> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(InvalidServerAddr::Host)?;
            (host, after.strip_prefix(':'))
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if host.is_empty() {
        return Err(InvalidServerAddr::Host);
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| InvalidServerAddr::Port(text.to_owned()))?,
    };
    Ok((host, port))
}

fn percent_decode(text: &str) -> Result<String, InvalidServerAddr> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |at: usize| {
            tail.get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(InvalidServerAddr::PercentEncoding);
        };
        out.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(out).map_err(|_| InvalidServerAddr::PercentEncoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_in_all_their_forms() {
        let read = |text: &str| ServerAddr::parse(text).unwrap();
        assert_eq!(read("nats://a.b:4333").to_string(), "a.b:4333");
        assert_eq!(read("localhost").to_string(), "localhost:4222");
        assert_eq!(read("nats://[::1]:5").to_string(), "[::1]:5");
        assert!(read("tls://host").tls);
        let user = read("nats://me%40x:p%3Aw@host:1");
        assert_eq!(
            user.auth,
            Auth::Password {
                user: "me@x".into(),
                password: "p:w".into()
            }
        );
        assert_eq!(user.to_string(), "host:1");
        assert_eq!(
            read("nats://secret@host").auth,
            Auth::Token("secret".into())
        );
        assert!(!format!("{:?}", read("nats://secret@host")).contains("secret"));
    }

    #[test]
    fn broken_urls_are_refused_by_name() {
        let refuse = |text: &str| ServerAddr::parse(text).unwrap_err();
        assert_eq!(refuse("ws://host"), InvalidServerAddr::Scheme("ws".into()));
        assert_eq!(refuse("nats://"), InvalidServerAddr::Host);
        assert_eq!(refuse("nats://:4222"), InvalidServerAddr::Host);
        assert_eq!(refuse("host:0"), InvalidServerAddr::Port("0".into()));
        assert_eq!(
            refuse("host:99999"),
            InvalidServerAddr::Port("99999".into())
        );
        assert_eq!(
            refuse("nats://%zz:x@host"),
            InvalidServerAddr::PercentEncoding
        );
    }
}
