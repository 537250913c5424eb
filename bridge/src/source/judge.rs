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
    /// It has been in the target region, or in so many that its way can no longer be told.
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
        let returns = provenance.would_return(&self.to);
        Origin {
            relayed: true,
            returns,
            forged: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use causeway_proto::id::{Position, SourceSeq, StoredAt};
    use causeway_proto::provenance::{HOPS_MAX, Stamper};

    use super::*;

    /// A record that has passed so many regions, `r0` first, each of which brought it on by route `onward`.
    fn relayed(regions: usize) -> Vec<u8> {
        let at = Position {
            seq: SourceSeq(7),
            stored_at: StoredAt(36),
        };
        let hash = content_hash(b"a.b", b"{}");
        let mut value = BytesMut::new();
        for region in 0..regions {
            let before = value.split();
            let before = Provenance::parse(&before).ok();
            let stamper = Stamper::new(&format!("r{region}"), "HUB", "onward");
            stamper.write(at, hash, before.as_ref(), None, &mut value);
        }
        [b"NATS/1.0\r\nCauseway: ", &value[..], b"\r\n\r\n"].concat()
    }

    #[test]
    fn a_record_goes_to_no_region_that_it_passed_and_nowhere_after_so_many() {
        let returns = |regions: usize, to: &str| {
            let from = format!("r{}", regions - 1);
            let mut judge = Judge::new(to, [("onward".to_owned(), from)]);
            let origin = judge.judge(&relayed(regions), b"a.b", b"{}");
            assert!(origin.relayed && !origin.forged, "{origin:?}");
            origin.returns
        };
        assert!(returns(3, "r1"));
        assert!(!returns(3, "elsewhere"));
        assert!(!returns(HOPS_MAX - 1, "elsewhere"));
        assert!(returns(HOPS_MAX, "elsewhere"));
    }
}
