//! Addresses: where a NATS server is reached, and where a peer is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::secret::Secret;

/// Port of a NATS server where the URL names none.
pub const NATS_PORT: u16 = 4222;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Nothing stands where the host should.
    #[error("no host")]
    NoHost,
    /// The host holds a character that no host name or IP address has.
    #[error("{0:?} cannot be in a host name")]
    Host(char),
    /// An IPv6 address without brackets, or with something wrong inside them.
    #[error("an IPv6 address stands in brackets: [::1]:7443")]
    Ipv6,
    /// The port is missing.
    #[error("no port")]
    NoPort,
    /// The port is no number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// A scheme that is not spoken.
    #[error("the scheme must be nats:// or tls://")]
    Scheme,
    /// Something follows the port.
    #[error("nothing may follow the port")]
    Path,
    /// User or password hold a `%` that is not followed by two hexadecimal digits.
    #[error("a '%' in user or password must be written %25")]
    Escape,
}

/// A host and a port, to be resolved when it is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Whether it surely leads to the machine that it is used on.
    pub fn is_loopback(&self) -> bool {
        let by_address = self
            .host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
        by_address || self.host.eq_ignore_ascii_case("localhost")
    }

    fn parse(text: &str, port_default: Option<u16>) -> Result<Self, InvalidAddress> {
        let (host, port) = split_port(text)?;
        let port = match port {
            Some(port) => port.parse().map_err(|_| InvalidAddress::Port)?,
            None => port_default.ok_or(InvalidAddress::NoPort)?,
        };
        if port == 0 {
            return Err(InvalidAddress::Port);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl FromStr for HostPort {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, None)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Who to be towards a NATS server, where the URL says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsAuth {
    /// `nats://user:password@host`
    UserPassword(String, Secret),
    /// `nats://token@host`
    Token(Secret),
}

/// One server of a region's NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsUrl {
    /// Where it is.
    pub server: HostPort,
    /// Whether the scheme was `tls://`, so that a connection without TLS is refused.
    pub tls: bool,
    /// User and password, or token.
    pub auth: Option<NatsAuth>,
}

impl FromStr for NatsUrl {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tls, rest) = match text.split_once("://") {
            Some(("nats", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            Some(_) => return Err(InvalidAddress::Scheme),
            None => (false, text),
        };
        let (auth, server) = match rest.rsplit_once('@') {
            Some((user, server)) => (Some(parse_auth(user)?), server),
            None => (None, rest),
        };
        let server = HostPort::parse(server.strip_suffix('/').unwrap_or(server), Some(NATS_PORT))?;
        Ok(Self { server, tls, auth })
    }
}

/// Without user and password.
impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.tls { "tls" } else { "nats" },
            self.server
        )
    }
}

/// The text of a URL, or of a list of them, with whatever could be a password hidden; for messages
/// about texts that could not be read. It hides too much rather than too little.
pub(crate) fn redact(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}***@{after}")
}

fn parse_auth(text: &str) -> Result<NatsAuth, InvalidAddress> {
    Ok(match text.split_once(':') {
        Some((user, password)) => {
            NatsAuth::UserPassword(unescape(user)?, Secret::new(unescape(password)?))
        }
        None => NatsAuth::Token(Secret::new(unescape(text)?)),
    })
}

fn unescape(text: &str) -> Result<String, InvalidAddress> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or(InvalidAddress::Escape)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| InvalidAddress::Escape)
}

/// Host without brackets, and the port's text.
fn split_port(text: &str) -> Result<(&str, Option<&str>), InvalidAddress> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(InvalidAddress::Ipv6)?;
        host.parse::<Ipv6Addr>().map_err(|_| InvalidAddress::Ipv6)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(InvalidAddress::Path),
        };
    }
    if text.contains('/') {
        return Err(InvalidAddress::Path);
    }
    if text.matches(':').count() > 1 {
        return Err(InvalidAddress::Ipv6);
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.is_empty() {
        return Err(InvalidAddress::NoHost);
    }
    match host
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))
    {
        Some(c) => Err(InvalidAddress::Host(c)),
        None => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<NatsUrl, InvalidAddress> {
        text.parse()
    }

    #[test]
    fn hosts_and_ports() {
        let parse = |text: &str| text.parse::<HostPort>().map(|address| address.to_string());
        assert_eq!(
            parse("eu.example.com:7443"),
            Ok("eu.example.com:7443".into())
        );
        assert_eq!(parse("[::1]:7443"), Ok("[::1]:7443".into()));
        assert_eq!(parse("eu.example.com"), Err(InvalidAddress::NoPort));
        assert_eq!(parse("::1:7443"), Err(InvalidAddress::Ipv6));
        assert_eq!(parse(":7443"), Err(InvalidAddress::NoHost));
        assert_eq!(parse("eu:70000"), Err(InvalidAddress::Port));
        assert_eq!(parse("eu:0"), Err(InvalidAddress::Port));
        assert_eq!(parse("https://eu:7443"), Err(InvalidAddress::Path));
        assert_eq!(parse("e u:7443"), Err(InvalidAddress::Host(' ')));
    }

    #[test]
    fn nats_urls() {
        let plain = url("nats://10.0.0.1").unwrap();
        assert_eq!(plain.to_string(), "nats://10.0.0.1:4222");
        assert_eq!((plain.tls, plain.auth), (false, None));
        assert!(url("tls://nats.example.com:4443/").unwrap().tls);
        let auth = |text: &str| url(text).unwrap().auth.unwrap();
        assert_eq!(
            auth("nats://a:p%40ss@h"),
            NatsAuth::UserPassword("a".into(), Secret::new("p@ss"))
        );
        assert_eq!(
            auth("nats://t0ken@h"),
            NatsAuth::Token(Secret::new("t0ken"))
        );
        assert_eq!(url("ws://h"), Err(InvalidAddress::Scheme));
        assert_eq!(url("nats://a:b%@h"), Err(InvalidAddress::Escape));
        assert_eq!(url("nats://"), Err(InvalidAddress::NoHost));
    }

    #[test]
    fn nothing_prints_a_password() {
        let parsed = url("nats://app:hunter2@h").unwrap();
        assert!(!format!("{parsed:?} {parsed}").contains("hunter2"));
        let bad = "nats://app:hunter2@h:x,nats://app:hunter2@i";
        assert!(!redact(bad).contains("hunter2"), "{}", redact(bad));
        assert!(!redact("app:hunter2@h").contains("hunter2"));
    }
}
