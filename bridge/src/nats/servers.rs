//! Which server to try next, and after what delay.

use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;

use super::options::{Auth, ServerAddr};

/// Servers learnt from the cluster, at most.
const DISCOVERED_MAX: usize = 256;

/// First delay, after every server was tried once without delay.
const DELAY_MIN: Duration = Duration::from_millis(50);

/// Longest delay. Kept under a second so that a route goes on within a second of its server's
/// return; a failed attempt costs a refused TCP connect.
const DELAY_MAX: Duration = Duration::from_millis(800);

/// A connection that lived shorter than this counts as a failed attempt, so that a server that
/// accepts and hangs up is not hammered.
const LIVED_MIN: Duration = Duration::from_secs(5);

/// Configured and discovered servers, tried in turn.
#[derive(Debug)]
pub(crate) struct Servers {
    configured: Vec<ServerAddr>,
    discovered: Vec<ServerAddr>,
    cursor: usize,
    /// Attempts since the last good connection.
    attempts: u32,
}

impl Servers {
    pub(crate) fn new(configured: Vec<ServerAddr>) -> Self {
        Self {
            configured,
            discovered: Vec::new(),
            cursor: 0,
            attempts: 0,
        }
    }

    /// Attempts since the last good connection.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    fn len(&self) -> usize {
        self.configured.len() + self.discovered.len()
    }

    /// The next server and how long to wait before trying it: nothing in the first round over all
    /// of them, then longer from round to round, jittered so that a fleet does not march in step.
    pub(crate) fn next(&mut self) -> Option<(ServerAddr, Duration)> {
        let count = self.len();
        let at = self.cursor.checked_rem(count)?;
        self.cursor = at + 1;
        let round = self.attempts / u32::try_from(count).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let server = self
            .configured
            .iter()
            .chain(&self.discovered)
            .nth(at)?
            .clone();
        Some((
            server,
            delay(round).mul_f64(rand::rng().random_range(0.5..1.0)),
        ))
    }

    /// A connection ended after living this long.
    pub(crate) fn lost(&mut self, lived: Duration) {
        if lived >= LIVED_MIN {
            self.attempts = 0;
        }
    }

    /// Whether there is another address than `current`.
    pub(crate) fn has_other(&self, current: &ServerAddr) -> bool {
        self.configured
            .iter()
            .chain(&self.discovered)
            .any(|server| !server.same_address(current))
    }

    /// Takes over what `current` says about its cluster. The list replaces the former one.
    pub(crate) fn discover(&mut self, urls: &[String], current: &ServerAddr) {
        self.discovered.clear();
        for url in urls.iter().take(DISCOVERED_MAX) {
            let Ok(mut server) = ServerAddr::parse(url) else {
                continue;
            };
            server.tls = current.tls;
            if server.auth == Auth::None {
                server.auth = current.auth.clone();
            }
            if server.host.parse::<IpAddr>().is_ok() {
                let name = current
                    .tls_name
                    .clone()
                    .unwrap_or_else(|| current.host.clone());
                server.tls_name = name.parse::<IpAddr>().is_err().then_some(name);
            }
            let known = self.configured.iter().chain(&self.discovered);
            if !known.into_iter().any(|other| other.same_address(&server)) {
                self.discovered.push(server);
            }
        }
    }
}

fn delay(round: u32) -> Duration {
    match round {
        0 => Duration::ZERO,
        round => DELAY_MAX.min(DELAY_MIN * 2_u32.pow((round - 1).min(10))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(texts: &[&str]) -> Servers {
        Servers::new(
            texts
                .iter()
                .map(|text| ServerAddr::parse(text).unwrap())
                .collect(),
        )
    }

    #[test]
    fn the_first_round_has_no_delay_and_later_ones_are_bounded() {
        let mut servers = servers(&["a", "b"]);
        let mut next = || servers.next().unwrap();
        assert_eq!(next(), (ServerAddr::parse("a").unwrap(), Duration::ZERO));
        assert_eq!(next(), (ServerAddr::parse("b").unwrap(), Duration::ZERO));
        let (third, delay) = next();
        assert_eq!(third.host, "a");
        assert!(delay >= DELAY_MIN / 2 && delay <= DELAY_MIN);
        for _ in 0..100 {
            assert!(next().1 <= DELAY_MAX);
        }
        servers.lost(Duration::from_secs(1));
        assert!(servers.next().unwrap().1 > Duration::ZERO);
        servers.lost(Duration::from_secs(60));
        assert_eq!(servers.next().unwrap().1, Duration::ZERO);
    }

    #[test]
    fn discovered_servers_keep_the_name_and_credentials_of_their_cluster() {
        let mut servers = servers(&["tls://me:pw@nats.example:4222"]);
        let current = servers.next().unwrap().0;
        assert!(!servers.has_other(&current));
        let urls = [
            "10.0.0.1:4222",
            "nats.example:4222",
            "[::1]:4222",
            "b.example:1",
        ];
        servers.discover(&urls.map(str::to_owned), &current);
        assert!(servers.has_other(&current));
        let first = servers.next().unwrap().0;
        assert_eq!(first.tls_name.as_deref(), Some("nats.example"));
        assert_eq!((first.tls, &first.auth), (true, &current.auth));
        assert_eq!(servers.len(), 4);
    }

    #[test]
    fn no_servers_give_none() {
        assert_eq!(servers(&[]).next(), None);
    }
}
