//! What a record's provenance header is worth at the source.
//!
//! It is honoured only where a route may have written it: on a stream that is a route's target, with
//! the name of that route and the hash of this very content. Anything else was copied by an
//! application; the target strips it, and here it is counted.

use causeway_proto::provenance::{Provenance, content_hash, find};

/// What a record's header says, once it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// The record came by a route.
    pub relayed: bool,
    /// It has been in the target region.
    pub returns: bool,
    /// It has a provenance header that no route wrote.
    pub forged: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Judge {
    to: Vec<u8>,
    /// Routes that write the source stream: their name and the region they come from.
    writers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Judge {
    /// For records that are to go to region `to`, from a stream that `writers` (route, region) write.
    pub fn new(to: &str, writers: impl IntoIterator<Item = (String, String)>) -> Self {
        let bytes = |(route, from): (String, String)| (route.into_bytes(), from.into_bytes());
        Self {
            to: to.as_bytes().to_vec(),
            writers: writers.into_iter().map(bytes).collect(),
        }
    }

    /// Judges one record.
    pub fn judge(&mut self, headers: &[u8], subject: &[u8], payload: &[u8]) -> Origin {
        let Some(value) = find(headers) else {
            return Origin::default();
        };
        let forged = Origin {
            forged: true,
            ..Origin::default()
        };
        let Ok(provenance) = Provenance::parse(value) else {
            return forged;
        };
        let wrote = |(route, from): &(Vec<u8>, Vec<u8>)| {
            provenance.route == route && provenance.last_hop.region == from
        };
        if !self.writers.iter().any(wrote) || provenance.hash != content_hash(subject, payload) {
            return forged;
        }
        let returns = provenance.has_passed(&self.to);
        Origin {
            relayed: true,
            returns,
            forged: false,
        }
    }
}
