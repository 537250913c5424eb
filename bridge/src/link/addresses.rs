//! Which of a name's addresses is dialled: one works where another leads nowhere, as IPv6 does to a listener on 0.0.0.0.

use std::net::SocketAddr;

/// Addresses of one name that are tried; what a lookup gives beyond them is left out.
const ADDRESSES_MAX: usize = 16;

/// A name's addresses, in the order of its last lookup.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    found: Vec<SocketAddr>,
    /// Where the peer was last.
    worked: Option<SocketAddr>,
    /// Those that led nowhere in this round. A lookup may give another order each time, so that a place in it says nothing.
    failed: Vec<SocketAddr>,
    /// Rounds in a row in which none worked.
    rounds: u32,
}

impl Addresses {
    /// What the name leads to now.
    pub(super) fn handle_found(&mut self, found: impl Iterator<Item = SocketAddr>) {
        self.found = found.take(ADDRESSES_MAX).collect();
        self.failed.retain(|address| self.found.contains(address));
        self.end_round();
    }

    /// The one to try; `None` before the first lookup that found any.
    pub(super) fn next(&self) -> Option<SocketAddr> {
        let is_open = |address: &SocketAddr| !self.failed.contains(address);
        let worked = self.worked.filter(|address| self.found.contains(address));
        let mut open = worked.into_iter().chain(self.found.iter().copied());
        open.find(is_open)
    }

    /// The peer is there: it stays the first choice.
    pub(super) fn handle_worked(&mut self, address: SocketAddr) {
        self.worked = Some(address);
        self.failed.clear();
        self.rounds = 0;
    }

    /// Nobody is there, or not the peer: the others come first now.
    pub(super) fn handle_failed(&mut self, address: SocketAddr) {
        self.failed.push(address);
        self.end_round();
    }

    /// Rounds in a row in which none worked.
    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    fn end_round(&mut self) {
        let is_over = self.next().is_none() && !self.found.is_empty();
        if is_over {
            self.failed.clear();
            self.rounds = self.rounds.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    /// Looks up, tries what comes next, and fails.
    fn fail(addresses: &mut Addresses, found: &[u16]) -> u16 {
        addresses.handle_found(found.iter().map(|port| at(*port)));
        let next = addresses.next().unwrap();
        addresses.handle_failed(next);
        next.port()
    }

    #[test]
    fn every_address_has_its_turn_whatever_order_lookups_give() {
        let mut addresses = Addresses::default();
        assert_eq!(addresses.next(), None);
        let orders = [[1, 2, 3], [1, 3, 2], [3, 1, 2], [2, 1, 3], [2, 3, 1]];
        let tried = orders.map(|found| fail(&mut addresses, &found));
        assert_eq!(tried, [1, 3, 2, 2, 3]);
        assert_eq!(addresses.rounds(), 1);
    }

    #[test]
    fn what_worked_is_the_first_choice_for_as_long_as_the_name_leads_there() {
        let mut addresses = Addresses::default();
        assert_eq!(fail(&mut addresses, &[1, 2]), 1);
        addresses.handle_worked(at(2));
        assert_eq!(addresses.next(), Some(at(2)));
        let tried: Vec<_> = (0..4).map(|_| fail(&mut addresses, &[1, 2])).collect();
        assert_eq!(tried, [2, 1, 2, 1]);
        assert_eq!(addresses.rounds(), 2);
        assert_eq!(fail(&mut addresses, &[3]), 3, "the peer has moved");
        assert_eq!(fail(&mut addresses, &[3]), 3, "there is no other");
    }

    #[test]
    fn a_lookup_that_leaves_only_what_has_failed_begins_a_round() {
        let mut addresses = Addresses::default();
        assert_eq!(fail(&mut addresses, &[1, 2]), 1);
        assert_eq!(fail(&mut addresses, &[1]), 1);
    }
}
