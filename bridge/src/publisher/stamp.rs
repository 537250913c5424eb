//! What a record is given on its way into the target: our header lines, and the contract's rewrite.

use bytes::{BufMut, BytesMut};
use causeway_proto::headers::{
    Ages, HeaderVerdict, Rejection, TargetTraits, publisher_id, rewrite,
};
use causeway_proto::id::{Position, TargetSeq};
use causeway_proto::provenance::{Provenance, Stamper, content_hash, find};
use causeway_proto::record::RecordView;
use causeway_proto::run::RunEnd;

use crate::clock::now_unix_ns;
use crate::nats::append_number;

/// Stamps the records of one route. Buffers are kept, so that a record costs no allocation.
#[derive(Debug)]
pub struct Stamp {
    stamper: Stamper,
    region: String,
    stream: String,
    route: String,
    dedupe_ids: bool,
    own: BytesMut,
    block: BytesMut,
}

/// What became of a record's headers.
pub enum Prepared<'a> {
    /// The block to publish it with.
    Publish(&'a [u8]),
    /// The run ends before it.
    Refused(RunEnd),
}

impl Stamp {
    /// For a route from `stream` of `region`.
    pub fn new(region: &str, stream: &str, route: &str, dedupe_ids: bool) -> Self {
        Self {
            stamper: Stamper::new(region, stream, route),
            region: region.to_owned(),
            stream: stream.to_owned(),
            route: route.to_owned(),
            dedupe_ids,
            own: BytesMut::new(),
            block: BytesMut::new(),
        }
    }

    /// Whether this route wrote a record with that provenance.
    pub fn wrote(&self, provenance: &Provenance<'_>) -> bool {
        provenance.route == self.route.as_bytes()
            && provenance.last_hop.region == self.region.as_bytes()
            && provenance.last_hop.stream == self.stream.as_bytes()
    }

    /// Builds a record's header block for this target. `again` becomes part of the dedupe id ([`Run::time_of`]).
    ///
    /// [`Run::time_of`]: causeway_proto::run::Run::time_of
    pub fn prepare(
        &mut self,
        record: &RecordView<'_>,
        traits: &TargetTraits,
        expected_last: Option<TargetSeq>,
        again: Option<u32>,
    ) -> Prepared<'_> {
        let at = Position {
            seq: record.seq,
            stored_at: record.stored_at,
        };
        let before = find(record.headers)
            .filter(|_| record.relayed)
            .and_then(|value| Provenance::parse(value).ok());
        let hash = content_hash(record.subject, record.payload);
        let id = publisher_id(record.headers);
        self.own.clear();
        self.own.put_slice(b"Causeway: ");
        self.stamper
            .write(at, hash, before.as_ref(), id, &mut self.own);
        self.own.put_slice(b"\r\n");
        if self.dedupe_ids {
            self.own.put_slice(b"Nats-Msg-Id: ");
            self.stamper
                .write_dedupe_id(at, before.as_ref(), &mut self.own);
            if let Some(time) = again {
                self.own.put_u8(b'+');
                append_number(&mut self.own, u64::from(time));
            }
            self.own.put_slice(b"\r\n");
        }
        if let Some(expected) = expected_last {
            self.own.put_slice(b"Nats-Expected-Last-Sequence: ");
            append_number(&mut self.own, expected.0);
            self.own.put_slice(b"\r\n");
        }
        let ages = Ages {
            stored_at_ns: record.stored_at.0,
            now_ns: now_unix_ns(),
        };
        self.block.clear();
        let payload_len = record.payload.len();
        match rewrite(
            record.headers,
            payload_len,
            ages,
            traits,
            &self.own,
            &mut self.block,
        ) {
            Ok(HeaderVerdict::Publish) => Prepared::Publish(&self.block),
            Ok(HeaderVerdict::Expired) => Prepared::Refused(RunEnd::Expired),
            Err(refusal) => Prepared::Refused(refused(&refusal)),
        }
    }
}

fn refused(refusal: &Rejection) -> RunEnd {
    RunEnd::Rejected {
        code: 0,
        reason: refusal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use causeway_proto::headers::value_of;
    use causeway_proto::id::{SourceSeq, StoredAt};

    use super::*;

    fn id(dedupe_ids: bool, again: Option<u32>) -> Option<String> {
        let record = RecordView {
            seq: SourceSeq(7),
            stored_at: StoredAt(1),
            relayed: false,
            subject: b"orders.new",
            headers: b"",
            payload: b"{}",
        };
        let mut stamp = Stamp::new("eu", "ORDERS", "orders", dedupe_ids);
        let traits = TargetTraits {
            ttl: false,
            rollup: false,
            payload_len_max: 1 << 20,
            message_len_max: None,
        };
        match stamp.prepare(&record, &traits, None, again) {
            Prepared::Publish(block) => {
                let id = value_of(block, b"Nats-Msg-Id")?;
                Some(String::from_utf8_lossy(id).into_owned())
            }
            Prepared::Refused(end) => panic!("{end:?}"),
        }
    }

    #[test]
    fn a_record_that_is_stored_again_has_another_id() {
        assert_eq!(id(true, None).as_deref(), Some("eu/ORDERS/7/1"));
        assert_eq!(id(true, Some(2)).as_deref(), Some("eu/ORDERS/7/1+2"));
        assert_eq!(id(false, Some(2)), None);
    }
}
